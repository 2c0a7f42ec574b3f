# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Judge what a PostgreSQL server says about itself. No input or output here."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    OK,
    WARN,
    Check,
    Subject,
    Thresholds,
    level,
)

_MIB = 1024 * 1024
# A dump keeps one transaction open for as long as it takes, and that is right.
_LONG_BY_NATURE = ("pg_dump", "pg_basebackup")
_SOURCES = {
    "database": "set on the database, undo it with ALTER DATABASE … RESET "
    "default_transaction_read_only",
    "user": "set on the role, undo it with ALTER ROLE … RESET default_transaction_read_only",
    "database user": "set on the role in this database, undo it with ALTER ROLE … IN DATABASE … "
    "RESET default_transaction_read_only",
    "configuration file": "set for the server, undo it with ALTER SYSTEM RESET "
    "default_transaction_read_only and pg_reload_conf()",
}


def read_only_reason(server: dict[str, Any]) -> str:
    """Why nothing can be written; empty when it can."""
    if server["in_recovery"]:
        return "it is read-only: it is in recovery, a standby or not promoted after a restore"
    if not server["read_only"]:
        return ""
    source = str(server.get("source") or "")
    return "it is read-only: default_transaction_read_only is on, " + _SOURCES.get(
        source, f"set by {source or 'the session'}"
    )


def connections(
    subject: Subject,
    size: dict[str, Any],
    sessions: list[dict[str, Any]],
    thresholds: Thresholds,
) -> Check:
    """Sessions by state against what the application may open."""
    limit = max(int(size["max_connections"]) - int(size["reserved"]), 1)
    used = len(sessions)
    percent = round(used * 100 / limit)
    states = Counter(row["state"] or "not visible" for row in sessions)
    holders = Counter(_application(row) for row in sessions)
    evidence: dict[str, Any] = {
        "used": used,
        "limit": limit,
        "max_connections": size["max_connections"],
        "by_state": dict(states.most_common(8)),
        "by_application": dict(holders.most_common(8)),
        "size_bytes": size["size_bytes"],
    }
    status = level(percent, thresholds.connections_warn, thresholds.connections_fail)
    if status == OK:
        return subject.passed("connections", f"{used} of {limit} connections", **evidence)
    by_state = ", ".join(f"{number} {state}" for state, number in states.most_common(4))
    by_holder = ", ".join(f"{name} {number}" for name, number in holders.most_common(3))
    detail = (
        f"{used} of {limit} connection slots are in use ({by_state}; held by {by_holder}); "
        "find who does not give them back, or raise max_connections"
    )
    if status == WARN:
        return subject.finding("connections", detail, **evidence)
    return subject.down("connections", detail, **evidence)


def sessions(subject: Subject, rows: list[dict[str, Any]], thresholds: Thresholds) -> list[Check]:
    """Who holds others up: blockers, forgotten and endless transactions."""
    return [
        _blocked(subject, rows, thresholds),
        _idle_in_transaction(subject, rows, thresholds),
        _long_transactions(subject, rows, thresholds),
    ]


def root_blockers(rows: list[dict[str, Any]]) -> dict[int, list[int]]:
    """Sessions that block and wait for nobody, each with all whom it holds up."""
    waits = {row["pid"]: set(row["blocked_by"]) for row in rows if row.get("blocked_by")}
    roots: dict[int, set[int]] = {}
    for pid, blockers in waits.items():
        reached, todo = set(), list(blockers)
        while todo:
            blocker = todo.pop()
            if blocker in reached:
                continue
            reached.add(blocker)
            todo += waits.get(blocker, ())
        for blocker in reached - waits.keys():
            roots.setdefault(blocker, set()).add(pid)
    return {pid: sorted(held) for pid, held in sorted(roots.items())}


