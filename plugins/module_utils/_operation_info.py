# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Who has the lock and how the last operations ended, by looking alone: nothing is locked."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from . import _freeze, _journal, _lock_file, _operation, _operation_rules, _remains


def holders(
    state_dir: str, remains: _operation.Remains = _operation.nothing_remains
) -> list[dict[str, Any]]:
    """Return who has the lock, the exclusive one first.

    :param remains: whom to ask for containers and sessions that an operation left at work.
    """
    found = []
    for name in _operation_rules.lanes():
        path = _operation_rules.path(state_dir, name)
        record = _lock_file.peek(path)
        if record is None:
            continue
        running = _operation.is_running(record, path)
        processes = _remains.tagged(record.id)
        left = remains(record.id)
        looked = _operation.Blocked(record, running, processes, left)
        found.append(
            {
                **record.as_dict(),
                "running": running,
                "processes": processes,
                "left": left,
                "says": f"{_operation.describe(record)}; {_operation.at_work(looked)}",
            }
        )
    return found


def is_active(holder: dict[str, Any]) -> bool:
    """Return whether something works for an operation, or may: its controller was heard of."""
    works = holder["running"] or holder["processes"] or holder["left"]
    return bool(works or holder["heartbeat_age"] < holder["ttl"])


def switching(state_dir: str) -> str:
    """Return which operation is about to switch releases, and whose; empty where none is."""
    with suppress(OSError):
        for one in holders(state_dir):
            if _operation_rules.rule(one["kind"]).switches and is_active(one):
                return f"{one['kind']} {one['id']}" + (f" by {one['who']}" if one["who"] else "")
    return ""


def last_operations(
    state_dir: str, count: int, having: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return how the newest operations ended, from their journals; and which have the lock."""
    active = {one["id"] for one in having if is_active(one)}
    found = []
    for operation in _journal.operations(state_dir)[:count]:
        lines = _journal.read(state_dir, operation)
        first = lines[0] if lines else {}
        end = _journal.ending(lines) or {}
        step = _journal.last_step(lines)
        open_end = "running" if operation in active else "unknown"
        found.append(
            {
                "id": operation,
                "kind": _operation_rules.kind_of(operation),
                "who": first.get("who", ""),
                "origin": first.get("origin", ""),
                "step": step["step"] if step else "",
                "at": lines[-1].get("at", "") if lines else "",
                "ended": end.get("event", ""),
                "verdict": end.get("verdict", open_end),
                "headline": end.get("headline", ""),
            }
        )
    return found


def steps(state_dir: str, operation: str) -> list[dict[str, str]]:
    """Return the steps of an operation from its journal: name, and when it began.

    Its beginning and its end are among them, for a timeline needs both.
    """
    told = ("acquired", "step", "ended")
    return [
        {"step": str(line.get("step") or line["event"]), "at": str(line.get("at", ""))}
        for line in _journal.read(state_dir, operation)
        if line.get("event") in told
    ]


def _line(one: dict[str, Any]) -> str:
    by = f" by {one['who']}" if one["who"] else ""
    step = f' at step "{one["step"]}"' if one["step"] and one["ended"] != "ended" else ""
    how = f", {one['ended']}" if one["ended"] not in ("", "ended") else ""
    said = f": {one['headline']}" if one["headline"] else ""
    return f"{one['id']}{by}: {one['verdict']}{how}{step} ({one['at']}){said}"


def info(
    state_dir: str, count: int = 10, remains: _operation.Remains = _operation.nothing_remains
) -> dict[str, Any]:
    """Return who has the lock, whether there is a freeze, how the last operations ended.

    ``report`` says all of it in lines for an operator.
    """
    with _operation.directory(state_dir):
        having = holders(state_dir, remains)
        frozen = _freeze.load(state_dir)
        last = last_operations(state_dir, count, having)
    lines = [one["says"] for one in having]
    if frozen:
        by = f" by {frozen.who}" if frozen.who else ""
        lines.append(f"frozen{by} since {frozen.since} until {frozen.until}: {frozen.reason}")
    return {
        "holders": having,
        "freeze": asdict(frozen) if frozen else {},
        "operations": last,
        "report": lines + [_line(one) for one in last],
    }
