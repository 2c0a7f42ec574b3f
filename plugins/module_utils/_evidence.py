# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Look at everything that an incident may come from. Nothing of the stack is changed."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _backups,
    _checks,
    _containers,
    _endings,
    _firing,
    _freeze,
    _incidents,
    _journal,
    _lock_file,
    _masking,
    _operation_info,
    _pg_diagnosis,
    _pg_diagnosis_look,
    _pg_server,
    _pg_titles,
    _postgres,
    _releases,
    _space_look,
    _stack,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import (
    Container,
    DockerDeniedError,
    DockerError,
)
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine
from ansible_collections.carrental.ops.plugins.module_utils._facts import (
    Disk,
    Facts,
    Release,
    Seen,
)
from ansible_collections.carrental.ops.plugins.module_utils._running import Project

_LOG_LINES = 500
_EVENTS_SECONDS = 3600
_DEATHS_SECONDS = 600
_HEAP = re.compile(r"--max-old-space-size=(\d+)")
_MB = 2**20
_SESSIONS = """
SELECT pid, datname::text AS datname, usename::text AS usename, application_name, state,
       client_addr::text AS client, wait_event_type, wait_event, query,
       extract(epoch FROM clock_timestamp() - xact_start)::float AS transaction_s,
       extract(epoch FROM clock_timestamp() - state_change)::float AS state_s,
       extract(epoch FROM clock_timestamp() - query_start)::float AS query_s,
       CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) END AS blocked_by
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
 LIMIT 5000
"""


@dataclass(frozen=True)
class Request:
    """What is to be looked at.

    :param service: that an alert names; empty leaves it to the kind of incident.
    :param operation: ours, whose lock and silences do not count.
    """

    incident: str
    project: Project
    table: Mapping[str, Mapping[str, Any]]
    state_dir: str
    service: str = ""
    database: str = ""
    bucket: str = ""
    domain: str = ""
    backup_dir: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    keep_releases: int = 5
    monitor_projects: Sequence[str] = ()
    alertmanager_service: str = "alertmanager"
    alertmanager_port: int = 9093
    thresholds: _checks.Thresholds = field(default_factory=_checks.Thresholds)
    probe_timeout: float = 3.0
    operation: str = ""


