# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What is asked and set of the server whose write-ahead log is received.

A replication slot keeps the log until it was received, and a receiver that is dead would fill the
disk of the database with it. So the slot is bounded before it is made.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from . import _restore_swap, _wal_names
from ._backup_database import DatabaseError, Source
from ._wal_names import Segment
from ._wal_store import Store

SLOT = "carrental_ops"
_LOST = "lost"
_LOOK = 0.5
_FACTS = """
SELECT json_build_object(
  'system', (SELECT system_identifier::text FROM pg_control_system()),
  'timeline', (SELECT timeline_id FROM pg_control_checkpoint()),
  'version', current_setting('server_version'),
  'segment_bytes', pg_size_bytes(current_setting('wal_segment_size')),
  'size_bytes', (SELECT sum(pg_database_size(oid))::bigint FROM pg_database),
  'bound_mb', (SELECT setting::int FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
  'slot', (SELECT json_build_object('restart_lsn', restart_lsn::text, 'status', wal_status)
             FROM pg_replication_slots WHERE slot_name = 'carrental_ops'));
"""
_MAKE = """
SELECT json_build_object('lsn', lsn::text)
  FROM pg_create_physical_replication_slot('carrental_ops', true);
"""
# Whoever still holds it is a receiver that nobody supervises any more.
_END = """
SELECT json_build_object('ended', pg_terminate_backend(active_pid, 5000))
  FROM pg_replication_slots WHERE slot_name = 'carrental_ops' AND active;
"""
_DROP = """
SELECT json_build_object('dropped', count(pg_drop_replication_slot(slot_name)))
  FROM pg_replication_slots WHERE slot_name = 'carrental_ops';
"""
# Recovery to a moment ends at the first commit after it, and an idle server would have none.
_SWITCH = """
SELECT json_build_object('marked', pg_logical_emit_message(true, 'carrental.ops', 'switch')::text);
SELECT json_build_object('lsn', pg_switch_wal()::text,
                         'timeline', (SELECT timeline_id FROM pg_control_checkpoint()));
"""


@dataclass(frozen=True)
class Facts:
    """What is known of the server, and of our slot there."""

    system: str
    timeline: int
    version: str
    segment_bytes: int
    size_bytes: int
    # -1 is no bound, and what a server before PostgreSQL 13 has.
    bound_mb: int
    restart_lsn: str
    # Empty where there is no slot.
    slot: str

    def held(self) -> Segment:
        """Return the oldest segment that the slot keeps for us."""
        return _wal_names.holding(self.restart_lsn, self.timeline, self.segment_bytes)


def facts(source: Source) -> Facts:
    """Ask the server.

    :raises DatabaseError: it does not answer.
    """
    (found,) = _restore_swap.Server(source).ask(_FACTS)
    slot: dict[str, Any] = found["slot"] or {}
    return Facts(
        system=str(found["system"]),
        timeline=int(found["timeline"]),
        version=str(found["version"]),
        segment_bytes=int(found["segment_bytes"]),
        size_bytes=int(found["size_bytes"]),
        bound_mb=-1 if found["bound_mb"] is None else int(found["bound_mb"]),
        restart_lsn=str(slot.get("restart_lsn") or ""),
        slot=str(slot.get("status") or ("there" if slot else "")),
    )


def bound(source: Source, known: Facts, most_mb: int) -> bool:
    """Bound what a slot may keep; return whether that was to do.

    :raises DatabaseError: it cannot be bounded, and then no slot may be made.
    """
    if 0 <= known.bound_mb <= most_mb:
        return False
    _restore_swap.Server(source).ask(
        f"ALTER SYSTEM SET max_slot_wal_keep_size = '{most_mb}MB';\n"
        "SELECT to_json(pg_reload_conf());"
    )
    deadline = time.monotonic() + 10
    while not 0 <= facts(source).bound_mb <= most_mb:
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"max_slot_wal_keep_size of {source.container.name} stays above {most_mb} MB; a "
                "slot without that bound could fill the disk of the database, so none is made. Is "
                "it on the command line of the server?"
            )
        time.sleep(_LOOK)
    return True


def have_slot(source: Source, known: Facts) -> Facts:
    """Have a slot that keeps what comes from now on.

    :raises DatabaseError: the server makes none.
    """
    if known.slot and known.slot != _LOST:
        return known
    if known.slot:
        drop_slot(source)
    _restore_swap.Server(source).ask(_MAKE)
    return facts(source)


def drop_slot(source: Source) -> bool:
    """Have no slot, and nobody who holds it; return whether there was one.

    :raises DatabaseError: the server does not drop it.
    """
    server = _restore_swap.Server(source)
    server.ask(_END)
    (found,) = server.ask(_DROP)
    return bool(found["dropped"])


def unbound(source: Source, most_mb: int) -> None:
    """Take the bound back, if it is the one that was set for the slot."""
    if facts(source).bound_mb == most_mb:
        _restore_swap.Server(source).ask(
            "ALTER SYSTEM RESET max_slot_wal_keep_size;\nSELECT to_json(pg_reload_conf());"
        )


def switch(source: Source, store: Store, timeout: float) -> Segment:
    """Have the segment that is written now end, and wait until it was received.

    :raises DatabaseError: it does not come.
    """
    _marked, found = _restore_swap.Server(source).ask(_SWITCH)
    last = _wal_names.holding_end(found["lsn"], int(found["timeline"]), store.segment_bytes)
    require(store, last, timeout)
    return last


def require(store: Store, last: Segment, timeout: float) -> None:
    """Wait until a segment is kept whole.

    :raises DatabaseError: it does not come.
    """
    deadline = time.monotonic() + timeout
    while not any(one.segment == last and not one.partial for one in store.pieces()):
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"The segment {last.name(store.segment_bytes)} of the write-ahead log has not "
                f"arrived within {timeout:g} s; see journalctl of the receiver's service."
            )
        time.sleep(_LOOK)
