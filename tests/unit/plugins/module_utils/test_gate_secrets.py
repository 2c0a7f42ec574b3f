# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that stand in clear in an inventory, and what only looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _gate_inventory

PUBLIC = {"awx_project_credential"}


def told(text: str, file: str = "f.yml") -> list[tuple[str, int]]:
    found = _gate_inventory.secrets(text, file, PUBLIC)
    assert all(one.rule == "inventory.secret" for one in found)
    assert "hunter2" not in "".join(one.text for one in found)
    return [(one.message.split(" stands")[0], one.line) for one in found]


@pytest.mark.parametrize(
    "line",
    [
        "db_password: hunter2",
        "S3_SECRET_KEY: hunter2",
        "MINIO_SECRET_KEY: hunter2",
        "AWS_SECRET_ACCESS_KEY: hunter2",
        "ENCRYPTION_KEY: hunter2",
        "ansible_become_pass: hunter2",
        "ansible_ssh_pass: hunter2",
        "smtp_pass: hunter2",
        "DATABASE_URL: postgres://u:hunter2@db/x",
        "url: https://hooks.slack.com/services/T0/B0/hunter2",
        "x: {API_TOKEN: hunter2}",
        '  API_TOKEN: "hunter2"',
        'db_password: "hunter2{x"',
        "db_password: !unsafe hunter2",
        "- token: hunter2",
        "- [DB_PASSWORD=hunter2]",
        "key: |\n  -----BEGIN OPENSSH PRIVATE KEY-----\n  hunter2\n",
    ],
)
def test_secrets_in_clear(line: str) -> None:
    assert [at for _name, at in told(line)] == [1]


@pytest.mark.parametrize(
    "line",
    [
        "db_password: '{{ vault_password }}'",
        'db_password: "{{ vault_password }}"',
        "DATABASE_URL: postgres://u:{{pw}}@db/x",
        "DATABASE_URL: postgres://u:${PW}@db/x",
        "DATABASE_URL: postgres://db/x",
        "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?}",
        "db_password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  00",
        "password_file: secrets/db",
        "db_password: /run/secrets/db",
        "private_key: ~/.ssh/id",
        "db_password:",
        "db_password: ...",
        "db_password: change-me",
        "max_token: 4096",
        "max_tokens: 1234567890",
        "token_auth: true",
        "ACCESS_TOKEN_TTL: 15m",
        "awx_project_credential: github",
        "secrets: [JWT_SECRET, DB_PASSWORD]",
        "# db_password: hunter2",
        "url: https://hooks.slack.com/services/…",
        "certificate: |\n  -----BEGIN CERTIFICATE-----\n",
        "",
    ],
)
def test_what_is_no_secret_in_clear(line: str) -> None:
    assert told(line) == []


def test_a_text_of_many_lines_has_its_lines() -> None:
    text = (
        "---\napp:\n  env: |\n    A=b\n    export DB_PASSWORD='hunter2'\n  list:\n    - K_TOKEN=x\n"
    )
    assert told(text) == [("DB_PASSWORD", 5), ("K_TOKEN", 7)]


def test_an_alias_is_told_once() -> None:
    assert told("a: &x {db_password: hunter2}\nb: *x\nc: {<<: *x}\n") == [("db_password", 1)]


def test_a_vault_has_no_secrets_in_clear() -> None:
    assert told("$ANSIBLE_VAULT;1.1;AES256\npassword: x", "v.yml") == []


def test_an_inventory_as_ini() -> None:
    text = (
        "[web]\nh1 ansible_host=10.0.0.1 ansible_become_pass='hunter2' # ansible_ssh_pass=x\n"
        "[web:vars]\n; old_password=x\ndb_password = hunter2\nmax_token=1234567\n"
    )
    expected = [("ansible_become_pass", 2), ("db_password", 5)]
    assert told(text, "inventories/x/hosts") == expected
    assert told(text, "inventories/x/hosts.ini") == expected
    assert told("all:\n  vars:\n    db_password: hunter2\n", "hosts") == [("db_password", 3)]
    assert told("#!/bin/sh\ndb_password=hunter2\n", "hosts") == []


def test_what_is_no_yaml_is_invalid_and_not_repeated() -> None:
    (found,) = _gate_inventory.secrets("a: b\nx: {{ hunter2\n", "f.yml", ())
    assert (found.rule, found.file) == ("inventory.invalid", "f.yml")
    assert found.line > 0
    assert "hunter2" not in found.text
    assert _gate_inventory.secrets("x: {{ a", "group_vars/all/f.yml.bak", ()) == []


def test_a_file_of_an_inventory_has_variables_beside_it(tmp_path: Path) -> None:
    for name in (
        "x/hosts.yml",
        "x/other.yml",
        "x/group_vars/all/vault.yml",
        "x/group_vars/web",
        "x/group_vars/old.yml.bak",
        "x/group_vars/.hidden",
        "x/host_vars/h1.json",
        "x/README.md",
        "x/static",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("db_password: hunter2\n")
    beside = [
        "x/group_vars/old.yml.bak",
        "x/group_vars/web",
        "x/group_vars/all/vault.yml",
        "x/host_vars/h1.json",
    ]
    hosts = str(tmp_path / "x/hosts.yml")

    def named(source: str) -> list[str]:
        return [str(Path(one).relative_to(tmp_path)) for one in _gate_inventory.files([source])]

    assert named(hosts) == ["x/hosts.yml", *beside]
    assert sorted(named(str(tmp_path / "x"))) == sorted(
        ["x/hosts.yml", "x/other.yml", "x/static", *beside]
    )
    found = _gate_inventory.look([hosts], {}, {}, [], str(tmp_path))
    assert [one.file for one in found] == ["x/hosts.yml", *beside]
    public = {"db_password": {"type": "str"}}
    assert _gate_inventory.look([hosts], {}, public, [], str(tmp_path)) == []
    hidden = {"db_password": {"type": "str", "no_log": True}}
    assert len(_gate_inventory.look([hosts], {}, hidden, [], str(tmp_path))) == 5
