# SPDX-License-Identifier: GPL-3.0-or-later
"""The nightly backup: lines of cron, the hour of a zone, and the program that it starts."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_metrics,
    _backup_scheduled,
    _backups,
    _entry_point,
    _schedule,
    _scheduled,
)

RUNBOOK = "0 2 * * * cd /opt/carrental && bash scripts/backup-db.sh"
OTHERS = ("# 0 2 * * * bash scripts/backup-db.sh", "5 4 * * * /usr/bin/true", "MAILTO=ops")


def test_line_of_the_runbook_is_replaced_and_others_stay() -> None:
    table = _schedule.Table((RUNBOOK, *OTHERS))
    wanted = table.wanted("ours", "1 * * * * run")
    assert wanted.lines == (*OTHERS, "1 * * * * run # ours")
    assert table.runbook() == [RUNBOOK]
    assert wanted.wanted("ours", "1 * * * * run") == wanted
    assert wanted.wanted("ours", "").lines == OTHERS


@pytest.mark.parametrize("time", ["2:00", "24:00", "02:60", "night", "02:00\n"])
def test_what_is_no_time_is_refused(time: str) -> None:
    with pytest.raises(_backups.BackupError, match="write it like 02:00"):
        _schedule.require_time(time)


def test_cron_gets_every_hour_and_no_bare_percent_sign() -> None:
    line = _schedule.cron_line("02:15", "UTC", ["/usr/bin/python3", "/a b/x%y"], ["/c.json"])
    assert line.startswith("15 * * * * /usr/bin/python3 '/a b/x\\%y' --hourly /c.json ")


@pytest.mark.parametrize(
    ("moment", "zone", "due"),
    [
        ("2026-11-25T02:00:00+00:00", "UTC", True),
        ("2026-11-25T01:00:00+00:00", "Europe/Paris", True),
        ("2026-07-25T00:00:00+00:00", "Europe/Paris", True),
        ("2026-07-25T01:00:00+00:00", "Europe/Paris", False),
        ("2026-11-25T03:00:00+00:00", "UTC", False),
    ],
)
def test_hour_is_that_of_the_zone(moment: str, zone: str, due: bool) -> None:
    settings = {"time": "02:00", "timezone": zone}
    assert _scheduled.is_due(settings, datetime.fromisoformat(moment)) == due


def test_program_runs_without_ansible_and_is_the_same_each_time(tmp_path: Path) -> None:
    program = tmp_path / "carrental-backup"
    program.write_bytes(_entry_point.program(_backup_scheduled))
    assert program.read_bytes() == _entry_point.program(_backup_scheduled)
    settings = tmp_path / "backup.json"
    arguments = {
        "directory": str(tmp_path),
        "host": "h",
        "project": "no-such-project",
        "database_service": "postgres",
        "database": "x",
    }
    wanted = {
        "time": "02:00",
        "timezone": "UTC",
        "host": "h",
        "state_dir": str(tmp_path),
        "metrics_dir": str(tmp_path / "metrics"),
        "wait": 0,
        "retention": {},
        "offsite": {},
        "arguments": arguments,
    }
    settings.write_text(json.dumps(wanted))
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), str(settings)],
        capture_output=True,
        text=True,
        check=False,
        # Nobody answers there: it says so, tells node-exporter, and ends with 1.
        env={"DOCKER_HOST": "unix:///nonexistent.sock"},
    )
    assert done.returncode == 1
    assert done.stdout.startswith("backup: failed. there is no /nonexistent.sock"), done
    assert "carrental_backup_kept 0" in (tmp_path / "metrics/carrental_backup.prom").read_text()


def test_what_never_happened_is_not_measured() -> None:
    assert _backup_metrics.measure([]) == {
        "carrental_backup_set_up": 1,
        "carrental_backup_kept": 0,
        "carrental_backup_unverified": 0,
    }


def test_what_was_never_copied_elsewhere_is_as_old_as_can_be() -> None:
    assert _backup_metrics.measure([], offsite=True)[_backup_metrics.OFFSITE] == 0


def test_who_does_not_know_of_copies_elsewhere_leaves_that_as_it_is(tmp_path: Path) -> None:
    """A drill writes the same file, and an alert must not end by that."""
    file = tmp_path / _backup_metrics.FILE
    _backup_metrics.write(str(tmp_path), [])
    assert _backup_metrics.OFFSITE not in file.read_text()
    _backup_metrics.write(str(tmp_path), [], offsite=True)
    _backup_metrics.write(str(tmp_path), [])
    assert f"{_backup_metrics.OFFSITE} 0" in file.read_text()
    _backup_metrics.write(str(tmp_path), [], offsite=False)
    assert _backup_metrics.OFFSITE not in file.read_text()


def test_metrics_are_text_as_prometheus_reads_it() -> None:
    text = _backup_metrics.render({"carrental_backup_size_bytes": 54149357.0})
    assert text == (
        "# HELP carrental_backup_size_bytes Size of the newest verified backup.\n"
        "# TYPE carrental_backup_size_bytes gauge\ncarrental_backup_size_bytes 54149357\n"
    )
