# SPDX-License-Identifier: GPL-3.0-or-later
"""init.yml: an inventory of a running server with which health is green, and no secret in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import INVENTORY, REPO, Run, on_server, playbook, tree
from tiers import proof

STATE = REPO / "demo/.state"
SSH = (
    f"-o UserKnownHostsFile={STATE}/known_hosts -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
)


def port() -> int:
    told = yaml.safe_load((REPO / INVENTORY / "hosts.yml").read_text())
    return int(told["carrental"]["hosts"]["test"]["ansible_port"])


def init(folder: Path, *argv: str, **extra: Any) -> Run:
    settings = {
        "init_host": "127.0.0.1",
        "init_port": port(),
        "init_name": "vps",
        "init_key": str(STATE / "id_ed25519"),
        "init_ssh_args": SSH,
        "init_dir": str(folder),
    }
    return playbook("init", *argv, **{**settings, **extra})


def files(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*.yml"))


def test_health_is_green_with_what_was_written(tmp_path: Path) -> None:
    before = tree()
    folder = tmp_path / "mine"
    assert init(folder).code == 0
    assert tree() == before
    env = on_server("cat", "/opt/carrental/.env")
    secrets = re.findall(r"^\w*(?:PASSWORD|SECRET)\w*=(.+)$", env, re.MULTILINE)
    assert len(secrets) >= 4
    written = files(folder)
    assert not [one for one in secrets if one in written]
    assert "ghcr.carrental.test:5000/carrental/backend" in written
    health = playbook("health", inventory=str(folder), health_depth="quick")
    assert health.code == 0, health.output
    again = init(folder)
    assert again.code == 0
    assert "init no_change" in again.output
    assert again.changed == 0


@proof
def test_what_somebody_wrote_is_not_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "group_vars/carrental").mkdir(parents=True)
    mine = folder / "group_vars/carrental/main.yml"
    mine.write_text("---\nansible_user: me\n")
    run = init(folder)
    assert run.code != 0
    assert "main.yml" in run.line("are there and differ")
    assert mine.read_text() == "---\nansible_user: me\n"
    assert not (folder / "hosts.yml").exists()
    assert init(folder, init_overwrite=True).code == 0
    assert "init.yml" in mine.read_text()


@proof
def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    run = init(tmp_path / "mine", "--check")
    assert run.code == 0, run.output
    assert not (tmp_path / "mine").exists()


@proof
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"init_host": ""}, "init_host is empty"),
        ({"init_port": 1}, "cannot be reached"),
        ({"init_project": "nope"}, "There is no compose project nope here; there are: carrental"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    run = init(tmp_path / "mine", **settings)
    assert run.code != 0
    assert said in " ".join(run.output.split())
    assert not (tmp_path / "mine").exists()


@proof
def test_other_names_are_found(tmp_path: Path) -> None:
    """A stack whose database is called otherwise: found by its image."""
    renamed = "com.docker.compose.service=db"
    image = on_server("docker", "inspect", "--format", "{{.Config.Image}}", "postgres")
    labels = [
        *("--label", "com.docker.compose.project=other"),
        *("--label", renamed),
        *("--label", "com.docker.compose.project.working_dir=/srv/other"),
        *("--label", "com.docker.compose.project.config_files=/srv/other/compose.yml"),
    ]
    on_server("docker", "create", "--name", "other-db", *labels, image)
    try:
        assert init(tmp_path / "mine", init_project="other").code == 0
    finally:
        on_server("docker", "rm", "other-db")
    told = yaml.safe_load((tmp_path / "mine/group_vars/carrental/main.yml").read_text())
    assert told["carrental_root"] == "/srv/other"
    assert told["carrental_compose_files"] == ["compose.yml"]
    assert told["carrental_services"]["postgres"] == {"compose_service": "db"}
    assert told["carrental_services"]["redis"] == {"enabled": False}
    listed = subprocess.run(
        ["ansible-inventory", "-i", str(tmp_path / "mine"), "--list"],
        capture_output=True,
        check=True,
    )
    assert b"vps" in listed.stdout
