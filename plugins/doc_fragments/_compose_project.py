# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compose project that a module works on. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that call compose; all of them are demanded."""

    DOCUMENTATION = r"""
options:
  project_src:
    description: Directory of the compose project on the server.
    type: path
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  files:
    description: Compose files, absolute or relative to O(project_src), in the order of C(-f).
    type: list
    elements: str
    required: true
"""

    # For modules that write into the project.
    DEST = r"""
options:
  dest:
    description: Directory of the compose project on the server.
    type: path
    required: true
  files:
    description: Compose files relative to O(dest), in the order of C(-f).
    type: list
    elements: str
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
"""
