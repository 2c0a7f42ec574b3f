# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Find the cause in the facts of an incident: containers and what runs in them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._facts import Facts, Seen
from ._incidents import Cause

_LOOP_DEATHS = 2
_MEMORY_SHARE = 0.9
_HEAP_SHARE = 0.8
_NOT_FOUND = (126, 127)
# What an image or a file system that lost files says, whatever runs in it.
_DAMAGED = re.compile(
    r"exec format error|executable file not found|error while loading shared libraries"
    r"|Cannot find (?:module|package)|no such file or directory: unknown|Input/output error"
    r"|invalid ELF header",
    re.IGNORECASE,
)
# What Redis says of its own files.
_REDIS_DAMAGED = re.compile(
    r"Bad file format reading the append only file|Unexpected end of file reading the append only"
    r"|Wrong signature trying to load DB|Short read or OOM loading DB|Unrecoverable error reading"
    r"|Internal error in RDB reading|AOF loading aborted|Error reading the append only file"
    r"|Invalid RDB|Truncated RDB|checksum.{0,20}does not match|Wrong RDB checksum",
    re.IGNORECASE,
)

# What the checks of PostgreSQL say (_postgres, _postgres_findings).
_DATABASE_SAYS = {
    r"^wrong password": "database_password",
    r"^database .* does not exist": "database_missing",
    r"it is read-only": "database_read_only",
    r"recovers after a crash|is starting up": "database_recovering",
}
# What the checks of Redis say (_redis). It answers its own healthcheck so, too.
_REDIS_SAYS = {
    "wrong password": "redis_password",
    "(MISCONF)": "redis_cannot_save",
    "(LOADING)": "redis_loading",
}


@dataclass(frozen=True)
class Settings:
    """What is given by the operator.

    :param release_s: how long after a release its services are looked at with it in mind.
    :param idle_s: from when on a session that forgot its transaction counts.
    :param share: of the connections from which on there are too few.
    """

    release_s: float = 3600
    idle_s: float = 300
    share: float = 0.8
    disk_warn: int = 85


def recent(facts: Facts, seen: Seen, settings: Settings) -> bool:
    """Return whether a release a short time ago gave this container its image."""
    release = facts.release
    return (
        bool(release.id)
        and release.age_s < settings.release_s
        and seen.compose_service in release.changed
        and release.images.get(seen.compose_service) == seen.image_id
        and bool(release.previous)
    )


def _release_facts(facts: Facts) -> dict[str, str]:
    return {"release": facts.release.id, "previous": facts.release.previous}


def _said(facts: Facts, seen: Seen, pattern: re.Pattern[str], count: int = 120) -> str:
    """Return the last line of a log in which something stands."""
    for line in reversed(facts.logs.get(seen.name, [])[-count:]):
        if pattern.search(line):
            return line.strip()[:300]
    return ""


def container(facts: Facts, seen: Seen, settings: Settings) -> Cause | None:
    """Return what is wrong with a container by itself; nothing when it runs."""
    known = {"container": seen.name, "limit_mb": seen.limit_mb}
    is_recent = recent(facts, seen, settings)
    if is_recent:
        known |= _release_facts(facts)
    loops = not seen.by_hand and (seen.status == "restarting" or seen.deaths >= _LOOP_DEATHS)
    code, detail = "", ""
    if loops or not seen.running:
        code, detail = _failing(facts, seen, loops, is_recent)
    elif seen.out_of_memory:
        code, detail = "container_out_of_memory", _killed(seen)
    elif seen.health == "unhealthy":
        code, detail = "container_unhealthy", seen.health_says
        if is_recent:
            code, detail = "release_broken", _since_release(facts, detail)
    return Cause(code, seen.service, detail, facts=known) if code else None


def _failing(facts: Facts, seen: Seen, loops: bool, is_recent: bool) -> tuple[str, str]:
    """Return the cause of a container that does not run, or never for long, and what shows it."""
    # The log also has what it said in earlier lives: one that was stopped did not end by itself.
    ended_by_itself = not seen.by_hand and (loops or seen.exit_code != 0)
    own_files = ""
    if seen.role == "cache" and ended_by_itself:
        own_files = _said(facts, seen, _REDIS_DAMAGED)
    damaged = seen.start_error if _DAMAGED.search(seen.start_error) else ""
    if not damaged and (loops or seen.exit_code in _NOT_FOUND):
        damaged = _said(facts, seen, _DAMAGED, 40)
    broken = is_recent and ended_by_itself
    never_ran = seen.status == "created" or bool(seen.start_error and not seen.running)
    ended = "container_stopped" if _stopped(seen) else "container_died"
    possible = (
        # What the kernel did to it comes first: nothing else explains that.
        (seen.out_of_memory and not seen.by_hand, "container_out_of_memory", _killed(seen)),
        (seen.status == "paused", "container_paused", seen.says),
        (own_files, "redis_data_damaged", f"its log says: {own_files}"),
        (broken, "release_broken", _since_release(facts, seen.says)),
        (damaged, "image_damaged", f"it says: {damaged}"),
        (loops, "container_crash_loop", seen.says + _last_words(facts, seen)),
        (never_ran, "container_cannot_start", seen.says),
        (True, ended, seen.says),
    )
    return next((code, detail) for holds, code, detail in possible if holds)


def _last_words(facts: Facts, seen: Seen) -> str:
    """Return what it said last, which is as a rule why it ended."""
    said = [line.strip() for line in facts.logs.get(seen.name, []) if line.strip()]
    return f"; its log ends with: {said[-1][:300]}" if said else ""


