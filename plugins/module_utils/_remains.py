# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What still works for an operation whose controller is gone: processes of this server.

A module puts the id of its operation into its environment. What it starts
(``docker compose``) inherits it, and outlives it when it is killed.
"""

from __future__ import annotations

import os
import signal

from ._lock_file import until

VARIABLE = "CARRENTAL_OPERATION_ID"
_PROC = "/proc"


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit() and int(name) != os.getpid()]


def tagged(operation: str) -> list[int]:
    """Return the processes that work for an operation, as far as this user may see them."""
    wanted = f"{VARIABLE}={operation}".encode()
    found = []
    for pid in _pids():
        try:
            with open(f"{_PROC}/{pid}/environ", "rb") as stream:
                if wanted in stream.read().split(b"\0"):
                    found.append(pid)
        except OSError:
            # It ended, or it is not ours.
            continue
    return sorted(found)


def has_open(pid: int, path: str) -> bool:
    """Return whether a process has a file open."""
    try:
        wanted = os.stat(path)
        names = os.listdir(f"{_PROC}/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            there = os.stat(f"{_PROC}/{pid}/fd/{name}")
        except OSError:
            continue
        if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def name_of(pid: int) -> str:
    """Return a process as people know it: its command without arguments, which may be secret."""
    try:
        with open(f"{_PROC}/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return f"{pid} ({stream.read().strip()})"
    except OSError:
        return str(pid)


def _lives(pid: int) -> bool:
    try:
        with open(f"{_PROC}/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def ask_to_end(pids: list[int], seconds: float) -> list[int]:
    """Ask processes to end, wait for them, and return those that still live. None is killed."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGTERM)
        except OSError:
            continue
    until(lambda: not any(_lives(pid) for pid in pids), seconds)
    return [pid for pid in pids if _lives(pid)]
