# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore that finds damage marks the backup, and names the newest other one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_verify,
    _backups,
    _operation_work,
    _restore,
    _restore_source,
)


def made(folder: Path, day: int, ending: str = "dump", **known: Any) -> _backups.Backup:
    called, at = f"car_rental_backup_202611{day:02}_020000", f"2026-11-{day:02}T02:00:00Z"
    path = folder / f"{called}.{ending}"
    path.write_bytes(b"PGDMP")
    digest = hashlib.sha256(b"PGDMP").hexdigest()
    manifest = _backups.Manifest(
        *(called, path.name, "dump", 5, digest, at, at, 1.0),
        **{
            "tables": {"public.cars": 1},
            "verified": {"level": "read", "at": at},
            "database": {"name": "carrental"},
            **known,
        },
    )
    _backups.save_manifest(str(path), manifest)
    return _backups.load(str(path))


def damaged(folder: Path, day: int, ending: str = "dump") -> _backups.Backup:
    backup = made(folder, day, ending)
    Path(backup.path).write_bytes(b"PGDMQ")
    return backup


def restore(folder: Path, backup: str = "latest") -> _restore.Restore:
    wish = _restore.Wish("carrental", str(folder), backup)
    nobody = cast(Any, None)
    return _restore.Restore(nobody, nobody, wish, _operation_work.Operation())


def found(folder: Path, backup: _backups.Backup, *, marks: bool) -> _restore.RestoreError:
    with (
        pytest.raises(_restore.RestoreError) as caught,
        restore(folder)._distrusting(backup, marks=marks),
    ):
        _backup_verify.require_checksum(backup)
    return caught.value


def test_it_is_marked_and_another_one_is_named(tmp_path: Path) -> None:
    other, backup = made(tmp_path, 24), damaged(tmp_path, 25)
    error = found(tmp_path, backup, marks=True)
    assert (error.damaged, error.instead) == (backup.id, other.id)
    assert "is damaged: its sha256 is" in str(error)
    assert str(error).endswith("carrental is not restored. Nothing was changed.")
    now = _backups.load(backup.path)
    assert not now.verified
    assert now.manifest and now.manifest.damage.endswith("when it was made.")
    assert _restore_source.pick(str(tmp_path), "latest").id == other.id


def test_a_plan_of_check_mode_marks_nothing(tmp_path: Path) -> None:
    other, backup = made(tmp_path, 24), damaged(tmp_path, 25)
    assert found(tmp_path, backup, marks=False).instead == other.id
    assert _backups.load(backup.path).verified


def test_what_the_plan_finds_by_its_own_read_counts_too(tmp_path: Path) -> None:
    backup = damaged(tmp_path, 25)
    one = restore(tmp_path)
    one.server = cast(Any, type("Server", (), {"source": type("S", (), {"container": backup})()}))
    with (
        pytest.raises(_restore.RestoreError, match="Nothing was changed") as caught,
        one._distrusting(backup, marks=True),
    ):
        one.read(backup)
    assert (caught.value.damaged, caught.value.instead) == (backup.id, "")
    assert str(caught.value).count("is not restored") == 1
    assert not _backups.load(backup.path).verified


def test_an_encrypted_one_is_compared_before_it_is_decrypted(tmp_path: Path) -> None:
    backup = damaged(tmp_path, 25, "dump.age")
    with (
        pytest.raises(_restore.RestoreError, match="is damaged: its sha256 is"),
        restore(tmp_path)._distrusting(backup, marks=True),
        _restore_source.readable(backup, "key", str(tmp_path)),
    ):
        raise AssertionError("it was read")
    assert not _backups.load(backup.path).verified


def test_all_else_is_no_damage(tmp_path: Path) -> None:
    backup = made(tmp_path, 25)
    for error in (_restore.RestoreError("no room."), _backup_verify.VerifyError("no zstd.")):
        with (
            pytest.raises(type(error)) as caught,
            restore(tmp_path)._distrusting(backup, marks=True),
        ):
            raise error
        assert caught.value is error
    assert _backups.load(backup.path).verified


def test_a_manifest_that_cannot_be_written_hides_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: object) -> None:
        raise OSError("disk full")

    backup = damaged(tmp_path, 25)
    monkeypatch.setattr(_backups, "save_manifest", full)
    assert found(tmp_path, backup, marks=True).damaged == backup.id


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ("latest", "car_rental_backup_20261127_020000"),
        ("car_rental_backup_20261125_020000", "car_rental_backup_20261127_020000"),
        ("before=2026-11-26T00:00:00Z", "car_rental_backup_20261124_020000"),
    ],
)
def test_instead_of_one_from_before_a_moment_nothing_later_will_do(
    tmp_path: Path, wanted: str, named: str
) -> None:
    made(tmp_path, 24)
    backup = damaged(tmp_path, 25)
    made(tmp_path, 27)
    made(tmp_path, 28, reason="safety")
    made(tmp_path, 29, verified={})
    made(tmp_path, 30, database={"name": "another"})
    assert _restore_source.instead(str(tmp_path), backup, wanted, "carrental") == named


def test_a_dump_of_somewhere_else_has_no_substitute(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    made(tmp_path / "backups", 24)
    dump = damaged(tmp_path, 25)
    Path(f"{dump.path}.json").rename(tmp_path / "lost")
    bare = _backups.load(dump.path)
    with (
        pytest.raises(_restore.RestoreError) as caught,
        restore(tmp_path / "backups")._distrusting(bare, marks=True),
    ):
        raise _backup_verify.DamageError("it is cut.")
    assert (caught.value.damaged, caught.value.instead) == ("", "")
    assert _restore_source.instead(str(tmp_path / "backups"), dump, dump.path, "carrental") == ""
