# SPDX-License-Identifier: GPL-3.0-or-later
"""Which moments can be asked for, and which backup is already the one of a moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_run,
    _backups,
    _drill,
    _wal_point,
)

SYSTEM = "7412345678901234567"
MOMENT = "2026-11-26T03:12:00Z"
ID = "car_rental_backup_20261126_040000"


def known(folder: Path, moment: str, system: str = SYSTEM) -> str:
    """The id of the backup that was made of a moment before; empty where there is none."""
    drill = _drill.Wish("carrental", "postgres", "carrental", str(folder))
    backup = _backup_run.Wish(str(folder))
    found = _wal_point.known(_wal_point.Wish(moment, drill, backup), system)
    return found.id if found else ""


def make(folder: Path, *, database: str = "carrental", verified: bool = True) -> None:
    path = folder / f"{ID}.dump"
    path.write_bytes(b"0123456789")
    at = "2026-11-26T04:00:00Z"
    _backups.save_manifest(
        str(path),
        _backups.Manifest(
            *(ID, path.name, "dump", 10, "aa", at, at, 1.0),
            database={"name": database},
            system_identifier=SYSTEM,
            point_in_time=MOMENT,
            verified={"level": "read", "at": at} if verified else {},
        ),
    )


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        ("2026-11-26T03:12:00.5Z", "a moment is given in whole seconds"),
        ("2026-11-26", "it has no time of day"),
        ("yesterday", "is no time"),
        ("", "is no time"),
    ],
)
def test_what_is_no_moment_is_refused(tmp_path: Path, moment: str, says: str) -> None:
    with pytest.raises(_backups.BackupError, match=says) as failed:
        known(tmp_path, moment)
    assert str(failed.value).endswith("Nothing was changed.")


@pytest.mark.parametrize(
    "moment", [MOMENT, "2026-11-26 03:12:00", "2026-11-26T04:12:00+01:00", "2026-11-26T03:12Z"]
)
def test_the_same_moment_is_the_same_however_it_is_written(tmp_path: Path, moment: str) -> None:
    make(tmp_path)
    assert known(tmp_path, moment) == ID


def test_a_backup_of_another_moment_server_or_database_is_not_taken_for_it(tmp_path: Path) -> None:
    make(tmp_path)
    assert known(tmp_path, "2026-11-26T03:12:01Z") == ""
    assert known(tmp_path, MOMENT, system="1") == ""
    make(tmp_path, database="other")
    assert known(tmp_path, MOMENT) == ""


def test_a_backup_that_was_not_proven_is_not_taken_for_it(tmp_path: Path) -> None:
    make(tmp_path, verified=False)
    assert known(tmp_path, MOMENT) == ""
