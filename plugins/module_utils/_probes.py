# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Run probes at once, each in a process of its own, and be back before the deadline.

A thread that hangs in a C library, in a name lookup or on a dead file system
keeps Python from exiting. A process is killed, with everything it started.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils._checks import FAIL, Check, Subject

# More than any honest probe returns; a service must not fill our memory.
MAX_BYTES = 512 * 1024
_PARALLEL = 32
# How long the end of a killed process is waited for. One that sleeps in the
# kernel (a dead network disk) dies later, without us.
_REAP_SECONDS = 0.2


@dataclass(frozen=True)
class Probe:
    """Work that returns checks; ``target`` says in words what it talks to."""

    subject: Subject
    check: str
    target: str
    run: Callable[[], list[Check]]
    hint: str = ""
    # What it means when the probe itself does not come back; the text of the service otherwise.
    summary: str = ""

    def failed(self, detail: str, **evidence: Any) -> Check:
        """The probe as such did not work."""
        if self.summary:
            return self.subject.says(self.check, FAIL, self.summary, detail, **evidence)
        return self.subject.down(self.check, detail, **evidence)


@dataclass
class _Child:
    number: int
    pid: int
    ends: float
    answer: bytearray = field(default_factory=bytearray)


def run_probes(
    probes: Sequence[Probe],
    probe_timeout: float,
    deadline: float,
    max_bytes: int = MAX_BYTES,
) -> list[Check]:
    """Run all probes and return their checks in the order of the probes.

    :param probe_timeout: seconds that one probe may take.
    :param deadline: seconds that all of them may take together.
    """
    end = time.monotonic() + deadline
    results: dict[int, list[Check]] = {}
    waiting = deque(range(len(probes)))
    running: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < _PARALLEL and time.monotonic() < end:
                    number = waiting.popleft()
                    reader, pid = _start(probes[number], probe_timeout)
                    selector.register(reader, selectors.EVENT_READ)
                    ends = min(time.monotonic() + probe_timeout, end)
                    running[reader] = _Child(number, pid, ends)
                if not running:
                    break
                pause = min(child.ends for child in running.values()) - time.monotonic()
                done = set()
                for key, _events in selector.select(max(pause, 0)):
                    chunk = os.read(key.fd, 65536)
                    running[key.fd].answer += chunk
                    if not chunk or len(running[key.fd].answer) > max_bytes:
                        done.add(key.fd)
                now = time.monotonic()
                for reader in list(running):
                    child = running[reader]
                    if reader not in done and now < child.ends:
                        continue
                    probe = probes[child.number]
                    if reader in done:
                        results[child.number] = _read(probe, bytes(child.answer), max_bytes)
                    else:
                        results[child.number] = [_late(probe, probe_timeout)]
                    selector.unregister(reader)
                    os.close(reader)
                    del running[reader]
                    _end(child.pid)
        finally:
            for reader, child in running.items():
                os.close(reader)
                _end(child.pid)
    for number in waiting:
        results[number] = [
            probes[number].failed(f"it was not looked at: the {deadline:g} s for all were over")
        ]
    return [check for number in sorted(results) for check in results[number]]


def _start(probe: Probe, seconds: float) -> tuple[int, int]:
    """Fork a process for a probe; return the end of its pipe and its id."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return reader, pid
    try:
        os.close(reader)
        # Its own session: killing the group takes along what the probe starts.
        os.setsid()
        # Should the parent be killed first, the kernel ends the orphan, even in C code.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + 1)
        # Ansible reads the module's output; a library that prints must not spoil it.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        sys.stdout = sys.stderr = os.fdopen(null, "w")
        data = _work(probe)
        while data:
            data = data[os.write(writer, data) :]
    finally:
        # Whatever happened: no exit handlers of the parent, no return into its stack.
        os._exit(0)


def _work(probe: Probe) -> bytes:
    started = time.monotonic()
    try:
        checks = probe.run()
        answer: dict[str, Any] = {
            "checks": [check.as_dict() for check in checks],
            "ms": (time.monotonic() - started) * 1000,
        }
        return json.dumps(answer).encode()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = (
            f"{type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})"
        )
        return json.dumps({"error": text}).encode()


def _read(probe: Probe, data: bytes, max_bytes: int) -> list[Check]:
    if len(data) > max_bytes:
        return [probe.failed(f"the check returned more than {max_bytes} bytes")]
    try:
        answer = json.loads(data)
    except ValueError:
        return [probe.failed("the process of the check died; is the host's memory full?")]
    if "error" in answer:
        return [
            probe.failed(
                f"the check of {probe.target} itself failed: {answer['error']}; report this",
            )
        ]
    checks = [Check(**found) for found in answer["checks"]]
    if len(checks) == 1 and checks[0].latency_ms is None:
        checks[0].latency_ms = round(answer["ms"], 1)
    return checks


def _late(probe: Probe, seconds: float) -> Check:
    return probe.failed(
        f"no answer from {probe.target} within {seconds:g} s"
        + (f"; {probe.hint}" if probe.hint else ""),
        timed_out=True,
        latency_ms=round(seconds * 1000, 1),
    )


def _end(pid: int) -> None:
    """Kill a process with its group, and wait for it, but not for long."""
    for target in (-pid, pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(target, signal.SIGKILL)
    until = time.monotonic() + _REAP_SECONDS
    while time.monotonic() < until:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        time.sleep(0.002)
