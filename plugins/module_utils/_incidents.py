# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Which incidents there are, and which causes they can have. Closed lists, pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Table = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Incident:
    """A kind of incident.

    :param roles: of the services that it is about; empty is the server itself.
    :param behind: roles of the services that these stand on, looked at as well.
    :param topics: what is looked at besides the containers: database, slow, disk, memory, errors,
        backups, drill.
    """

    title: str
    severity: str
    roles: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    runbook: str = ""


_BELOW = ("database", "cache", "object_store")
_EVERY = ("database", "cache", "object_store", "stateless", "proxy", "monitor")

INCIDENTS = {
    "api_down": Incident(
        *("The API does not answer", "P1", ("stateless",)),
        behind=(*_BELOW, "proxy"),
        topics=("database",),
        runbook="3.1",
    ),
    "web_down": Incident(
        *("The web front end does not answer", "P1", ("stateless",)),
        behind=("proxy",),
        runbook="3.1",
    ),
    "proxy_down": Incident(
        *("The proxy does not serve", "P1", ("proxy",)), behind=("stateless",), runbook="3.1"
    ),
    "database_down": Incident(
        *("PostgreSQL does not answer", "P1", ("database",)),
        topics=("database", "disk"),
        runbook="3.2",
    ),
    "database_connections": Incident(
        *("PostgreSQL runs out of connections", "P1", ("database",)),
        topics=("database",),
        runbook="3.2",
    ),
    "redis_down": Incident(*("Redis does not answer", "P3", ("cache",)), runbook="3.3"),
    "object_store_down": Incident(
        *("The object store does not work", "P2", ("object_store",)),
        topics=("disk",),
        runbook="3.4",
    ),
    "high_memory": Incident(
        *("Memory runs out", "P2", _EVERY), topics=("memory", "database"), runbook="3.5"
    ),
    "high_error_rate": Incident(
        *("The API answers with errors", "P1", ("stateless",)),
        behind=(*_BELOW, "proxy"),
        topics=("database", "errors"),
        runbook="5.1",
    ),
    "slow_queries": Incident(
        *("Statements are slow", "P2", ("database",)),
        topics=("database", "slow"),
        runbook="5.2",
    ),
    "disk_space": Incident("The disk is filling up", "P2", topics=("disk",), runbook="5.3"),
    "monitoring_down": Incident(
        *("A part of the monitoring does not answer", "P2", ("monitor",)), runbook="5"
    ),
    "release_failed": Incident(
        *("A release did not pass", "P2", ("stateless",)), behind=(*_BELOW, "proxy"), runbook="4.4"
    ),
    "certificate": Incident("A certificate expires", "P3", ("proxy",), runbook="1"),
    "backup_missing": Incident(
        "There is no recent backup", "P2", topics=("disk", "backups"), runbook="6.1"
    ),
    "drill_missing": Incident("There is no recent drill", "P3", topics=("drill",), runbook="6.3"),
    "diagnose": Incident(
        *("Something is not as it should be", "P3", _EVERY),
        topics=("database", "disk", "memory", "backups"),
        runbook="5",
    ),
}

# What people call them.
ALIASES = {
    "db_connections": "database_connections",
    "object_store": "object_store_down",
    "minio_down": "object_store_down",
    "disk_full": "disk_space",
}

