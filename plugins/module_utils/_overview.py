# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""How full a server is and which alerts fire: what no record tells, in one look.

Each part says by itself why it is not known; a server without an Alertmanager has a
memory all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from . import _alertmanager, _containers, _docker, _engine, _memory_budget, _preflight_look

_MIB = 1024 * 1024
_NAMELESS = "without a name"


@dataclass(frozen=True)
class Share:
    """Memory of one container, in MiB.

    :param limit: what it may use; 0 without a limit.
    :param used: what it uses now; ``None`` where nobody knows.
    """

    service: str
    container: str
    limit: int
    used: int | None


def memory(engine: _engine.Engine, projects: Iterable[str]) -> list[Share]:
    """Return the memory of each running container, the largest limit first."""
    found = []
    for project in projects:
        for one in engine.services(project):
            if not one.running:
                continue
            limit = int((one.raw.get("HostConfig") or {}).get("Memory") or 0)
            used = engine.memory(one)
            shown = None if used is None else used // _MIB
            found.append(Share(one.service, one.name, limit // _MIB, shown))
    return sorted(found, key=lambda one: (-one.limit, one.container))


def budget(shares: Sequence[Share], total: int, available: int) -> dict[str, Any]:
    """Return what is promised of the memory of a server, in MiB.

    :param total: memory of the server.
    :param available: what can be had of it without swapping.
    """
    limits = sum(one.limit for one in shares)
    unlimited = [one.container for one in shares if not one.limit]
    besides = sum(one.used or 0 for one in shares if not one.limit)
    return {
        "total": total,
        "available": available,
        "limits": limits,
        "unlimited": unlimited,
        "unlimited_used": besides,
        "reserve": _memory_budget.HOST_RESERVE,
        "free": total - limits - besides - _memory_budget.HOST_RESERVE,
        "containers": [asdict(one) for one in shares],
    }


def budget_line(told: Mapping[str, Any]) -> str:
    """Return the budget in one sentence."""
    rest = int(told["free"])
    left = f"{rest} MiB are left" if rest >= 0 else f"{-rest} MiB more than there is"
    besides = (
        f" and {told['unlimited_used']} MiB by {len(told['unlimited'])} without a limit"
        if told["unlimited"]
        else ""
    )
    return (
        f"memory: {told['limits']} MiB promised to containers{besides}, {told['reserve']} MiB kept "
        f"for the server, of {told['total']} MiB: {left}"
    )


def alert(told: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return one alert of Alertmanager, in short."""
    labels = told.get("labels") or {}
    notes = told.get("annotations") or {}
    since = str(told.get("startsAt") or "")
    age = _containers.seconds_since(since, now)
    return {
        "name": str(labels.get("alertname") or _NAMELESS),
        "severity": str(labels.get("severity") or ""),
        "since": since,
        "age_s": None if age is None else round(age),
        "summary": str(notes.get("summary") or notes.get("description") or ""),
    }


def alert_line(told: Mapping[str, Any]) -> str:
    """Return one alert in one line."""
    severity = f"{told['severity']} " if told["severity"] else ""
    since = "" if told["age_s"] is None else f" for {_containers.duration(told['age_s'])}"
    summary = f": {told['summary']}" if told["summary"] else ""
    return f"alert {severity}{told['name']}{since}{summary}"


def alerts(
    engine: _engine.Engine, projects: Iterable[str], service: str, port: int
) -> tuple[list[dict[str, Any]], str]:
    """Return the alerts that fire, the most severe first, and why they are not known."""
    now = datetime.now(timezone.utc)
    try:
        managers = [
            one
            for project in projects
            for one in engine.services(project)
            if one.service == service and one.running
        ]
        if not managers:
            return [], f"no container of service {service} runs"
        found = _alertmanager.Alertmanager(managers[0].address, port).firing()
    except (_alertmanager.AlertmanagerError, _docker.DockerError) as error:
        return [], str(error)
    told = [alert(one, now) for one in found]
    return sorted(told, key=lambda one: (one["severity"] or "~", one["name"])), ""


def total_memory(text: str) -> int:
    """Return the memory of the server in MiB from the text of ``/proc/meminfo``; 0 without it."""
    for line in text.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0


def capacity(engine: _engine.Engine, projects: Sequence[str]) -> dict[str, Any]:
    """Return the memory budget of the server as it is."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        total = total_memory(stream.read())
    return budget(memory(engine, projects), total, _preflight_look.available_memory() // _MIB)
