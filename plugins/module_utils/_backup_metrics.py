# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What is measured of backups, as node-exporter reads it from a file.

Everything is read off the manifests, so whoever makes, restores or removes a backup can write the
file anew. Times are those of the event, not of the file: a file that nobody writes any more shows
an old time, and an alert sees that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import _backups, _whole_file
from ._backups import Backup

FILE = "carrental_backup.prom"
OFFSITE = "carrental_backup_last_offsite_timestamp_seconds"
_HELP = {
    "carrental_backup_set_up": "1 where backups are scheduled.",
    "carrental_backup_last_success_timestamp_seconds": "When the newest backup was made.",
    "carrental_backup_last_verified_timestamp_seconds": "When a backup was last read to its end.",
    "carrental_backup_last_drill_timestamp_seconds": "When a backup was last restored in a drill.",
    "carrental_backup_drill_seconds": "How long that took.",
    "carrental_backup_size_bytes": "Size of the newest verified backup.",
    "carrental_backup_duration_seconds": "How long the newest verified backup took.",
    "carrental_backup_database_bytes": "Size of the database that it is of.",
    "carrental_backup_rows": "Rows in it.",
    "carrental_backup_kept": "Verified backups on the server.",
    "carrental_backup_unverified": "Backups on the server that are not verified.",
    OFFSITE: "When the newest backup that is elsewhere, too, was made; 0 where none is.",
}


def measure(backups: Sequence[Backup], *, offsite: bool = False) -> dict[str, float]:
    """Return what there is to measure; what never happened is left out.

    :param offsite: backups are to be elsewhere, too.
    """
    verified = [one for one in backups if one.verified and one.manifest]
    found: dict[str, float] = {"carrental_backup_set_up": 1}
    found["carrental_backup_kept"] = len(verified)
    found["carrental_backup_unverified"] = len(backups) - len(verified)
    proofs = [_at(one.manifest.verified) for one in verified if one.manifest]
    own = [one for one in verified if not one.foreign]
    if proofs:
        found["carrental_backup_last_verified_timestamp_seconds"] = max(proofs)
    newest = own[0].manifest if own else None
    if newest:
        found["carrental_backup_last_success_timestamp_seconds"] = _time(newest.ended_at)
        found["carrental_backup_size_bytes"] = newest.bytes
        found["carrental_backup_duration_seconds"] = newest.seconds
        found["carrental_backup_database_bytes"] = float(newest.database.get("size_bytes", 0))
        found["carrental_backup_rows"] = newest.rows
    drills = [one.manifest.drill for one in backups if one.manifest and one.manifest.drill]
    if drills:
        last = max(drills, key=_at)
        found["carrental_backup_last_drill_timestamp_seconds"] = _at(last)
        found["carrental_backup_drill_seconds"] = float(last.get("seconds", 0))
    if offsite:
        away = [one for one in verified if one.manifest and one.manifest.offsite]
        found[OFFSITE] = away[0].at.timestamp() if away else 0
    return found


def _at(facts: dict[str, Any]) -> float:
    return _time(str(facts.get("at", "")))


def _time(text: str) -> float:
    try:
        return _backups.moment(text).timestamp()
    except _backups.BackupError:
        return 0.0


def render(measured: dict[str, float], said: Mapping[str, str] | None = None) -> str:
    """Return it as Prometheus reads it."""
    lines = []
    for name, value in measured.items():
        lines += [
            f"# HELP {name} {(said or _HELP)[name]}",
            f"# TYPE {name} gauge",
            f"{name} {value:.15g}",
        ]
    return "\n".join(lines) + "\n"


def write(directory: str, backups: Sequence[Backup], *, offsite: bool | None = None) -> None:
    """Write what is measured of backups.

    :param offsite: backups are to be elsewhere, too; None where the caller does not know, and then
        it is as the file has it.
    :raises OSError: it cannot be written.
    """
    path = os.path.join(directory, FILE)
    save(
        directory,
        FILE,
        measure(backups, offsite=_has_offsite(path) if offsite is None else offsite),
        _HELP,
    )


def save(directory: str, file: str, measured: dict[str, float], said: Mapping[str, str]) -> None:
    """Write a file of measurements, whole or not at all; a container reads it as another user.

    :raises OSError: it cannot be written.
    """
    if not os.path.isdir(directory):
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o755)  # noqa: S103  # a container reads it as nobody
    text = render(measured, said)
    _whole_file.write(os.path.join(directory, file), text.encode(), 0o644)


def _has_offsite(path: str) -> bool:
    try:
        with open(path, encoding="utf-8") as stream:
            return OFFSITE in stream.read()
    except OSError:
        return False