class Evidence:
    """One look."""

    def __init__(self, request: Request) -> None:
        self.request = request
        table = request.table
        public = [request.project.name, request.database, request.bucket, request.domain, *table]
        self.masker = _masking.Masker(public=public)
        self.compose = {one.get("compose_service") or name: name for name, one in table.items()}
        focus = _incidents.focus(request.incident, table, request.service)
        self.facts = Facts(
            request.incident,
            focus,
            _incidents.behind(request.incident, table, focus),
            at=_journal.stamp(),
            host=socket.gethostname(),
        )
        self.topics = _incidents.INCIDENTS[request.incident].topics

    def gather(self) -> Facts:
        """Look at everything, each thing by itself: what does not answer hides nothing else.

        :raises DockerDeniedError: this user may not use Docker.
        :raises InputError: there is no such project.
        """
        try:
            engine = Engine()
        except DockerDeniedError:
            raise
        except DockerError as error:
            self.facts.docker_down = str(error)
            return self.facts
        found = engine.services(self.request.project.name)
        for one in found:
            self.masker.add_environment(one.environment)
        self._try("the alerts", lambda: self._alerts(engine, found))
        self._try("the lock", self._lock)
        self._try("the releases", self._releases)
        self._try("the containers", lambda: self._containers(engine, found))
        self._health()
        if "database" in self.topics:
            self._try("the sessions of PostgreSQL", lambda: self._database(engine))
        if "disk" in self.topics:
            self._try("who takes the space", lambda: self._space(engine, found))
        if "drill" in self.topics:
            self._try("the drills", self._drills)
        return self.facts

    def _try(self, what: str, look: Callable[[], None]) -> None:
        try:
            look()
        except (
            DockerError,
            OSError,
            ValueError,
            _backups.BackupError,
            _lock_file.OperationError,
            _pg_server.ServerError,
            _releases.ReleaseError,
        ) as error:
            self.facts.notes.append(f"{what} could not be looked at: {str(error).rstrip('.')}")

    def _containers(self, engine: Engine, found: Sequence[Container]) -> None:
        wanted = {*self.facts.focus, *self.facts.behind}
        for one in found:
            name = self.compose.get(one.service, one.service)
            role = str(self.request.table.get(name, {}).get("role", ""))
            is_close = name in wanted or role == "database"
            if not is_close and "memory" not in self.topics:
                continue
            self.facts.containers.append(seen(engine, one, name, role))
            if is_close:
                self.facts.logs[one.name] = engine.log(one, _LOG_LINES)

    def _health(self) -> None:
        request = self.request
        only = [*self.facts.focus, *self.facts.behind]
        # Through the proxy is how customers reach it, so the proxy is looked at with it.
        only += [
            name
            for name, one in request.table.items()
            if one.get("role") in ("proxy", "database") and name not in only
        ]
        health = _stack.check_stack(
            _stack.Request(
                request.project,
                request.table,
                [*only, "host"],
                canary=False,
                probe_timeout=request.probe_timeout,
                thresholds=request.thresholds,
                state_dir=request.state_dir,
                backup_dir=request.backup_dir if "backups" in self.topics else "",
                disk_paths=[request.backup_dir] if request.backup_dir else [],
                domain=request.domain,
                database=request.database,
                bucket=request.bucket,
            )
        )
        self.facts.checks = health.checks
        self.facts.disks = [
            Disk(
                one["name"].partition(":")[2],
                _percent(one["summary"]),
                int(one["evidence"].get("available_bytes") or 0),
                int(one["evidence"].get("inodes_percent") or 0),
                one["status"],
            )
            for one in health.checks
            if one["name"].startswith("host.disk:") and "available_bytes" in one["evidence"]
        ]

    def _releases(self) -> None:
        releases = _releases.load(self.request.state_dir)
        passed = _releases.good(releases)
        if not passed:
            return
        current, back = passed[0], _releases.previous(releases)
        images = {name: one["image_id"] for name, one in current["services"].items()}
        before = {name: one["image_id"] for name, one in back["services"].items()} if back else {}
        self.facts.release = Release(
            current["id"],
            current["version"],
            _releases.age(current["finished_at"]),
            images,
            tuple(sorted(name for name in images if back and before.get(name) != images[name])),
            back["id"] if back else "",
        )

    def _lock(self) -> None:
        state_dir = self.request.state_dir
        freeze = _freeze.load(state_dir)
        self.facts.freeze = f"{freeze.reason} (until {freeze.until})" if freeze else ""
        for one in _operation_info.holders(state_dir):
            alive = one["running"] or one["processes"] or one["heartbeat_age"] < one["ttl"]
            # Backups and drills work beside everything.
            if alive and one["id"] != self.request.operation and one["kind"] not in _BESIDE:
                self.facts.holders.append(one["says"])

    def _alerts(self, engine: Engine, containers: Sequence[Container]) -> None:
        request = self.request
        found = _firing.look(
            engine,
            request.monitor_projects,
            request.alertmanager_service,
            request.alertmanager_port,
        )
        if not found.asked:
            self.facts.notes.append(f"what fires is not known: {found.error.rstrip('.')}")
            return
        self.facts.alerts = [_firing.short(one) for one in found.alerts]
        for name in (*self.facts.focus, *self.facts.behind):
            called = {name}
            for one in containers:
                if self.compose.get(one.service) == name:
                    called |= {one.service, one.name}
            why = _firing.silence_of(found.silences, name, called, request.operation)
            if why:
                self.facts.silenced[name] = why

    def _database(self, engine: Engine) -> None:
        name = next(
            (key for key, one in self.request.table.items() if one.get("role") == "database"), ""
        )
        if not name or find_spec(_postgres.LIBRARY) is None:
            missing = (
                "no database is in the table" if not name else f"{_postgres.PACKAGE} is missing"
            )
            raise ValueError(missing)
        service = self.request.table[name].get("compose_service") or name
        server = _pg_server.PgServer(
            engine, self.request.project.name, service, self.request.database
        )
        pools, exporters = _pg_server.pools(engine, self.request.project.name, service)
        self.facts.pools, self.facts.exporters = [asdict(one) for one in pools], exporters
        try:
            self._sessions(server)
        except _pg_server.ServerError as error:
            if not _pg_titles.FULL.search(str(error)):
                raise
            # Nobody gets in to ask, the superuser neither.
            self.facts.sessions = _pg_titles.look(engine, server.container)
            self.facts.max_connections = len(self.facts.sessions)
            self.facts.notes.append(
                "PostgreSQL lets nobody in: its sessions are known by the titles of their "
                "processes, with the age of the session and not of its state"
            )

    def _sessions(self, server: _pg_server.PgServer) -> None:
        with server.session() as session:
            rows = session.rows("SELECT current_setting('max_connections')::int AS most")
            self.facts.max_connections = int(rows[0]["most"])
            for row in session.rows(_SESSIONS):
                # What stands in statements is data of customers.
                row["query"] = _pg_diagnosis.shape(str(row["query"] or ""))
                self.facts.sessions.append(row)
            if "slow" in self.topics:
                look = _pg_diagnosis_look.look(session, _pg_diagnosis.Limits())
                self.facts.findings = [one.as_dict() for one in look.findings]
                self.facts.notes += look.notes

    def _space(self, engine: Engine, containers: Sequence[Container]) -> None:
        request = self.request
        releases = _releases.load(request.state_dir)
        self.facts.space = _space_look.look(
            engine,
            _space_look.Request(
                request.project.name,
                request.images,
                releases,
                request.keep_releases,
                request.backup_dir,
            ),
            containers,
        )
        self.facts.space.grows = _space_look.growth([one.point for one in self.facts.disks])

    def _drills(self) -> None:
        """Note that no backup was restored lately to see that it can be."""
        if not self.request.backup_dir:
            raise ValueError("no backup_dir is given")
        backups = _backups.listing(self.request.backup_dir)
        ages = [
            _releases.age(str(one.manifest.drill["at"]))
            for one in backups
            if one.manifest and one.manifest.drill
        ]
        if not ages:
            self.facts.drill = f"none of {len(backups)} backups was ever restored in a drill"
        elif min(ages) > _DRILL_DAYS * 86400:
            self.facts.drill = (
                f"the last drill was {min(ages) / 86400:.0f} days ago, more than {_DRILL_DAYS}"
            )


