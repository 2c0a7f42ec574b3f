# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The inventory of a copy: one JSON document, written and read line by line.

The first line says what it is an inventory of, the last what it amounts to and whether
it is complete; in between stands one object a line, sorted by key. A file that was cut
has no last line, and is no inventory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

from ._object_entry import Stored, stored

NAME = "inventory.json"
_FORMAT = 1


class InventoryError(Exception):
    """An inventory cannot be used; the text is a whole sentence."""


@dataclass
class Summary:
    """What the first and the last line say."""

    id: str
    bucket: str
    at: str
    objects: int = 0
    bytes: int = 0
    complete: bool = False
    failed: list[dict[str, str]] = field(default_factory=list)


def write(folder: str, head: Summary, objects: Iterable[Stored]) -> Summary:
    """Write an inventory into a folder, with its checksum beside it."""
    path = os.path.join(folder, NAME)
    digest = hashlib.sha256()
    with open(path, "wb", opener=_private) as stream:

        def line(text: str) -> None:
            octets = text.encode() + b"\n"
            digest.update(octets)
            stream.write(octets)

        first = {"format": _FORMAT, "id": head.id, "bucket": head.bucket, "at": head.at}
        line(json.dumps(first)[:-1] + ', "objects": [')
        comma = ""
        for one in objects:
            # The comma leads, for which one is the last is not known before.
            line(comma + json.dumps(one.as_dict()))
            comma = ","
            head.objects += 1
            head.bytes += one.size
        last = {
            "count": head.objects,
            "bytes": head.bytes,
            "complete": head.complete,
            "failed": head.failed,
        }
        line("], " + json.dumps(last)[1:])
        stream.flush()
        os.fsync(stream.fileno())
    with open(f"{path}.sha256", "w", encoding="ascii", opener=_private) as stream_of_sum:
        stream_of_sum.write(f"{digest.hexdigest()}  {NAME}\n")
        stream_of_sum.flush()
        os.fsync(stream_of_sum.fileno())
    return head


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def summary(folder: str) -> Summary:
    """Return what an inventory amounts to, from its first and its last line.

    :raises InventoryError: there is none, or it was cut.
    """
    path = os.path.join(folder, NAME)
    try:
        with open(path, "rb") as stream:
            first = json.loads(stream.readline().rstrip().removesuffix(b"[") + b"[]}")
            last = json.loads(b"{" + _last_line(stream).removeprefix(b"], "))
        if first["format"] != _FORMAT:
            raise InventoryError(
                f"{path} has format {first['format']}, and this version of the collection reads "
                f"{_FORMAT}; use the one that wrote it."
            )
        return Summary(
            str(first["id"]),
            str(first["bucket"]),
            str(first["at"]),
            int(last["count"]),
            int(last["bytes"]),
            bool(last["complete"]),
            list(last["failed"]),
        )
    except OSError as error:
        raise InventoryError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InventoryError(f"{path} is no whole inventory; it was cut or changed.") from error


def _last_line(stream: Any) -> bytes:
    end = stream.seek(0, os.SEEK_END)
    content, size = b"", 4096
    # The list of what failed can be long.
    while content.count(b"\n") < 2 and len(content) < end:
        size = min(size * 4, end)
        stream.seek(end - size)
        content = stream.read(size)
    return bytes(content.rstrip(b"\n").rpartition(b"\n")[2])


def read(folder: str) -> Generator[Stored, None, None]:
    """Yield the objects of an inventory, sorted by key.

    :raises InventoryError: a line is none; what it said before may be used.
    """
    path = os.path.join(folder, NAME)
    try:
        with open(path, encoding="utf-8") as stream:
            next(stream, "")
            for line in stream:
                if line.startswith("]"):
                    return
                yield stored(json.loads(line.lstrip(",")))
    except OSError as error:
        raise InventoryError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InventoryError(f"{path} is no whole inventory; it was cut or changed.") from error
    raise InventoryError(f"{path} is no whole inventory; it was cut or changed.")


def checked(folder: str) -> bool:
    """Return whether an inventory is the one that was written, by its checksum."""
    path = os.path.join(folder, NAME)
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while piece := stream.read(1024 * 1024):
                digest.update(piece)
        with open(f"{path}.sha256", encoding="ascii") as stream_of_sum:
            return stream_of_sum.read().split()[:1] == [digest.hexdigest()]
    except (OSError, UnicodeDecodeError):
        return False
