# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The nightly backup: the same engine, lock, journal and report, without a controller.

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
    _backup_arguments,
    _backup_database,
    _backup_metrics,
    _backup_prune,
    _backup_run,
    _backups,
    _docker,
    _docker_remains,
    _engine,
    _offsite_run,
    _operation,
    _operation_work,
    _reports,
    _retention,
)

_EXPECTED = (_backups.BackupError, _docker.DockerError, _operation.OperationError, OSError)
_REPORTS_KEPT = 200


def main(argv: list[str]) -> int:
    """Run the nightly backup.

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
    result = work(settings)
    lines = [f"backup: {result['verdict']}. {result['headline']}", *result["lines"]]
    # For the journal of systemd, or the mail of cron.
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if result["verdict"] == "ok" else 1


def is_due(settings: dict[str, Any], now: datetime) -> bool:
    """Return whether this hour is that of the schedule, by its own clock."""
    wanted = int(settings["time"].split(":")[0])
    return now.astimezone(ZoneInfo(settings["timezone"])).hour == wanted


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def work(settings: dict[str, Any]) -> dict[str, Any]:
    """Back up, remove what is old, tell node-exporter; return the result, which is kept too."""
    state_dir = settings["state_dir"]
    result: dict[str, Any] = {"operation": "backup", "changed": [], "lines": [], "next": ""}
    try:
        result |= _back_up(settings)
    except _EXPECTED as error:
        result |= {"verdict": "failed", "headline": str(error), "next": "playbooks/backup.yml"}
    try:
        backups = _backups.listing(settings["arguments"]["directory"])
        _backup_metrics.write(settings["metrics_dir"], backups, offsite=bool(settings["offsite"]))
    except _EXPECTED as error:
        result["lines"].append(f"The metrics were not written: {error}")
    try:
        _reports.save(Path(state_dir, "reports"), "backup", result, _REPORTS_KEPT)
    except OSError as error:
        result["lines"].append(f"The report was not saved: {error.strerror}.")
    return result


def _back_up(settings: dict[str, Any]) -> dict[str, Any]:
    """Hold the lock from the first look to the last file."""
    state_dir, arguments = settings["state_dir"], settings["arguments"]
    who = pwd.getpwuid(os.geteuid()).pw_name
    request = _operation.Request(
        "backup", who=who, host=arguments["host"], origin="the schedule of the server"
    )
    remains = _docker_remains.asker(arguments["project"], arguments["database_service"])
    acquired = _operation.acquire(state_dir, request, wait=settings["wait"], remains=remains)
    verdict, headline = "failed", "It was stopped."
    try:
        with _operation_work.join(state_dir, acquired.id, "schedule") as operation:
            outcome = _made(arguments, state_dir, who, operation)
            lines = [_operation.died(one) for one in acquired.taken_over]
            changed = list(outcome.actions)
            if settings["offsite"]:
                given = {**settings["offsite"], "directory": arguments["directory"]}
                copies = _offsite_run.run(
                    given, _offsite_run.place(given), operation.step, write=True
                )
                changed += [f"copy {name} to {copies.where}" for name in copies.copied]
            if settings["retention"]:
                removed, refusal = _pruned(settings, operation)
                changed += [f"remove {name}" for name in removed]
                lines += [f"nothing old is removed: {refusal}"] if refusal else []
        verdict, headline = "ok", f"{outcome.backup.id} is made and proven."
    except _EXPECTED as error:
        headline = str(error)
        raise
    finally:
        _operation.release(state_dir, acquired.id, verdict, headline)
    return {
        "verdict": verdict,
        "headline": headline,
        "changed": changed,
        "lines": lines,
        "backup": outcome.backup.id,
        "numbers": outcome.numbers,
    }


def _made(
    arguments: dict[str, Any], state_dir: str, who: str, operation: _operation_work.Operation
) -> _backup_run.Outcome:
    given = {**arguments, "state_dir": state_dir, "reason": "scheduled", "who": who}
    source = _backup_database.source(
        _engine.Engine(),
        arguments["project"],
        arguments["database_service"],
        arguments["database"],
    )
    return _backup_run.make(source, _backup_arguments.wish(given), operation)


def _pruned(
    settings: dict[str, Any], operation: _operation_work.Operation
) -> tuple[list[str], str]:
    """Remove what may go; return what went, or why nothing did."""
    plan = _retention.plan(
        _backups.listing(settings["arguments"]["directory"]),
        _backup_arguments.policy(settings["retention"]),
        datetime.now(timezone.utc),
        _backup_prune.pinned(settings["state_dir"]),
    )
    for one in plan.remove:
        operation.step("remove an old backup", id=one.backup.id, reason=one.reason)
        _backup_prune.remove(one.backup)
    return [one.backup.id for one in plan.remove], plan.refusal


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
