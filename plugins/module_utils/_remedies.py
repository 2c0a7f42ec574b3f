# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The ladder of remedies, as data: when, what, how its effect is seen, whom it may hit. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ._incidents import Cause


@dataclass(frozen=True)
class Remedy:
    """One rung.

    :param precondition: what has to be so, looked at again right before.
    :param check: how its effect is seen, by another way than it was brought about.
    :param blast: whom it may hit.
    :param reversible: what is not needs its own confirmation.
    :param by_hand: nothing is done: it says what a person has to do.
    :param by_role: a role of this collection does it, not the module.
    """

    name: str
    title: str
    precondition: str
    check: str
    blast: str
    reversible: bool = True
    by_hand: bool = False
    by_role: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as a module does."""
        return asdict(self)


_ANSWERS = "the service answers as the table of services says, three times in a row"
_HAND = "the next diagnosis"

REMEDIES = {
    one.name: one
    for one in (
        Remedy(
            "start_container",
            "start the container",
            "the container is there and does not run, and nobody marked it as down on purpose",
            _ANSWERS,
            "this service only; what depends on it gets it back",
        ),
        Remedy(
            "unpause_container",
            "let the paused container go on",
            "the container is paused, and nobody marked it as down on purpose",
            _ANSWERS,
            "this service only",
        ),
        Remedy(
            "recreate_container",
            "create the container again from the image of the release",
            "compose has the service, and its image is on the server",
            _ANSWERS,
            "this service only; its container is new, its volumes are the same",
        ),
        Remedy(
            "restart_container",
            "restart the container, after its log was saved",
            "it runs, does not answer, and holds no database",
            _ANSWERS,
            "requests to this service that are under way are lost",
        ),
        Remedy(
            "restart_database",
            "restart PostgreSQL after a checkpoint, with two minutes to end",
            "it runs and does not answer a query",
            _ANSWERS,
            "every session is cut; the API is away for seconds",
            reversible=False,
        ),
        Remedy(
            "repull_image",
            "pull the image by the digest of the release, and create the container again",
            "a release is recorded, and a registry or the server has its image by digest",
            _ANSWERS,
            "this service only; its container is new, its volumes are the same",
        ),
        Remedy(
            "raise_memory",
            "raise the memory limit by half, at most to response_memory_max",
            "the kernel killed it at its limit or is about to, and the server has the room",
            "the kernel has the new limit, and the service answers three times in a row",
            "this service is switched without a gap; the server has less memory to spare",
        ),
        Remedy(
            "rollback_release",
            "go back to the release before (playbooks/rollback.yml)",
            "the release is young, and its predecessor is on the server",
            _ANSWERS,
            "all released services; refused by itself where the database is ahead",
            reversible=False,
            by_role=True,
        ),
        Remedy(
            "reload_proxy",
            "let the proxy read its configuration again, so that it looks up addresses anew",
            "nginx -t accepts the configuration",
            "the service answers through the proxy",
            "none: old workers finish what they have",
        ),
        Remedy(
            "end_idle_transactions",
            "end the sessions that forgot their transaction for longer than the limit",
            "they are still idle in that transaction, and are none of ours",
            "their pids are gone from pg_stat_activity",
            "what these sessions had not committed is lost, as it would be anyway",
            reversible=False,
        ),
        Remedy(
            "end_blocker",
            "end the session that keeps the others waiting",
            "it still blocks, and is none of ours",
            "its pid is gone from pg_stat_activity, and nobody waits for it",
            "what this session had not committed is lost",
            reversible=False,
        ),
        Remedy(
            "judge_connection_limit",
            "set connection_limit in DATABASE_URL so that all pools fit, and deploy",
            "the pools are larger than max_connections",
            _HAND,
            "none until it is deployed",
            by_hand=True,
        ),
        Remedy(
            "reset_statistics",
            "save the statistics of statements, then begin to count anew",
            "the statistics were saved to the evidence",
            "the counters are young, and the file holds the old ones",
            "graphs of statements have a gap",
            reversible=False,
        ),
        Remedy(
            "repair_redis",
            "copy the volume of Redis, then repair its files with redis-check-aof or -rdb",
            "Redis does not run, and its log names its files",
            _ANSWERS,
            "what Redis could not read is lost, and kept in the copy",
        ),
        Remedy(
            "empty_redis",
            "let Redis begin empty; its damaged files are kept aside and in the copy",
            "Redis does not run, its log names its files, and they could not be repaired",
            _ANSWERS,
            "everything that Redis kept: the cache is cold, sessions and queues are gone",
            reversible=False,
        ),
        Remedy(
            "flush_prefix",
            "remove the keys that begin with response_flush_prefix, bit by bit",
            "response_flush_prefix is given",
            "no key begins so any more, all others are there",
            "the cache of these keys is cold; whatever else is named so is gone",
            reversible=False,
        ),
        Remedy(
            "rotate_logs",
            "keep the logs of containers compressed, then empty them",
            "logs are larger than 64 MiB, and there is room for what is kept of them",
            "the log is small, and its compressed copy reads back whole",
            "docker logs begins anew; the old lines are in the copy",
        ),
        Remedy(
            "prune_build_cache",
            "remove the build cache that is not in use",
            "there is some",
            "the file system has more space",
            "the next build on this server takes longer",
            reversible=False,
        ),
        Remedy(
            "prune_images",
            "remove images that no kept release and no container needs",
            "a release is recorded, so that it is known what a way back needs",
            "the images are gone, and every image of a kept release is there",
            "none: what a rollback needs stays",
            reversible=False,
        ),
        Remedy(
            "grow_filesystem",
            "let the file system grow into the disk that was enlarged",
            "lsblk shows room behind it, and this user may become root",
            "the file system is larger",
            "none while it is mounted; it cannot be made smaller again",
            reversible=False,
        ),
        Remedy(
            "look_by_hand",
            "look at what the diagnosis names; nothing here is safe to do blindly",
            "always",
            _HAND,
            "none",
            by_hand=True,
        ),
    )
}

# What may be done about a cause, the least first.
LADDERS: dict[str, tuple[str, ...]] = {
    "container_out_of_memory": ("raise_memory", "rollback_release", "look_by_hand"),
    "container_stopped": ("start_container", "recreate_container"),
    "container_paused": ("unpause_container", "restart_container"),
    "container_missing": ("recreate_container",),
    "container_died": ("start_container", "recreate_container", "look_by_hand"),
    "container_crash_loop": ("repull_image", "look_by_hand"),
    "container_cannot_start": ("repull_image", "look_by_hand"),
    "container_no_network": ("recreate_container",),
    "container_unhealthy": ("restart_container", "restart_database", "recreate_container"),
    "image_damaged": ("repull_image",),
    "release_broken": ("rollback_release",),
    "errors_after_release": ("rollback_release",),
    "proxy_stale": ("reload_proxy",),
    "connections_idle_in_transaction": ("end_idle_transactions",),
    "connections_blocked": ("end_blocker",),
    "connections_pool_too_large": ("judge_connection_limit",),
    "slow_statements": ("look_by_hand", "reset_statistics"),
    "redis_data_damaged": ("repair_redis", "empty_redis"),
    "redis_memory_full": ("flush_prefix",),
    "memory_near_limit": ("raise_memory",),
    "disk_partition": ("grow_filesystem",),
    **dict.fromkeys(
        ("disk_images", "disk_logs", "disk_data", "disk_backups", "disk_other"),
        ("rotate_logs", "prune_build_cache", "prune_images", "look_by_hand"),
    ),
}
_NOTHING_TO_DO = ("nothing_wrong", "planned", "dependency_down", "errors_of_a_dependency")


@dataclass(frozen=True)
class Rung:
    """A remedy for a cause that was found.

    :param confirmed: what cannot be taken back was confirmed, or needs no confirmation.
    """

    remedy: Remedy
    cause: Cause
    confirmed: bool

    def as_dict(self) -> dict[str, Any]:
        """Return it as a module does."""
        return {
            **self.remedy.as_dict(),
            "cause": self.cause.as_dict(),
            "service": self.cause.service,
            "confirmed": self.confirmed,
        }


def fits(remedy: str, cause: Cause, roles: dict[str, str]) -> bool:
    """Return whether a remedy makes sense for a cause; what it needs is looked at again later."""
    role = roles.get(cause.service, "")
    if remedy == "rollback_release":
        return bool(cause.facts.get("previous"))
    if remedy == "restart_database":
        return role == "database"
    if remedy == "restart_container":
        return role != "database"
    if remedy == "recreate_container" and cause.code == "container_unhealthy":
        # To replace a database that runs cuts its sessions as a restart does, which is asked for.
        return role != "database"
    if remedy == "repull_image" and role == "database":
        # Its image is not the cause of what a server with data says; a person looks at it.
        return cause.code == "image_damaged"
    return True


def ladder(
    causes: Sequence[Cause], confirmed: Collection[str], roles: dict[str, str]
) -> list[Rung]:
    """Return what may be done, the likely cause first and the least first.

    :param confirmed: remedies that somebody agreed to by their names.
    :param roles: of the services of the table.
    """
    found: list[Rung] = []
    for cause in causes:
        if cause.code == "planned":
            # What is meant to be so is left alone, with whatever else it causes.
            return []
        if cause.code in _NOTHING_TO_DO:
            continue
        for name in LADDERS.get(cause.code, ("look_by_hand",)):
            if not fits(name, cause, roles):
                continue
            remedy = REMEDIES[name]
            agreed = remedy.reversible or name in confirmed
            place = (name, cause.service, cause.facts.get("point"))
            known = [
                (one.remedy.name, one.cause.service, one.cause.facts.get("point")) for one in found
            ]
            if place not in known:
                found.append(Rung(remedy, cause, agreed))
    return found