def _blocked(subject: Subject, rows: list[dict[str, Any]], thresholds: Thresholds) -> Check:
    waiting = {row["pid"]: float(row["query_s"] or 0) for row in rows if row.get("blocked_by")}
    if max(waiting.values(), default=0) < thresholds.blocked_s:
        return subject.passed("blocked")
    known = {row["pid"]: row for row in rows}
    roots = root_blockers(rows)
    texts = [
        f"pid {pid} ({_describe(known[pid]) if pid in known else 'no client'}) holds up {len(held)}"
        for pid, held in list(roots.items())[:3]
    ]
    return subject.finding(
        "blocked",
        f"{_count(len(waiting), 'session waits', 'sessions wait')} for a lock, the longest for "
        f"{max(waiting.values()):.0f} s: {', '.join(texts) or 'in a circle'}; "
        "end the blocker with pg_terminate_backend if it is forgotten",
        waiting=sorted(waiting),
        roots={str(pid): held for pid, held in roots.items()},
    )


def _idle_in_transaction(
    subject: Subject, rows: list[dict[str, Any]], thresholds: Thresholds
) -> Check:
    found = [
        row
        for row in rows
        if str(row["state"] or "").startswith("idle in transaction")
        and float(row["state_s"] or 0) >= thresholds.idle_in_transaction_s
    ]
    if not found:
        return subject.passed("idle_in_transaction")
    oldest = max(found, key=lambda row: float(row["state_s"]))
    return subject.finding(
        "idle_in_transaction",
        f"{_count(len(found), 'session', 'sessions')} idle in transaction for "
        f"{oldest['state_s']:.0f} s (pid {oldest['pid']}, application {_application(oldest)}); "
        "it holds locks and keeps vacuum from cleaning: end it with pg_terminate_backend",
        pids=[row["pid"] for row in found],
    )


def _long_transactions(
    subject: Subject, rows: list[dict[str, Any]], thresholds: Thresholds
) -> Check:
    found = [
        row
        for row in rows
        if str(row["state"] or "") == "active"
        and float(row["transaction_s"] or 0) >= thresholds.long_transaction_s
        and not str(row["application_name"] or "").startswith(_LONG_BY_NATURE)
    ]
    if not found:
        return subject.passed("long_transactions")
    oldest = max(found, key=lambda row: float(row["transaction_s"]))
    return subject.finding(
        "long_transactions",
        f"{_count(len(found), 'transaction runs', 'transactions run')} for "
        f"{oldest['transaction_s']:.0f} s (pid {oldest['pid']}, application "
        f"{_application(oldest)}); look at its query in pg_stat_activity",
        pids=[row["pid"] for row in found],
    )


def wraparound(subject: Subject, oldest: dict[str, Any], thresholds: Thresholds) -> Check:
    """How far the oldest transaction id is from the end, where the server stops writing."""
    age = int(oldest["age"])
    status = level(age, thresholds.wraparound_warn, thresholds.wraparound_fail)
    evidence: dict[str, Any] = {"age": age, "database": oldest["datname"]}
    if status == OK:
        return subject.passed("wraparound", **evidence)
    detail = (
        f"the oldest transaction id of database {oldest['datname']} is {age:,} transactions old "
        "(writing stops at 2.1 billion): find what keeps vacuum from freezing, then run VACUUM"
    )
    if status == WARN:
        return subject.finding("wraparound", detail, **evidence)
    return subject.down("wraparound", detail, **evidence)


def replication(
    subject: Subject,
    standbys: list[dict[str, Any]],
    slots: list[dict[str, Any]],
    thresholds: Thresholds,
) -> Check:
    """Standbys that lag, and slots that nobody reads, which fill the disk."""
    problems = [
        f"standby {row['name']} lags {int(row['lag_bytes'] or 0) // _MIB} MiB behind"
        for row in standbys
        if int(row["lag_bytes"] or 0) > thresholds.replication_lag_mb * _MIB
    ]
    problems += [
        f"nobody reads replication slot {row['name']}, which retains "
        f"{int(row['retained_bytes'] or 0) // _MIB} MiB of write-ahead log: drop it if it is "
        "forgotten"
        for row in slots
        if not row["active"]
        and int(row["retained_bytes"] or 0) > thresholds.slot_retained_mb * _MIB
    ]
    evidence: dict[str, Any] = {"standbys": standbys, "slots": slots}
    if problems:
        return subject.finding("replication", ", ".join(problems), **evidence)
    return subject.passed("replication", **evidence)


def _application(row: dict[str, Any]) -> str:
    return str(row["application_name"] or row["usename"] or "unknown")


def _describe(row: dict[str, Any]) -> str:
    return f"application {_application(row)}, {row['state'] or 'state not visible'}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
