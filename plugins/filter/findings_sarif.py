# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of a gate as SARIF 2.1.0."""

from __future__ import annotations

DOCUMENTATION = r"""
name: findings_sarif
short_description: Findings of a gate as SARIF 2.1.0
version_added: 0.1.0
description:
  - Turns what M(carrental.ops.release_gate) found into a file that a CI reads.
author:
  - Car Rental Platform Team (@carrental)
positional: rules, uri, anchor
options:
  _input:
    description: The findings.
    type: list
    elements: dict
    required: true
  rules:
    description: Every rule, and what it makes sure of.
    type: dict
    required: true
  uri:
    description: Where the tool is described.
    type: str
    required: true
  anchor:
    description: The file of findings that have none, for GitHub refuses results without a place.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write the file
  ansible.builtin.copy:
    content: "{{ gate.findings | carrental.ops.findings_sarif(gate.rules, 'https://example.com', gate.anchor) }}"
    dest: reports/gate.sarif
    mode: "0640"
"""

RETURN = r"""
_value:
  description: The text of the file.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.carrental.ops.plugins.plugin_utils import _finding_reports


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"findings_sarif": _finding_reports.sarif}
