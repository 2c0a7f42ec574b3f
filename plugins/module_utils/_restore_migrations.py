# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Whether what is restored has the migrations of the release that runs.

A backup from before a migration is restored on purpose, so this refuses nothing. But the
application meets a schema that it does not know, until a deploy applies what is pending.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import _releases


@dataclass(frozen=True)
class Gap:
    """How the migrations of what is restored differ from those of the release that runs."""

    # The id and the version of the release; empty where none is recorded.
    release: str = ""
    version: str = ""
    # Of the release: its deploy applies them.
    lacking: tuple[str, ...] = ()
    # Of the live database, and not of the release.
    gone: tuple[str, ...] = ()
    # Neither of the release nor of the live database.
    unknown: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as a module returns it."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    def lines(self) -> list[str]:
        """Return what an operator has to know of it."""
        found = []
        if self.lacking:
            found.append(
                f"it lacks {_named(self.lacking)} of the release that runs ({self.release}); "
                "a deploy of that release applies what is pending"
            )
        if self.gone:
            found.append(
                f"it lacks {_named(self.gone)} of the live database, which the release that runs "
                f"({self.release}) does not know"
            )
        if self.unknown:
            found.append(
                f"it has {_named(self.unknown)}, which the release that runs ({self.release}) does "
                "not know"
            )
        return found


def _named(names: Sequence[str]) -> str:
    return f"the migration{'s' if len(names) > 1 else ''} {', '.join(names)}"


def known(releases: Iterable[_releases.Release]) -> tuple[_releases.Release | None, list[str]]:
    """Return the release that runs, and the migrations that it knows, oldest first.

    The record of a rollback has what the database held, which the code of the release need not
    know: what it knows is in the record of its deploy.
    """
    passed = _releases.good(releases)
    if not passed:
        return None, []
    current = passed[0]
    deployed = current
    if current.get("rolled_back_from"):
        same = (one for one in passed if one["version"] == current["version"])
        deployed = next((one for one in same if not one.get("rolled_back_from")), current)
    return current, _applied(deployed)


def _applied(release: _releases.Release) -> list[str]:
    return list((release.get("migrations") or {}).get("applied") or [])


def compare(
    releases: Iterable[_releases.Release],
    live: Sequence[str] | None,
    restored: Sequence[str] | None,
) -> Gap:
    """Return how what is restored differs; nothing where that cannot be told.

    :param live: the migrations of the database that is replaced; nothing without a table of them.
    :param restored: those of what takes its place.
    """
    current, wanted = known(releases)
    # Of a release that recorded none, the database that it works with tells what it needs.
    wanted = wanted or list(live or ())
    if current is None or restored is None or not wanted:
        return Gap()
    return Gap(
        current["id"],
        current["version"],
        tuple(one for one in wanted if one not in restored),
        tuple(one for one in live or () if one not in restored and one not in wanted),
        tuple(one for one in restored if one not in wanted and one not in (live or ())),
    )


def foresee(releases: Sequence[_releases.Release], live: Sequence[str] | None, head: str) -> Gap:
    """Return how a backup differs by the last migration that its manifest names.

    :param head: empty where the backup has none, or nobody knows.
    """
    current, wanted = known(releases)
    if current is None or not head:
        return Gap()
    for order in (wanted, _applied(current), list(live or ())):
        if head in order:
            return compare(releases, live, order[: order.index(head) + 1])
    if not wanted and not live:
        return Gap()
    # What came before it, nobody can tell.
    return Gap(current["id"], current["version"], unknown=(head,))
