# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The ledger of responses: one append-only file, a synced line an attempt and its outcome."""

from __future__ import annotations

import os
import secrets
import time
from typing import Any

from . import _journal

# About a year of a server that has an incident every day.
_KEEP_SECONDS = 370 * 86400.0


class LedgerError(Exception):
    """A ledger that cannot be used; the text is a whole sentence."""


def directory(state_dir: str) -> str:
    """Return where responses leave what they have to remember."""
    return os.path.join(state_dir, "response")


def path(state_dir: str) -> str:
    """Return the file of the ledger."""
    return os.path.join(directory(state_dir), "ledger.jsonl")


def read(state_dir: str) -> list[_journal.Line]:
    """Return its lines, oldest first.

    :raises LedgerError: it is there and cannot be read: then nobody knows what was tried.
    """
    try:
        lines = _journal.read_file(path(state_dir))
    except OSError as error:
        raise LedgerError(
            f"The ledger {path(state_dir)} cannot be read: {error.strerror}; without it nobody "
            "knows what was tried before. Connect as the user that deploys."
        ) from error
    limit = time.time() - _KEEP_SECONDS
    return [line for line in lines if float(line.get("time", 0)) > limit]


def note(state_dir: str, event: str, /, **facts: Any) -> None:
    """Add a line, on disk when this returns.

    :raises LedgerError: it cannot be written. What cannot be counted must not be tried.
    """
    try:
        _journal.append_file(path(state_dir), state_dir, event, time=time.time(), **facts)
    except OSError as error:
        raise LedgerError(
            f"The ledger {path(state_dir)} cannot be written: {error.strerror}; a remedy that "
            "cannot be counted is not tried. On a full disk make room for it by hand first "
            "(a few kilobytes are enough)."
        ) from error


def new_id() -> str:
    """Return an id that ties an outcome to its attempt."""
    return secrets.token_hex(6)
