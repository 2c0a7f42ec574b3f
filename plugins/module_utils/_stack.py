# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The health of a stack on this host: everything looked at once, and one verdict."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_findings,
    _balancer,
    _checks,
    _container_names,
    _containers,
    _host,
    _http,
    _operation_info,
    _proxy_probe,
    _release_findings,
    _releases,
    _running,
    _scaling_state,
    _service_probes,
    _stack_findings,
    _wal_findings,
)
from ansible_collections.carrental.ops.plugins.module_utils._checks import Check, Thresholds
from ansible_collections.carrental.ops.plugins.module_utils._docker import Docker
from ansible_collections.carrental.ops.plugins.module_utils._masking import Masker
from ansible_collections.carrental.ops.plugins.module_utils._probes import Probe, run_probes
from ansible_collections.carrental.ops.plugins.module_utils._running import Project, Running
from ansible_collections.carrental.ops.plugins.module_utils._service_probes import Place
from ansible_collections.carrental.ops.plugins.module_utils._services import Service, parse_table

# A probe says itself what went wrong a little before it would be killed.
_MARGIN = 0.5


@dataclass(frozen=True)
class Request:
    """What is to be looked at, and how hard."""

    project: Project
    services: Mapping[str, Any]
    only: list[str] = field(default_factory=list)
    endpoints: Mapping[str, Any] = field(default_factory=dict)
    deep: bool = True
    canary: bool = True
    probe_timeout: float = 3.0
    deadline: float = 10.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    state_dir: str = ""
    disk_paths: list[str] = field(default_factory=list)
    domain: str = ""
    database: str = ""
    bucket: str = ""
    docker_socket: str = "/var/run/docker.sock"
    # Refuse a service that no compose file names: the caller mistyped it.
    known_only: bool = False
    # The version to compare with, when it is not the one of the release.
    version: str = ""
    # Where backups lie; empty leaves them out.
    backup_dir: str = ""
    # An operation that switches releases now excuses that another runs than is recorded. Not
    # for that operation itself.
    excuse_switch: bool = False


@dataclass
class Health:
    """The outcome, with everything in it masked."""

    checks: list[dict[str, Any]]
    lines: list[str]
    verdict: str
    failed: list[str]
    duration_ms: float
    release: dict[str, str]
    docker_version: str


def check_stack(request: Request) -> Health:
    """Look at everything.

    :raises InputError: what was asked for makes no sense.
    :raises DockerDeniedError: this user may not use Docker.
    """
    started = time.monotonic()
    services, with_host = parse_table(request.services, request.only, request.endpoints)
    docker = Docker(request.docker_socket, timeout=request.probe_timeout)
    running = _running.Running(docker)
    if not services or not all(service.managed for service in services):
        running = _running.look(docker, request.project, services)
    unknown = _running.unknown(request.project, services, running)
    if unknown and request.known_only:
        raise _running.no_such_service(request.project, unknown[0])
    releases, release_checks = _past(request)
    release = next(iter(_releases.good(releases)), None)
    release_checks += _release_findings.look(docker, releases) if not running.down else []
    if with_host and release and release.get("config"):
        source = request.project.source
        release_checks += _release_findings.edited(release, source, request.state_dir)
    masker = _masker(request, running, services)

    checks = _container_checks(request, services, running, release, unknown)
    waiting = _scaling_state.pending(request.state_dir) if request.state_dir else {}
    for service in services:
        containers = running.services.get(service.name, [])
        checks += _scaling_state.check(service.subject, containers, waiting)
    probes = _service_probes_of(request, services, running, release, masker)
    if request.deep:
        probes += _name_probes(services, running)
    if with_host:
        probes += _host_probes(request, running)
    left = request.deadline - (time.monotonic() - started)
    checks += run_probes(probes, request.probe_timeout, max(left, 0.5))

    checks = _stack_findings.conclude(services, checks)
    if with_host and request.backup_dir:
        checks += _backups_of(request, releases)
    names = [service.name for service in services]
    everything = not request.only
    if everything:
        checks += _stack_findings.besides(running, release)
        checks += _release_findings.left(running.surges)
        if request.state_dir:
            checks += _scaling_state.cut_off(request.state_dir)
            checks += _balancer.left_out(request.state_dir)
    if request.excuse_switch and request.state_dir:
        checks = _stack_findings.excused(checks, _operation_info.switching(request.state_dir))
    checks += _stack_findings.engine(running) + (release_checks if with_host else [])
    checks.sort(key=partial(_order, names))
    grouped = [*names, *(container.name for container in running.others)]
    lines = _stack_findings.fold_others(_checks.lines(checks, grouped), checks, running)
    return Health(
        masker.data([check.as_dict() for check in checks]),
        masker.data(lines),
        _checks.verdict(checks),
        [check.name for check in checks if check.status == _checks.FAIL],
        round((time.monotonic() - started) * 1000, 1),
        {"id": release["id"], "version": release["version"]} if release else {},
        running.version,
    )


def _order(names: list[str], check: Check) -> tuple[int, str]:
    """Services as in the table, then what runs besides them, then the host.

    A Docker that does not answer comes first: everything else follows from it.
    """
    if check.name == "host.docker":
        return -1, ""
    if check.service in names:
        return names.index(check.service), ""
    return len(names) + (1 if check.service == _host.HOST.name else 0), ""


