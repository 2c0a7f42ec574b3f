# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The journals of operations: one append-only file each, a synced line a step, the verdict last.

A journal explains; nothing is decided from it. So a line that a crash tore is
left out when it is read, and one that cannot be written stops nobody.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from typing import Any

KEEP = 200
_SUFFIX = ".jsonl"

Line = dict[str, Any]


def stamp(moment: datetime | None = None) -> str:
    """Return a moment (default: now) as it stands in a journal."""
    moment = (moment or datetime.now(timezone.utc)).astimezone(timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def directory(state_dir: str) -> str:
    """Return the directory of the journals."""
    return os.path.join(state_dir, "journal")


def path(state_dir: str, operation: str) -> str:
    """Return the file of an operation's journal."""
    return os.path.join(directory(state_dir), operation + _SUFFIX)


def _owned(handle: int, folder: str) -> None:
    if os.geteuid() == 0:
        # What root writes, the deploy user must be able to go on with.
        owner = os.stat(folder)
        os.fchown(handle, owner.st_uid, owner.st_gid)


def append(state_dir: str, operation: str, event: str, **facts: Any) -> None:
    """Add a line, on disk when this returns.

    :raises OSError: when it cannot be written.
    """
    append_file(path(state_dir, operation), state_dir, event, **facts)


def append_file(file: str, state_dir: str, event: str, /, **facts: Any) -> None:
    """Add a line to a file below the directory of state, on disk when this returns.

    :raises OSError: when it cannot be written.
    """
    folder = os.path.dirname(file)
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            owner = os.stat(state_dir)
            os.chown(folder, owner.st_uid, owner.st_gid)
    is_new = not os.path.exists(file)
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        text = json.dumps({"at": stamp(), "event": event, **facts}, ensure_ascii=False, default=str)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            # Its last line was torn; this one must not become part of it.
            text = "\n" + text
        os.write(handle, text.encode() + b"\n")
        os.fsync(handle)
        if is_new:
            _owned(handle, folder)
    finally:
        os.close(handle)
    if is_new:
        # The name is on disk only when its directory is.
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def parse(text: str) -> list[Line]:
    """Return the whole lines of a journal; what a crash tore is left out."""
    found = []
    for line in text.splitlines():
        try:
            one = json.loads(line)
        except ValueError:
            continue
        if isinstance(one, dict):
            found.append(one)
    return found


def read(state_dir: str, operation: str) -> list[Line]:
    """Return the lines of an operation's journal; none where there is no journal."""
    return read_file(path(state_dir, operation))


def read_file(file: str) -> list[Line]:
    """Return the whole lines of a file; none where there is no file."""
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            return parse(stream.read())
    except (FileNotFoundError, NotADirectoryError):
        return []


def last_step(lines: list[Line]) -> Line | None:
    """Return the last step of a journal."""
    steps = [line for line in lines if line.get("event") == "step"]
    return steps[-1] if steps else None


def ending(lines: list[Line]) -> Line | None:
    """Return the line with the verdict, if the operation came to one."""
    return lines[-1] if lines and "verdict" in lines[-1] else None


def operations(state_dir: str) -> list[str]:
    """Return the ids of the operations that have a journal, newest first."""
    try:
        names = os.listdir(directory(state_dir))
    except FileNotFoundError:
        return []
    return sorted((name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX)), reverse=True)


def prune(state_dir: str, keep: int = KEEP) -> None:
    """Remove the oldest journals beyond the ``keep`` newest ones."""
    for operation in operations(state_dir)[keep:]:
        try:
            os.unlink(path(state_dir, operation))
        except FileNotFoundError:
            continue
