# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Make an ordinary backup of the database as it was at a moment.

The newest base from before the moment is recovered in a container of its own, and what is in it
then is dumped, counted and proved like any backup. So a restore to a moment is the restore of a
backup from there on.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from datetime import datetime

from . import (
    _backup_database,
    _backup_run,
    _backups,
    _drill,
    _restore_swap,
    _wal_chain,
    _wal_recover,
    _wal_server,
    _wal_status,
    _wal_store,
)
from ._backups import Backup, BackupError
from ._engine import Engine
from ._operation_work import Operation
from ._wal_chain import Reach
from ._wal_store import Base, Store

REASON = "point_in_time"
_MB = 2**20
_ARRIVE = 60.0
# A server keeps no more of a log that it plays back than its checkpoints need.
_MOST_LOG = 2048 * _MB
_GROWTH = 1.2
_UNLOGGED = """
SELECT json_build_object('name', n.nspname || '.' || c.relname) FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence = 'u' AND c.relkind = 'r' ORDER BY n.nspname, c.relname;
"""
_TIME_OF_DAY = re.compile(r"\d:\d\d")


class PointError(BackupError):
    """A moment that cannot be restored; the text is a whole sentence."""


@dataclass(frozen=True)
class Wish:
    """Which moment, and what may be taken for it."""

    moment: str
    drill: _drill.Wish
    backup: _backup_run.Wish


@dataclass(frozen=True)
class Plan:
    """What a moment is recovered from."""

    store: Store
    base: Base
    reach: Reach
    moment: float
    # What is not there yet is to be fetched from the server first.
    grows: bool
    needed_bytes: int
    free_bytes: int

    def lines(self) -> list[str]:
        """Return what an operator has to know of it."""
        pieces, size = self.reach.pieces, self.store.segment_bytes
        names = [pieces[at].segment.name(size) for at in (0, -1)]
        return [
            f"base {self.base.id}, which ended at {self.base.ended_at}",
            f"log of {len(pieces)} segments, {names[0]} to {names[1]}"
            + (", and what is written now" if self.grows else ""),
            f"the recovery takes about {self.needed_bytes // _MB} MB for a while, and "
            f"{self.free_bytes // _MB} MB are free",
        ]


@dataclass(frozen=True)
class Made:
    """The backup of a moment, and what it was made from."""

    backup: Backup
    lines: list[str]
    actions: list[str]
    seconds: float


def _moment(wish: Wish) -> datetime:
    """Return the moment.

    :raises PointError: it is none that a backup can be told from others by.
    """
    found = _backups.moment(wish.moment)
    if found.microsecond:
        raise _refused(wish, "a moment is given in whole seconds: what was committed until then")
    if not _TIME_OF_DAY.search(wish.moment):
        raise _refused(wish, "it has no time of day; give one as 2026-11-26T03:12:00Z")
    return found


def known(wish: Wish, system: str) -> Backup | None:
    """Return the backup that a run before made of this very moment.

    :raises PointError: it is no moment.
    """
    at = _backups.stamp(_moment(wish))
    for one in _backups.listing(wish.backup.directory):
        manifest = one.manifest
        if not manifest or not one.verified or manifest.system_identifier != system:
            continue
        if manifest.database.get("name") == wish.drill.database and manifest.point_in_time == at:
            return one
    return None


def plan(engine: Engine, production: _backup_database.Source, wish: Wish) -> Plan:
    """Look how a moment can be come to; nothing is changed.

    :raises PointError: it cannot.
    """
    moment, now = _moment(wish).timestamp(), time.time()
    if moment > now:
        raise _refused(wish, f"that is later than now, which is {_wal_status.stamp(now)}")
    store = _wal_store.store(wish.backup.directory, _wal_server.facts(production).system)
    reaches, bases = store.reaches(), {one.id: one for one in store.bases()}
    chosen = _wal_chain.choose(reaches, moment)
    status = _wal_status.read(wish.backup.state_dir)
    # What is written now is fetched first: what arrived late is not taken for what never was.
    grows = bool(chosen and not chosen.gap and _received(status))
    if chosen and not chosen.covers(moment) and not grows:
        chosen = None
    if chosen is None:
        spans = [
            (_wal_status.stamp(one), _wal_status.stamp(two))
            for one, two in _wal_chain.spans(reaches)
        ]
        reach = ", and ".join(f"{since} to {until}" for since, until in spans)
        why = f"what can be reached is {reach}" if reach else "there is no base to begin with"
        raise _refused(
            wish,
            f"{why}. Give such a time, or restore_from=before={_wal_status.stamp(moment)} for the "
            "newest backup from before it",
        )
    base = bases[chosen.base]
    log = min(len(chosen.pieces) * store.segment_bytes, _MOST_LOG)
    needed = int(base.tar_bytes * _GROWTH) + log
    free = engine.disk().free
    if free < needed + wish.drill.min_free_mb * _MB:
        raise _refused(
            wish,
            f"the recovery takes about {needed // _MB} MB for a while, {free // _MB} MB are free, "
            f"and {wish.drill.min_free_mb} MB stay free (restore_min_free_mb); free space first",
        )
    return Plan(store, base, chosen, moment, grows, needed, free)


def _received(status: _wal_status.Status | None) -> bool:
    return bool(status and status.state == _wal_status.RECEIVING and status.fresh)


def without_log(source: _backup_database.Source, database: str) -> list[str]:
    """Return what an operator has to know of tables that the log does not have."""
    rows = _restore_swap.Server(source).ask(_UNLOGGED, database)
    names = ", ".join(str(row["name"]) for row in rows)
    return [f"empty in it, for unlogged tables are not in the log: {names}"] if names else []


def _refused(wish: Wish, why: str) -> PointError:
    return PointError(
        f"{wish.drill.database} cannot be restored to {wish.moment}: {why}. Nothing was changed."
    )


def make(
    engine: Engine, production: _backup_database.Source, wish: Wish, operation: Operation
) -> Made:
    """Make the backup.

    :raises BackupError: it did not come about, and the live database was not touched.
    """
    began = time.monotonic()
    operation.step("look which moments can be reached")
    planned = plan(engine, production, wish)
    if planned.grows:
        operation.step("end the segment that is written now")
        _wal_server.switch(production, planned.store, _ARRIVE)
        planned = plan(engine, production, wish)
    lines = planned.lines()
    try:
        with _wal_recover.recovered(
            engine,
            production,
            _wal_recover.Target(planned.store, planned.base, planned.moment),
            wish.drill,
            operation,
        ) as found:
            last = found.last or "none since the base"
            lines.append(f"the last transaction in it: {last}")
            lines += without_log(found.source, wish.drill.database)
            at = _backups.stamp(_backups.moment(wish.moment))
            # It may have much less than the newest one has.
            asked = replace(wish.backup, reason=REASON, min_ratio=0, point_in_time=at)
            outcome = _backup_run.make(
                replace(found.source, database=wish.drill.database), asked, operation
            )
    except BackupError as error:
        why = str(error).removesuffix(" Nothing was changed.").rstrip(".")
        raise PointError(
            f"{wish.drill.database} cannot be restored to {wish.moment}: {why}. It is live as it "
            "was, and what the recovery took is removed. Nothing was changed."
        ) from error
    seconds = round(time.monotonic() - began, 2)
    actions = [*outcome.actions, f"recover {wish.drill.database} to {wish.moment} beside it"]
    return Made(outcome.backup, lines, actions, seconds)
