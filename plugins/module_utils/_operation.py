# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The lock of a server: who may change production now, and whose operation died.

An operation lives longer than each of its modules, and a module may outlive its
controller. So the lock has two halves: the kernel lock says that a module is at
work at this moment, the record in the file bridges the time between modules. An
operation is only taken over when both are silent: no heartbeat for its TTL, no
kernel lock, no process and no database session of it.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from . import _freeze, _journal, _lock_file, _operation_rules, _remains
from ._lock_file import DEFAULT_TTL, LockFile, Record

OperationError = _lock_file.OperationError

END_WAIT = 30.0
_POLL = 1.0
_MOMENT = 10.0
_INSTANT = 0.5
_NEXT = "playbooks/lock.yml"

# Asked for the id of an operation: what still lives of it outside of processes, in words.
Remains = Callable[[str], list[str]]


def nothing_remains(_operation: str) -> list[str]:
    """Return that nothing lives, for callers that have nobody to ask."""
    return []


@dataclass(frozen=True)
class Request:
    """Who wants the lock, and for what."""

    kind: str
    who: str = ""
    host: str = ""
    origin: str = ""
    ttl: float = DEFAULT_TTL
    # The id of the operation that may be ended for this one.
    takeover_id: str = ""


@dataclass(frozen=True)
class Blocked:
    """Why somebody who has the lock cannot be passed."""

    record: Record
    running: bool
    processes: list[int] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Acquired:
    """An operation that may begin, and those that it found dead."""

    id: str
    taken_over: list[dict[str, Any]]


def make_id(kind: str, moment: datetime | None = None) -> str:
    """Return a new id: sortable by time, with the kind for people."""
    stamp = (moment or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}-{kind}-{secrets.token_hex(2)}"


def application_name(operation: str) -> str:
    """Return the name under which an operation's database sessions are known."""
    return f"carrental-ops {operation}"


