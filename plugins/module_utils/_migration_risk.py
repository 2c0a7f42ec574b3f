# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a migration does to production, judged from its text before it runs.

``destructive``: data is lost, or the release before cannot work with the schema afterwards.
``locking``: nothing is lost, and reads or writes of a table wait meanwhile.
``additive``: neither. What nobody can tell from the text counts as destructive, until its
author vouches for the statement in a comment directly before it or in it::

    -- carrental.ops: additive, because no release has read this column since 2026-05
    ALTER TABLE cars DROP COLUMN colour;

Locks, from PostgreSQL's documentation (13.3 Explicit Locking; the notes of ALTER TABLE, CREATE
INDEX and REINDEX):

- ACCESS EXCLUSIVE, which stops reads too: DROP TABLE, TRUNCATE, CLUSTER, VACUUM FULL, REFRESH
  MATERIALIZED VIEW, DROP INDEX, and each form of ALTER TABLE that is not named below. It is held
  for a moment, or as long as the table is read or written: ADD CHECK and SET NOT NULL read it,
  ADD UNIQUE and ADD PRIMARY KEY build an index, ALTER COLUMN TYPE writes it anew, and so does
  ADD COLUMN with a volatile default, an identity or a stored generated column.
- SHARE ROW EXCLUSIVE, which stops writes: ADD FOREIGN KEY (on both tables), CREATE TRIGGER.
- SHARE, which stops writes: CREATE INDEX; REINDEX, which stops reads by that index as well.
- SHARE UPDATE EXCLUSIVE, which stops neither: CREATE INDEX CONCURRENTLY, VALIDATE CONSTRAINT,
  SET STATISTICS, ATTACH PARTITION (of the parent), ALTER INDEX RENAME.

Whoever waits for one of the first three makes everybody wait who comes after, be the lock held
for a moment only. ``lock_timeout`` ends that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ._migration_findings import ADDITIVE, DESTRUCTIVE, LARGE, LOCKING, Finding, Known, worst
from ._migration_rules import judge
from ._sql_statements import STRING, WORD, Statement, split

__all__ = ["ADDITIVE", "DESTRUCTIVE", "LARGE", "LOCKING", "Assessment", "Finding", "Known"]

_SCHEMA_ONLY = frozenset({"create", "alter", "drop", "comment", "set", "grant", "revoke"})
_VOUCHES = re.compile(r"^carrental\.ops:\s*additive\b[\s,;:]*(because\b)?(?P<reason>.*)$", re.S)


@dataclass(frozen=True)
class Assessment:
    """A migration: the worst that it does, all that it does, and what its author vouches for."""

    risk: str = ADDITIVE
    findings: tuple[Finding, ...] = ()
    vouched: tuple[str, ...] = ()
    # It builds or drops an index CONCURRENTLY, which waits for every older transaction.
    concurrently: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as a module does."""
        return {
            "risk": self.risk,
            "findings": [one.as_dict() for one in self.findings],
            "vouched": list(self.vouched),
        }


def assess_all(scripts: Mapping[str, str], known: Known) -> dict[str, Assessment]:
    """Return what each migration does, in the order in which they would be applied."""
    return {name: assess(text, known) for name, text in scripts.items()}


def assess(sql: str, known: Known) -> Assessment:
    """Return what a migration does."""
    statements = split(sql)
    concurrently = [one for one in statements if _concurrent(one)]
    if known.empty:
        # The very first migrations: there is no release before, and nothing to lose.
        return Assessment(concurrently=bool(concurrently))
    limited = known.lock_timeout
    unlimited: Statement | None = None
    findings: list[Finding] = []
    vouched: list[str] = []
    for statement in statements:
        effect = judge(statement, known)
        limited = _limits(statement, limited)
        unlimited = unlimited or (statement if effect.waits and not limited else None)
        found = effect.findings
        reason = _reason(statement)
        if found and reason:
            vouched.append(f"{statement.excerpt}: {reason}")
            found = [replace(one, risk=ADDITIVE) for one in found]
        elif found and reason is not None:
            why = "a comment vouches for it without a reason (…, because …) and does not count"
            found = [*found, Finding("no_reason", ADDITIVE, statement.excerpt, why)]
        findings += found
    if concurrently and len(statements) > 1:
        why = "it fails beside other statements, for they are one transaction; move it to its own"
        findings.append(Finding("not_alone", LOCKING, concurrently[0].excerpt, why))
    if unlimited:
        why = (
            "without a lock_timeout everybody who uses the table waits as long as this waits for "
            "an older transaction; begin the migration with SET lock_timeout = '5s'"
        )
        findings.append(Finding("no_lock_timeout", LOCKING, unlimited.excerpt, why))
    risk = worst(one.risk for one in findings)
    return Assessment(risk, tuple(findings), tuple(vouched), bool(concurrently))


def leaves_traces_in_the_schema_alone(sql: str) -> bool:
    """Whether a script, run by half, could be told from one that never ran by the schema.

    Rows that it wrote, and what a function did, cannot be seen there.
    """
    return all(
        not one.unclosed and one.tokens[0].kind == WORD and one.tokens[0].text in _SCHEMA_ONLY
        for one in split(sql)
    )


def _concurrent(statement: Statement) -> bool:
    words = [token.text for token in statement.tokens if token.kind == WORD]
    return "concurrently" in words and words[0] in ("create", "drop", "reindex")


def _limits(statement: Statement, limited: bool) -> bool:
    """Whether a lock_timeout is in force after a statement."""
    texts = [token.text for token in statement.tokens]
    setting = texts[:1] == ["set"] and "lock_timeout" in texts[1:3]
    function = "set_config" in texts and any(
        (token.kind, token.text) == (STRING, "lock_timeout") for token in statement.tokens
    )
    if setting:
        return texts[-1] not in ("0", "default")
    return limited or function


def _reason(statement: Statement) -> str | None:
    """Why the author vouches for a statement; nothing when nobody does, empty without a reason."""
    for comment in statement.comments:
        match = _VOUCHES.match(comment)
        if match:
            return " ".join(match["reason"].split()).strip(" .,")
    return None
