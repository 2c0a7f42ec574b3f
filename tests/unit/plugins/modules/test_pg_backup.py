# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup that is young enough is taken when its file is still what was proved."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backup_run,
    _backups,
)
from ansible_collections.carrental.ops.plugins.modules import pg_backup


def made(folder: Path, minutes: int = 10) -> _backups.Backup:
    at = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(minutes=minutes)
    name = _backups.Name("car_rental_backup", at, "dump")
    path, moment = folder / name.file, _backups.stamp(at)
    path.write_bytes(b"PGDMP")
    digest = hashlib.sha256(b"PGDMP").hexdigest()
    manifest = _backups.Manifest(
        *(name.id, name.file, "dump", 5, digest, moment, moment, 1.0),
        verified={"level": "read", "at": moment},
        database={"name": "carrental"},
    )
    _backups.save_manifest(str(path), manifest)
    return _backups.load(str(path))


def run(folder: Path, *, max_age: int = 3600, check: bool = False) -> Any:
    params = {"directory": str(folder), "database": "carrental", "max_age": max_age}
    module = SimpleNamespace(check_mode=check)
    work = SimpleNamespace(params=params, module=module)
    work.operation = lambda _kind, **_more: nullcontext(SimpleNamespace(id=""))
    return cast(Any, work)


def test_one_that_is_whole_is_taken(tmp_path: Path) -> None:
    backup = made(tmp_path)
    result = pg_backup.present(run(tmp_path))
    assert (result["changed"], result["damaged"]) == (False, "")
    assert result["backup"]["id"] == backup.id


@pytest.mark.parametrize("check", [False, True])
def test_one_that_was_damaged_since_is_marked_and_another_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    backup = made(tmp_path)
    Path(backup.path).write_bytes(b"PGDMQ")

    def make(*_given: object) -> _backup_run.Outcome:
        # By then nobody compares the new one with it.
        assert _backups.newest_verified(_backups.listing(str(tmp_path))) is None
        return _backup_run.Outcome(made(tmp_path, 0), ["back up carrental"])

    monkeypatch.setattr(pg_backup, "source", lambda _run: None)
    monkeypatch.setattr(_backup_arguments, "wish", lambda _params: None)
    monkeypatch.setattr(_backup_arguments, "planned", lambda *_given: {"actions": ["back up"]})
    monkeypatch.setattr(_backup_run, "plan", lambda *_given: None)
    monkeypatch.setattr(_backup_run, "make", make)
    result = pg_backup.present(run(tmp_path, check=check))
    assert result["changed"]
    assert f"{backup.name.file} is damaged: its sha256 is" in result["damaged"]
    # Check mode says so, and leaves no trace.
    assert _backups.load(backup.path).verified is check
    assert check or result["backup"]["id"] != backup.id


@pytest.mark.parametrize(("max_age", "minutes"), [(0, 10), (3600, 90)])
def test_what_is_not_taken_is_not_read(tmp_path: Path, max_age: int, minutes: int) -> None:
    backup = made(tmp_path, minutes)
    Path(backup.path).write_bytes(b"PGDMQ")
    assert pg_backup.young_enough(run(tmp_path, max_age=max_age)) == (None, "")
    assert _backups.load(backup.path).verified
