# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What makes a PostgreSQL slow, judged from what it counts itself. Pure: rows in, findings out.

Texts of running statements are shown without their literals: those are customers' data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Row = Mapping[str, Any]

_LITERALS = re.compile(
    r"\$(\w*)\$.*?\$\1\$|[eE]?'(?:[^']|'')*'|(?<!\$)\b\d+(?:\.\d+)?\b", re.DOTALL
)
_DEAD_SHARE = 0.2
_DEAD_FLOOR = 1000
_CACHE_FLOOR = 0.95
_CACHE_BLOCKS = 10_000
_READ_PER_SCAN = 1000
_SCANS = 10
_BLOAT_SHARE = 0.5
_IDLE_SECONDS = 60
_CONNECTIONS = 0.8


@dataclass(frozen=True)
class Limits:
    """From where on something is a finding.

    :param lines: findings of each kind.
    :param calls: fewer do not make a mean.
    :param table_mb: smaller tables are read whole rightly.
    """

    lines: int = 10
    calls: int = 20
    table_mb: int = 10


@dataclass(frozen=True)
class Finding:
    """One thing that makes the server slow.

    :param kind: which of the questions it answers.
    :param what: the statement, table, index or session.
    :param detail: the numbers.
    :param advice: what to do about it.
    :param weight: by which findings of a kind are ordered, the largest first.
    """

    kind: str
    what: str
    detail: str
    advice: str
    weight: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a result shows it."""
        return asdict(self)


KINDS = {
    "blocking": "Sessions that block others",
    "slow_total": "Statements by all the time that they took",
    "slow_mean": "Statements by the time of one call",
    "connections": "Connections",
    "idle": "Sessions that forgot their transaction",
    "cache": "Cache",
    "temporary": "Temporary files",
    "missing_index": "Tables that are read whole",
    "foreign_key": "Foreign keys without an index",
    "dead": "Dead rows",
    "bloat": "Space that tables do not need",
    "unused_index": "Indexes that nobody reads",
    "invalid_index": "Indexes that were not built to their end",
}


def shape(query: str, length: int = 200) -> str:
    """Return a statement on one line, without its literals."""
    text = " ".join(_LITERALS.sub("?", query or "").split())
    return text if len(text) <= length else text[: length - 1] + "…"


def statements(rows: Sequence[Row], total_ms: float, limits: Limits) -> list[Finding]:
    """Judge C(pg_stat_statements): by all the time, and by the mean of what is called often."""
    found = []
    for row in sorted(rows, key=lambda one: -one["total_ms"])[: limits.lines]:
        share = row["total_ms"] / total_ms if total_ms else 0
        found.append(_statement("slow_total", row, f"{share:.0%} of all time, ", row["total_ms"]))
    often = [row for row in rows if row["calls"] >= limits.calls]
    found += [
        _statement("slow_mean", row, "", row["mean_ms"])
        for row in sorted(often, key=lambda one: -one["mean_ms"])[: limits.lines]
    ]
    return found


def _statement(kind: str, row: Row, share: str, weight: float) -> Finding:
    calls, blocks = row["calls"], row["hit"] + row["read"]
    missed = f", {row['read'] / blocks:.0%} of its blocks from disk" if blocks else ""
    spilled = f", {row['temp'] * 8 // 1024} MB of temporary files" if row["temp"] else ""
    advice = "EXPLAIN (ANALYZE, BUFFERS) it with the values of a slow request"
    if row["temp"]:
        advice = "it sorts or hashes on disk: more work_mem for it, or an index in its order"
    elif calls and row["rows"] <= calls and row["mean_ms"] < 5 and calls > 10_000:
        advice = "short and called very often: look for a loop that asks row by row (N+1)"
    detail = (
        f"{share}{calls} calls, mean {row['mean_ms']:.1f} ms, total {row['total_ms'] / 1000:.1f} s,"
        f" {row['rows']} rows{missed}{spilled}"
    )
    return Finding(kind, shape(row["query"]), detail, advice, weight, {"queryid": row["queryid"]})


def missing_indexes(rows: Iterable[Row], limits: Limits) -> list[Finding]:
    """Judge tables that are read from end to end, weighed by what that read."""
    found = []
    for row in rows:
        if row["mb"] < limits.table_mb or row["seq_scan"] < _SCANS:
            continue
        each = row["seq_tup_read"] / row["seq_scan"]
        if each < _READ_PER_SCAN:
            continue
        found.append(
            Finding(
                "missing_index",
                row["name"],
                f"{row['mb']} MB, {row['live']} rows; read whole {row['seq_scan']} times, "
                f"{each:.0f} rows each, by an index {row['idx_scan'] or 0} times",
                "find the statement that filters it (slow statements above) and index what it "
                "filters by, with CREATE INDEX CONCURRENTLY",
                row["seq_tup_read"],
            )
        )
    return _heaviest(found, limits)


def foreign_keys(rows: Iterable[Row], limits: Limits) -> list[Finding]:
    """Judge foreign keys whose columns no index begins with."""
    found = [
        Finding(
            "foreign_key",
            f"{row['name']} ({row['columns']})",
            f"{row['mb']} MB; refers to {row['target']}",
            "each DELETE and UPDATE there reads this table whole: CREATE INDEX CONCURRENTLY",
            row["mb"],
        )
        for row in rows
        if row["mb"] >= limits.table_mb
    ]
    return _heaviest(found, limits)


def dead_rows(rows: Iterable[Row], limits: Limits) -> list[Finding]:
    """Judge tables in which many rows are dead."""
    found = []
    for row in rows:
        every = row["live"] + row["dead"]
        if row["dead"] < _DEAD_FLOOR or row["dead"] < _DEAD_SHARE * every:
            continue
        cleaned = row["cleaned"] or "never"
        found.append(
            Finding(
                "dead",
                row["name"],
                f"{row['dead']} dead of {every} rows, {row['mb']} MB, cleaned last: {cleaned}",
                "VACUUM (ANALYZE) it; if that does not help, a long transaction or a replication "
                "slot holds the rows back",
                row["dead"],
            )
        )
    return _heaviest(found, limits)


def bloat(rows: Iterable[Row], limits: Limits) -> list[Finding]:
    """Judge tables that are much larger than their rows, estimated from the statistics."""
    found = []
    for row in rows:
        needed = row["needed_mb"]
        # Nobody has analysed it yet.
        if needed is None or needed < 0 or row["mb"] < limits.table_mb:
            continue
        spare = row["mb"] - needed
        if spare < _BLOAT_SHARE * row["mb"]:
            continue
        found.append(
            Finding(
                "bloat",
                row["name"],
                f"{row['mb']} MB, its rows need about {needed:.0f} MB",
                "new rows use the space again; pg_repack gives it back, VACUUM FULL locks the "
                "table meanwhile",
                spare,
            )
        )
    return _heaviest(found, limits)


def unused_indexes(rows: Iterable[Row], limits: Limits) -> list[Finding]:
    """Judge indexes that were never read since the statistics began."""
    found = [
        Finding(
            "unused_index",
            row["name"],
            f"{row['mb']} MB on {row['table']}, not read since {row['since']}",
            "each write keeps it; drop it when standbys do not read it and a month is covered",
            row["mb"],
        )
        for row in rows
        if row["mb"] >= limits.table_mb
    ]
    return _heaviest(found, limits)


def invalid_indexes(rows: Iterable[Row]) -> list[Finding]:
    """Judge indexes that CREATE INDEX CONCURRENTLY left behind."""
    return [
        Finding(
            "invalid_index",
            row["name"],
            f"on {row['table']}; written to, and never read",
            "REINDEX INDEX CONCURRENTLY it, or drop it",
        )
        for row in rows
    ]


def blocking(rows: Sequence[Row], limits: Limits) -> list[Finding]:
    """Return the sessions that block others and are not blocked: each the root of a tree."""
    by_pid = {row["pid"]: row for row in rows}
    behind: dict[int, list[int]] = {}
    for row in rows:
        for pid in row["blocked_by"] or ():
            behind.setdefault(pid, []).append(row["pid"])
    roots = [pid for pid in behind if not (by_pid.get(pid) or {}).get("blocked_by")]
    found = []
    for pid in roots:
        victims = _all_behind(pid, behind)
        root = by_pid.get(pid)
        longest = max((by_pid[one]["query_s"] or 0 for one in victims if one in by_pid), default=0)
        found.append(
            Finding(
                "blocking",
                f"pid {pid}",
                f"{_session(root)}; blocks {len(victims)} sessions ({_tree(pid, behind)}), the "
                f"longest for {longest:.0f} s",
                f"SELECT pg_terminate_backend({pid}) ends it and rolls it back",
                longest,
                {"pid": pid, "victims": victims},
            )
        )
    return _heaviest(found, limits)


def _all_behind(pid: int, behind: Mapping[int, list[int]]) -> list[int]:
    seen: list[int] = []
    waiting = list(behind.get(pid, ()))
    while waiting:
        one = waiting.pop(0)
        if one not in seen and one != pid:
            seen.append(one)
            waiting += behind.get(one, ())
    return seen


def _tree(pid: int, behind: Mapping[int, list[int]], seen: tuple[int, ...] = ()) -> str:
    parts = []
    for one in behind.get(pid, ()):
        if one in seen:
            continue
        below = _tree(one, behind, (*seen, pid))
        parts.append(f"{one} < [{below}]" if below else str(one))
    return ", ".join(parts)


def _session(row: Row | None) -> str:
    if row is None:
        return "a session that is gone, or a prepared transaction"
    who = f"{row['usename']} {row['application_name'] or ''}".strip()
    return (
        f"{who}, {row['state']}, in its transaction for {row['transaction_s'] or 0:.0f} s: "
        f"{shape(row['query'], 120)}"
    )


def idle(rows: Iterable[Row], limits: Limits) -> list[Finding]:
    """Judge sessions that began a transaction and do nothing."""
    found = [
        Finding(
            "idle",
            f"pid {row['pid']}",
            f"{_session(row)}, idle for {row['state_s']:.0f} s",
            "it holds locks and dead rows; idle_in_transaction_session_timeout ends such "
            "(tuning_idle_in_transaction_timeout)",
            row["state_s"],
            {"pid": row["pid"]},
        )
        for row in rows
        if str(row["state"]).startswith("idle in transaction")
        and (row["state_s"] or 0) >= _IDLE_SECONDS
    ]
    return _heaviest(found, limits)


def connections(rows: Sequence[Row], most: int) -> list[Finding]:
    """Judge how many of the connections are in use, and by whom."""
    states: dict[str, int] = {}
    users: dict[str, int] = {}
    for row in rows:
        states[row["state"] or "starting"] = states.get(row["state"] or "starting", 0) + 1
        who = str(row["application_name"] or row["usename"])
        users[who] = users.get(who, 0) + 1
    used = len(rows)
    if used < _CONNECTIONS * most:
        return []
    shown = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    who = ", ".join(f"{name} {number}" for name, number in sorted(users.items(), key=_most)[:5])
    return [
        Finding(
            "connections",
            f"{used} of {most}",
            f"{shown}; {who}",
            "find the service whose pool leaks; more max_connections take memory from each",
            used,
        )
    ]


def _most(pair: tuple[str, int]) -> int:
    return -pair[1]


def states(rows: Iterable[Row]) -> dict[str, int]:
    """Return the sessions by their state."""
    found: dict[str, int] = {}
    for row in rows:
        name = str(row["state"] or "starting")
        found[name] = found.get(name, 0) + 1
    return found


def database(row: Row) -> list[Finding]:
    """Judge the counters of the database: cache and temporary files."""
    found = []
    blocks = row["hit"] + row["read"]
    ratio = row["hit"] / blocks if blocks else 1.0
    if blocks >= _CACHE_BLOCKS and ratio < _CACHE_FLOOR:
        found.append(
            Finding(
                "cache",
                f"{ratio:.1%} of the blocks came from the cache",
                f"{row['read']} of {blocks} were read since {row['since']}",
                "a larger shared_buffers, which takes a larger limit (playbooks/tune.yml)",
                row["read"],
            )
        )
    if row["temp_files"]:
        found.append(
            Finding(
                "temporary",
                f"{row['temp_files']} files",
                f"{row['temp_mb']} MB since {row['since']}",
                "sorts and hashes that did not fit into work_mem; log_temp_files names them",
                row["temp_mb"],
            )
        )
    return found


def _heaviest(found: list[Finding], limits: Limits) -> list[Finding]:
    return sorted(found, key=lambda one: -one.weight)[: limits.lines]


def table(findings: Sequence[Finding], notes: Sequence[str] = ()) -> list[str]:
    """Return findings for a terminal, a kind after the other."""
    lines = []
    for kind, title in KINDS.items():
        own = [one for one in findings if one.kind == kind]
        if own:
            lines.append(f"{title}:")
            lines += [f"  {one.what}: {one.detail}" for one in own]
            lines += [f"    -> {advice}" for advice in dict.fromkeys(one.advice for one in own)]
    return lines + list(notes) or ["Nothing that makes it slow was found."]


def ticket(findings: Sequence[Finding], notes: Sequence[str], facts: Mapping[str, Any]) -> str:
    """Return findings as the text of a ticket."""
    lines = [
        f"PostgreSQL {facts.get('version', '')}, database {facts.get('database', '')}, "
        f"{facts.get('at', '')}",
        "",
    ]
    for kind, title in KINDS.items():
        own = [one for one in findings if one.kind == kind]
        if own:
            lines += [f"## {title}", ""]
            lines += [f"- `{one.what}`: {one.detail}. {one.advice}." for one in own]
            lines.append("")
    if len(lines) == 2:
        lines += ["Nothing that makes it slow was found.", ""]
    lines += [f"- {note}" for note in notes]
    return "\n".join(lines).strip() + "\n"


def short(findings: Sequence[Finding], most: int = 5) -> list[str]:
    """Return the first finding of each kind in one line, the most urgent kinds first."""
    lines = []
    for kind, title in KINDS.items():
        own = [one for one in findings if one.kind == kind]
        if own and kind != "slow_mean":
            more = f" (and {len(own) - 1} more)" if len(own) > 1 else ""
            lines.append(f"{title}{more}: {own[0].what[:100]}: {own[0].detail}")
    return lines[:most]
