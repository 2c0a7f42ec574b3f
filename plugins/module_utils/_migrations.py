# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Migrations of the database: what is pending, and what it already holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from . import _one_off
from ._docker import Container, DockerError
from ._engine import Engine

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
# The order in which they were applied; one that failed or was taken back is not there.
_APPLIED = (
    "SELECT migration_name FROM _prisma_migrations "
    "WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL ORDER BY finished_at, migration_name"
)


class MigrationError(Exception):
    """A migration that cannot run or did not pass; the text is a whole sentence."""


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


def applied(engine: Engine, database: Container | None, name: str) -> list[str] | None:
    """Return the migrations that the database holds, oldest first; nothing where nobody can tell."""
    if database is None or not database.running:
        return None
    user = database.environment.get("POSTGRES_USER") or "postgres"
    psql = ["psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", name, "-c"]
    try:
        rc, output = engine.execute(database.id, [*psql, _APPLIED])
    except DockerError:
        return None
    if rc != 0:
        return [] if "does not exist" in output else None
    return [line.strip() for line in output.splitlines() if line.strip()]