def ago(seconds: float) -> str:
    """Return a span of time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def describe(record: Record) -> str:
    """Return who has the lock, in words."""
    by = f" by {record.who}" if record.who else ""
    origin = f" from {record.origin}" if record.origin else ""
    since = f" since {record.since}" if record.since else ""
    step = f', step "{record.step}"' if record.step else ""
    name = f"{record.kind} {record.id}".strip()
    return f"{name}{by}{origin} has the lock{since}{step}, last heartbeat {ago(record.age())} ago"


def at_work(blocked: Blocked) -> str:
    """Return what works for an operation at this moment, in words."""
    record = blocked.record
    if blocked.running:
        process = f"process {_remains.name_of(record.pid)}" if record.pid else "a process"
        return f"{process} is at work for it"
    if blocked.processes:
        names = ", ".join(_remains.name_of(pid) for pid in blocked.processes)
        return f"its module is gone, and what it started still works: process {names}"
    if blocked.remains:
        return f"its module is gone, and still at work for it: {', '.join(blocked.remains)}"
    left = record.ttl - record.age()
    if left <= 0:
        return "nothing works for it; the next operation can take it over"
    return f"nothing works for it now; if it stays silent it can be taken over in {ago(left)}"


def refusal(blocked: Blocked, request: Request) -> str:
    """Return why the lock cannot be had now, and what to do."""
    record = blocked.record
    ends, seconds = "", 600
    if not (blocked.running or blocked.processes or blocked.remains):
        ends = f", or if it died, {_NEXT} -e lock_unlock={record.id}"
        seconds = math.ceil(max(record.ttl - record.age(), 0)) + 10
    if record.kind in _operation_rules.rule(request.kind).ends:
        ends = f", or end it with -e operation_takeover={record.id}"
    return (
        f"{describe(record)}; {at_work(blocked)}. Wait for it (-e operation_wait={seconds}){ends}; "
        f"{_NEXT} shows it. Nothing was changed."
    )


@contextmanager
def directory(state_dir: str) -> Iterator[None]:
    """Say in one sentence that the directory of state cannot be used."""
    try:
        yield
    except OSError as error:
        raise OperationError(
            f"The lock in {state_dir} cannot be used: {error.strerror}"
            f"{' (' + str(error.filename) + ')' if error.filename else ''}; run "
            "playbooks/bootstrap.yml, and connect as the user that deploys. Nothing was changed."
        ) from error


def _make_directory(state_dir: str) -> None:
    if os.path.isdir(state_dir):
        return
    try:
        os.mkdir(state_dir, 0o700)
    except FileExistsError:
        # Another operation begins at the same time.
        return
    if os.geteuid() == 0:
        owner = os.stat(os.path.dirname(state_dir.rstrip("/")))
        os.chown(state_dir, owner.st_uid, owner.st_gid)


def _judge(record: Record, running: bool, request: Request, remains: Remains) -> Blocked | None:
    """Return what protects an operation that has the lock; nothing if it is dead."""
    if running:
        return Blocked(record, True)
    processes = _remains.tagged(record.id)
    if processes:
        return Blocked(record, False, processes)
    if record.age() < record.ttl and not _may_end(record, request):
        return Blocked(record, False)
    sessions = remains(record.id)
    return Blocked(record, False, [], sessions) if sessions else None


def _may_end(record: Record, request: Request) -> bool:
    return (
        bool(request.takeover_id)
        and record.id == request.takeover_id
        and record.kind in _operation_rules.rule(request.kind).ends
    )


def _require(state_dir: str, request: Request) -> None:
    """Refuse what is no lock for anybody at any time."""
    if not _operation_rules.is_kind(request.kind):
        raise OperationError(
            f"{request.kind!r} is no kind of operation; it is a word like deploy. "
            "Nothing was changed."
        )
    if request.ttl <= 0:
        raise OperationError(f"ttl is {request.ttl:g}; give seconds above 0. Nothing was changed.")
    if not _operation_rules.rule(request.kind).freezes:
        return
    frozen = _freeze.load(state_dir)
    if frozen:
        by = f" by {frozen.who}" if frozen.who else ""
        raise OperationError(
            f"Frozen{by} since {frozen.since} until {frozen.until}: {frozen.reason}. No "
            f"{request.kind} is begun before; to end the freeze: {_NEXT} -e lock_thaw=true. "
            "Nothing was changed.",
            freeze=asdict(frozen),
        )


def blocked_now(state_dir: str, request: Request, remains: Remains) -> Blocked | None:
    """Return who is in the way, by looking alone: nothing is locked or written.

    :raises OperationError: when there is a freeze.
    """
    with directory(state_dir):
        _require(state_dir, request)
        for name in _operation_rules.lanes_against(request.kind):
            path = _operation_rules.path(state_dir, name)
            record = _lock_file.peek(path)
            if record and _operation_rules.exclude(request.kind, record.kind):
                blocked = _judge(record, is_running(record, path), request, remains)
                if blocked:
                    return blocked
        return None


def is_running(record: Record, path: str) -> bool:
    """Return whether the process that a record names has its file open: no lock is touched."""
    return bool(record.pid) and _remains.has_open(record.pid, path)


def _dead(state_dir: str, record: Record) -> dict[str, Any]:
    """Return whose operation died, and where."""
    lines = _journal.read(state_dir, record.id) if _operation_rules.kind_of(record.id) else []
    step = _journal.last_step(lines)
    return {
        "id": record.id,
        "kind": record.kind,
        "who": record.who,
        "origin": record.origin,
        "since": record.since,
        "step": step["step"] if step else record.step,
        "died_at": lines[-1]["at"] if lines else record.as_dict()["heartbeat"],
    }


def died(dead: dict[str, Any]) -> str:
    """Return in words whose operation was found dead, and where."""
    by = f" by {dead['who']}" if dead["who"] else ""
    where = f'at step "{dead["step"]}"' if dead["step"] else "before its first step"
    return f"{dead['kind']} {dead['id']}{by} died {where} ({dead['died_at']}); its lock was taken."


def _close(state_dir: str, record: Record, event: str, **facts: Any) -> None:
    """End the journal of an operation that did not come to its end."""
    if _operation_rules.kind_of(record.id):
        # That a journal cannot be written is told by the operation that goes on.
        _try_append(state_dir, record.id, event, **facts, verdict="unknown")


def _try_append(state_dir: str, operation: str, event: str, **facts: Any) -> str:
    """Write a line of a journal, and return why it could not be written."""
    try:
        _journal.append(state_dir, operation, event, **facts)
    except OSError as error:
        return f"The journal of {operation} cannot be written: {error.strerror}."
    return ""


def _attempt(state_dir: str, request: Request, remains: Remains) -> Acquired | Blocked:
    """Take the lock if it can be had at this moment."""
    files: list[LockFile] = []
    stale: list[tuple[LockFile, Record]] = []
    try:
        for name in _operation_rules.lanes_against(request.kind):
            file = LockFile(_operation_rules.path(state_dir, name))
            files.append(file)
            free = file.try_lock()
            record = file.read()
            if record is None and not free:
                # It was just released, and its process is about to let go.
                free = file.lock(_INSTANT)
                record = file.read()
            if record is None:
                if free:
                    continue
                record = Record(id="", kind="A process", heartbeat=time.time())
            if not _operation_rules.exclude(request.kind, record.kind):
                continue
            blocked = _judge(record, not free, request, remains)
            if blocked:
                return blocked
            stale.append((file, record))
        own = make_id(request.kind)
        taken_over = []
        for file, record in stale:
            taken_over.append(_dead(state_dir, record))
            _close(state_dir, record, "taken over", by=own, who=request.who)
            file.write(None, sync=True)
        now = datetime.now(timezone.utc)
        begun = Record(
            id=own,
            kind=request.kind,
            who=_lock_file.clean(request.who),
            host=_lock_file.clean(request.host),
            origin=_lock_file.clean(request.origin),
            since=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            heartbeat=now.timestamp(),
            ttl=request.ttl,
        )
        facts = {key: getattr(begun, key) for key in ("kind", "who", "host", "origin")}
        _try_append(state_dir, own, "acquired", **facts, taken_over=taken_over)
        files[0].write(begun, sync=True)
        _journal.prune(state_dir)
        return Acquired(own, taken_over)
    finally:
        for file in files:
            file.close()


def acquire(
    state_dir: str,
    request: Request,
    *,
    wait: float = 0,
    remains: Remains = nothing_remains,
    end_wait: float = END_WAIT,
) -> Acquired:
    """Begin an operation, or say who is in the way."""
    deadline = time.monotonic() + wait
    asked = False
    with directory(state_dir):
        _make_directory(state_dir)
        while True:
            _require(state_dir, request)
            with _lock_file.gate(state_dir):
                outcome = _attempt(state_dir, request, remains)
            if isinstance(outcome, Acquired):
                return outcome
            if _may_end(outcome.record, request) and not asked:
                asked = True
                _end(outcome, end_wait)
                # The kernel takes a moment to give back the lock of a process that ended.
                deadline = max(deadline, time.monotonic() + _MOMENT)
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise OperationError(refusal(outcome, request), holder=outcome.record.as_dict())
            time.sleep(min(_POLL, left))


def _end(blocked: Blocked, seconds: float) -> None:
    """Ask what works for an operation to end, because another one was given its id."""
    pids = [blocked.record.pid] if blocked.running and blocked.record.pid else []
    pids += blocked.processes
    living = _remains.ask_to_end(pids, seconds)
    if living:
        names = ", ".join(_remains.name_of(pid) for pid in living)
        raise OperationError(
            f"{describe(blocked.record)}. It was asked to end, and {ago(seconds)} later process "
            f"{names} still works. Wait for it, or end it by hand and run the same command again: "
            f"kill -KILL {' '.join(str(pid) for pid in living)}. Nothing was changed.",
            holder=blocked.record.as_dict(),
        )


@contextmanager
def _holding(state_dir: str, operation: str) -> Iterator[LockFile | None]:
    """Hold the kernel lock of the file that an operation has; nothing if it has none."""
    for name in _operation_rules.lanes():
        path = _operation_rules.path(state_dir, name)
        record = _lock_file.peek(path)
        if record is None or record.id != operation:
            continue
        file = LockFile(path)
        try:
            if not file.lock(_MOMENT):
                at_work = _remains.name_of(record.pid) if record.pid else "of it"
                raise OperationError(
                    f"{describe(record)}, and process {at_work} is at work for it. Wait for it, or "
                    f"end it{f': kill {record.pid}' if record.pid else ''}. Nothing was changed."
                )
            record = file.read()
            if record is not None and record.id == operation:
                yield file
                return
        finally:
            file.close()
    yield None


def release(state_dir: str, operation: str, verdict: str, headline: str = "") -> bool:
    """End an operation with its verdict; return whether it still had the lock."""
    with directory(state_dir), _holding(state_dir, operation) as file:
        if file is None:
            return False
        _try_append(state_dir, operation, "ended", verdict=verdict, headline=headline)
        file.write(None, sync=True)
        return True


def unlock(
    state_dir: str,
    operation: str,
    who: str,
    *,
    remains: Remains = nothing_remains,
    write: bool = True,
) -> bool:
    """Take the lock from an operation by its exact id; return whether it had it.

    What still works for it is not stopped by this, so then it is refused.
    """
    with directory(state_dir), _holding(state_dir, operation) as file:
        record = file.read() if file else None
        if file is None or record is None:
            return False
        processes = _remains.tagged(operation)
        if processes:
            names = ", ".join(_remains.name_of(pid) for pid in processes)
            raise OperationError(
                f"{describe(record)}, and what it started still works: process {names}. Wait "
                f"for it, or end it: kill {' '.join(map(str, processes))}. Nothing was changed."
            )
        left = remains(operation)
        if left:
            raise OperationError(
                f"{describe(record)}, and what it left still works: {', '.join(left)}. Wait for "
                "it, or end it by hand. Nothing was changed."
            )
        if write:
            _close(state_dir, record, "unlocked", who=who)
            file.write(None, sync=True)
        return True


def freeze_now(state_dir: str) -> _freeze.Freeze | None:
    """Return the freeze in force."""
    with directory(state_dir):
        return _freeze.load(state_dir)


def freeze(state_dir: str, wanted: _freeze.Freeze) -> None:
    """Put a freeze in force."""
    with directory(state_dir):
        _make_directory(state_dir)
        _freeze.save(state_dir, wanted)


def thaw(state_dir: str, *, write: bool = True) -> bool:
    """End a freeze, also one that cannot be read; return whether there was one."""
    with directory(state_dir):
        found = _freeze.exists(state_dir)
        if found and write:
            _freeze.remove(state_dir)
        return found
