# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How containers are switched. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that replace containers without a gap."""

    DOCUMENTATION = r"""
options:
  domain:
    description: Domain under which customers reach the proxy.
    type: str
    default: ""
  healthy_timeout:
    description: Seconds until a new container has to be healthy and answer.
    type: int
    default: 120
  drain_timeout:
    description: Seconds for requests that are under way to end. What is left then is cut.
    type: int
    default: 60
  consecutive:
    description: How many good answers in a row a new container needs.
    type: int
    default: 3
  interval:
    description: Seconds between them.
    type: float
    default: 1.0
"""
