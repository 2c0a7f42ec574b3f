# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of a gate as JUnit."""

from __future__ import annotations

DOCUMENTATION = r"""
name: findings_junit
short_description: Findings of a gate as JUnit
version_added: 0.1.0
description:
  - Turns what M(carrental.ops.release_gate) found into a file that a CI reads.
author:
  - Car Rental Platform Team (@carrental)
positional: rules, name, level, skipped
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
  name:
    description: Name of the test suite.
    type: str
    required: true
  level:
    description: What fails a case; V(warning) fails it by errors, too.
    type: str
    choices: [error, warning]
    default: error
  skipped:
    description: Why a rule was not looked at, by rule. Its case is skipped.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Write the file
  ansible.builtin.copy:
    content: "{{ gate.findings | carrental.ops.findings_junit(gate.rules, 'gate', 'error', gate.skipped) }}"
    dest: reports/gate.junit
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
        return {"findings_junit": _finding_reports.junit}
