# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Which backup a release is gone back to with: the newest whose schema its code works with. Pure.

The same choice is told before anything is confirmed, and used after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from . import _backups, _schema_ahead


@dataclass(frozen=True)
class Chosen:
    """A backup to go back to.

    :param minutes: what was written in them is lost.
    :param ahead: migrations that it holds and the release does not know; its code works with them.
    """

    id: str
    at: str
    minutes: int
    ahead: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as a module does."""
        return {**asdict(self), "ahead": list(self.ahead)}

    @property
    def said(self) -> str:
        """Say what it is, and what would be lost."""
        return f"backup {self.id}, which loses everything since {self.at} ({self.minutes} minutes)"


def choose(
    backups: Iterable[_backups.Backup],
    head: str,
    ahead: _schema_ahead.Ahead,
    *,
    database: str,
    now: datetime | None = None,
) -> Chosen | None:
    """Return the newest verified backup that the code of a release works with.

    :param head: the last migration that the release knows; empty where it knows none.
    :param ahead: what the database holds and the release does not know.
    """
    usable = [head]
    for name in ahead.names:
        if name in ahead.harmful:
            break
        usable.append(name)
    fitting = [
        one
        for one in backups
        if one.manifest and not one.put_aside and one.manifest.migrations_head in usable
    ]
    newest = _backups.newest_verified(fitting, database)
    if newest is None or newest.manifest is None:
        return None
    known = tuple(usable[1 : usable.index(newest.manifest.migrations_head) + 1])
    return Chosen(newest.id, _backups.stamp(newest.at), round(newest.age(now) / 60), known)
