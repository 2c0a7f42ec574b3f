# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Bring the backups elsewhere, and remove old ones there by a retention of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from . import _backups, _offsite, _offsite_config, _retention

OPTIONS: dict[str, Any] = {
    "bucket": {"type": "str", "required": True},
    "endpoint": {"type": "str", "default": ""},
    "object_prefix": {"type": "str", "default": ""},
    "region": {"type": "str", "default": "us-east-1"},
    "ca_file": {"type": "path", "default": ""},
    # Paths of files, which are no secrets.
    "credentials_file": {"type": "path", "default": "", "no_log": False},
    "env_file": {"type": "path", "default": ""},
    "days": {"type": "int", "default": 90},
    "keep_min": {"type": "int", "default": 3},
    "most": {"type": "int", "default": 7},
}


@dataclass
class Report:
    """What was copied, what went there, or why nothing went."""

    where: str = ""
    copied: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refusal: str = ""
    kept: int = 0


def place(params: Mapping[str, Any]) -> _offsite.Place:
    """Return the bucket that arguments name.

    :raises OffsiteError: there are no keys for it.
    """
    access, secret = _offsite.credentials(params["credentials_file"], params["env_file"])
    return _offsite.Place(
        params["bucket"],
        access,
        secret,
        params["endpoint"],
        params["object_prefix"],
        params["region"],
        params["ca_file"],
    )


def run(
    params: Mapping[str, Any],
    there: _offsite.Place,
    step: Callable[..., None],
    *,
    write: bool,
) -> Report:
    """Copy what is not there yet, then remove there what is old.

    :raises BackupError: something of it failed; what was copied before is whole.
    """
    if params["days"] < 1 or params["keep_min"] < 1:
        raise _backups.BackupError(
            f"days is {params['days']} and keep_min is {params['keep_min']}; give 1 or more. "
            "Nothing was changed."
        )
    offsite = _offsite.Offsite(there)
    report = Report(there.where)
    backups = _backups.listing(params["directory"])
    report.copied = _offsite.copy(offsite, backups, step, params["most"], write=write)
    report.copied += _offsite_config.copy(offsite, params["directory"], step, write=write)
    policy = _retention.Policy(days=params["days"], keep_min=params["keep_min"])
    now = datetime.now(timezone.utc)
    plan = _retention.plan(offsite.listing(), policy, now)
    for one in plan.remove:
        if write:
            step("remove an old copy", id=one.backup.id)
            offsite.remove(one.backup.name.file)
        report.removed.append(one.backup.id)
    report.removed += _offsite_config.prune(
        offsite, params["days"], params["keep_min"], now, step, write=write
    )
    report.refusal, report.kept = plan.refusal, len(plan.keep)
    return report