_BESIDE = ("backup", "drill")
# A weekly one that is a day late; the default of backup_drill_max_age.
_DRILL_DAYS = 8


def _percent(summary: str) -> int:
    found = re.search(r"(\d+)%", summary)
    return int(found[1]) if found else 0


def seen(engine: Engine, container: Container, service: str, role: str) -> Seen:
    """Return what the engine tells of a container, with what it remembers of its ends."""
    events: list[dict[str, Any]] = []
    with suppress(DockerError, ValueError):
        events = engine.endings(container.id, _EVENTS_SECONDS)
    now = datetime.now(timezone.utc)
    state = container.state
    health = state.get("Health") or {}
    dead = [
        one
        for one in events
        if one.get("Action") == "die"
        and now.timestamp() - float(one.get("time", 0)) < _DEATHS_SECONDS
    ]
    memory = None
    if container.running:
        with suppress(DockerError, ValueError):
            memory = engine.memory(container)
    heap = _HEAP.search(
        " ".join([container.environment.get("NODE_OPTIONS", ""), *container.command])
    )
    limit = int((container.raw.get("HostConfig") or {}).get("Memory") or 0)
    return Seen(
        service,
        container.name,
        container.id,
        container.service,
        role,
        str(state.get("Status", "")),
        container.running,
        str(health.get("Status", "")),
        _containers.last_output(health) if health.get("Status") == "unhealthy" else "",
        int(state.get("ExitCode") or 0),
        _endings.out_of_memory(state, events),
        _containers.stopped_by_hand(events) or "",
        len(dead),
        int(container.raw.get("RestartCount") or 0),
        _containers.seconds_since(str(state.get("StartedAt", "")), now),
        _containers.start_error(state),
        "" if container.running else _says(container, events),
        container.restart_policy,
        container.image,
        container.image_id,
        limit // _MB,
        (memory or 0) // _MB,
        int(heap[1]) if heap else 0,
        container.address,
    )


def _says(container: Container, events: list[dict[str, Any]]) -> str:
    """Return in words what is the matter with a container that does not run."""
    subject = _checks.Subject("", "", "P1", "", "")
    return _containers.judge(subject, container, events, datetime.now(timezone.utc)).detail
