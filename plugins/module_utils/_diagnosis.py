# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Name the likely cause of an incident, from its facts and from nothing else. Pure."""

from __future__ import annotations

from dataclasses import replace

from . import _diagnosis_data, _diagnosis_services, _incidents
from ._diagnosis_services import Settings
from ._facts import Facts
from ._incidents import Cause

# What may be the doing of what a service stands on.
_SOFT = ("container_unhealthy", "container_crash_loop", "container_died", "proxy_stale")
# A stop by somebody: during a freeze, or with a silence, it is meant.
_BY_SOMEBODY = ("container_stopped", "container_paused", "container_missing")
_RANK_BELOW, _RANK_OWN, _RANK_BESIDE = 5, 15, 45
# Incidents that are causes themselves.
_ALONE = {
    "certificate": "certificate_expires",
    "backup_missing": "backup_missing",
    "drill_missing": "drill_missing",
}


def diagnose(facts: Facts, settings: Settings) -> list[Cause]:
    """Return the causes of an incident, the likely one first. Never empty."""
    if facts.docker_down:
        return [Cause("docker_down", "host", facts.docker_down, 0)]
    found = _services(facts, settings)
    topics = _incidents.INCIDENTS[facts.incident].topics
    database = next((one.service for one in facts.containers if one.role == "database"), "")
    if database and "database" in topics:
        found = _explained(found, _diagnosis_data.database(facts, database, settings))
    if database and "slow" in topics:
        found += _diagnosis_data.slow(facts, database)
    if "disk" in topics:
        found += _diagnosis_data.disk(facts, settings)
    if "memory" in topics:
        found += _diagnosis_services.memory(facts)
    if "errors" in topics:
        found += _errors(facts, found, settings)
    if facts.incident in _ALONE and all(one.code != _ALONE[facts.incident] for one in found):
        found += _alone(facts)
    found = [_on_purpose(facts, one) for one in found]
    found += _busy(facts, found)
    if not found:
        found = [_nothing(facts)]
    return sorted(found, key=lambda one: one.rank)


def _explained(found: list[Cause], connections: list[Cause]) -> list[Cause]:
    """Return all causes; that a database lets nobody in is no cause beside who has its places."""
    taken = [one for one in connections if one.code != "connections_pool_too_large"]
    silent = [
        one
        for one in found
        if taken and one.code == "container_unhealthy" and one.service == taken[0].service
    ]
    return [one for one in found if one not in silent] + connections


def _services(facts: Facts, settings: Settings) -> list[Cause]:
    own = [
        one for name in facts.focus for one in _diagnosis_services.service(facts, name, settings)
    ]
    below = [
        one for name in facts.behind for one in _diagnosis_services.service(facts, name, settings)
    ]
    # Without its database the API cannot work, without the proxy nobody reaches it; without the
    # others it goes on.
    needed = {one.service for one in facts.containers if one.role in ("database", "proxy")}
    roots = [one for one in below if one.service in needed or one.code == "proxy_stale"]
    beside = [one for one in below if one not in roots]
    ranked = []
    for one in own:
        if one.code in _SOFT and roots:
            detail = f"{roots[0].service} is not well; {one.detail}"
            ranked.append(Cause("dependency_down", one.service, detail, 40, one.facts))
        else:
            ranked.append(replace(one, rank=_RANK_OWN))
    ranked += [replace(one, rank=_RANK_BELOW if own else _RANK_OWN) for one in roots]
    ranked += [replace(one, rank=_RANK_BESIDE) for one in beside]
    return ranked


def _errors(facts: Facts, found: list[Cause], settings: Settings) -> list[Cause]:
    made = []
    failing = False
    for seen in (one for name in facts.focus for one in facts.of(name)):
        failing = failing or _diagnosis_data.fails(facts, seen.name)
        made += _diagnosis_data.errors(facts, seen.service, seen.name)
    below = [one for one in found if one.service in facts.behind]
    if below:
        first = below[0]
        service = facts.focus[0] if facts.focus else "host"
        made.append(Cause("errors_of_a_dependency", service, f"{first.service}: {first.code}", 42))
    elif failing and facts.release.id and facts.release.age_s < settings.release_s:
        made += [replace(one, rank=18) for one in _diagnosis_services.release(facts)]
    return made


def _alone(facts: Facts) -> list[Cause]:
    """Return what a certificate, the backups or the drills show, and what fires about them."""
    code = _ALONE[facts.incident]
    service, detail = "host", ""
    if code == "drill_missing":
        detail = facts.drill
    else:
        places, ending = ["host"], ".backup"
        if code == "certificate_expires":
            places, ending = facts.focus, ".certificate"
        seen = next((one for name in places if (one := facts.bad(name, ending))), None)
        if seen:
            service, detail = seen["service"], f"{seen['summary']}: {seen['detail']}"
    told = [detail] if detail else []
    told += [
        f"{one['alert']} fires: {one['summary']}"
        for one in facts.alerts
        if one["response"] == facts.incident and one["state"] == "active"
    ]
    return [Cause(code, service, "; ".join(told), 10)] if told else []


def _on_purpose(facts: Facts, cause: Cause) -> Cause:
    """Return what was found, or that somebody wants it so."""
    if cause.code not in _BY_SOMEBODY:
        return cause
    why = facts.silenced.get(cause.service, "")
    if not why and facts.freeze:
        why = f"there is a freeze: {facts.freeze}"
    if not why:
        return cause
    return replace(cause, code="planned", detail=f"{why}; {cause.detail}")


def _busy(facts: Facts, found: list[Cause]) -> list[Cause]:
    """Return that an operation is at work: what it does to services is meant."""
    if not facts.holders or not found:
        return []
    return [Cause("planned", found[0].service, facts.holders[0], 0)]


def _nothing(facts: Facts) -> Cause:
    bad = [
        one
        for one in facts.checks
        if one["status"] in ("warn", "fail") and one["service"] in (*facts.focus, "host")
    ]
    where = facts.focus[0] if facts.focus else "host"
    if any(one["status"] == "fail" for one in bad):
        first = next(one for one in bad if one["status"] == "fail")
        return Cause("unknown", first["service"], f"{first['summary']}: {first['detail']}", 60)
    noted = f"; {bad[0]['summary']}: {bad[0]['detail']}" if bad else ""
    return Cause("nothing_wrong", where, f"every check of it passes now{noted}", 60)
