# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a run as a page."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report_html
short_description: The result of a run as one HTML page
version_added: 0.1.0
description:
  - Turns a result as the playbooks of this collection hand it on (C(carrental_result)) into a page that needs
    no other file and no network, for a screen, a phone and paper, light and dark.
  - Charts are drawn when the Python package C(pygal) is on the controller; without it the tables hold the same
    numbers.
author:
  - Car Rental Platform Team (@carrental)
positional: made_at
options:
  _input:
    description:
      - The result, with C(operation), C(verdict), and in C(hosts) what each server left, by its name.
      - C(check) says that it was a run in check mode.
    type: dict
    required: true
  made_at:
    description: When, as the page shows it.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write the page
  ansible.builtin.copy:
    content: "{{ carrental_result | carrental.ops.report_html('2026-11-26T05:12:00Z') }}"
    dest: reports/deploy.html
    mode: "0640"
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.carrental.ops.plugins.plugin_utils import _report_page


def report_html(run: dict[str, Any], made_at: str) -> str:
    """Return the page of a run."""
    missing = [key for key in ("operation", "verdict", "hosts") if key not in run]
    if missing:
        raise AnsibleFilterError(
            f"report_html: the result has no {', '.join(missing)}; give carrental_result of a playbook"
        )
    return _report_page.page(run, made_at)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"report_html": report_html}
