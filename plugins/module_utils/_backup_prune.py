# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Remove the backups that a plan lets go."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from . import _backups, _releases, _retention
from ._backups import BackupError


def pinned(state_dir: str) -> list[str]:
    """Return the backups that releases need, those that run or can be gone back to.

    :raises BackupError: the records cannot be read; then nobody knows.
    """
    if not state_dir:
        return []
    try:
        releases = _releases.good(_releases.load(state_dir))
    except _releases.ReleaseError as error:
        raise BackupError(
            f"What releases need is not known: {error} Nothing was changed."
        ) from error
    needed = _releases.targets(releases)
    return sorted({str(one["backup_id"]) for one in needed if one.get("backup_id")})


def remove(backup: _backups.Backup) -> None:
    """Remove a backup and what stands beside it. The backup goes first: alone it would be foreign.

    :raises BackupError: it cannot be removed.
    """
    try:
        os.unlink(backup.path)
        for suffix in (_backups.MANIFEST, _backups.CHECKSUM):
            with suppress(FileNotFoundError):
                os.unlink(backup.path + suffix)
    except OSError as error:
        raise BackupError(f"{backup.path} cannot be removed: {error.strerror}.") from error


def as_result(plan: _retention.Plan) -> dict[str, Any]:
    """Return a plan as a module reports it."""

    def short(judged: list[_retention.Judged]) -> list[dict[str, Any]]:
        return [
            {"id": one.backup.id, "bytes": one.backup.bytes, "reason": one.reason} for one in judged
        ]

    return {
        "keep": short(plan.keep),
        "remove": short(plan.remove),
        "refusal": plan.refusal,
        "freed_bytes": sum(one.backup.bytes for one in plan.remove),
    }
