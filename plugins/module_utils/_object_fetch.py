# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Get one object from a store into a file, and prove that it is what the store has."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from ._object_entry import (
    Listed,
    Stored,
    hides_md5,
    is_md5,
    kept_headers,
    name_of,
    part_sizes,
    path_of,
)
from ._object_parts import make_etag
from ._s3_wire import Answer, Wire, WireError, read_into

# Stays in a processor's cache while it is summed twice and written.
_BUFFER = 256 * 1024
# Below this a file that was begun is not gone on with: it is faster to begin again.
_RESUME = 8 * 1024 * 1024
_MISSING = ("NoSuchKey", "404")


class DamagedError(Exception):
    """What the store sends is not what it says it has."""


class VanishedError(Exception):
    """The object is not there any more."""


@dataclass
class Sums:
    """The checksums of a content, taken while it passes."""

    sha256: Any
    md5: Any
    size: int = 0

    def add(self, piece: memoryview) -> None:
        """Take in a piece."""
        self.sha256.update(piece)
        if self.md5 is not None:
            self.md5.update(piece)
        self.size += len(piece)


def new_sums(etag: str) -> Sums:
    """Return checksums to begin with: an etag that can be an MD5 is compared with it."""
    md5 = hashlib.md5(usedforsecurity=False) if is_md5(etag) else None
    return Sums(hashlib.sha256(), md5)


def fetch(wire: Wire, wanted: Listed, folder: str) -> tuple[Stored, str]:
    """Get an object into a folder; return it, and the path of its content.

    :raises WireError, DamagedError, VanishedError: it cannot be read.
    :raises OSError: it cannot be written.
    """
    partial = os.path.join(folder, f"{name_of(wanted)}.partial")
    for attempt in (1, 2):
        try:
            return _fetch(wire, wanted, folder, partial)
        except (DamagedError, WireError) as error:
            # A line that breaks half-way, or a file that was begun and is not what it seems.
            if attempt == 2 or (isinstance(error, WireError) and error.code not in ("", "again")):
                raise
            if isinstance(error, DamagedError) and os.path.exists(partial):
                os.unlink(partial)
    raise AssertionError("the second attempt returns or raises")


def _fetch(wire: Wire, wanted: Listed, folder: str, partial: str) -> tuple[Stored, str]:
    begun = _begun(partial, wanted)
    asked = {"range": f"bytes={begun}-", "if-match": f'"{wanted.etag}"'} if begun else {}
    try:
        answer = wire.call("GET", wanted.key, headers=asked)
    except WireError as error:
        if error.code in _MISSING:
            raise VanishedError(wanted.key) from error
        if begun and error.code in ("PreconditionFailed", "412", "InvalidRange", "416"):
            os.unlink(partial)
            raise WireError("it was changed while it was fetched", "again") from error
        raise
    headers = answer.headers
    if begun and answer.status != 206:
        begun = 0
    told = headers.get("etag", "").strip('"')
    if begun and (told != wanted.etag or hides_md5(headers)):
        # Whether what is there belongs to it could not be proven in the end.
        wire.close()
        os.unlink(partial)
        return _fetch(wire, wanted, folder, partial)
    etag = told or wanted.etag
    sums = new_sums(etag)
    flags = os.O_RDWR | os.O_CREAT | (0 if begun else os.O_TRUNC)
    with open(os.open(partial, flags, 0o600), "r+b", buffering=0) as stream:
        buffer = memoryview(bytearray(min(_BUFFER, max(wanted.size, 4096))))
        while begun and (read := stream.readinto(buffer)):
            sums.add(buffer[:read])
        _receive(answer, stream, buffer, sums)
        size = _length(headers, answer.status)
        if size is not None and sums.size != size:
            raise WireError(f"{sums.size} of {size} bytes came", "again")
        if not begun:
            _prove(headers, etag, sums)
        mtime = _time(headers, wanted)
        os.utime(stream.fileno(), (mtime, mtime))
    if begun and not _is(partial, wanted, sums):
        os.unlink(partial)
        return _fetch(wire, wanted, folder, partial)
    content = partial.removesuffix(".partial")
    os.rename(partial, content)
    return (
        Stored(
            *(wanted.key, sums.size, etag, mtime, sums.sha256.hexdigest(), path_of(wanted.key)),
            kept_headers(headers),
        ),
        content,
    )


def _receive(answer: Answer, stream: Any, buffer: memoryview, sums: Sums) -> None:
    while read := read_into(answer.body, buffer):
        piece = buffer[:read]
        sums.add(piece)
        # An unbuffered file may take less than it is given.
        while piece:
            piece = piece[stream.write(piece) :]


def _begun(partial: str, wanted: Listed) -> int:
    """Return how much of a large object is there from a run before."""
    size = wanted.size
    if size < _RESUME or not (is_md5(wanted.etag) or part_sizes(wanted.etag, size)):
        return 0
    try:
        there = os.path.getsize(partial)
    except OSError:
        return 0
    return there if 0 < there < size else 0


def _length(headers: Mapping[str, str], status: int) -> int | None:
    """Return how large the whole object is, by what the store says."""
    if status == 206:
        total = headers.get("content-range", "").rpartition("/")[2]
        return int(total) if total.isdigit() else None
    told = headers.get("content-length", "")
    return int(told) if told.isdigit() else None


def _prove(headers: Mapping[str, str], etag: str, sums: Sums) -> None:
    if sums.md5 is None or hides_md5(headers) or sums.md5.hexdigest() == etag:
        return
    raise DamagedError(
        f"its content does not match its etag {etag}: the MD5 of what comes is "
        f"{sums.md5.hexdigest()}"
    )


def _is(path: str, wanted: Listed, sums: Sums) -> bool:
    """Return whether a file that was gone on with is the object, from its first byte on."""
    if sums.md5 is not None:
        return bool(sums.md5.hexdigest() == wanted.etag)
    return make_etag(path, wanted)


def _time(headers: Mapping[str, str], wanted: Listed) -> int:
    """Return when the object was put: the content is that of the answer, not of the list."""
    etag = headers.get("etag", "").strip('"')
    if etag == wanted.etag:
        return wanted.mtime
    try:
        return int(parsedate_to_datetime(headers.get("last-modified", "")).timestamp())
    except (TypeError, ValueError):
        return wanted.mtime


def look(wire: Wire, wanted: Listed) -> tuple[str, dict[str, str]]:
    """Return the etag and the kept headers of an object as they are now.

    :raises WireError, VanishedError: it cannot be looked at.
    """
    headers = head(wire, wanted)
    return etag_of(headers, wanted), kept_headers(headers)


def etag_of(headers: Mapping[str, str], wanted: Listed) -> str:
    """Return the etag of an answer, or that of the list where it has none."""
    return headers.get("etag", "").strip('"') or wanted.etag


def head(wire: Wire, wanted: Listed) -> Mapping[str, str]:
    """Return the headers of an object as they are now.

    :raises WireError, VanishedError: it cannot be looked at.
    """
    try:
        answer = wire.call("HEAD", wanted.key)
    except WireError as error:
        if error.code in _MISSING:
            raise VanishedError(wanted.key) from error
        raise
    answer.body.read()
    return answer.headers
