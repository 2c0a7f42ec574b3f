# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is meant, and what is not one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _backups

DAY = "car_rental_backup_202611{:02d}_020000"


def make(folder: Path, day: int, *, verified: bool = True, form: str = "dump") -> Path:
    path = folder / f"{DAY.format(day)}.{form}"
    path.write_bytes(b"0123456789")
    at = f"2026-11-{day:02d}T02:00:00Z"
    _backups.save_manifest(
        str(path),
        _backups.Manifest(
            *(DAY.format(day), path.name, form, 10, "aa", at, at, 1.0),
            database={"name": "carrental"},
            verified={"level": "read", "at": at} if verified else {},
        ),
    )
    return path


@pytest.mark.parametrize(
    ("file", "known"),
    [
        ("car_rental_backup_20261125_020000.sql.gz", True),
        ("car_rental_backup_20261125_020000.dump", True),
        ("car_rental_backup_20261125_020000.dump.zst", True),
        ("other-name_20261125_020000.dump.zst.age", True),
        ("car_rental_backup_20261125_020000.sql.gz.zst", False),
        ("car_rental_backup_20261325_020000.dump", False),
        ("car_rental_backup_20261125_020000.dump.partial", False),
        ("car_rental_backup_20261125_020000.dump.json", False),
        ("notes.sql.gz", False),
    ],
)
def test_name_of_a_backup_is_known(file: str, known: bool) -> None:
    found = _backups.name(file)
    assert (found is not None) == known
    if found:
        assert found.file == file


def test_newest_comes_first_and_foreign_ones_are_told(tmp_path: Path) -> None:
    make(tmp_path, 3)
    make(tmp_path, 5)
    (tmp_path / f"{DAY.format(4)}.sql.gz").write_bytes(b"x")
    (tmp_path / f"{DAY.format(6)}.dump.partial").write_bytes(b"x")
    found = _backups.listing(str(tmp_path))
    assert [one.id for one in found] == [DAY.format(day) for day in (5, 4, 3)]
    assert [one.foreign for one in found] == [False, True, False]
    assert [Path(one).name for one in _backups.partials(str(tmp_path))] == [
        f"{DAY.format(6)}.dump.partial"
    ]


def test_latest_is_the_newest_verified_one(tmp_path: Path) -> None:
    make(tmp_path, 3)
    make(tmp_path, 5, verified=False)
    found = _backups.listing(str(tmp_path))
    assert _backups.find(found, "latest").id == DAY.format(3)
    assert _backups.find(found, "before=2026-11-03T02:00:01Z").id == DAY.format(3)
    assert _backups.find(found, DAY.format(5)).id == DAY.format(5)
    assert _backups.find(found, f"{DAY.format(5)}.dump").id == DAY.format(5)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("before=2026-11-03T02:00:00Z", "no verified backup from before 2026-11-03T02:00:00Z"),
        ("before=yesterday", "is no time"),
        ("nonsense", "There is no backup 'nonsense'; the newest ones are"),
        (DAY.format(7), "may be"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(tmp_path: Path, wanted: str, says: str) -> None:
    make(tmp_path, 3)
    make(tmp_path, 7, verified=False)
    make(tmp_path, 7, verified=False, form="sql.gz")
    with pytest.raises(_backups.BackupError, match=says) as raised:
        _backups.find(_backups.listing(str(tmp_path)), wanted)
    assert str(raised.value).endswith("Nothing was changed.")


def test_no_directory_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(_backups.BackupError, match="there are no backups at all"):
        _backups.find(_backups.listing(str(tmp_path / "none")), "latest")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bytes": 11}, "it has 10 bytes, and had 11 when it was made"),
        ({"file": "other.dump"}, "its manifest is that of other.dump"),
        ({"version": 99}, "this collection reads 1; update the collection"),
    ],
)
def test_manifest_that_does_not_fit_makes_a_backup_unreliable(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    path = make(tmp_path, 3)
    manifest = Path(f"{path}.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    found = _backups.load(str(path))
    assert says in found.problem
    assert not found.verified


def test_torn_manifest_makes_a_backup_foreign(tmp_path: Path) -> None:
    path = make(tmp_path, 3)
    Path(f"{path}.json").write_text('{"id": "car')
    found = _backups.load(str(path))
    assert found.foreign
    assert "is no manifest" in found.problem


def test_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    found = _backups.load(str(make(tmp_path, 3))).manifest
    assert found is not None
    assert _backups.parse(found.as_json(), "here") == found
    assert Path(tmp_path, f"{DAY.format(3)}.dump.json").stat().st_mode & 0o777 == 0o600
