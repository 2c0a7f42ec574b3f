# SPDX-License-Identifier: GPL-3.0-or-later
"""Drills: a backup is restored where nobody can be hurt, and what that took is recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import (
    Started,
    eventually,
    inspect,
    on_server,
    playbook,
    sql,
    stop_at,
    tree,
    wait_stopped,
)
from tiers import proof

BACKUPS = "/opt/carrental/backups"
METRICS = "/opt/carrental/.ops/metrics/carrental_backup.prom"
DRILLS = ("docker", "ps", "-aq", "--filter", "label=carrental.ops.drill")


@pytest.fixture(scope="module", autouse=True)
def backup() -> str:
    """Make a backup to drill with."""
    run = playbook("backup")
    assert run.code == 0, run.output
    return str(run.result["backup"])


def manifest(backup: str) -> dict[str, Any]:
    """Return the manifest of a backup as it lies on the server."""
    text = on_server("sh", "-c", f"cat {BACKUPS}/{backup}.*.json")
    found: dict[str, Any] = json.loads(text)
    return found


def volumes() -> str:
    return on_server("docker", "volume", "ls", "-q")


def test_check_says_what_would_be_tried_and_leaves_no_trace(backup: str) -> None:
    before = tree(reports=False)
    run = playbook("drill", "--check")
    assert run.code == 0, run.output
    assert backup in run.result["headline"]
    assert tree(reports=False) == before
    assert on_server(*DRILLS) == ""


def test_a_drill_proves_the_backup_and_records_the_time(backup: str) -> None:
    databases = sql("SELECT string_agg(datname, ',' ORDER BY oid) FROM pg_database", "postgres")
    started, before = inspect("postgres", "{{ .State.StartedAt }}"), volumes()
    run = playbook("drill")
    assert run.code == 0, run.output
    assert run.result["verdict"] == "ok"
    drill = manifest(backup)["drill"]
    assert drill["rows"] == sum(manifest(backup)["tables"].values())
    assert drill["seconds"] > 0
    assert drill["amcheck"] == "ok"
    assert drill["image_id"] == inspect("postgres", "{{ .Image }}")
    assert f"carrental_backup_drill_seconds {drill['seconds']:.15g}" in on_server("cat", METRICS)
    # Nothing is left, and production saw nothing of it.
    assert on_server(*DRILLS) == ""
    assert volumes() == before
    assert inspect("postgres", "{{ .State.StartedAt }}") == started
    assert databases == sql(
        "SELECT string_agg(datname, ',' ORDER BY oid) FROM pg_database", "postgres"
    )


def test_the_container_is_alone_and_small_and_goes_when_the_module_is_killed() -> None:
    before = volumes()
    with stop_at("load"):
        started = Started("drill")
        pid = wait_stopped("load", started)
        container = on_server(*DRILLS)
        shown = "{{ .HostConfig.NetworkMode }} {{ .HostConfig.Memory }} {{ len .Mounts }}"
        assert inspect(container, shown) == f"none {512 * 2**20} 1"
        own = "{{ range .Mounts }}{{ .Name }}{{ end }}"
        assert inspect(container, own) != inspect("postgres", own)
        on_server("kill", "-9", str(pid))
        eventually(lambda: on_server(*DRILLS) == "", "the container is gone", 30)
        assert started.wait(120).code != 0
    assert volumes() == before


def test_a_damaged_backup_fails_the_drill(backup: str) -> None:
    path = on_server("sh", "-c", f"ls {BACKUPS}/{backup}.* | grep -v -e json -e sha256")
    on_server("cp", "-p", path, "/root/whole")
    before = manifest(backup)["drill"]
    try:
        on_server("python3", "-c", _FLIP, path)
        run = playbook("drill")
        assert run.code != 0
        assert "is damaged" in run.result["headline"]
        # Nobody relies on it from now on.
        assert manifest(backup)["verified"] == {}
    finally:
        on_server("cp", "-p", "/root/whole", path)
    assert manifest(backup)["drill"] == before
    assert playbook("backup", backup_verify=backup).code == 0
    assert manifest(backup)["verified"]
    assert on_server(*DRILLS) == ""


_FLIP = """
import os, sys
with open(sys.argv[1], "r+b") as stream:
    stream.seek(os.path.getsize(sys.argv[1]) // 2)
    byte = stream.read(1)
    stream.seek(-1, 1)
    stream.write(bytes([byte[0] ^ 1]))
"""


@proof
def test_the_server_drills_without_a_controller(backup: str) -> None:
    before = manifest(backup)["drill"].get("at", "")
    on_server("systemctl", "start", "carrental-drill.service")
    assert on_server("systemctl", "is-failed", "carrental-drill.service", check=False) != "failed"
    after = manifest(backup)["drill"]["at"]
    assert after > before
    timer = on_server("systemctl", "list-timers", "--all", "carrental-drill.timer")
    assert "carrental-drill.timer" in timer
    reports = on_server("sh", "-c", "ls -t /opt/carrental/.ops/reports | head -1")
    assert reports.startswith("drill") or "drill" in reports