def _killed(seen: Seen) -> str:
    limit = f" at {seen.limit_mb} MB" if seen.limit_mb else ""
    return (
        f"container {seen.name} was killed for lack of memory{limit}, by what the engine says of "
        f"its end; restarts: {seen.restarts}"
    )


def _stopped(seen: Seen) -> bool:
    """Return whether somebody stopped it: the engine starts again what ends by itself."""
    return bool(seen.by_hand) or seen.policy in ("always", "unless-stopped")


def _since_release(facts: Facts, detail: str) -> str:
    minutes = facts.release.age_s / 60
    return f"release {facts.release.id} is {minutes:.0f} min old; {detail}"


def service(facts: Facts, name: str, settings: Settings) -> list[Cause]:
    """Return what is wrong with a service, by its containers and by how it answers."""
    containers = facts.of(name)
    causes = (container(facts, seen, settings) for seen in containers)
    found = [cause for cause in causes if cause is not None]
    downs = facts.downs(name)
    if not containers:
        missing = [one for one in downs if one["name"] == f"{name}.container"]
        return [Cause("container_missing", name, one["detail"]) for one in missing[:1]]
    if all(cause.code == "container_unhealthy" for cause in found):
        # What it says itself explains that Docker finds it unhealthy as well.
        found = _in_its_words(facts, containers[0].role, name, downs) or found
    if not found and downs:
        found = [_silent(facts, containers[0], downs, settings)]
    return found


def _silent(facts: Facts, seen: Seen, downs: Sequence[dict[str, Any]], settings: Settings) -> Cause:
    """Return why a service whose container runs does not do its work."""
    detail = str(downs[0]["detail"])
    known: dict[str, Any] = {"container": seen.name, "limit_mb": seen.limit_mb}
    silent = {one["name"].partition(".")[2] for one in downs}
    if silent == {"proxy"}:
        return Cause("proxy_stale", seen.service, detail)
    if silent == {"certificate"}:
        return Cause("certificate_expires", seen.service, detail)
    if not seen.address:
        return Cause("container_no_network", seen.service, detail, facts=known)
    if recent(facts, seen, settings):
        known |= _release_facts(facts)
        return Cause("release_broken", seen.service, _since_release(facts, detail), facts=known)
    return Cause("container_unhealthy", seen.service, detail, facts=known)


def _in_its_words(
    facts: Facts, role: str, name: str, downs: Sequence[dict[str, Any]]
) -> list[Cause]:
    """Return what a service that answers says of itself."""
    if role == "database":
        return _database(name, downs)
    if role == "cache":
        return _redis(facts, name, downs)
    return _store(name, downs) if role == "object_store" else []


def _database(name: str, downs: Sequence[dict[str, Any]]) -> list[Cause]:
    """Return what no restart helps against."""
    for one in downs:
        text = str(one["detail"])
        for said, code in _DATABASE_SAYS.items():
            if re.search(said, text):
                return [Cause(code, name, text)]
    return []


def _redis(facts: Facts, name: str, downs: Sequence[dict[str, Any]]) -> list[Cause]:
    for one in downs:
        text = str(one["detail"])
        for said, code in _REDIS_SAYS.items():
            if said in text:
                return [Cause(code, name, text)]
    memory = facts.check(f"{name}.memory")
    if memory:
        return [Cause("redis_memory_full", name, str(memory["detail"]), facts=memory["evidence"])]
    saving = facts.check(f"{name}.persistence")
    if saving and "still loading" not in saving["detail"]:
        return [Cause("redis_cannot_save", name, str(saving["detail"]))]
    return []


def _store(name: str, downs: Sequence[dict[str, Any]]) -> list[Cause]:
    for one in downs:
        text = str(one["detail"])
        if one["name"] == f"{name}.bucket" and "does not exist" in text:
            return [Cause("store_bucket_missing", name, text)]
        if one["name"] in (f"{name}.canary", f"{name}.cluster"):
            return [Cause("store_refuses", name, text)]
    return []


def memory(facts: Facts) -> list[Cause]:
    """Return who is about to be killed, and by which setting it would be."""
    found = []
    for seen in facts.containers:
        if not seen.running or not seen.limit_mb:
            continue
        known = {"container": seen.name, "limit_mb": seen.limit_mb}
        if seen.memory_mb > seen.limit_mb * _MEMORY_SHARE:
            detail = f"{seen.memory_mb} of {seen.limit_mb} MB are used"
            found.append(Cause("memory_near_limit", seen.service, detail, 30, known))
        if seen.heap_mb > seen.limit_mb * _HEAP_SHARE:
            detail = (
                f"--max-old-space-size={seen.heap_mb} with a limit of {seen.limit_mb} MB; three "
                "quarters of it leave room for the rest of the process"
            )
            found.append(Cause("memory_heap", seen.service, detail, 40, known))
    host = facts.check("host.memory")
    if host:
        found.append(Cause("memory_host", "host", host["detail"], 20))
    return found


def release(facts: Facts) -> list[Cause]:
    """Return whether a release a short time ago explains an incident that is not a container's."""
    if not facts.release.id or not facts.release.previous:
        return []
    minutes = facts.release.age_s / 60
    detail = f"release {facts.release.id} is {minutes:.0f} min old"
    service_name = next(
        (one.service for one in facts.containers if one.compose_service in facts.release.changed),
        "",
    )
    if not service_name:
        return []
    return [Cause("errors_after_release", service_name, detail, facts=_release_facts(facts))]
