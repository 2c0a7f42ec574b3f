# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a tune remembers: the settings from before, until it has ended and after it."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _whole_file

_FOLDER = "tuning"
_PENDING, _LAST = "pending.json", "last.json"


class StateError(Exception):
    """A memory that cannot be read or written; the text is a whole sentence without its end."""


@dataclass(frozen=True)
class Pending:
    """A tune that has begun: what is needed to take it back without SQL.

    :param archive: the file of the settings as it was, packed and as base64.
    :param names: the settings that it changes.
    """

    service: str
    folder: str
    archive: str
    names: list[str]
    at: str
    operation: str = ""

    @property
    def packed(self) -> bytes:
        """The archive."""
        return base64.b64decode(self.archive)


@dataclass(frozen=True)
class Last:
    """The last tune that changed something: the way back.

    :param before: for each setting what ALTER SYSTEM had written before; nothing where it had not.
    :param extension: whether it created pg_stat_statements.
    """

    service: str
    database: str
    before: dict[str, str | None]
    at: str
    operation: str = ""
    extension: bool = False
    after: dict[str, str | None] = field(default_factory=dict)
    # Settings that this tune wanted and that waited for a restart.
    left: list[str] = field(default_factory=list)


def pending(state_dir: str) -> Pending | None:
    """Return the tune that has begun and not ended."""
    found = _load(state_dir, _PENDING)
    return Pending(**found) if found else None


def last(state_dir: str) -> Last | None:
    """Return the last tune that changed something and was not taken back."""
    found = _load(state_dir, _LAST)
    return Last(**found) if found else None


def begin(state_dir: str, what: Pending) -> None:
    """Remember how a tune is taken back, before it changes anything."""
    _write(state_dir, _PENDING, asdict(what))


def end(state_dir: str) -> None:
    """Forget a tune that has ended."""
    _remove(state_dir, _PENDING)


def keep(state_dir: str, what: Last) -> None:
    """Remember the way back from a tune that has ended."""
    _write(state_dir, _LAST, asdict(what))


def forget(state_dir: str) -> None:
    """Forget the way back, which was gone."""
    _remove(state_dir, _LAST)


def _path(state_dir: str, name: str) -> str:
    return os.path.join(state_dir, _FOLDER, name)


def _load(state_dir: str, name: str) -> dict[str, Any] | None:
    path = _path(state_dir, name)
    try:
        with open(path, encoding="utf-8") as stream:
            found: dict[str, Any] = json.load(stream)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateError(f"Cannot read {path}: {error}; look at it and remove it") from error
    return found


def _write(state_dir: str, name: str, content: dict[str, Any]) -> None:
    path = _path(state_dir, name)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        _whole_file.write(path, json.dumps(content, indent=2).encode())
    except OSError as error:
        raise StateError(
            f"Cannot write {path}: {error.strerror}; free some space, and connect as the user "
            "that deploys"
        ) from error


def _remove(state_dir: str, name: str) -> None:
    try:
        os.unlink(_path(state_dir, name))
    except FileNotFoundError:
        return
