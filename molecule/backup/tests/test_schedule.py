# SPDX-License-Identifier: GPL-3.0-or-later
"""The nightly backup: no controller, the same engine, and one of its kind."""

from __future__ import annotations

import json
from typing import Any

from support import STATE, on_server, playbook
from tiers import proof

BACKUPS = "/opt/carrental/backups"
METRICS = "/opt/carrental/.ops/metrics/carrental_backup.prom"
UNIT = "carrental-backup"
SCRIPT = "0 2 * * * /opt/carrental/scripts/backup-db.sh >> /var/log/backup.log 2>&1"


def manifests() -> dict[str, dict[str, Any]]:
    """The manifests of the server, by the id of the backup."""
    names = on_server("ls", BACKUPS).split()
    found = [
        json.loads(on_server("cat", f"{BACKUPS}/{one}"))
        for one in names
        if one.startswith("car_rental_backup_") and one.endswith(".json")
    ]
    return {str(one["id"]): one for one in found}


def test_timer_fires_at_two_by_a_stated_clock() -> None:
    # From the file of bootstrap: the tests' own drop-in keeps the hour from coming.
    said = on_server("cat", f"/etc/systemd/system/{UNIT}.timer")
    assert "OnCalendar=*-*-* 02:00:00 UTC" in said.splitlines()
    assert on_server("systemctl", "is-active", f"{UNIT}.timer") == "active"


def test_server_backs_up_by_itself() -> None:
    before = set(manifests())
    on_server("sh", "-c", f"rm -rf {BACKUPS}/minio-backup-*")
    on_server("systemctl", "start", UNIT)
    (new,) = set(manifests()) - before
    manifest = manifests()[new]
    assert (manifest["reason"], manifest["who"]) == ("scheduled", "deploy")
    assert manifest["verified"]["rows"] == sum(manifest["tables"].values())
    journal = on_server("cat", f"/opt/carrental/.ops/journal/{manifest['operation_id']}.jsonl")
    assert json.loads(journal.splitlines()[-1])["verdict"] == "ok"
    metrics = on_server("cat", METRICS)
    assert f"\ncarrental_backup_size_bytes {manifest['bytes']}\n" in metrics
    assert "\ncarrental_backup_last_success_timestamp_seconds 1" in metrics
    owner = on_server("stat", "-c", "%U %a", f"{BACKUPS}/{manifest['file']}")
    assert owner == "deploy 600"
    # The objects, too.
    inventory = on_server("sh", "-c", f"ls {BACKUPS}/minio-backup-*/inventory.json")
    assert on_server("stat", "-c", "%U", inventory) == "deploy"


@proof
def test_night_takes_the_configuration_and_tells_what_failed_after_the_database() -> None:
    on_server("apt-get", "install", "-y", "-qq", "age")
    public = on_server("sh", "-c", "age-keygen 2>&1 >/dev/null | grep -o 'age1.*'")
    wanted: dict[str, Any] = {"backup_encryption": "age", "backup_recipients": [public]}
    try:
        assert playbook("backup", **wanted).code == 0
        on_server("sh", "-c", f"rm -f {BACKUPS}/config_backup_*")
        on_server("systemctl", "start", UNIT)
        file = on_server("sh", "-c", f"ls {BACKUPS}/config_backup_*.tar.gz.age")
        assert on_server("head", "-c", "21", file) == "age-encryption.org/v1"
        on_server("docker", "stop", "minio")
        before = set(manifests())
        on_server("systemctl", "start", UNIT, check=False)
        on_server("docker", "start", "minio")
        # The database is backed up, and the night is told to have failed.
        assert len(set(manifests()) - before) == 1
        said = on_server("journalctl", "-u", UNIT, "-n", "8", "--no-pager")
        assert "is made and proven, but objects: " in said
        reports = on_server("sh", "-c", f"ls -t {STATE}/reports/*backup* | head -n 1")
        assert json.loads(on_server("cat", reports))["verdict"] == "failed"
    finally:
        on_server("docker", "start", "minio")
        on_server("sh", "-c", f"rm -f {BACKUPS}/config_backup_*")
        playbook("backup")


@proof
def test_cron_does_it_where_there_is_no_timer_and_the_runbook_does_not() -> None:
    on_server("systemctl", "disable", "--now", f"{UNIT}.timer")
    on_server("crontab", "-u", "deploy", "-", stdin=f"# nightly\n{SCRIPT}\n5 4 * * * true\n")
    try:
        run = playbook("backup")
        assert f"take out of cron: {SCRIPT}" in run.result["changed"], run.output
        table = on_server("crontab", "-l", "-u", "deploy").splitlines()
        assert table[:2] == ["# nightly", "5 4 * * * true"]
        (line,) = table[2:]
        assert line.startswith("0 * * * * /usr/bin/python3 ")
        assert playbook("backup").result["changed"][1:] == []
    finally:
        on_server("systemctl", "enable", "--now", f"{UNIT}.timer")
    assert "take out of cron" not in playbook("backup").output
    assert "carrental-backup" not in on_server("crontab", "-l", "-u", "deploy")


@proof
def test_failed_night_is_told() -> None:
    on_server("docker", "stop", "-t", "1", "postgres")
    try:
        on_server("systemctl", "start", UNIT, check=False)
        state = on_server("systemctl", "show", UNIT, "-p", "Result", "--value")
        said = on_server("journalctl", "-u", UNIT, "-n", "5", "-o", "cat")
    finally:
        on_server("docker", "start", "postgres")
    assert state == "exit-code"
    assert "backup: failed. The container of postgres is exited" in said
