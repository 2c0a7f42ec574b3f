# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The ``.env`` file of a compose project: read as compose reads it, changed key by key.

Whatever is not asked for stays as it is: comments, order, quoting. No error
text and no fingerprint of this module holds a value, for they are secrets.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# What every reader of such a file (compose, docker --env-file, a shell) takes the same way.
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~^-]+\Z")
_VARIABLE = re.compile(r"\$(?:\{|[A-Za-z_])")
_ASSIGNMENT = re.compile(r"(?:export[ \t]+)?(?P<key>[^=:\s]+)[ \t]*(?P<sign>[=:])[ \t]*")
_INHERITED = re.compile(r"(?:export[ \t]+)?(?P<key>[^=:\s]+)[ \t]*(?=\n|\Z)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class EnvFileError(Exception):
    """A file that compose would not read, or a key that it could not hold; without values."""


@dataclass(frozen=True)
class Entry:
    """One assignment. The value is unknown where it refers to another variable."""

    key: str
    value: str | None
    start: int
    end: int
    line: int


@dataclass(frozen=True)
class Merged:
    """The outcome of a merge: the new text, and the names of what differs."""

    text: str
    added: list[str]
    changed: list[str]
    removed: list[str]


def parse(text: str, name: str = ".env") -> list[Entry]:
    """Return the assignments of a file in order."""
    text = text.replace("\r\n", "\n")
    entries: list[Entry] = []
    position = 1 if text.startswith("\ufeff") else 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        line = text.count("\n", 0, position) + 1
        if text[position] == "#":
            position = _end_of_line(text, position)
            continue
        match = _ASSIGNMENT.match(text, position)
        if match:
            value, end = _value(text, match.end(), name, line)
        else:
            match = _INHERITED.match(text, position)
            if not match:
                raise EnvFileError(
                    f"{name} line {line} is not an assignment; write NAME=value, with quotes "
                    "around a value of several words."
                )
            value, end = None, match.end()
        entries.append(Entry(match["key"], value, position, end, line))
        position = end
    return entries


def _end_of_line(text: str, position: int) -> int:
    found = text.find("\n", position)
    return len(text) if found < 0 else found


def _value(text: str, position: int, name: str, line: int) -> tuple[str | None, int]:
    """Return the value that starts at a position, and where the assignment ends."""
    quote = text[position : position + 1]
    if quote not in ("'", '"'):
        end = _end_of_line(text, position)
        raw = text[position:end]
        comment = re.search(r"\s#", raw)
        if comment:
            raw = raw[: comment.start()]
        raw = raw.strip()
        return (None if _VARIABLE.search(raw.replace("$$", "")) else raw.replace("$$", "$")), end
    closing = position + 1
    while closing < len(text) and text[closing] != quote:
        closing += 2 if text[closing] == "\\" and text[closing + 1 : closing + 2] else 1
    if closing >= len(text):
        raise EnvFileError(f"{name} line {line} opens a quote ({quote}) that is never closed.")
    end = _end_of_line(text, closing)
    rest = text[closing + 1 : end].strip()
    if rest and not rest.startswith("#"):
        raise EnvFileError(
            f"{name} line {text.count(chr(10), 0, closing) + 1} goes on after the closing quote."
        )
    raw = text[position + 1 : closing]
    if quote == "'":
        return raw.replace("\\'", "'"), end
    return _double_quoted(raw), end


def _double_quoted(raw: str) -> str | None:
    value: list[str] = []
    position = 0
    while position < len(raw):
        two = raw[position : position + 2]
        if two[0] == "\\" and two[1:] in _ESCAPES:
            value.append(_ESCAPES[two[1]])
            position += 2
        elif two == "$$":
            value.append("$")
            position += 2
        elif _VARIABLE.match(two):
            return None
        else:
            value.append(two[0])
            position += 1
    return "".join(value)


def values(text: str, name: str = ".env") -> dict[str, str | None]:
    """Return the value of each key; the last assignment counts, as in compose."""
    return {entry.key: entry.value for entry in parse(text, name)}


def quote(value: str) -> str:
    """Return a value as it has to stand in the file so that compose reads exactly it."""
    if _PLAIN.match(value):
        return value
    if "'" not in value and "\\" not in value and "\r" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'


def wanted(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what an operator gave as text, or say which key cannot be one."""
    result: dict[str, str] = {}
    for key, value in given.items():
        if not _KEY.match(str(key)):
            raise EnvFileError(
                f"{key!r} cannot be the name of a variable; use letters, digits and underscores."
            )
        if isinstance(value, bool):
            result[key] = "true" if value else "false"
        elif isinstance(value, (str, int, float)):
            result[key] = str(value)
        else:
            kind = "empty" if value is None else f"a {type(value).__name__}"
            raise EnvFileError(
                f"The value of {key} is {kind}, and a variable holds one text; "
                "give '' for an empty one, or name the key among those to remove."
            )
    return result


def merge(
    text: str, keys: Mapping[str, str], remove: Iterable[str] = (), name: str = ".env"
) -> Merged:
    """Set some keys, remove others, and leave the rest of the text alone."""
    text = text.replace("\r\n", "\n")
    entries = parse(text, name)
    present = {entry.key: entry for entry in entries}
    gone = set(remove) - set(keys)
    added = sorted(key for key in keys if key not in present)
    changed = sorted(
        key for key, value in keys.items() if key in present and present[key].value != value
    )
    removed = sorted(key for key in gone if key in present)
    for entry in sorted(entries, key=lambda one: one.start, reverse=True):
        if entry.key in gone:
            text = text[: entry.start] + text[entry.end :].removeprefix("\n")
        elif entry.key in changed:
            if present[entry.key] is entry:
                assignment = f"{entry.key}={quote(keys[entry.key])}"
                text = text[: entry.start] + assignment + text[entry.end :]
            else:
                # An earlier assignment of the same key would only mislead a reader.
                text = text[: entry.start] + text[entry.end :].removeprefix("\n")
    if added and text and not text.endswith("\n"):
        text += "\n"
    text += "".join(f"{key}={quote(keys[key])}\n" for key in added)
    return Merged(text, added, changed, removed)


def replaced(text: str, new: str, name: str = ".env") -> Merged:
    """Put another whole text in place, and tell by name what differs."""
    before, after = values(text, name), values(new, name)
    return Merged(
        new,
        sorted(after.keys() - before.keys()),
        sorted(key for key in after.keys() & before.keys() if after[key] != before[key]),
        sorted(before.keys() - after.keys()),
    )


def fingerprint(text: str, name: str = ".env") -> dict[str, Any]:
    """Return what a record may say about the file: its hash and the names of its keys."""
    return {
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "keys": sorted({entry.key for entry in parse(text, name)}),
    }
