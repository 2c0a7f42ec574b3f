# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The file of the lock: a kernel lock for as long as a module runs, JSON for the time between.

One file holds both. It is written in place and never renamed, because a kernel
lock is on the file and not on its name; because ``cat lock`` tells who holds it;
and because a block that is there already can be written when the disk is full.
Whoever writes holds the kernel lock. The JSON fills one block that is written by
one call, so a writer that is killed leaves the old or the new one.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from typing import Any

_BLOCK = 4096
_TEXT = 150
_GATE_WAIT = 30.0
_POLL = 0.05
UNREADABLE = "unreadable"
DEFAULT_TTL = 120


class OperationError(Exception):
    """What stopped an operation, as whole sentences, and the facts that go with it."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.facts = facts


@dataclass(frozen=True)
class Record:
    """What stands in the file while an operation holds the lock."""

    id: str
    kind: str = ""
    who: str = ""
    host: str = ""
    origin: str = ""
    step: str = ""
    since: str = ""
    heartbeat: float = 0.0
    ttl: float = DEFAULT_TTL
    pid: int = 0

    def age(self) -> float:
        """Return the seconds since the last heartbeat."""
        return max(time.time() - self.heartbeat, 0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return the record with its heartbeat as people read it, and its age."""
        return {**_readable(self), "heartbeat_age": round(self.age(), 1)}


def _readable(record: Record) -> dict[str, Any]:
    moment = datetime.fromtimestamp(record.heartbeat, timezone.utc)
    return {**asdict(record), "heartbeat": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


def clean(text: str) -> str:
    """Return a text that fits into the file: printable, and not long."""
    return "".join(one if one.isprintable() else " " for one in text).strip()[:_TEXT]


def render(record: Record | None) -> bytes:
    """Return the whole content of the file."""
    data = {} if record is None else _readable(record)
    data = {key: clean(value) if isinstance(value, str) else value for key, value in data.items()}
    return json.dumps(data, ensure_ascii=False).encode().ljust(_BLOCK - 1) + b"\n"


def parse(content: bytes) -> Record | None:
    """Return what the file says.

    :raises KeyError, TypeError, ValueError: when it says nothing that can be understood.
    """
    if not content.strip():
        return None
    data = json.loads(content.decode())
    if not isinstance(data, dict):
        raise ValueError("not an object")
    if not data.get("id"):
        return None
    known = {one.name for one in fields(Record)}
    told = {key: value for key, value in data.items() if key in known}
    beat = datetime.strptime(told["heartbeat"], "%Y-%m-%dT%H:%M:%S.%fZ")
    told["heartbeat"] = beat.replace(tzinfo=timezone.utc).timestamp()
    return Record(**{**told, "ttl": float(told["ttl"]), "pid": int(told["pid"])})


class LockFile:
    """An open file of the lock."""

    def __init__(self, path: str, *, create: bool = True) -> None:
        self.path = path
        self.locked = False
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self.handle = os.open(path, flags, 0o600)
        if os.geteuid() == 0:
            owner = os.stat(os.path.dirname(path))
            os.fchown(self.handle, owner.st_uid, owner.st_gid)

    def try_lock(self) -> bool:
        """Take the kernel lock if nobody has it."""
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # Between the two calls somebody may have removed the file; a lock on it is worth nothing.
        self.locked = self.is_in_place()
        return self.locked

    def lock(self, seconds: float) -> bool:
        """Take the kernel lock, and wait for it a little."""
        return until(self.try_lock, seconds)

    def is_in_place(self) -> bool:
        """Return whether the path still leads to this file."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        here = os.fstat(self.handle)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def read(self) -> Record | None:
        """Return what the file says."""
        return _read(self.handle)

    def write(self, record: Record | None, *, sync: bool = False) -> None:
        """Say who holds the lock; nobody with ``None``. The caller holds the kernel lock."""
        os.pwrite(self.handle, render(record), 0)
        if sync:
            os.fsync(self.handle)

    def close(self) -> None:
        """Give up the kernel lock and the file."""
        self.locked = False
        os.close(self.handle)


def until(probe: Callable[[], bool], seconds: float, poll: float = _POLL) -> bool:
    """Ask until the answer is yes or the time is over; return the answer."""
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll)
    return True


def _read(handle: int) -> Record | None:
    # A reader without the kernel lock may meet a half-written block; the next look sees it whole.
    for _attempt in range(10):
        try:
            return parse(os.pread(handle, _BLOCK, 0))
        except (KeyError, TypeError, ValueError):
            time.sleep(0.02)
    # It was somebody's. Treated as held, it is taken over by the same rules.
    return Record(id=UNREADABLE, kind=UNREADABLE, heartbeat=os.fstat(handle).st_mtime)


def peek(path: str) -> Record | None:
    """Return what a file of the lock says, without touching any lock."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _read(handle)
    finally:
        os.close(handle)


@contextmanager
def gate(state_dir: str) -> Iterator[None]:
    """Let one process at a time decide who gets the lock. Held for moments only.

    It is a kernel lock on the directory itself: several files are looked at
    together, and none of them can stand for all.
    """
    handle = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def taken() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        if not until(taken, _GATE_WAIT):
            raise OperationError(
                f"Another process has been deciding about the lock in {state_dir} for "
                f"{_GATE_WAIT:g} s; look with playbooks/lock.yml and try again. "
                "Nothing was changed."
            )
        yield
    finally:
        os.close(handle)
