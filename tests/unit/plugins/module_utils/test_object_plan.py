# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of each object, and when a copy is protected from its source."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _object_plan as plan
from ansible_collections.carrental.ops.plugins.module_utils._object_entry import Listed

ONE, TWO = "1" * 32, "2" * 32


def entry(key: str, size: int = 1, etag: str = ONE, mtime: int = 100) -> Listed:
    return Listed(key, size, etag, mtime)


def steps(source: list[Listed], copy: list[Listed]) -> list[tuple[str, str]]:
    found = plan.compare(source, copy, plan.in_snapshot)
    return [(step.action, (step.source or step.copy).key) for step in found]  # type: ignore[union-attr]


def test_both_sides_are_walked_through_once() -> None:
    source = [entry("a"), entry("b", etag=TWO), entry("c", mtime=200), entry("d")]
    copy = [entry("a"), entry("b"), entry("bb"), entry("c"), entry("e")]
    assert steps(source, copy) == [
        ("keep", "a"),
        ("fetch", "b"),
        ("gone", "bb"),
        ("refresh", "c"),
        ("fetch", "d"),
        ("gone", "e"),
    ]


@pytest.mark.parametrize(("source", "copy"), [([], []), ([entry("a")], []), ([], [entry("a")])])
def test_one_side_may_be_empty(source: list[Listed], copy: list[Listed]) -> None:
    assert len(steps(source, copy)) == len(source) + len(copy)


def sums(source: list[Listed], copy: list[Listed]) -> plan.Sums:
    found = plan.Sums()
    for step in plan.compare(source, copy, plan.in_snapshot):
        found.add(step)
    return found


def test_what_a_copy_holds_is_counted_whatever_becomes_of_it() -> None:
    found = sums([entry("a"), entry("b", 7, TWO), entry("n", 5)], [entry("a"), entry("b")])
    assert (found.objects, found.known, found.changed) == (3, 2, 1)
    assert (found.fetch, found.fetch_bytes, found.bytes) == (2, 12, 13)


def many(number: int) -> list[Listed]:
    return [entry(f"{n:05}") for n in range(number)]


@pytest.mark.parametrize("allowed", ["10%", "100%", "100000"])
def test_an_empty_source_never_takes_the_copy_with_it(allowed: str) -> None:
    assert "The source is empty" in plan.too_many(sums([], many(3)), allowed, "it")


@pytest.mark.parametrize(
    ("left", "allowed", "refused"),
    [
        (900, "10%", False),
        (899, "10%", True),
        (899, "101", False),
        (899, "100", True),
        (1, "100%", False),
        (1000, "0", False),
        (999, "0", True),
    ],
)
def test_so_many_may_go_and_no_more(left: int, allowed: str, refused: bool) -> None:
    said = plan.too_many(sums(many(left), many(1000)), allowed, "it")
    assert bool(said) == refused
    assert not said or said.endswith("Nothing was changed.")


def test_a_share_of_few_objects_lets_some_go() -> None:
    assert plan.limit("10%", 12) == 10
    assert plan.limit("10%", 1000) == 100


@pytest.mark.parametrize("text", ["", "many", "-1", "10 objects", "101%", "1.5"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        plan.limit(text, 10)


@pytest.mark.parametrize(
    ("there", "action"),
    [
        (entry("a"), "keep"),
        (entry("a", mtime=900), "refresh"),
        (entry("a", etag=TWO, mtime=900), "fetch"),
        (entry("a", etag=f"{TWO}-2", mtime=900), "fetch"),
        (entry("a", size=2), "fetch"),
    ],
)
def test_a_snapshot_wins_over_what_is_newer(there: Listed, action: str) -> None:
    assert plan.from_snapshot(entry("a"), there) == action


@pytest.mark.parametrize(
    ("there", "action"),
    [
        (entry("a", mtime=900), "keep"),
        (entry("a", mtime=1), "fetch"),
        (entry("a", etag=TWO, mtime=900), "fetch"),
        # Made of parts elsewhere: the etags cannot be compared, size and time can.
        (entry("a", etag=f"{TWO}-2", mtime=900), "keep"),
        (entry("a", etag=f"{TWO}-2", mtime=1), "fetch"),
        (entry("a", size=2, mtime=900), "fetch"),
    ],
)
def test_a_copy_in_another_store_is_compared_as_far_as_it_can_be(
    there: Listed, action: str
) -> None:
    assert plan.in_bucket(entry("a"), there) == action


def days(*names: str, broken: tuple[str, ...] = ()) -> dict[str, bool]:
    return {f"minio-backup-{name}": name not in broken for name in names}


@pytest.mark.parametrize(
    ("there", "gone"),
    [
        (days("20261001", "20261101", "20261123", "20261124", "20261125"), ["20261001"]),
        (days("20260101", "20260201", "20260301"), []),
        # One that is not complete does not count for the least that stays.
        (days("20260101", "20260201", "20260301", "20261125", broken=("20261125",)), []),
        (
            days("20260101", "20261123", "20261124", "20261125", broken=("20260101",)),
            ["20260101"],
        ),
        (days("20260101-020000", "20261123", "20261124", "20261125"), ["20260101-020000"]),
        # Of one day, the one that was replaced is the older one.
        (
            days("20260101", "20260101-020000-replaced", "20261124", "20261125"),
            ["20260101-020000-replaced"],
        ),
    ],
)
def test_old_snapshots_go_and_the_last_complete_ones_stay(
    there: dict[str, bool], gone: list[str]
) -> None:
    found = plan.outdated(there, "20261125", keep_days=30, keep_least=3)
    assert found == [f"minio-backup-{name}" for name in gone]


@pytest.mark.parametrize(
    ("name", "known", "of_a_day"),
    [
        ("minio-backup-20261125", True, True),
        ("minio-backup-20261125-101500", True, False),
        (plan.replaced("2026-11-25T10:15:00Z"), True, True),
        ("minio-backup-20261125-101500-replaced", True, True),
        ("minio-backup-20261125-replaced", False, False),
        ("minio-backup-latest", False, False),
        ("minio-backup-20261125.partial", False, False),
        (".minio-backup.partial", False, False),
    ],
)
def test_names_of_snapshots(name: str, known: bool, of_a_day: bool) -> None:
    assert (plan.is_snapshot(name), plan.is_of_a_day(name)) == (known, of_a_day)
