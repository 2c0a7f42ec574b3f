# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Find the cause in the facts of an incident: PostgreSQL, the disk, errors. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from . import _pg_diagnosis
from ._diagnosis_services import Settings
from ._facts import Disk, Facts
from ._host import size
from ._incidents import Cause

_OURS = ("carrental-ops", "carrental.ops")
_WORTH_BYTES = 64 * 2**20
_ONE_PLACE = 0.8
_ERRORS = 5
_NEWEST = 10
# For operators, and what the superuser keeps.
_SPARE = 5


def forgotten(sessions: Iterable[Mapping[str, Any]], seconds: float) -> list[Mapping[str, Any]]:
    """Return the sessions that sit in a transaction and do nothing for so long, the oldest first.

    Our own are never among them, nor are those that a backup or a migration keeps at work.
    """
    found = [
        row
        for row in sessions
        if str(row["state"] or "").startswith("idle in transaction")
        and float(row["state_s"] or 0) >= seconds
        and not str(row["application_name"] or "").startswith((*_OURS, "pg_dump"))
    ]
    return sorted(found, key=lambda row: -float(row["state_s"] or 0))


def database(facts: Facts, service: str, settings: Settings) -> list[Cause]:
    """Return what is wrong with the connections of a database that answers."""
    if not facts.max_connections:
        return []
    found: list[Cause] = []
    used, most = len(facts.sessions), facts.max_connections
    scarce = used >= most * settings.share
    shown = f"{used} of {most} connections are in use"
    old = forgotten(facts.sessions, settings.idle_s)
    if old:
        who = Counter(str(row["application_name"] or row["usename"]) for row in old)
        detail = (
            f"{shown}; {len(old)} sit idle in a transaction, the oldest for "
            f"{float(old[0]['state_s']):.0f} s, of {', '.join(who)}"
        )
        pids = [int(row["pid"]) for row in old]
        rank = 10 if scarce or facts.incident == "database_connections" else 35
        known = {"pids": pids, "seconds": settings.idle_s}
        found.append(Cause("connections_idle_in_transaction", service, detail, rank, known))
    roots = _roots(facts)
    if roots:
        pid, waiting = max(roots.items(), key=lambda pair: pair[1])
        holder = next((row for row in facts.sessions if row["pid"] == pid), None)
        text = _pg_diagnosis.shape(str(holder["query"])) if holder else "a session that is gone"
        detail = f"pid {pid} keeps {waiting} waiting; its last statement: {text}"
        found.append(Cause("connections_blocked", service, detail, 12, {"pid": pid}))
    needed = sum(one["size"] * one["replicas"] for one in facts.pools)
    if facts.pools and needed + facts.exporters > most:
        each = ", ".join(
            f"{one['service']} {one['size']} x {one['replicas']}" for one in facts.pools
        )
        copies = max(sum(one["replicas"] for one in facts.pools), 1)
        room = max((most - facts.exporters - _SPARE) // copies, 1)
        detail = (
            f"the pools may open {needed} connections ({each}) and {facts.exporters} exporters "
            f"look on, PostgreSQL offers {most}; connection_limit in DATABASE_URL has to be "
            f"{room} or less, or max_connections larger (playbooks/tune.yml)"
        )
        found.append(Cause("connections_pool_too_large", service, detail, 20))
    if scarce and not found:
        states = Counter(str(row["state"] or "unknown") for row in facts.sessions)
        shares = ", ".join(f"{count} {state}" for state, count in states.most_common())
        who = Counter(str(row["application_name"] or row["usename"]) for row in facts.sessions)
        most_of = ", ".join(f"{name} {count}" for name, count in who.most_common(3))
        detail = f"{shown} ({shares}), most by {most_of}"
        found.append(Cause("connections_busy", service, detail, 25))
    return found


def _roots(facts: Facts) -> dict[int, int]:
    """Return the sessions that wait for nobody and keep others waiting, and how many."""
    waiting = {row["pid"]: row["blocked_by"] for row in facts.sessions if row.get("blocked_by")}
    found: Counter[int] = Counter()
    for first in waiting:
        seen, current = {first}, first
        while waiting.get(current):
            current = waiting[current][0]
            if current in seen:
                break
            seen.add(current)
        if current != first:
            found[current] += 1
    return dict(found)


def slow(facts: Facts, service: str) -> list[Cause]:
    """Return which statements or tables make PostgreSQL slow."""
    kinds = ("slow_total", "missing_index", "dead", "foreign_key", "temporary", "cache")
    heavy = [one for one in facts.findings if one["kind"] in kinds]
    if not heavy:
        return []
    first = heavy[0]
    others = ", ".join(sorted({one["kind"] for one in heavy[1:]}))
    detail = f"{first['what']}: {first['detail']}; {first['advice']}"
    known = {"findings": len(heavy), "others": others}
    return [Cause("slow_statements", service, detail[:400], 30, known)]


def disk(facts: Facts, settings: Settings) -> list[Cause]:
    """Return who takes the space of the file systems that are nearly full, the largest first."""
    full = [
        one
        for one in facts.disks
        if one.percent > settings.disk_warn or one.inodes_percent > settings.disk_warn
    ]
    found: list[Cause] = []
    for one in full:
        found += _of_disk(facts, one)
    return found


def _of_disk(facts: Facts, one: Disk) -> list[Cause]:
    space = facts.space
    known = {"point": one.point, "percent": one.percent}
    where = f"{one.point} is at {one.percent} %, {size(one.available)} free"
    if one.inodes_percent > one.percent:
        text = f"{one.inodes_percent} % of the inodes of {one.point} are used"
        return [Cause("disk_inodes", "host", text, 20, known)]
    takes: list[tuple[int, str, str]] = []
    if one.point == space.docker_point:
        free = space.images + space.build_cache
        text = f"{size(space.images)} of images and {size(space.build_cache)} of build cache"
        takes.append((free, "disk_images", f"{text} that nobody needs"))
        logs = sum(space.logs.values())
        if space.logs:
            largest = max(space.logs, key=lambda name: space.logs[name])
            text = f"{size(logs)} of logs, the largest of {largest} ({size(space.logs[largest])})"
            takes.append((logs, "disk_logs", text))
        data = sum(space.volumes.values())
        if space.volumes:
            largest = max(space.volumes, key=lambda name: space.volumes[name])
            text = (
                f"{size(data)} in volumes, the largest {largest} ({size(space.volumes[largest])})"
            )
            takes.append((data, "disk_data", text))
    if one.point == space.backup_point:
        text = (
            f"{size(space.backups)} in {space.backups_count} backups, which a response never "
            "removes; playbooks/backup.yml does, by its plan and never the last good ones"
        )
        takes.append((space.backups, "disk_backups", text))
    takes = [take for take in takes if take[0] >= _WORTH_BYTES]
    takes.sort(key=lambda take: -take[0])
    found = [
        Cause(code, "host", f"{where}; {text}", 20 + place, {**known, "bytes": bytes_})
        for place, (bytes_, code, text) in enumerate(takes)
    ]
    grows = space.grows.get(one.point, 0)
    if grows >= _WORTH_BYTES:
        text = f"{where}; its device is {size(grows)} larger than the file system"
        found.append(Cause("disk_partition", "host", text, 28, {**known, "bytes": grows}))
    if not found:
        text = f"{where}; see du -xh {one.point}"
        found.append(Cause("disk_other", "host", text, 29, known))
    return found


def places(facts: Facts, container: str) -> Counter[str]:
    """Return how many of the newest errors each path has, by the status that the API logs.

    The log has those of earlier incidents as well.
    """
    found: Counter[str] = Counter()
    for line in reversed(facts.logs.get(container, [])):
        if sum(found.values()) >= _NEWEST:
            break
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and str(entry.get("status", "")).startswith("5"):
            found[str(entry.get("path", "?"))] += 1
    return found


def fails(facts: Facts, container: str) -> bool:
    """Return whether errors are seen: in the log, or by the alert that counts them."""
    alarmed = any(
        one["response"] == "high_error_rate" and one["state"] == "active" for one in facts.alerts
    )
    return alarmed or sum(places(facts, container).values()) >= _ERRORS


def errors(facts: Facts, service: str, container: str) -> list[Cause]:
    """Return the one endpoint that errors come from, if it is one."""
    found = places(facts, container)
    total = sum(found.values())
    if total < _ERRORS:
        return []
    path, count = found.most_common(1)[0]
    if count < total * _ONE_PLACE:
        return []
    detail = f"{count} of {total} last errors in its log are of {path}"
    return [Cause("errors_at_one_place", service, detail, 40, {"path": path})]
