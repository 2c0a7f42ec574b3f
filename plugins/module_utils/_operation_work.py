# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a module does with the lock while it works: hold it, beat, ask before each step.

A module may outlive its controller by minutes, and meet a server on which
somebody else has gone on. So it asks before every step whether the lock is still
that of its operation.
"""

from __future__ import annotations

import json
import os
import pwd
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from . import _journal, _lock_file, _operation, _operation_rules, _remains
from ._lock_file import LockFile, OperationError, Record

# A process that was just ended, or one that only looks, gives the kernel lock back by then.
_JOIN_WAIT = 10.0
_BEAT = 10.0
# Only for tests: the step before which a module waits, once, until the file is removed.
_STOP_AT = "CARRENTAL_OPS_STOP_AT"
_STOP_FILE = "stopped-at"
_STOP_WAIT = 600.0


class Operation:
    """An operation without a directory of state: nothing is locked and nothing is written."""

    id = ""

    def step(self, name: str, **facts: Any) -> None:
        """Go on to a step."""


class Joined(Operation):
    """An operation that this process works for, and whose kernel lock it holds."""

    def __init__(
        self,
        state_dir: str,
        file: LockFile,
        record: Record,
        *,
        module: str,
        mask: Callable[[Any], Any],
        warn: Callable[[str], None],
    ) -> None:
        self.id = record.id
        self.state_dir = state_dir
        self.module = module
        self._file = file
        self._record = replace(record, pid=os.getpid())
        self._mask = mask
        self._warn = warn
        self._mutex = threading.Lock()
        self._over = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def begin(self) -> None:
        """Show that somebody works, and go on showing it."""
        self._write()
        self._thread.start()

    def end(self) -> None:
        """Leave the record as the time between two modules needs it."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._mutex:
            if self._holder() == self.id:
                self._file.write(replace(self._record, pid=0, heartbeat=time.time()))

    def step(self, name: str, **facts: Any) -> None:
        """Go on to a step, if the lock is still that of this operation.

        :raises OperationError: when it is not.
        """
        self._require(name)
        with self._mutex:
            self._record = replace(self._record, step=_lock_file.clean(name))
        self._write()
        line = {"step": name, "module": self.module, "pid": os.getpid(), **facts}
        try:
            _journal.append(self.state_dir, self.id, "step", **self._mask(line))
        except OSError as error:
            # The journal only explains; to stop half-way for want of it would be worse.
            self._warn(f"The journal of {self.id} cannot be written: {error.strerror}.")
        if os.environ.get(_STOP_AT) == name and not self._stopped:
            self._stopped = True
            self._stop_here(name)
            self._require(name)

    def _holder(self) -> str:
        record = self._file.read() if self._file.is_in_place() else None
        return record.id if record else ""

    def _require(self, step: str) -> None:
        with self._mutex:
            holder = self._holder()
        if holder == self.id:
            return
        raise lost(self.state_dir, self.id, step)

    def _write(self) -> None:
        with self._mutex:
            if self._holder() == self.id:
                self._file.write(replace(self._record, heartbeat=time.time()))

    def _beat(self) -> None:
        while not self._over.wait(min(self._record.ttl / 4, _BEAT)):
            try:
                self._write()
            except OSError:
                # The next beat tries again; the kernel lock protects meanwhile.
                continue

    def _stop_here(self, name: str) -> None:
        path = os.path.join(self.state_dir, _STOP_FILE)
        with open(f"{path}.new", "w", encoding="utf-8") as stream:
            json.dump({"step": name, "pid": os.getpid()}, stream)
        os.replace(f"{path}.new", path)
        try:
            _lock_file.until(lambda: not os.path.exists(path), _STOP_WAIT)
        finally:
            if os.path.exists(path):
                os.unlink(path)


def lost(state_dir: str, operation: str, step: str) -> OperationError:
    """Return the error of an operation that has the lock no more."""
    path = _operation_rules.path(
        state_dir, _operation_rules.lane(_operation_rules.kind_of(operation))
    )
    record = _lock_file.peek(path)
    now = _operation.describe(record) if record else "nobody has it"
    return OperationError(
        f"{operation} does not have the lock any more: {now}. It was stopped before "
        f'"{step}"; see playbooks/lock.yml, and run it again when production is free.'
    )


@contextmanager
def join(
    state_dir: str,
    operation: str,
    module: str,
    *,
    mask: Callable[[Any], Any] = lambda data: data,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[Operation]:
    """Work for an operation that has the lock.

    :raises OperationError: when it has not, or when another process works for it.
    """
    kind = _operation_rules.kind_of(operation)
    if not kind:
        raise OperationError(
            f"{operation!r} is no id of an operation; ids look like 20261124T021500Z-deploy-ab12. "
            "Nothing was changed."
        )
    path = _operation_rules.path(state_dir, _operation_rules.lane(kind))
    try:
        file = LockFile(path, create=False)
    except OSError as error:
        raise OperationError(
            f"The lock {path} cannot be used: {error.strerror}; connect as the user that deploys. "
            f"{module} changed nothing."
        ) from error
    before = os.environ.get(_remains.VARIABLE)
    try:
        if not file.lock(_JOIN_WAIT):
            record = file.read()
            who = _remains.name_of(record.pid) if record and record.pid else "unknown"
            raise OperationError(
                f"Another process ({who}) holds the lock {path}"
                f"{': ' + _operation.describe(record) if record else ''}; {module} changed nothing."
            )
        record = file.read()
        if record is None or record.id != operation:
            raise lost(state_dir, operation, module)
        os.environ[_remains.VARIABLE] = operation
        joined = Joined(state_dir, file, record, module=module, mask=mask, warn=warn)
        joined.begin()
        try:
            yield joined
        finally:
            joined.end()
    finally:
        if before is None:
            os.environ.pop(_remains.VARIABLE, None)
        else:
            os.environ[_remains.VARIABLE] = before
        file.close()


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


@contextmanager
def alone(
    state_dir: str,
    kind: str,
    *,
    mask: Callable[[Any], Any] = lambda data: data,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[Operation]:
    """Work for an operation of one's own, which begins and ends with this module."""
    request = _operation.Request(
        kind,
        who=_user(),
        host=os.uname().nodename,
        origin=os.environ.get("SSH_CONNECTION", "").partition(" ")[0],
    )
    acquired = _operation.acquire(state_dir, request)
    for one in acquired.taken_over:
        warn(_operation.died(one))
    verdict, headline = "failed", ""
    try:
        with join(state_dir, acquired.id, kind, mask=mask, warn=warn) as operation:
            yield operation
        verdict = "ok"
    except SystemExit as end:
        verdict = "ok" if end.code in (None, 0) else "failed"
        raise
    except Exception as error:
        headline = str(mask(str(error)))
        raise
    finally:
        _operation.release(state_dir, acquired.id, verdict, headline)
