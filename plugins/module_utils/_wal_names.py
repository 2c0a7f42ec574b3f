# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Places in the write-ahead log of PostgreSQL: names of segments, and what comes after what."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"(?P<timeline>[0-9A-F]{8})(?P<log>[0-9A-F]{8})(?P<part>[0-9A-F]{8})")
_LSN = re.compile(r"(?P<high>[0-9A-Fa-f]{1,8})/(?P<low>[0-9A-Fa-f]{1,8})")
# What the second number of a name counts.
_LOG = 1 << 32


@dataclass(frozen=True, order=True)
class Segment:
    """A segment: how many come before it, and on which timeline it was written."""

    number: int
    timeline: int

    def name(self, size: int) -> str:
        """Return what PostgreSQL calls it, with segments of so many bytes."""
        log, part = divmod(self.number, _LOG // size)
        return f"{self.timeline:08X}{log:08X}{part:08X}"


def segment(name: str, size: int) -> Segment | None:
    """Return the segment that a name means; nothing if it is none of this size."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    part = int(match["part"], 16)
    if part >= _LOG // size:
        return None
    return Segment(int(match["log"], 16) * (_LOG // size) + part, int(match["timeline"], 16))


def lsn(text: str) -> int:
    """Return a position as a number of bytes.

    :raises ValueError: it is none.
    """
    match = _LSN.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no position in the write-ahead log")
    return (int(match["high"], 16) << 32) + int(match["low"], 16)


def holding(position: str, timeline: int, size: int) -> Segment:
    """Return the segment that holds the byte at a position.

    :raises ValueError: it is no position.
    """
    return Segment(lsn(position) // size, timeline)


def holding_end(position: str, timeline: int, size: int) -> Segment:
    """Return the segment that holds the last byte before a position.

    :raises ValueError: it is no position.
    """
    return Segment(max(lsn(position) - 1, 0) // size, timeline)
