# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a backup that has other migrations than the release that runs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_database,
    _operation_work,
    _releases,
    _restore,
    _restore_migrations,
    _restore_names,
)
from ansible_collections.carrental.ops.plugins.module_utils._releases import Release


def release(name: str, *applied: str, **more: Any) -> Release:
    found = {
        "schema": _releases.SCHEMA,
        "id": f"20261126T120000Z-{name}",
        "verdict": "ok",
        "version": name,
        "services": {},
        "migrations": {"head": applied[-1] if applied else None, "applied": list(applied)},
        **more,
    }
    return cast(Release, found)


RUNS = [release("v3", "m1", "m2", "m3"), release("v2", "m1", "m2")]


def test_a_backup_from_before_a_migration_lacks_it() -> None:
    gap = _restore_migrations.foresee(RUNS, ("m1", "m2", "m3"), "m2")
    assert (gap.version, gap.lacking, gap.gone, gap.unknown) == ("v3", ("m3",), (), ())
    assert gap.lines() == [
        "it lacks the migration m3 of the release that runs (20261126T120000Z-v3); a deploy of "
        "that release applies what is pending"
    ]


def test_after_the_restore_the_database_itself_tells() -> None:
    gap = _restore_migrations.compare(RUNS, ("m1", "m2", "m3"), ("m1",))
    assert gap.lacking == ("m2", "m3")
    assert "the migrations m2, m3 of" in gap.lines()[0]
    # An empty table is one: everything is to be applied.
    assert _restore_migrations.compare(RUNS, None, ()).lacking == ("m1", "m2", "m3")


def test_what_is_as_the_release_says_nothing() -> None:
    live = ("m1", "m2", "m3")
    assert _restore_migrations.foresee(RUNS, live, "m3").lines() == []
    assert _restore_migrations.compare(RUNS, live, live).lines() == []


@pytest.mark.parametrize(
    ("releases", "live", "head"),
    [
        # No release is recorded; a dump without a manifest, or of another tool; none anywhere.
        ([], ("m1",), "m1"),
        ([release("v1", "m1", verdict="failed")], ("m1", "m2"), "m1"),
        (RUNS, ("m1", "m2", "m3"), ""),
        ([release("v1")], None, "m1"),
    ],
)
def test_where_there_is_nothing_to_compare_nothing_is_said(
    releases: list[Release], live: tuple[str, ...] | None, head: str
) -> None:
    assert _restore_migrations.foresee(releases, live, head) == _restore_migrations.Gap()


@pytest.mark.parametrize(
    ("releases", "live", "restored"),
    [
        ([], ("m1",), ()),
        (RUNS, ("m1", "m2", "m3"), None),
        ([release("v1")], None, ("m1",)),
        ([release("v1", migrations=None)], (), ("m1",)),
    ],
)
def test_nor_after_the_restore(
    releases: list[Release], live: tuple[str, ...] | None, restored: tuple[str, ...] | None
) -> None:
    assert _restore_migrations.compare(releases, live, restored) == _restore_migrations.Gap()


def test_the_other_way_round_the_release_does_not_know_it() -> None:
    older = [release("v2", "m1", "m2")]
    for gap in (
        _restore_migrations.foresee(older, ("m1", "m2"), "m3"),
        _restore_migrations.compare(older, ("m1", "m2"), ("m1", "m2", "m3")),
    ):
        assert (gap.lacking, gap.unknown) == ((), ("m3",))
        assert "it has the migration m3, which the release that runs" in gap.lines()[0]
    # With the live database the release works all the same, and knows as little of it.
    assert not _restore_migrations.foresee(older, ("m1", "m2", "m3"), "m3").lines()


def test_a_release_that_was_gone_back_to_does_not_know_what_is_ahead_of_it() -> None:
    releases = [
        release("v2", "m1", "m2", "m3", rolled_back_from="20261126T120000Z-v3"),
        *RUNS,
    ]
    gap = _restore_migrations.foresee(releases, ("m1", "m2", "m3"), "m2")
    # No deploy of v2 would apply m3, and nothing of it is missed.
    assert (gap.lacking, gap.gone) == ((), ("m3",))
    assert "of the live database, which the release that runs" in gap.lines()[0]
    assert _restore_migrations.foresee(releases, ("m1", "m2", "m3"), "m1").lacking == ("m2",)


def test_of_a_release_without_a_list_the_live_database_tells_what_it_needs() -> None:
    gap = _restore_migrations.foresee([release("v3")], ("m1", "m2"), "m1")
    assert (gap.version, gap.lacking) == ("v3", ("m2",))


MARK = _restore_names.Mark(_restore_names.SWAPPED, "b1", "")


def over(state_dir: str, answer: Any) -> _restore.Report:
    """Come to the end of a restore; what the database says of its migrations is given."""

    def session(_name: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return nullcontext(SimpleNamespace(migrations=lambda: answer))

    server = SimpleNamespace(session=session, find=lambda _name: _restore_names.Found(None))
    wish = _restore.Wish("carrental", "/backups", "latest", state_dir=state_dir)
    nobody = cast(Any, None)
    restore = _restore.Restore(nobody, cast(Any, server), wish, _operation_work.Operation())
    return restore._done(MARK)


def test_the_report_has_what_the_restored_database_says(tmp_path: Path) -> None:
    _releases.write(str(tmp_path), RUNS[0])
    report = over(str(tmp_path), ("m1", "m2"))
    assert (report.migrations["version"], report.migrations["lacking"]) == ("v3", ["m3"])
    assert "it lacks the migration m3" in report.lines[0]


def test_a_restore_that_is_over_does_not_fail_for_want_of_it(tmp_path: Path) -> None:
    _releases.write(str(tmp_path), RUNS[0])
    report = over(str(tmp_path), _backup_database.DatabaseError("no session."))
    assert (report.migrations["lacking"], report.lines) == ([], [])
    # A drill has no records, and a server may have unreadable ones.
    assert over("", ("m1",)).lines == []
    (tmp_path / "releases" / "20261127T120000Z-v4.json").write_text("{")
    (line,) = over(str(tmp_path), ("m1",)).lines
    assert line.startswith("its migrations are not compared with the release: ")
