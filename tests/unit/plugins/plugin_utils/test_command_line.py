# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that another one begins has the options of that one."""

from __future__ import annotations

from typing import Any

import pytest
from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.module_utils.common.collections import ImmutableDict
from ansible_collections.carrental.ops.plugins.lookup import command_line

GIVEN = {
    "vault_ids": ["dev@vault.py", "prod@prompt", "prompt"],
    "vault_password_files": ["/etc/vault"],
    "private_key_file": "/root/key",
    "remote_user": "ops",
    "ssh_common_args": "-o ProxyJump=bastion",
    "become_password_file": None,
    "extra_vars": ("@/tmp/vars.yml", '{"a": "b c"}'),
    "tags": ["all"],
}


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (["vault"], ["--vault-id=dev@vault.py", "--vault-password-file=/etc/vault"]),
        (
            ["connection"],
            ["--private-key=/root/key", "--user=ops", "--ssh-common-args=-o ProxyJump=bastion"],
        ),
        (["extra_vars"], ["--extra-vars=@/tmp/vars.yml", '--extra-vars={"a": "b c"}']),
        ([], []),
    ],
)
def test_options_of_a_part(
    parts: list[str], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict(GIVEN))
    assert command_line.LookupModule().run(parts) == told


def test_without_options_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict({}))
    parts: list[Any] = ["vault", "connection", "extra_vars"]
    assert command_line.LookupModule().run(parts) == []


def test_another_part_is_refused() -> None:
    with pytest.raises(AnsibleLookupError, match="command_line has no tags; parts are vault"):
        command_line.LookupModule().run(["tags"])
