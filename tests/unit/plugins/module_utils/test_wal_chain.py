# SPDX-License-Identifier: GPL-3.0-or-later
"""Which moments can be reached, and what may go without losing one of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _wal_chain, _wal_names
from ansible_collections.carrental.ops.plugins.module_utils._wal_chain import Piece, Reach
from ansible_collections.carrental.ops.plugins.module_utils._wal_names import Segment

MB = 2**20
DAY = 86400.0


@dataclass(frozen=True)
class Base:
    """A base that begins and ends in these segments, at this time."""

    id: str
    first: Segment
    last: Segment
    ended: float


def base(number: int, ended: float, last: int = 0, timeline: int = 1) -> Base:
    return Base(f"b{number}", Segment(number, timeline), Segment(last or number, timeline), ended)


def pieces(*numbers: int, timeline: int = 1) -> list[Piece]:
    """Segments, each received at ten times its number."""
    return [Piece(Segment(one, timeline), one * 10.0) for one in numbers]


@pytest.mark.parametrize(
    ("name", "size", "number", "timeline"),
    [
        ("000000010000000000000001", 16 * MB, 1, 1),
        ("0000000100000001000000FF", 16 * MB, 511, 1),
        ("0000000A0000000200000000", 16 * MB, 512, 10),
        ("000000010000000100000003", 1024 * MB, 7, 1),
    ],
)
def test_a_name_is_a_number_and_a_timeline(
    name: str, size: int, number: int, timeline: int
) -> None:
    found = _wal_names.segment(name, size)
    assert found == Segment(number, timeline)
    assert found.name(size) == name


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("00000002.history", 16 * MB),
        ("000000010000000000000001.partial", 16 * MB),
        ("00000001000000000000000g", 16 * MB),
        # With segments of 1 GB there are four a log.
        ("000000010000000000000004", 1024 * MB),
        ("", 16 * MB),
    ],
)
def test_what_is_no_segment_is_none(name: str, size: int) -> None:
    assert _wal_names.segment(name, size) is None


def test_a_position_lies_in_a_segment() -> None:
    assert _wal_names.holding("0/2000028", 1, 16 * MB) == Segment(2, 1)
    assert _wal_names.holding("1/0", 3, 16 * MB) == Segment(256, 3)
    # A position at the border is the end of the segment before.
    assert _wal_names.holding_end("0/3000000", 1, 16 * MB) == Segment(2, 1)
    assert _wal_names.holding_end("0/3000001", 1, 16 * MB) == Segment(3, 1)
    with pytest.raises(ValueError, match="'x' is no position"):
        _wal_names.lsn("x")


@pytest.mark.parametrize(
    ("there", "first", "expected"),
    [
        ([3, 4, 5], 3, [3, 4, 5]),
        ([3, 4, 6, 7], 3, [3, 4]),
        ([3, 4, 6, 7], 6, [6, 7]),
        ([4, 5], 3, []),
        ([], 3, []),
    ],
)
def test_a_run_ends_at_a_gap(there: list[int], first: int, expected: list[int]) -> None:
    found = _wal_chain.run(pieces(*there), Segment(first, 1))
    assert [one.segment.number for one in found] == expected


def test_a_run_goes_on_where_a_promoted_server_does() -> None:
    promoted = pieces(5, 6, timeline=2)
    begun = Piece(Segment(5, 1), 48.0, partial=True)
    found = _wal_chain.run([*pieces(3, 4), begun, *promoted], Segment(3, 1))
    assert [(one.segment.number, one.segment.timeline) for one in found] == [
        (3, 1),
        (4, 1),
        (5, 2),
        (6, 2),
    ]
    # It never goes back to an older one.
    assert len(_wal_chain.run([*pieces(5, timeline=2), *pieces(6)], Segment(5, 2))) == 1


def test_a_run_ends_with_what_was_never_completed() -> None:
    begun = Piece(Segment(5, 1), 52.0, partial=True)
    found = _wal_chain.run([*pieces(4, 6, 7), begun], Segment(4, 1))
    assert [one.segment.number for one in found] == [4, 5]


def test_a_base_reaches_as_far_as_there_is_no_gap() -> None:
    older, newer = base(2, 25.0), base(8, 85.0)
    found = _wal_chain.reaches([older, newer], pieces(2, 3, 4, 8, 9))
    assert [(one.base, one.since, one.until, one.gap) for one in found] == [
        ("b8", 85.0, 90.0, False),
        ("b2", 25.0, 40.0, True),
    ]
    assert _wal_chain.spans(found) == [(25.0, 40.0), (85.0, 90.0)]
    assert _wal_chain.unbroken(found)
    assert not _wal_chain.unbroken(found[1:])


def test_a_base_whose_end_never_arrived_reaches_nothing() -> None:
    assert _wal_chain.reaches([base(2, 25.0, last=4)], pieces(2, 3)) == []


def test_spans_that_overlap_are_one() -> None:
    found = _wal_chain.reaches([base(2, 25.0), base(4, 45.0)], pieces(2, 3, 4, 5))
    assert _wal_chain.spans(found) == [(25.0, 50.0)]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        # Before the oldest base ended.
        (20.0, None),
        (25.0, "b2"),
        (40.0, "b2"),
        # In the gap.
        (41.0, None),
        (84.0, None),
        (86.0, "b8"),
        # After what was received: the log still grows.
        (200.0, "b8"),
    ],
)
def test_the_newest_base_that_reaches_is_chosen(moment: float, expected: str | None) -> None:
    found = _wal_chain.reaches([base(2, 25.0), base(8, 85.0)], pieces(2, 3, 4, 8, 9))
    chosen = _wal_chain.choose(found, moment)
    assert (chosen.base if chosen else None) == expected


def test_nothing_is_chosen_from_nothing() -> None:
    nothing: list[Reach] = []
    assert _wal_chain.choose(nothing, 1.0) is None
    assert not _wal_chain.unbroken(nothing)


def test_what_no_moment_of_the_time_needs_goes() -> None:
    now = 10 * DAY
    bases = [base(2, 1 * DAY), base(4, 2 * DAY), base(6, 9 * DAY)]
    found = _wal_chain.expired(bases, pieces(1, 2, 3, 4, 5, 6, 7), days=7, now=now)
    # The second is what the first hours of the seven days are recovered from.
    assert found.bases == ("b2",)
    assert [one.segment.number for one in found.pieces] == [1, 2, 3]


def test_the_last_base_stays_however_old_it_is() -> None:
    found = _wal_chain.expired([base(2, 0.0)], pieces(1, 2, 3), days=1, now=100 * DAY)
    assert found.bases == ()
    assert [one.segment.number for one in found.pieces] == [1]


def test_a_base_that_is_not_good_does_not_push_a_good_one_out() -> None:
    broken = base(5, 2 * DAY, last=6)
    found = _wal_chain.expired([base(2, 1 * DAY), broken], pieces(2, 3), days=1, now=100 * DAY)
    assert found.bases == ("b5",)
    assert found.pieces == ()


def test_without_a_good_base_nothing_goes() -> None:
    assert _wal_chain.expired([], pieces(1, 2), days=1, now=100 * DAY) == _wal_chain.Expired((), ())
    broken = base(5, 99.9 * DAY)
    found = _wal_chain.expired([broken], pieces(1, 2), days=1, now=100 * DAY)
    assert found == _wal_chain.Expired((), ())
