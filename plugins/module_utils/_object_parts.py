# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The parts that an object was put in: an etag is made of them, and proves a file by them."""

from __future__ import annotations

import hashlib

from ._object_entry import Listed, part_sizes
from ._s3_wire import pieces


def part_of(path: str, one: Listed) -> int:
    """Return how large the parts of an object were, by which size makes its etag."""
    possible = part_sizes(one.etag, one.size)
    if len(possible) > 1:
        for size in possible:
            if _etag(path, one.size, size) == one.etag:
                return size
    return possible[0] if possible else 0


def make_etag(path: str, one: Listed) -> bool:
    """Return whether a file makes the etag of an object, in parts of any usual size."""
    return any(_etag(path, one.size, part) == one.etag for part in part_sizes(one.etag, one.size))


def _etag(path: str, size: int, part: int) -> str:
    """Return the etag of a file that is put in parts: the MD5 of the MD5s, and their number."""
    parts = []
    with open(path, "rb") as stream:
        for begin in range(0, size, part):
            md5 = hashlib.md5(usedforsecurity=False)
            for piece in pieces(stream, min(part, size - begin)):
                md5.update(piece)
            parts.append(md5.digest())
    joined = hashlib.md5(b"".join(parts), usedforsecurity=False)
    return f"{joined.hexdigest()}-{len(parts)}"
