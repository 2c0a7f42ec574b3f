# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The nightly backup: database, configuration, copies elsewhere, retention, base, objects.

No part takes another one with it: where the backup of the database fails, the configuration and the
objects are saved all the same, and the other way round. The night is told to have failed then.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _object_arguments,
    _object_bucket,
    _object_run,
)

from . import (
    _backup_arguments,
    _backup_database,
    _backup_metrics,
    _backup_prune,
    _backup_run,
    _backups,
    _config_archive,
    _config_backup,
    _engine,
    _offsite_run,
    _retention,
    _scheduled,
    _wal_arguments,
    _wal_base,
)
from ._operation_work import Operation

_EXPECTED = (
    *_scheduled.EXPECTED,
    *_object_arguments.EXPECTED,
    _config_archive.ArchiveError,
)


@dataclass
class _Night:
    """What came of it by now."""

    changed: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


_Part = Callable[[dict[str, Any], Operation, _Night], None]


def main(argv: list[str]) -> int:
    """Run the nightly backup, as :func:`_scheduled.main` says."""
    job = _scheduled.Job("backup", _backed_up, _measured, _EXPECTED)
    return _scheduled.main(argv, job)


def _backed_up(settings: dict[str, Any], operation: Operation) -> dict[str, Any]:
    night = _Night()
    outcome, failure = None, ""
    try:
        outcome = _made(settings, operation)
        night.changed += outcome.actions
    except Exception as error:
        failure = _reason(error)
    parts: dict[str, _Part] = {
        "configuration": _configuration,
        "offsite": _copied,
        "retention": _pruned,
        "point_in_time": _based,
        "objects": _objects,
    }
    for name, part in parts.items():
        # Nothing old goes on a night on which something went wrong.
        if not settings.get(name) or (name == "retention" and (failure or night.problems)):
            continue
        try:
            part(settings, operation, night)
        except Exception as error:
            night.problems.append(f"{name}: {_reason(error)}")
    also = "; ".join(night.problems)
    if outcome is None:
        raise _backups.BackupError(f"{failure} And {also}" if also else failure)
    made = f"{outcome.backup.id} is made and proven"
    if also:
        raise _backups.BackupError(f"{made}, but {also}")
    return {
        "headline": f"{made}.",
        "changed": night.changed,
        "lines": night.lines,
        "backup": outcome.backup.id,
        "numbers": outcome.numbers,
    }


def _reason(error: Exception) -> str:
    """Return what went wrong; of a defect of ours, its kind too."""
    if isinstance(error, _EXPECTED):
        return str(error)
    return f"it broke off: {type(error).__name__}: {error}"


def _made(settings: dict[str, Any], operation: Operation) -> _backup_run.Outcome:
    arguments = settings["arguments"]
    given = {
        **arguments,
        "state_dir": settings["state_dir"],
        "host": settings["host"],
        "reason": "scheduled",
        "who": pwd.getpwuid(os.geteuid()).pw_name,
    }
    return _backup_run.make(_database(arguments), _backup_arguments.wish(given), operation)


def _database(arguments: dict[str, Any]) -> _backup_database.Source:
    return _backup_database.source(
        _engine.Engine(),
        arguments["project"],
        arguments["database_service"],
        arguments["database"],
    )


def _configuration(settings: dict[str, Any], operation: Operation, night: _Night) -> None:
    wish = _config_backup.wish(settings["configuration"], settings["state_dir"])
    now = datetime.now(timezone.utc)
    outcome = _config_backup.save(_engine.Engine(), wish, now, False, operation.step)
    night.changed += [f"back up the configuration to {outcome.file}"] if outcome.changed else []
    night.lines += [f"not in the configuration: {one}" for one in outcome.skipped]


def _copied(settings: dict[str, Any], operation: Operation, night: _Night) -> None:
    given = {**settings["offsite"], "directory": settings["arguments"]["directory"]}
    copies = _offsite_run.run(given, _offsite_run.place(given), operation.step, write=True)
    night.changed += [f"copy {name} to {copies.where}" for name in copies.copied]


def _pruned(settings: dict[str, Any], operation: Operation, night: _Night) -> None:
    """Remove what may go, or say why nothing did."""
    plan = _retention.plan(
        _backups.listing(settings["arguments"]["directory"]),
        _backup_arguments.policy(settings["retention"]),
        datetime.now(timezone.utc),
        _backup_prune.pinned(settings["state_dir"]),
    )
    for one in plan.remove:
        operation.step("remove an old backup", id=one.backup.id, reason=one.reason)
        _backup_prune.remove(one.backup)
        night.changed.append(f"remove {one.backup.id}")
    night.lines += [f"nothing old is removed: {plan.refusal}"] if plan.refusal else []


def _based(settings: dict[str, Any], operation: Operation, night: _Night) -> None:
    """Copy the files of the server where that is due, for what the log is played back on."""
    arguments = settings["arguments"]
    given = {
        **settings["point_in_time"],
        "directory": arguments["directory"],
        "state_dir": settings["state_dir"],
    }
    source = _database(arguments)
    night.changed += _wal_base.keep(source, _wal_arguments.base(given), operation)


def _objects(settings: dict[str, Any], operation: Operation, night: _Night) -> None:
    """After the database, so that every key that the dump refers to is in the snapshot."""
    params = {**settings["objects"], "state": "saved"}
    job = _object_arguments.job(params)
    # Nothing of it is printed but what an outcome says.
    found = _object_arguments.logins(params, lambda _secret: None)
    bucket = _object_bucket.Bucket(found.need())
    outcome = _object_run.save(job, bucket, found.database, "", operation.step)
    if outcome.why:
        raise _object_run.RunError(outcome.why)
    objects = outcome.plan.get("objects", 0)
    night.changed += [f"save {objects} objects as {outcome.snapshot}"] if outcome.changed else []


def _measured(settings: dict[str, Any]) -> list[str]:
    """Tell node-exporter; return why that failed."""
    try:
        backups = _backups.listing(settings["arguments"]["directory"])
        _backup_metrics.write(settings["metrics_dir"], backups, offsite=bool(settings["offsite"]))
    except _EXPECTED as error:
        return [f"The metrics were not written: {error}"]
    return []


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
