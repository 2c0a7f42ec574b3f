# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The weekly drill: the same engine, lock, journal and report, without a controller.

Lies on the server as a program of its own, made of these very files.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from . import (
    _backup_database,
    _backups,
    _docker,
    _docker_remains,
    _drill,
    _engine,
    _operation,
    _operation_work,
    _reports,
)

_EXPECTED = (_backups.BackupError, _docker.DockerError, _operation.OperationError, OSError)
_REPORTS_KEPT = 200
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def main(argv: list[str]) -> int:
    """Run the weekly drill.

    :param argv: the path of the settings; ``--hourly`` where cron starts it every hour.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    os.umask(0o077)
    with open(argv[-1], encoding="utf-8") as stream:
        settings = json.load(stream)
    if "--hourly" in argv and not is_due(settings, datetime.now(timezone.utc)):
        return 0
    result = work(settings)
    # For the journal of systemd, or the mail of cron.
    sys.stdout.write(f"drill: {result['verdict']}. {result['headline']}\n")
    return 0 if result["verdict"] == "ok" else 1


def is_due(settings: dict[str, Any], now: datetime) -> bool:
    """Return whether this hour is that of the schedule, by its own clock."""
    there = now.astimezone(ZoneInfo(settings["timezone"]))
    at_hour = there.hour == int(settings["time"].split(":")[0])
    return at_hour and there.weekday() == DAYS.index(settings["day"])


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def work(settings: dict[str, Any]) -> dict[str, Any]:
    """Drill; return the result, which is kept too."""
    result: dict[str, Any] = {"operation": "drill", "changed": [], "lines": [], "next": ""}
    try:
        result |= _drilled(settings)
    except _EXPECTED as error:
        result |= {"verdict": "failed", "headline": str(error), "next": "playbooks/drill.yml"}
    try:
        _reports.save(Path(settings["state_dir"], "reports"), "drill", result, _REPORTS_KEPT)
    except OSError as error:
        sys.stdout.write(f"The report was not saved: {error.strerror}.\n")
    return result


def _drilled(settings: dict[str, Any]) -> dict[str, Any]:
    """Hold the lock from the first look to the record."""
    state_dir = settings["state_dir"]
    wish = _drill.Wish(**settings["arguments"])
    request = _operation.Request(
        "drill",
        who=pwd.getpwuid(os.geteuid()).pw_name,
        host=settings["host"],
        origin="the schedule of the server",
    )
    remains = _docker_remains.asker(wish.project, wish.database_service)
    acquired = _operation.acquire(state_dir, request, wait=settings["wait"], remains=remains)
    verdict, headline = "failed", "It was stopped."
    try:
        with _operation_work.join(state_dir, acquired.id, "schedule") as operation:
            engine = _engine.Engine()
            production = _backup_database.source(
                engine, wish.project, wish.database_service, wish.database
            )
            backup = _drill.pick(wish)
            drilled = _drill.run(engine, production, wish, backup, operation)
        verdict, headline = "ok", sentence(backup, drilled)
    except _EXPECTED as error:
        headline = str(error)
        raise
    finally:
        _operation.release(state_dir, acquired.id, verdict, headline)
    return {
        "verdict": verdict,
        "headline": headline,
        "backup": backup.id,
        "numbers": drilled.as_dict(),
    }


def sentence(backup: _backups.Backup, drilled: _drill.Drilled) -> str:
    """Return what a drill found, for an operator."""
    return (
        f"{backup.id} can be restored: {drilled.rows} rows in {drilled.tables} tables, in "
        f"{drilled.seconds:.1f} s."
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
