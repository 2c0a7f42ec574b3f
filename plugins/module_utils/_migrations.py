# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Migrations of the database: what is pending, and what it already holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import _one_off
from ._docker import Container, DockerError
from ._engine import Engine

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
# The order in which they were applied. One that was begun and not ended blocks every later one.
_HELD = (
    "SELECT CASE WHEN rolled_back_at IS NOT NULL THEN 'rolled_back' "
    "WHEN finished_at IS NULL THEN 'failed' ELSE 'applied' END || ' ' || migration_name "
    "FROM _prisma_migrations ORDER BY started_at, migration_name"
)
# The way through the migration tool's own code, which tells an operator nothing.
_TRACE = re.compile(r"^\s*(\d+: |at )")


class MigrationError(Exception):
    """A migration that cannot run or did not pass; the text is a whole sentence."""


@dataclass(frozen=True)
class Held:
    """The migrations that a database holds, oldest first, and those that are in it by half.

    One that was marked as rolled back is applied anew by the next ``migrate deploy``, while
    ``migrate status`` calls the schema up to date (measured with Prisma 6.19).
    """

    applied: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return them as a record holds them."""
        return {"head": self.applied[-1] if self.applied else None, "applied": list(self.applied)}


@dataclass(frozen=True)
class Status:
    """What a status command says of the database."""

    known: bool
    pending: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def _list_after(lines: Sequence[str], marks: Sequence[str]) -> tuple[str, ...]:
    """Return the names that stand one a line below a heading."""
    found: list[str] = []
    inside = False
    for line in lines:
        if any(mark in line.lower() for mark in marks):
            inside = True
        elif inside and _NAME.match(line):
            found.append(line)
        elif inside and (line or found):
            inside = False
    return tuple(found)


def parse_status(output: str) -> Status:
    """Return what ``prisma migrate status`` says, or that it says nothing we know."""
    lines = [line.strip() for line in _one_off.lines(output)]
    text = " ".join(lines).lower()
    failed = _list_after(
        lines, ("following migration have failed", "following migrations have failed")
    )
    pending = _list_after(
        lines, ("have not yet been applied", "has not yet been applied", "not yet been applied")
    )
    if failed or pending:
        return Status(True, pending, failed)
    if "database schema is up to date" in text or "no migration found" in text:
        return Status(True)
    return Status(False)


def reason(output: str, count: int = 8) -> str:
    """Return what a failed command says of the reason, in one line."""
    lines = [line.strip() for line in _one_off.lines(output) if not _TRACE.match(line)]
    lines = [line for line in lines if line and not line.startswith("time=")]
    begin = next((at for at, line in enumerate(lines) if line.startswith("Error")), -count)
    return " ".join(lines[begin:][:count])


def parse_held(output: str) -> Held:
    """Return what the table of migrations says."""
    pairs = [line.strip().split(" ", 1) for line in output.splitlines() if " " in line.strip()]
    names = {
        wanted: tuple(name for state, name in pairs if state == wanted)
        for wanted in ("applied", "failed", "rolled_back")
    }
    back = tuple(dict.fromkeys(one for one in names["rolled_back"] if one not in names["applied"]))
    return Held(names["applied"], names["failed"], back)


def psql(database: Container, name: str) -> list[str]:
    """Return how the database is asked in its own container; the statement comes last."""
    user = database.environment.get("POSTGRES_USER") or "postgres"
    return ["psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", name, "-c"]


def held(engine: Engine, database: Container | None, name: str) -> Held | None:
    """Return the migrations that the database holds; nothing where nobody can tell."""
    if database is None or not database.running:
        return None
    try:
        rc, output = engine.execute(database.id, [*psql(database, name), _HELD])
    except DockerError:
        return None
    if rc != 0:
        return Held() if "does not exist" in output else None
    return parse_held(output)