def _past(request: Request) -> tuple[list[_releases.Release], list[Check]]:
    """The releases of this stack, newest first."""
    if not request.state_dir:
        return [], []
    try:
        return _releases.load(request.state_dir), []
    except _releases.ReleaseError as error:
        return [], [
            _host.HOST.says(
                "release", _checks.WARN, "The record of the release cannot be read", str(error)
            )
        ]


def _backups_of(request: Request, releases: list[_releases.Release]) -> list[Check]:
    known = [_releases.age(one["finished_at"]) for one in releases]
    hours = request.thresholds.backup_age_h
    found = _backup_findings.look(request.backup_dir, hours, max(known, default=None))
    return found + _wal_findings.look(request.backup_dir, request.state_dir or "", time.time())


def _masker(request: Request, running: Running, services: list[Service]) -> Masker:
    masker = Masker(
        public=[
            request.project.name,
            request.database,
            request.bucket,
            request.domain,
            *(service.name for service in services),
            *(service.endpoint.user for service in services),
        ]
    )
    for container in running.all():
        masker.add_environment(container.environment)
    for service in services:
        masker.add(service.endpoint.password)
    return masker


def _container_checks(
    request: Request,
    services: list[Service],
    running: Running,
    release: _releases.Release | None,
    unknown: list[Service],
) -> list[Check]:
    """What the state of the containers tells, without asking them."""
    checks = []
    now = datetime.now(timezone.utc)
    for service in services:
        subject = service.subject
        found = running.services.get(service.name, [])
        if service.managed and not found:
            continue
        if running.down and not found:
            checks.append(subject.down("container", "Docker does not answer"))
            continue
        if not found:
            checks.append(
                subject.down(
                    "container",
                    _running.absence(request.project, service, declared=service not in unknown),
                )
            )
        for container in found:
            events = running.events.get(container.id, [])
            checks.append(_containers.judge(subject, container, events, now))
            if container.running and release:
                checks.append(_stack_findings.image(subject, container, release))
    return checks


def _service_probes_of(
    request: Request,
    services: list[Service],
    running: Running,
    release: _releases.Release | None,
    masker: Masker,
) -> list[Probe]:
    settings = _service_probes.Settings(
        request.deep,
        request.canary,
        request.thresholds,
        request.domain,
        request.database,
        request.bucket,
        request.version or (release["version"] if release else ""),
        max(request.probe_timeout - _MARGIN, request.probe_timeout / 2),
    )
    probes: list[Probe] = []
    for service in services:
        for place in _places(service, running):
            probes += _service_probes.probes(place, settings, masker)
    if not request.deep:
        return probes
    # Only a proxy that is looked at can carry the probe of another service.
    for front_service in (service for service in services if service.probe == "proxy"):
        for place in _places(front_service, running)[:1]:
            front = _service_probes.proxy(place, settings)
            probes += [_through(service, front) for service in services if service.proxy_path]
    return probes


def _through(service: Service, front: _proxy_probe.Front) -> Probe:
    expected = _http.Expected(service.status, service.json, service.json_degraded)
    return Probe(
        service.subject,
        "proxy",
        f"{service.subject.title} through the proxy",
        partial(_proxy_probe.through, service.subject, front, service.proxy_path, expected),
        "the proxy waits for it",
    )


def _places(service: Service, running: Running) -> list[Place]:
    """Where a service can be asked: where it was said to be, or in each container that runs."""
    if service.managed:
        return [Place(service, service.endpoint.host)]
    return [
        Place(service, running.address(container), container, running.docker)
        for container in running.services.get(service.name, [])
        if container.running and running.address(container)
    ]


def _name_probes(services: list[Service], running: Running) -> list[Probe]:
    by_compose_service = {
        service.compose_service: running.services.get(service.name, []) for service in services
    }
    probes = []
    for service in services:
        if service.role not in ("proxy", "stateless"):
            continue
        for container in running.services.get(service.name, []):
            near, far = _container_names.peers(container, by_compose_service)
            if container.running and (near or far):
                probes.append(
                    _container_names.probe(service.subject, running.docker, container, near, far)
                )
    return probes


def _host_probes(request: Request, running: Running) -> list[Probe]:
    host, thresholds = _host.HOST, request.thresholds
    # Debian 13 keeps /tmp in memory: it is full long before a disk is.
    tmp = "/tmp"  # noqa: S108  # looked at, not written to
    used = ["/", tmp, running.root, request.project.source, request.state_dir, *request.disk_paths]
    wanted = [path for path in used if path]
    others = _host.further(wanted, _host.mounts(), request.project.source)
    # In a container single files are mounted too.
    wanted += [path for path in others if os.path.isdir(path)]
    probes = [
        Probe(
            host,
            f"disk:{path}",
            f"the file system of {path}",
            partial(_host.disk, path, thresholds),
            "a network disk that is gone hangs like this",
            f"Disk of {path} cannot be read",
        )
        for path in dict.fromkeys(wanted)
    ]
    probes += _stack_findings.volume_probes(running, thresholds)
    if not request.deep:
        return probes
    probes += [
        Probe(host, "memory", "the kernel", partial(_host.memory, thresholds)),
        Probe(host, "clock", "the kernel", partial(_host.clock, thresholds)),
    ]
    names = _stack_findings.names_to_resolve(running, request.domain)
    if names:
        probes.append(
            Probe(
                host,
                "dns",
                f"the name servers of the host for {', '.join(names)}",
                partial(_host.names, names),
                "see /etc/resolv.conf and resolvectl",
                "DNS is not working on the host",
            )
        )
    return probes
