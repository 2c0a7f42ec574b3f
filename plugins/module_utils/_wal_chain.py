# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Which moments can be reached: from the end of a base, as far as the log goes without a gap.

Reckoned from what lies there, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ._wal_names import Segment

_DAY = 86400.0


class Base(Protocol):
    """What has to be known of a copy of the server's files."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def first(self) -> Segment:
        """The segment that its recovery begins with."""

    @property
    def last(self) -> Segment:
        """The segment from whose end on it is consistent."""

    @property
    def ended(self) -> float:
        """The moment from which on it can be recovered to."""


@dataclass(frozen=True, order=True)
class Piece:
    """A segment that was received, and when its newest byte was."""

    segment: Segment
    at: float = 0.0
    # The server goes on writing it, or never did: its end is that of what was received.
    partial: bool = False


@dataclass(frozen=True)
class Reach:
    """How far one base reaches."""

    base: str
    since: float
    # When the newest byte without a gap before it was received.
    until: float
    pieces: tuple[Piece, ...]
    # What follows begins with a later segment than the next one.
    gap: bool

    def covers(self, moment: float) -> bool:
        """Return whether all that was committed until then is there by now."""
        return self.since <= moment <= self.until


def run(pieces: Iterable[Piece], first: Segment) -> tuple[Piece, ...]:
    """Return the pieces from a segment on, as far as there is no gap.

    A server that was promoted goes on in the same segment or the next one on a later timeline.
    """
    by_number: dict[int, list[Piece]] = {}
    for piece in pieces:
        by_number.setdefault(piece.segment.number, []).append(piece)
    found: list[Piece] = []
    number, timeline = first.number, first.timeline
    while True:
        # One that is whole comes before what was received of it.
        following = sorted(
            (one for one in by_number.get(number, []) if one.segment.timeline >= timeline),
            key=lambda one: (one.partial, one.segment.timeline),
        )
        if not following:
            return tuple(found)
        found.append(following[0])
        number, timeline = number + 1, following[0].segment.timeline
        if following[0].partial:
            return tuple(found)


def reaches(bases: Sequence[Base], pieces: Sequence[Piece]) -> list[Reach]:
    """Return what each base reaches, newest first; one that is not consistent reaches nothing."""
    newest = max((one.segment.number for one in pieces), default=-1)
    found = []
    for base in sorted(bases, key=lambda one: (one.ended, one.id), reverse=True):
        got = run(pieces, base.first)
        if not got or got[-1].segment.number < base.last.number:
            continue
        until = max(base.ended, got[-1].at)
        gap = got[-1].segment.number < newest
        found.append(Reach(base.id, base.ended, until, got, gap))
    return found


def spans(found: Iterable[Reach]) -> list[tuple[float, float]]:
    """Return the times that can be reached, oldest first; what overlaps is one."""
    merged: list[tuple[float, float]] = []
    for since, until in sorted((one.since, one.until) for one in found):
        if merged and since <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], until))
        else:
            merged.append((since, until))
    return merged


def choose(found: Sequence[Reach], moment: float) -> Reach | None:
    """Return what to recover from to come to a moment.

    The newest base that ended before it, if the log reaches the moment, or still grows.
    """
    before = [one for one in found if one.since <= moment]
    fitting = [one for one in before if one.covers(moment) or not one.gap]
    return max(fitting, key=lambda one: one.since, default=None)


def unbroken(found: Sequence[Reach]) -> bool:
    """Return whether what is written now can be reached one day."""
    return any(not one.gap for one in found)


@dataclass(frozen=True)
class Expired:
    """What nobody needs any more."""

    bases: tuple[str, ...]
    pieces: tuple[Piece, ...]


def expired(bases: Sequence[Base], pieces: Sequence[Piece], *, days: float, now: float) -> Expired:
    """Return what may go, so that each moment of so many days can still be reached.

    The newest base from before that time stays with its log, and the last one in any case.
    """
    oldest_first = sorted(bases, key=lambda one: (one.ended, one.id))
    usable = {one.base for one in reaches(bases, pieces)}
    limit = now - days * _DAY
    before = [one for one in oldest_first if one.ended <= limit and one.id in usable]
    later = [one for one in oldest_first if one.ended > limit]
    if not before and not any(one.id in usable for one in later):
        # None of them is good, so nothing is known of what a good one would need.
        return Expired((), ())
    kept = [*before[-1:], *later]
    gone = tuple(one.id for one in oldest_first if one not in kept)
    first = min(one.first.number for one in kept)
    return Expired(gone, tuple(one for one in sorted(pieces) if one.segment.number < first))
