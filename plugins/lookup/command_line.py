# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that a run was begun with."""

from __future__ import annotations

DOCUMENTATION = r"""
name: command_line
short_description: The options that a run was begun with
version_added: 0.1.0
description:
  - Returns options of the command line as arguments, for a run of Ansible that a task begins
    itself. It would not have the password of the vault otherwise, nor the key of the servers.
  - A password that was asked for at a prompt is not among them.
author:
  - Car Rental Platform Team (@carrental)
options:
  _terms:
    description:
      - V(vault) for C(--vault-id) and C(--vault-password-file).
      - V(connection) for C(--private-key), C(--user), the arguments of SSH, and the files of
        passwords.
      - V(extra_vars) for C(--extra-vars).
    type: list
    elements: str
    choices: [vault, connection, extra_vars]
    required: true
"""

EXAMPLES = r"""
- name: Ask Ansible for the inventory
  ansible.builtin.command:
    argv: "{{ ['ansible-inventory', '--list'] + query('carrental.ops.command_line', 'vault') }}"
  changed_when: false
"""

RETURN = r"""
_raw:
  description: The arguments.
  type: list
  elements: str
"""

from typing import Any

from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.carrental.ops.plugins.plugin_utils import _command_line


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return the options that a run was begun with."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[str]:
        """Return the arguments of the parts that are asked for."""
        unknown = [term for term in terms if term not in _command_line.PARTS]
        if unknown:
            raise AnsibleLookupError(
                f"command_line has no {', '.join(unknown)}; parts are "
                f"{', '.join(_command_line.PARTS)}."
            )
        return _command_line.arguments(context.CLIARGS, terms)
