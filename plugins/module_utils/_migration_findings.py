# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The words in which a migration is judged: a finding, a risk, and what is known meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ._sql_statements import Statement

ADDITIVE, LOCKING, DESTRUCTIVE = "additive", "locking", "destructive"
UNKNOWN = "unknown"
_RANK = {ADDITIVE: 0, LOCKING: 1, DESTRUCTIVE: 2}
# Up to this size an index is built, and a table read or written anew, in about a second.
LARGE = 64 * 1024 * 1024


def worst(risks: Iterable[str]) -> str:
    """Return the risk that counts among several."""
    return max(risks, key=_RANK.__getitem__, default=ADDITIVE)


@dataclass(frozen=True)
class Finding:
    """One thing that a statement does."""

    kind: str
    risk: str
    statement: str
    why: str

    def as_dict(self) -> dict[str, str]:
        """Return it as a module does."""
        return {
            "kind": self.kind,
            "risk": self.risk,
            "statement": self.statement,
            "why": self.why,
        }


@dataclass
class Known:
    """What is known of the database while its migrations are judged, one after the other.

    :param tables: bytes of each table that is there, by name with and without the schema.
        Nothing when nobody could look.
    :param large: from how many bytes on it matters how long a table is locked.
    :param lock_timeout: one is in force, whatever the script says.
    """

    tables: Mapping[str, int] | None = None
    large: int = LARGE
    lock_timeout: bool = False
    # Made by these migrations: nobody uses it yet.
    new: set[str] = field(default_factory=set)
    # Columns that these migrations added to a table, and whether each fills itself.
    columns: dict[str, dict[str, bool]] = field(default_factory=dict)
    # Columns that may not be NULL since these migrations, with the table before each.
    required: set[tuple[str, str]] = field(default_factory=set)

    @property
    def empty(self) -> bool:
        """Whether there is nothing that could be lost or locked."""
        return self.tables is not None and not self.tables

    def quick(self, table: str) -> bool:
        """Whether a table is known to be so small that a look at each row takes no time."""
        return self.tables is not None and self.tables.get(table, self.large) < self.large


@dataclass
class Effect:
    """What one statement does."""

    statement: Statement
    findings: list[Finding] = field(default_factory=list)
    # It waits for a lock that stops others, for whatever time it then holds it.
    waits: bool = False

    def says(self, kind: str, risk: str, why: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(kind, risk, self.statement.excerpt, why))
        self.waits = self.waits or risk == LOCKING

    def locks(self, kind: str, why: str, *, quick: bool) -> None:
        """Add that a table is locked, when that takes its time."""
        self.waits = True
        if not quick:
            self.says(kind, LOCKING, why)

    def unknown(self, why: str) -> None:
        """Add that nobody can tell what it does."""
        self.says(UNKNOWN, DESTRUCTIVE, why)
