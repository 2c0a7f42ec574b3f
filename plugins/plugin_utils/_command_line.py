# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection; it may change at any time.
"""The options of the command line that a run was begun with, for a run that it begins itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# By part: what Ansible calls an option, and how it is written.
PARTS = {
    "vault": {"vault_ids": "--vault-id", "vault_password_files": "--vault-password-file"},
    "connection": {
        "private_key_file": "--private-key",
        "remote_user": "--user",
        "become_password_file": "--become-password-file",
        "connection_password_file": "--connection-password-file",
        "ssh_common_args": "--ssh-common-args",
        "ssh_extra_args": "--ssh-extra-args",
    },
    "extra_vars": {"extra_vars": "--extra-vars"},
}
# Nobody sits in front of a run that another one begins.
_ASKS = ("prompt", "prompt_ask_vault_pass")


def arguments(given: Mapping[str, Any], parts: Iterable[str]) -> list[str]:
    """Return options as arguments of a command.

    :param given: the options as Ansible has parsed them.
    :param parts: some of :data:`PARTS`.
    """
    found = []
    for part in parts:
        for name, option in PARTS[part].items():
            value = given.get(name) or ()
            values = [value] if isinstance(value, str) else value
            # With "=": a value may begin with a dash.
            found += [f"{option}={one}" for one in values if not _asks(name, one)]
    return found


def _asks(name: str, value: str) -> bool:
    return name == "vault_ids" and value.rpartition("@")[2] in _ASKS
