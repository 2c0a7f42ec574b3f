# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The extra variables of a run that nothing reads."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unread_variables
short_description: The extra variables of a run that nothing reads
version_added: 0.1.0
description:
  - Tells of each extra variable (C(-e), or those of a job of AWX) whose name begins like those of
    this collection, and that nothing in it reads. It is misspelt; Ansible ignores it silently.
  - Variables of the inventory are not looked at, and values are not shown.
author:
  - Car Rental Platform Team (@carrental)
options: {}
"""

EXAMPLES = r"""
- name: Refuse a misspelt variable
  ansible.builtin.assert:
    that: query('carrental.ops.unread_variables') | length == 0
    fail_msg: "{{ query('carrental.ops.unread_variables') | join(' ') }} Nothing was changed."
"""

RETURN = r"""
_raw:
  description: What is to be said of each, with the names that may have been meant.
  type: list
  elements: str
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars
from ansible_collections.carrental.ops.plugins.plugin_utils import _extra_variables


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return what is to be said of extra variables that nothing reads."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[str]:
        """Return a sentence or two for each of them."""
        # Ansible has read them already, and keeps them.
        return _extra_variables.unread(load_extra_vars(self._loader))
