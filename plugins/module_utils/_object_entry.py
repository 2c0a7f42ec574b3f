# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Objects: as a store lists them, and as a copy of them is written down."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What a store keeps beside the content, and gives back with it.
KEPT_HEADERS = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
META = "x-amz-meta-"
# Below a snapshot: keys that can be paths lie where they say, the others by their hash.
TREE, ODD = "objects", "odd"
_MAX_SEGMENT, _MAX_PATH = 255, 2048
_MD5 = re.compile(r"[0-9a-f]{32}")
_MULTIPART = re.compile(r"[0-9a-f]{32}-(?P<parts>\d{1,5})")
_MIB = 1024 * 1024
# Parts as large as the usual clients make them; then the smallest whole number of MiB.
_USUAL_PARTS = (8, 16, 5, 64, 10, 15, 32, 50, 100, 128, 256, 512)


@dataclass(frozen=True)
class Listed:
    """An object as a store lists it."""

    key: str
    size: int
    etag: str
    # Seconds since 1970, whole ones: stores list no finer, or not all of them.
    mtime: int


@dataclass(frozen=True)
class Stored(Listed):
    """An object whose content lies in a copy."""

    sha256: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    # It could not be read from the store this time; this is what an earlier run has of it.
    stale: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return what an inventory says of it."""
        headers, meta = {}, {}
        for name, value in self.headers.items():
            if name.startswith(META):
                meta[name[len(META) :]] = value
            else:
                headers[name] = value
        # Key by key, for asdict copies deeply, and this is asked three times an object.
        told: dict[str, Any] = {
            "key": self.key,
            "size": self.size,
            "etag": self.etag,
            "mtime": self.mtime,
            "sha256": self.sha256,
            "path": self.path,
            "headers": headers,
            "metadata": meta,
        }
        if self.stale:
            told["stale"] = True
        return told


def stored(told: dict[str, Any]) -> Stored:
    """Return what a line of an inventory describes.

    :raises KeyError, TypeError, ValueError: it describes no object.
    """
    headers = {str(name): str(value) for name, value in told["headers"].items()}
    headers.update({META + str(name): str(value) for name, value in told["metadata"].items()})
    return Stored(
        str(told["key"]),
        int(told["size"]),
        str(told["etag"]),
        int(told["mtime"]),
        str(told["sha256"]),
        str(told["path"]),
        headers,
        bool(told.get("stale", False)),
    )


def path_of(key: str) -> str:
    """Return where an object lies below a snapshot, by its key alone."""
    segments = key.split("/")
    encoded = [segment.encode("utf-8", "surrogatepass") for segment in segments]
    fit = (
        all(
            segment not in ("", ".", "..") and "\0" not in segment and len(octets) <= _MAX_SEGMENT
            for segment, octets in zip(segments, encoded, strict=True)
        )
        and sum(map(len, encoded)) + len(encoded) <= _MAX_PATH
    )
    return f"{TREE}/{key}" if fit else odd_path(key)


def odd_path(key: str) -> str:
    """Return where an object lies that cannot lie under its key."""
    hashed = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{ODD}/{hashed}"


def name_of(one: Listed) -> str:
    """Return a name for exactly this content of an object, for a file on its way."""
    text = f"{one.key}\0{one.etag}\0{one.size}\0{one.mtime}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def is_md5(etag: str) -> bool:
    """Return whether an etag can be the MD5 of the content."""
    return bool(_MD5.fullmatch(etag))


def part_sizes(etag: str, size: int) -> list[int]:
    """Return how large the parts of an object can have been; nothing when it was put in one.

    An etag tells the number of parts and not their size. The size does not matter for
    what comes back, but the same one makes the same etag.
    """
    match = _MULTIPART.fullmatch(etag)
    parts = int(match["parts"]) if match else 0
    if parts < 1 or size < 1:
        return []
    least = -(-size // parts)
    whole = -(-least // _MIB) * _MIB
    possible = dict.fromkeys([*(usual * _MIB for usual in _USUAL_PARTS), whole, least])
    return [one for one in possible if -(-size // one) == parts]


def hides_md5(headers: Mapping[str, str]) -> bool:
    """Return whether a store encrypted with keys of which it makes etags that are no MD5."""
    return headers.get("x-amz-server-side-encryption", "") not in ("", "AES256") or any(
        name.startswith("x-amz-server-side-encryption-customer") for name in headers
    )


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those headers of an answer that belong to the object."""
    return {
        name: value
        for name, value in headers.items()
        if name in KEPT_HEADERS or name.startswith(META)
    }
