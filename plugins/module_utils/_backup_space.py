# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Whether the disk holds one more backup, before one is begun."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import _disk_space
from ._backups import Backup, BackupError

_INODES = 64
# Of the size of the database, where no backup before tells: a dump has no indexes.
_GUESS = 0.5
_MARGIN = 1.5
_MB = 1024 * 1024


def wanted(size_bytes: int, backups: Iterable[Backup], database: str, encrypts: bool) -> int:
    """Return the bytes that a backup of a database may need."""
    guess = int(size_bytes * _GUESS)
    for backup in backups:
        manifest = backup.manifest
        before: dict[str, Any] = manifest.database if manifest else {}
        if not backup.verified or before.get("name") != database or not before.get("size_bytes"):
            continue
        guess = int(backup.bytes * max(size_bytes / int(before["size_bytes"]), 1) * _MARGIN)
        break
    # It is verified before it is encrypted, so both lie there for a moment.
    return guess * 2 if encrypts else guess


def require(
    directory: str, needed: int, reserve_mb: int, setting: str = "backup_reserve_mb"
) -> int:
    """Refuse to begin what the disk cannot hold; return the bytes that are free.

    :param setting: what an operator sets the reserve with.
    :raises BackupError: there is too little room.
    """
    disk = _disk_space.look(directory)
    free = disk.free
    if free < needed + reserve_mb * _MB:
        raise BackupError(
            f"{directory} has {free // _MB} MB free, and a backup needs about {needed // _MB} MB "
            f"beside the {reserve_mb} MB that stay free ({setting}); free space first. "
            "Nothing was changed."
        )
    if disk.free_inodes is not None and disk.free_inodes < _INODES:
        raise BackupError(
            f"{directory} has {disk.free_inodes} inodes free; remove small files first. "
            "Nothing was changed."
        )
    return free
