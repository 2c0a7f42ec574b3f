# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup a release is gone back to with."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _backups, _rollback_backup
from ansible_collections.carrental.ops.plugins.module_utils._schema_ahead import Ahead

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=timezone.utc)
PROVED = {"level": "read", "at": "2026-11-26T03:00:00Z"}


def backup(hour: int, head: str, **more: Any) -> _backups.Backup:
    file = f"car_rental_backup_20261126_{hour:02}0000.dump"
    moment = f"2026-11-26T{hour:02}:00:00Z"
    manifest = _backups.Manifest(
        **{
            "id": file.removesuffix(".dump"),
            "file": file,
            "format": "dump",
            "bytes": 10,
            "sha256": "",
            "started_at": moment,
            "ended_at": moment,
            "seconds": 1.0,
            "migrations_head": head,
            "verified": PROVED,
            "database": {"name": "carrental"},
            **more,
        }
    )
    called = _backups.name(file)
    assert called
    return _backups.Backup(f"/b/{file}", called, 10, manifest)


def chosen(backups: list[_backups.Backup], head: str, ahead: Ahead) -> Any:
    return _rollback_backup.choose(backups, head, ahead, database="carrental", now=NOW)


AHEAD = Ahead(("m2", "m3", "m4"), ("m3",), ())


def test_the_newest_that_the_code_works_with_loses_the_least() -> None:
    found = chosen([backup(1, "m1"), backup(9, "m2"), backup(11, "m3")], "m1", AHEAD)
    assert (found.id, found.minutes, found.ahead) == (
        "car_rental_backup_20261126_090000",
        180,
        ("m2",),
    )
    assert "loses everything since 2026-11-26T09:00:00Z (180 minutes)" in found.said


def test_of_its_own_schema_nothing_is_ahead() -> None:
    assert chosen([backup(1, "m1"), backup(11, "m3")], "m1", AHEAD).ahead == ()


@pytest.mark.parametrize("head", ["m3", "m4", "m0", ""])
def test_behind_a_harmful_migration_and_of_another_past_there_is_none(head: str) -> None:
    assert chosen([backup(1, head)], "m1", AHEAD) is None


@pytest.mark.parametrize(
    "more", [{"verified": {}}, {"reason": "safety"}, {"database": {"name": "another"}}]
)
def test_what_is_not_to_be_relied_on_is_left_out(more: dict[str, Any]) -> None:
    assert chosen([backup(1, "m1"), backup(9, "m1", **more)], "m1", AHEAD).minutes == 660


def test_a_release_without_migrations() -> None:
    assert chosen([backup(1, "")], "", Ahead()).ahead == ()
