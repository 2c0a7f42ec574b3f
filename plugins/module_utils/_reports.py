# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, Car Rental Platform Team
"""Copies of results under ``.ops/reports``. Private to this collection."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

# Below the directory of what the operations remember.
FOLDER = "reports"
KEPT = 200


def report_name(operation: str, moment: datetime) -> str:
    """Name of a report file: UTC and sortable, so that names sort as time does.

    :param operation: verb of the playbook, for example ``health``.
    :param moment: aware datetime of the result.
    """
    return f"{moment.astimezone(timezone.utc):%Y%m%dT%H%M%S.%fZ}-{operation}.json"


def surplus(names: list[str], operation: str, keep: int) -> list[str]:
    """The oldest reports of one operation, beyond the ``keep`` newest ones.

    Operations do not displace each other: a health check every minute must not
    push out the report of last week's restore.
    """
    own = sorted(name for name in names if name.endswith(f"-{operation}.json"))
    return own[: max(len(own) - keep, 0)]


def save(directory: Path, operation: str, result: dict[str, Any], keep: int) -> Path:
    """Write ``result`` as JSON, whole or not at all, and drop the surplus.

    :param directory: existing directory of the reports.
    :param keep: how many reports of this operation stay, 1 or more.
    :returns: path of the written file, mode 0600, owned as the directory is.
    :raises OSError: when the directory is missing or the disk is full; nothing is left behind then.
    """
    target = directory / report_name(operation, datetime.now(timezone.utc))
    handle, scratch = tempfile.mkstemp(dir=directory, prefix=".report-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(result, stream, indent=2, sort_keys=True)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        if os.geteuid() == 0:
            # bootstrap runs as root; the deploy user must be able to read and drop its reports.
            owner = directory.stat()
            os.chown(scratch, owner.st_uid, owner.st_gid)
        Path(scratch).rename(target)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    for name in surplus([entry.name for entry in directory.iterdir()], operation, keep):
        (directory / name).unlink(missing_ok=True)
    return target


def keep(
    directory: Path, operation: str, result: dict[str, Any], newest: int = KEPT
) -> dict[str, str]:
    """Save a result; one that cannot be is no reason to fail an operation that is over.

    :param newest: how many reports of this operation stay.
    :returns: its path, and else why it could not be kept.
    """
    try:
        return {"path": str(save(directory, operation, result, newest)), "error": ""}
    except OSError as failure:
        error = (
            f"cannot write to {directory}: {failure.strerror}; "
            "free space there, or run playbooks/bootstrap.yml for its owner and mode"
        )
        return {"path": "", "error": error}
