# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go: never the last good ones, and nothing while backups fail."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _backups, _retention

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)


def backup(days: float, *, verified: bool = True, **manifest: Any) -> _backups.Backup:
    """A backup of so many days ago."""
    at = NOW - timedelta(days=days)
    name = _backups.Name("car_rental_backup", at.replace(microsecond=0), "dump")
    stamp = _backups.stamp(at)
    proof = {"level": "read", "at": stamp} if verified else {}
    known = _backups.Manifest(
        *(name.id, name.file, "dump", 10, "aa", stamp, stamp, 1.0), verified=proof, **manifest
    )
    return _backups.Backup(f"/b/{name.file}", name, 10, known)


def foreign(days: float) -> _backups.Backup:
    at = NOW - timedelta(days=days)
    name = _backups.Name("car_rental_backup", at.replace(microsecond=0), "sql.gz")
    return _backups.Backup(f"/b/{name.file}", name, 10)


def gone(plan: _retention.Plan) -> list[int]:
    """Ages in days of what goes."""
    return sorted(round((NOW - one.backup.at).total_seconds() / 86400) for one in plan.remove)


def planned(*backups: _backups.Backup, **policy: int) -> _retention.Plan:
    return _retention.plan(backups, _retention.Policy(**policy), NOW)


def test_what_is_older_goes_and_the_rest_stays() -> None:
    found = planned(*(backup(days) for days in range(40)))
    assert gone(found) == list(range(30, 40))
    assert len(found.keep) == 30


def test_the_newest_verified_stay_however_old_they_are() -> None:
    found = planned(backup(1), backup(50), backup(60), backup(70), backup(80))
    assert gone(found) == [70, 80]


def test_unverified_ones_do_not_count_as_kept() -> None:
    """Fifteen bad nights in a row must not push out the good ones from before."""
    bad = [backup(days + 0.5, verified=False) for days in range(2, 20)]
    found = planned(backup(1), backup(40), backup(41), backup(42), *bad)
    assert gone(found) == [42]


def test_nothing_goes_while_backups_fail() -> None:
    found = planned(backup(9), *(backup(days) for days in range(31, 35)))
    assert gone(found) == []
    assert "is 216 h old, and more than 48 h mean that backups fail" in found.refusal


def test_nothing_goes_where_nothing_is_verified() -> None:
    found = planned(*(foreign(days) for days in range(1, 40)))
    assert gone(found) == []
    assert "no backup is verified" in found.refusal


def test_foreign_ones_go_by_age_under_the_same_rules() -> None:
    found = planned(backup(1), foreign(5), foreign(31), foreign(90))
    assert gone(found) == [31, 90]
    assert all("never verified" in one.reason for one in found.remove)


def test_damaged_one_does_not_stand_for_the_others() -> None:
    damaged = _backups.Backup("/b/x", backup(0.1).name, 3, backup(0.1).manifest, "it is shorter")
    found = planned(damaged, backup(40), backup(50), backup(60), backup(70))
    assert "the newest verified backup" in found.refusal


def test_the_newest_of_a_drill_and_what_releases_need_stay() -> None:
    old = [backup(days) for days in (31, 32, 33, 34, 35)]
    drilled = backup(36, drill={"at": "2026-10-22T00:00:00Z", "seconds": 3})
    before = backup(37, drill={"at": "2026-10-21T00:00:00Z", "seconds": 3})
    found = _retention.plan(
        [backup(1), *old, drilled, before], _retention.Policy(), NOW, [old[4].id]
    )
    assert gone(found) == [33, 34, 37]


def test_weeks_and_months_keep_one_each() -> None:
    daily = [backup(days) for days in range(200)]
    found = planned(*daily, days=7, weeks=4, months=6)
    kept = sorted({one.backup.at.date().isoformat() for one in found.keep}, reverse=True)
    assert len([one for one in found.keep if "month" in one.reason]) == 5
    assert len([one for one in found.keep if "week" in one.reason]) == 2
    assert kept[0] == "2026-11-25"


@pytest.mark.parametrize("days", [-1, -400])
def test_one_from_the_future_stays(days: int) -> None:
    assert gone(planned(backup(days), backup(1))) == []


def of(database: str, host: str = "") -> dict[str, Any]:
    return {"database": {"name": database}, "host": host}


def test_the_backups_of_one_database_do_not_stand_for_those_of_another() -> None:
    nightly = [backup(days, **of("carrental")) for days in range(40)]
    only = backup(36.5, **of("staging"))
    found = planned(*nightly, only)
    assert gone(found) == list(range(30, 40))
    assert only in [one.backup for one in found.keep]
    # Its backups fail, so that nothing of it goes.
    found = planned(*nightly, *(backup(days + 0.5, **of("staging")) for days in range(36, 41)))
    assert gone(found) == list(range(30, 40))
    assert found.refusal.startswith("of staging, for the newest verified backup, ")


def test_another_server_with_that_database_keeps_its_own_newest() -> None:
    nightly = [backup(days, **of("carrental", "one")) for days in range(40)]
    others = [backup(days + 0.5, **of("carrental", "two")) for days in (36, 37, 38, 39)]
    found = planned(*nightly, *others)
    assert [one.backup.id for one in found.remove if one.backup in others] == [others[-1].id]
    assert found.refusal == ""


def test_what_names_no_database_is_judged_by_itself_where_there_are_several() -> None:
    young = [backup(1, **of("carrental")), backup(2, **of("staging"))]
    assert gone(planned(young[0], foreign(40))) == [40]
    found = planned(*young, foreign(40))
    assert gone(found) == []
    assert "of what names no database, for no backup is verified" in found.refusal
