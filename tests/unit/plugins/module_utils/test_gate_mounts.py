# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers read and a checkout does not have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _gate_compose, _gate_mounts

TEXT = "services:\n  api:\n    image: example/api:1\n"


def told(model: dict[str, Any], folder: Path) -> list[tuple[str, str, str]]:
    found = _gate_mounts.look(model, {"a.yml": TEXT}, str(folder))
    assert all((one.file, one.line) == ("a.yml", 2) for one in found)
    return [(one.rule, one.level, one.message.split(",")[0]) for one in found]


def bind(source: Path | str, target: str = "/x.conf") -> dict[str, Any]:
    volume = {"type": "bind", "source": str(source), "target": target}
    return {"services": {"api": {"volumes": [volume]}}}


@pytest.mark.parametrize(
    ("name", "target", "rule"),
    [
        ("gone.conf", "/etc/gone.conf", "compose.mount"),
        ("gone.conf", "", "compose.mount"),
        ("there.conf", "/etc/there.conf", ""),
        ("data", "/data", ""),
        ("sites/rental.example.com", "/var/www", ""),
        ("certs/rental.example.com", "/etc/nginx/certs", "compose.on_server"),
        ("server.key", "/etc/server.key", "compose.on_server"),
        ("nginx/ssl", "/etc/nginx/ssl", "compose.on_server"),
    ],
)
def test_a_mount_that_is_not_there(name: str, target: str, rule: str, tmp_path: Path) -> None:
    (tmp_path / "there.conf").touch()
    assert [one[0] for one in told(bind(tmp_path / name, target), tmp_path)] == [rule][: bool(rule)]


def test_nobody_is_told_to_commit_a_key(tmp_path: Path) -> None:
    assert told(bind(tmp_path / "tls/server.key"), tmp_path) == [
        ("compose.on_server", "warning", "api reads tls/server.key")
    ]


def test_a_path_outside_is_none_of_the_checkout(tmp_path: Path) -> None:
    assert told(bind("/var/run/nobody.sock"), tmp_path) == []


def test_what_git_ignores_is_on_the_server(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("/local.conf\n/uploads.d/\n")
    assert told(bind(tmp_path / "local.conf"), tmp_path)[0][0] == "compose.on_server"
    assert told(bind(tmp_path / "uploads.d"), tmp_path)[0][0] == "compose.on_server"
    assert told(bind(tmp_path / "other.conf"), tmp_path)[0][0] == "compose.mount"


def test_secrets_are_on_the_server_and_configs_in_the_checkout(tmp_path: Path) -> None:
    model = {
        "services": {"api": {"secrets": [{"source": "s"}], "configs": [{"source": "c"}]}},
        "secrets": {"s": {"file": str(tmp_path / "db.txt")}},
        "configs": {"c": {"file": str(tmp_path / "Caddyfile")}},
    }
    assert told(model, tmp_path) == [
        ("compose.mount", "error", "api mounts Caddyfile"),
        ("compose.on_server", "warning", "api reads db.txt"),
    ]


def test_env_files_in_each_form_that_compose_writes(tmp_path: Path) -> None:
    given = [".env", {"path": "b.env"}, {"path": "c.env", "required": False}]
    files = [
        str(tmp_path / one)
        if isinstance(one, str)
        else {**one, "path": str(tmp_path / str(one["path"]))}
        for one in given
    ]
    model = {"services": {"api": {"env_file": files}}}
    assert [one[2] for one in told(model, tmp_path)] == ["api reads .env", "api reads b.env"]


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
def test_an_env_file_that_only_the_server_has_keeps_compose_from_nothing(tmp_path: Path) -> None:
    text = TEXT + "    env_file: [.env, {path: more.env, required: false}]\n"
    (tmp_path / "a.yml").write_text(text)
    found, model = _gate_compose.look(str(tmp_path), ["a.yml"], {}, [], [])
    assert {"compose.memory", "compose.restart"} == {one.rule for one in found}
    assert model is not None
    assert told(model, tmp_path) == [("compose.on_server", "warning", "api reads .env")]
