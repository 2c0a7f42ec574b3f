# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""How far a restore came, told from the databases of the server and from nothing else.

A restore makes a database of its own beside the live one, ``<database>_restore_<time>``, and says
in its comment how far it is. The swap renames two databases and the comment in one transaction, so
whatever is killed, and whenever, the next run finds one of a few states. The database that was
live stays as ``<database>_before_<time>``; one that did not pass is ``<database>_failed_<time>``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

LOADING, READY, SWAPPED = "loading", "ready", "swapped"
_KEY = "carrental.ops restore"
_STAMP = "%Y%m%d_%H%M%S"
# PostgreSQL cuts a name after 63 bytes.
_LONGEST = 63 - len("_restore_20261125_020000")


class StateError(Exception):
    """What the server shows is nobody's doing but a human's; the text is a whole sentence."""


@dataclass(frozen=True)
class Mark:
    """What the comment of a database says that a restore made."""

    stage: str
    backup: str
    sha256: str
    operation: str = ""
    # The database that was live before; empty where there was none.
    previous: str = ""
    # The comment that the database gets in the end.
    comment: str = ""
    rows: int = 0
    # When it was swapped in, and the checks that failed before.
    swapped_at: float = 0.0
    failing: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return it as a comment."""
        return json.dumps({_KEY: asdict(self)}, sort_keys=True)

    def at(self, stage: str, **facts: Any) -> Mark:
        """Return it as it is at another stage."""
        return replace(self, stage=stage, **facts)


def mark(comment: str | None) -> Mark | None:
    """Return what a comment says; nothing if it is not one of ours."""
    if not comment or _KEY not in comment:
        return None
    try:
        return Mark(**json.loads(comment)[_KEY])
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Database:
    """A database as the server shows it."""

    name: str
    oid: int
    allows: bool
    size_bytes: int = 0
    comment: str = ""

    @property
    def mark(self) -> Mark | None:
        return mark(self.comment)


@dataclass(frozen=True)
class Found:
    """What the server shows of one database and of restores of it."""

    live: Database | None
    # Made by a restore and not yet live, newest first.
    made: list[Database] = field(default_factory=list)
    # Live before a restore, newest first.
    previous: list[Database] = field(default_factory=list)
    # Live for a moment, and taken back.
    failed: list[Database] = field(default_factory=list)

    @property
    def unverified(self) -> bool:
        """A restore swapped, and was killed before it knew whether production works."""
        known = self.live.mark if self.live else None
        return bool(known and known.stage == SWAPPED)

    def ready(self, sha256: str) -> Database | None:
        """Return a database that was loaded from this very backup and proved."""
        for one in self.made:
            known = one.mark
            if known and known.stage == READY and known.sha256 == sha256 and one.allows:
                return one
        return None

    def kept(self) -> list[Database]:
        """Return what stays until somebody drops it, newest first."""
        found = [*self.previous, *self.failed]
        return sorted(found, key=lambda one: one.name[-15:], reverse=True)


def _names(database: str) -> re.Pattern[str]:
    kinds = "(?P<kind>restore|before|failed)"
    return re.compile(rf"{re.escape(_cut(database))}_{kinds}_\d{{8}}_\d{{6}}")


def _cut(database: str) -> str:
    return database.encode()[:_LONGEST].decode(errors="ignore")


def new_name(database: str, moment: datetime | None = None) -> str:
    """Return how a database is called while it is loaded."""
    stamp = (moment or datetime.now(timezone.utc)).strftime(_STAMP)
    return f"{_cut(database)}_restore_{stamp}"


def beside(made: str, kind: str) -> str:
    """Return how what a restore leaves is called, from the name of what it loaded."""
    head, _kind, stamp = made.rpartition("_restore_")
    return f"{head}_{kind}_{stamp}"


def find(database: str, rows: Iterable[Mapping[str, Any]]) -> Found:
    """Sort the databases of a server by what they are for one of them."""
    pattern, live = _names(database), None
    groups: dict[str, list[Database]] = {"restore": [], "before": [], "failed": []}
    for row in rows:
        one = Database(
            str(row["name"]),
            int(row["oid"]),
            bool(row["allows"]),
            int(row.get("size_bytes") or 0),
            str(row.get("comment") or ""),
        )
        match = pattern.fullmatch(one.name)
        if one.name == database:
            live = one
        elif match:
            groups[match["kind"]].append(one)
    for group in groups.values():
        group.sort(key=lambda one: one.name[-15:], reverse=True)
    return Found(live, groups["restore"], groups["before"], groups["failed"])


@dataclass(frozen=True)
class Repair:
    """Something half done that has to be put right before anything else."""

    # "allow": the database takes no connections. "return": it lost its name.
    kind: str
    database: str
    said: str


def repairs(database: str, found: Found) -> list[Repair]:
    """Return what has to be put right, whoever left it so."""
    if found.live is None:
        if not found.previous:
            return []
        last = found.previous[0]
        said = f"{last.name} was renamed and nothing took its place: it is {database} again"
        return [Repair("return", last.name, said)]
    if not found.live.allows:
        said = f"{database} took no connections: it takes them again"
        return [Repair("allow", database, said)]
    return []