# Code of a cause: what it is, in words.
CAUSES = {
    "planned": "it is down on purpose",
    "docker_down": "the Docker engine does not answer",
    "container_out_of_memory": "the kernel killed it at its memory limit",
    "container_stopped": "it was stopped, and by no operation",
    "container_paused": "it is paused",
    "container_missing": "it has no container",
    "container_died": "it ended by itself and was not started again",
    "container_crash_loop": "it ends again and again after its start",
    "container_cannot_start": "the engine cannot start it",
    "container_no_network": "it is connected to no network",
    "container_unhealthy": "it runs and does not do its work",
    "image_damaged": "its image or its file system is damaged",
    "release_broken": "it has been failing since a release a short time ago",
    "dependency_down": "what it stands on does not work",
    "proxy_stale": "it answers, and the proxy does not reach it",
    "connections_idle_in_transaction": "sessions forgot their transactions and keep connections",
    "connections_blocked": "sessions wait for a lock that one of them holds",
    "connections_pool_too_large": "the pools may open more connections than there are",
    "connections_busy": "all connections are at work",
    "slow_statements": "statements take their time without waiting for each other",
    "database_missing": "PostgreSQL answers and does not have the database",
    "database_password": "PostgreSQL refuses the configured password",
    "database_read_only": "PostgreSQL answers and takes no writes",
    "database_recovering": "PostgreSQL starts, or replays its log after a crash",
    "redis_data_damaged": "Redis cannot read its own files",
    "redis_memory_full": "the memory of Redis is full and nothing may be thrown away",
    "redis_cannot_save": "Redis cannot write its files",
    "redis_loading": "Redis loads its data after a start",
    "redis_password": "Redis refuses the configured password",
    "store_bucket_missing": "the bucket is not there",
    "store_refuses": "the object store answers and does not keep what is written",
    "disk_images": "images and build cache that nobody needs take the space",
    "disk_logs": "logs of containers take the space",
    "disk_backups": "backups take the space",
    "disk_data": "data of the stack takes the space",
    "disk_other": "something outside of the stack takes the space",
    "disk_partition": "the disk is larger than its file system",
    "disk_inodes": "the inodes are used up",
    "memory_near_limit": "it is about to be killed at its memory limit",
    "memory_heap": "its heap may grow to its memory limit, so it is killed instead of cleaning up",
    "memory_host": "the server itself has no memory left",
    "errors_after_release": "errors began with a release a short time ago",
    "errors_of_a_dependency": "errors come from what it stands on",
    "errors_at_one_place": "errors come from one endpoint",
    "certificate_expires": "the certificate has to be renewed",
    "backup_missing": "the nightly backup did not pass",
    "drill_missing": "the drill did not pass",
    "nothing_wrong": "nothing is wrong now",
    "unknown": "the cause is not known",
}


@dataclass(frozen=True)
class Cause:
    """Why something does not work.

    :param code: one of ``CAUSES``.
    :param service: of the table; ``host`` is the server.
    :param detail: what was seen, in words.
    :param rank: the smallest is the likely cause, the others follow from it or come beside it.
    :param facts: what a remedy needs to know.
    """

    code: str
    service: str
    detail: str
    rank: int = 50
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Keep the list closed."""
        if self.code not in CAUSES:
            raise ValueError(f"{self.code} is no cause; known are {', '.join(CAUSES)}")

    @property
    def sentence(self) -> str:
        """What an operator reads."""
        return f"{self.service}: {CAUSES[self.code]} ({self.detail})"

    def as_dict(self) -> dict[str, Any]:
        """Return it as a module does."""
        return {**asdict(self), "sentence": self.sentence}


def resolve(name: str) -> str:
    """Return the incident that a name means; empty when there is none."""
    wanted = ALIASES.get(name, name)
    return wanted if wanted in INCIDENTS else ""


def focus(incident: str, table: Table, service: str = "") -> list[str]:
    """Return the services of the table that an incident is about.

    :param service: the one that an alert names, by its key or as compose calls it.
    """
    for name, one in table.items():
        if service and service in (name, one.get("compose_service"), one.get("container")):
            return [name]
    roles = INCIDENTS[incident].roles
    found = [name for name, one in table.items() if one.get("role") in roles]
    if incident == "web_down":
        return [name for name in found if name == "web"] or found
    if roles == ("stateless",):
        # The front end has an incident of its own.
        return [name for name in found if name != "web"] or found
    return found


def behind(incident: str, table: Table, focused: list[str]) -> list[str]:
    """Return the services that those of an incident stand on, the database first."""
    roles = INCIDENTS[incident].behind
    return [
        name
        for role in roles
        for name, one in table.items()
        if one.get("role") == role and name not in focused
    ]
