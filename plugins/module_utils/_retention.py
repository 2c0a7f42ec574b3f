# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Which backups may go: planned from what is known of them, and from nothing else.

Only verified backups count as kept, and only for the database that they are of. When its backups
fail for weeks, nothing old of it is removed: the newest good one would be the first to fall out of
the time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ._backups import Backup


@dataclass(frozen=True)
class Policy:
    """How long backups are kept. Weeks and months add one verified backup each."""

    days: int = 30
    keep_min: int = 3
    weeks: int = 0
    months: int = 0
    # Nothing is removed when the newest verified one is older.
    max_age_hours: int = 48


@dataclass(frozen=True)
class Judged:
    """A backup, and why it stays or goes."""

    backup: Backup
    reason: str


@dataclass
class Plan:
    """What stays, what goes; or why nothing may go."""

    keep: list[Judged] = field(default_factory=list)
    remove: list[Judged] = field(default_factory=list)
    refusal: str = ""


def plan(
    backups: Sequence[Backup], policy: Policy, now: datetime, pinned: Collection[str] = ()
) -> Plan:
    """Judge all backups of a directory, those of each database by themselves.

    :param pinned: ids that somebody needs, as the one from before the release that runs.
    """
    newest_first = sorted(backups, key=lambda one: (one.at, one.id), reverse=True)
    groups = _grouped(newest_first, _database)
    found = Plan()
    refusals = []
    for database, group in groups.items():
        judged = _plan(group, policy, now, pinned)
        found.keep += judged.keep
        found.remove += judged.remove
        if judged.refusal:
            several = f"of {database or 'what names no database'}, for " if len(groups) > 1 else ""
            refusals.append(f"{several}{judged.refusal}")
    for judgements in (found.keep, found.remove):
        judgements.sort(key=lambda one: (one.backup.at, one.backup.id), reverse=True)
    found.refusal = "; ".join(refusals)
    return found


def _plan(
    newest_first: Sequence[Backup], policy: Policy, now: datetime, pinned: Collection[str]
) -> Plan:
    """Judge the backups of one database."""
    verified = [one for one in newest_first if one.verified]
    reasons: dict[str, str] = {}
    # Another server may have a database of that name; none is kept in the place of another.
    for group in _grouped(newest_first, _host).values():
        reasons |= _reasons([one for one in group if one.verified], policy, now, pinned)
    found = Plan()
    limit = now - timedelta(days=policy.days)
    for one in newest_first:
        if one.at > limit:
            found.keep.append(Judged(one, f"not older than {policy.days} days"))
        elif one.id in reasons:
            found.keep.append(Judged(one, reasons[one.id]))
        else:
            found.remove.append(Judged(one, _why(one, policy)))
    found.refusal = _refusal(found, verified, policy, now)
    if found.refusal:
        found.keep += [Judged(one.backup, "nothing is removed") for one in found.remove]
        found.remove = []
    return found


def _grouped(backups: Sequence[Backup], of: Callable[[Backup], str]) -> dict[str, list[Backup]]:
    """Return backups by what they are of; what does not say it is of the only one there is."""
    known = {of(one) for one in backups} - {""}
    unsaid = next(iter(known)) if len(known) == 1 else ""
    found: dict[str, list[Backup]] = {}
    for one in backups:
        found.setdefault(of(one) or unsaid, []).append(one)
    return found


def _database(backup: Backup) -> str:
    return str(backup.manifest.database.get("name") or "") if backup.manifest else ""


def _host(backup: Backup) -> str:
    return backup.manifest.host if backup.manifest else ""


def _why(backup: Backup, policy: Policy) -> str:
    state = "" if backup.verified else f", {backup.problem or 'never verified'}"
    return f"older than {policy.days} days{state}"


def _reasons(
    verified: Sequence[Backup], policy: Policy, now: datetime, pinned: Collection[str]
) -> dict[str, str]:
    """Return why backups stay although their time is over; the first reason wins."""
    found: dict[str, str] = {}
    for one in verified[: policy.keep_min]:
        found[one.id] = f"among the newest {policy.keep_min} verified"
    drilled = next((one for one in verified if one.drilled), None)
    if drilled:
        found.setdefault(drilled.id, "the newest that was restored in a drill")
    for name in pinned:
        found.setdefault(name, "a release that can be gone back to needs it")
    periods: list[tuple[int, str, Callable[[Backup], object]]] = [
        (policy.weeks, "week", lambda one: one.at.isocalendar()[:2]),
        (policy.months, "month", lambda one: (one.at.year, one.at.month)),
    ]
    for count, word, key in periods:
        newest: dict[object, Backup] = {}
        for one in verified:
            newest.setdefault(key(one), one)
        for one in list(newest.values())[:count]:
            found.setdefault(one.id, f"the newest of its {word}")
    return found


def _refusal(found: Plan, verified: Sequence[Backup], policy: Policy, now: datetime) -> str:
    if not found.remove:
        return ""
    if not verified:
        return "no backup is verified, so none can stand for those that would go"
    age = now - verified[0].at
    if age > timedelta(hours=policy.max_age_hours):
        return (
            f"the newest verified backup, {verified[0].id}, is {age.total_seconds() / 3600:.0f} h "
            f"old, and more than {policy.max_age_hours} h mean that backups fail"
        )
    if not any(one.backup.verified for one in found.keep):
        return "no verified backup would be left"
    return ""
