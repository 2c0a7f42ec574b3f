# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What the server does by itself at its hour: the engine of a playbook, without a controller.

The same lock, journal and report. It lies on the server as a program of its own, made of these very
files, which reads its settings from a file.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from . import (
    _backups,
    _docker,
    _docker_remains,
    _operation,
    _operation_work,
    _reports,
)

EXPECTED = (_backups.BackupError, _docker.DockerError, _operation.OperationError, OSError)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Job:
    """One kind of work; its settings have ``arguments`` with the project and its database."""

    # The kind of the operation, and the name of the playbook that does the same.
    operation: str
    # Works under the lock; returns the report: a headline, and what else there is to say.
    work: Callable[[dict[str, Any], _operation_work.Operation], dict[str, Any]]
    # Comes after it, whatever came of it; returns what did not work.
    after: Callable[[dict[str, Any]], list[str]] = lambda _settings: []
    expected: tuple[type[Exception], ...] = EXPECTED


def main(argv: Sequence[str], job: Job) -> int:
    """Do the work of this time; return the exit code.

    :param argv: the path of the settings; ``--hourly`` where cron starts it every hour, to work
        at the hour of a time zone that cron does not know.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    os.umask(0o077)
    with open(argv[-1], encoding="utf-8") as stream:
        settings = json.load(stream)
    if "--hourly" in argv and not is_due(settings, datetime.now(timezone.utc)):
        return 0
    result = run(settings, job)
    lines = [f"{job.operation}: {result['verdict']}. {result['headline']}", *result["lines"]]
    # For the journal of systemd, or the mail of cron.
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if result["verdict"] == "ok" else 1


def is_due(settings: dict[str, Any], now: datetime) -> bool:
    """Return whether this hour, of this day where one is named, is that of the schedule."""
    there = now.astimezone(ZoneInfo(settings["timezone"]))
    at_hour = there.hour == int(settings["time"].split(":")[0])
    return at_hour and settings.get("day", DAYS[there.weekday()]) == DAYS[there.weekday()]


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def run(settings: dict[str, Any], job: Job) -> dict[str, Any]:
    """Do the work; return the report, which is kept too."""
    result: dict[str, Any] = {
        "operation": job.operation,
        "verdict": "failed",
        "headline": "",
        "changed": [],
        "lines": [],
        "next": f"playbooks/{job.operation}.yml",
    }
    try:
        result |= {**_worked(settings, job), "verdict": "ok", "next": ""}
    except job.expected as error:
        result["headline"] = str(error)
    except Exception as error:
        # A defect of ours must not cost the report of the night, nor what can be measured of it.
        result["headline"] = f"It broke off: {type(error).__name__}: {error}"
    result["lines"] = [*result["lines"], *job.after(settings)]
    kept = _reports.keep(Path(settings["state_dir"], _reports.FOLDER), job.operation, result)
    if kept["error"]:
        result["lines"].append(f"The report was not saved: {kept['error']}")
    return result


def _worked(settings: dict[str, Any], job: Job) -> dict[str, Any]:
    """Hold the lock from the first look to the last file."""
    state_dir, arguments = settings["state_dir"], settings["arguments"]
    request = _operation.Request(
        job.operation,
        who=pwd.getpwuid(os.geteuid()).pw_name,
        host=settings["host"],
        origin="the schedule of the server",
    )
    remains = _docker_remains.asker(arguments["project"], arguments["database_service"])
    acquired = _operation.acquire(state_dir, request, wait=settings["wait"], remains=remains)
    verdict, headline = "failed", "It was stopped."
    try:
        with _operation_work.join(state_dir, acquired.id, "schedule") as operation:
            report = job.work(settings, operation)
        verdict, headline = "ok", report["headline"]
    except job.expected as error:
        headline = str(error)
        raise
    finally:
        _operation.release(state_dir, acquired.id, verdict, headline)
    died = [_operation.died(one) for one in acquired.taken_over]
    return {**report, "lines": [*died, *report.get("lines", [])]}
