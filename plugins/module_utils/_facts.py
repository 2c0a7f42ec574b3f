# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What is known when an incident begins: plain facts, from which causes are found. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A container of a service, as the engine told of it.

    :param service: of the table; what is not in it has its own name.
    :param by_hand: ``stopped``, ``killed``, or empty; what the engine remembers of its end.
    :param deaths: how often it ended in the last ten minutes.
    :param started_s: seconds since its start.
    :param limit_mb: its memory limit, 0 without one.
    """

    service: str
    name: str
    id: str = ""
    compose_service: str = ""
    role: str = ""
    status: str = ""
    running: bool = False
    health: str = ""
    health_says: str = ""
    exit_code: int = 0
    out_of_memory: bool = False
    by_hand: str = ""
    deaths: int = 0
    restarts: int = 0
    started_s: float | None = None
    start_error: str = ""
    says: str = ""
    policy: str = ""
    image: str = ""
    image_id: str = ""
    limit_mb: int = 0
    memory_mb: int = 0
    heap_mb: int = 0
    address: str = ""


@dataclass(frozen=True)
class Release:
    """The release in force.

    :param age_s: seconds since it was finished.
    :param images: image by service, as it brought them.
    :param changed: services whose image differs from that of the release before.
    :param previous: what a rollback goes to; empty when there is nothing.
    """

    id: str = ""
    version: str = ""
    age_s: float = 0.0
    images: Mapping[str, str] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    previous: str = ""


@dataclass(frozen=True)
class Disk:
    """A file system in use."""

    point: str
    percent: int
    available: int
    inodes_percent: int = 0
    status: str = "ok"


@dataclass
class Space:
    """Who takes the space, in bytes; each with the mount point that it lies on.

    :param images: of releases that nobody needs, and dangling ones.
    :param images_kept: of the others.
    :param logs: by container; only where they could be looked at.
    :param grows: bytes by which a file system could grow, by its mount point.
    """

    docker_point: str = ""
    backup_point: str = ""
    images: int = 0
    images_kept: int = 0
    build_cache: int = 0
    logs: dict[str, int] = field(default_factory=dict)
    log_paths: dict[str, str] = field(default_factory=dict)
    backups: int = 0
    backups_count: int = 0
    volumes: dict[str, int] = field(default_factory=dict)
    grows: dict[str, int] = field(default_factory=dict)


@dataclass
class Facts:
    """Everything that a diagnosis rests on.

    :param focus: services that the incident is about; ``behind`` those that they stand on.
    :param checks: of the health of the stack, as they are returned.
    :param logs: last lines by container.
    :param sessions: of PostgreSQL, as it lists them.
    :param pools: what services may open: service, size, replicas, known.
    :param findings: what makes statements slow.
    :param holders: operations that have the lock, other than ours.
    :param silenced: by service, who says that it is down on purpose.
    :param drill: what is wrong with the last drill, where the incident is about that.
    :param notes: what could not be looked at, and why.
    """

    incident: str
    focus: list[str]
    behind: list[str] = field(default_factory=list)
    at: str = ""
    host: str = ""
    docker_down: str = ""
    containers: list[Seen] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    max_connections: int = 0
    pools: list[dict[str, Any]] = field(default_factory=list)
    exporters: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    release: Release = field(default_factory=Release)
    disks: list[Disk] = field(default_factory=list)
    space: Space = field(default_factory=Space)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    silenced: dict[str, str] = field(default_factory=dict)
    freeze: str = ""
    holders: list[str] = field(default_factory=list)
    drill: str = ""
    notes: list[str] = field(default_factory=list)

    def of(self, service: str) -> list[Seen]:
        """Return the containers of a service."""
        return [one for one in self.containers if one.service == service]

    def check(self, *names: str) -> dict[str, Any] | None:
        """Return the first of some checks that was made and is not well."""
        for one in self.checks:
            if one["name"] in names and one["status"] in ("warn", "fail"):
                return one
        return None

    def bad(self, service: str, ending: str) -> dict[str, Any] | None:
        """Return the first check of a service with such an end that is not well."""
        names = (
            one["name"]
            for one in self.checks
            if one["service"] == service and one["name"].endswith(ending)
        )
        return self.check(*names)

    def downs(self, service: str) -> list[dict[str, Any]]:
        """Return the checks that say that a service does not do its work."""
        return [one for one in self.checks if one["service"] == service and one.get("down")]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it but the logs, which are files of their own."""
        return {key: value for key, value in asdict(self).items() if key != "logs"}
