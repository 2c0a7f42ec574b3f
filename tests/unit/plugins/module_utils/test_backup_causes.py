# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tools of PostgreSQL say becomes one sentence of cause; the space that a backup needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_database,
    _backup_space,
    _backups,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container, Docker

CONTAINER = Container({"Id": "c1", "Name": "/postgres", "Config": {}})
SOURCE = _backup_database.Source(
    Docker("/nonexistent"),  # type: ignore[arg-type]
    CONTAINER,
    "carrental",
    "rentals",
)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            'psql: error: connection to server failed: FATAL:  database "rentals" does not exist',
            "there is no database rentals; check carrental_database.",
        ),
        (
            'pg_dump: error: FATAL:  role "carrental" does not exist',
            "there is no role carrental; check POSTGRES_USER of the container.",
        ),
        (
            "pg_dump: error: aborting because of server version mismatch\n"
            "pg_dump: detail: server version: 17.2; pg_dump version: 16.14",
            "pg_dump of postgres is 16.14 and the server is 17.2; dump with the server's own "
            "version.",
        ),
        (
            "pg_dump: error: query failed: ERROR:  canceling statement due to lock timeout\n"
            "pg_dump: detail: Query was: LOCK TABLE public.bookings IN ACCESS SHARE MODE",
            "a table of rentals is locked by another session; try again when it has ended, a "
            "migration for example (backup_lock_timeout).",
        ),
        (
            "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\n"
            "pg_dump: detail: Query was: LOCK TABLE public.bookings, public.cars IN ACCESS SHARE "
            "MODE",
            "a table of rentals is locked by another session; try again when it has ended, a "
            "migration for example (backup_lock_timeout).",
        ),
        (
            "pg_dump: error: query failed: ERROR:  permission denied for table bookings",
            "carrental may not read table bookings of rentals; back up as the superuser of the "
            "container.",
        ),
        ("pg_dump: error: something new happened.", "pg_dump: error: something new happened."),
        ("", "it gave no reason."),
    ],
)
def test_cause_is_one_sentence(said: str, cause: str) -> None:
    assert (
        _backup_database.explain(said, SOURCE)
        == f"rentals in postgres cannot be backed up: {cause}"
    )


def test_password_stands_in_the_environment_alone() -> None:
    secret = replace(SOURCE, password="hunter2")
    environment = secret.environment("20261124T021500Z-deploy-ab12")
    assert environment == {
        "PGPASSWORD": "hunter2",
        "PGAPPNAME": "carrental-ops 20261124T021500Z-deploy-ab12",
    }


def before(size_bytes: int, backup_bytes: int) -> _backups.Backup:
    at = datetime(2026, 11, 24, tzinfo=timezone.utc)
    name = _backups.Name("car_rental_backup", at, "dump")
    stamp = _backups.stamp(at)
    manifest = _backups.Manifest(
        *(name.id, name.file, "dump", backup_bytes, "aa", stamp, stamp, 1.0),
        database={"name": "rentals", "size_bytes": size_bytes},
        verified={"level": "read"},
    )
    return _backups.Backup("/b", name, backup_bytes, manifest)


@pytest.mark.parametrize(
    ("size", "backups", "encrypts", "wanted"),
    [
        pytest.param(1000, [], False, 500, id="a guess"),
        pytest.param(1000, [], True, 1000, id="both forms at once"),
        pytest.param(1000, [before(1000, 80)], False, 120, id="by the last one"),
        pytest.param(2000, [before(1000, 80)], False, 240, id="it has grown"),
        pytest.param(500, [before(1000, 80)], False, 120, id="it has shrunk"),
    ],
)
def test_space_is_reckoned_by_the_backup_before(
    size: int, backups: list[_backups.Backup], encrypts: bool, wanted: int
) -> None:
    assert _backup_space.wanted(size, backups, "rentals", encrypts) == wanted


def test_too_little_space_is_refused_with_the_numbers(tmp_path: Path) -> None:
    assert _backup_space.require(str(tmp_path / "not/there/yet"), 1, 1) > 0
    with pytest.raises(_backups.BackupError, match=r"needs about 1 MB beside the 99999999 MB"):
        _backup_space.require(str(tmp_path), 2**20, 99_999_999)
