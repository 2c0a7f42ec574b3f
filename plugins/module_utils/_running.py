# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Find out what runs of a stack: its containers by service, or why they cannot be found."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _compose, _docker
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container, Docker
from ansible_collections.carrental.ops.plugins.module_utils._engine import OWNER, SURGE
from ansible_collections.carrental.ops.plugins.module_utils._services import InputError, Service

_OWN_LABELS = "carrental.ops."


@dataclass(frozen=True)
class Project:
    """A compose project on this host."""

    name: str
    source: str
    compose_files: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """How compose is called for it, so that it starts the images of the release."""
        names = [*self.compose_files]
        if os.path.exists(os.path.join(self.source, _compose.RELEASE_FILE)):
            names.append(_compose.RELEASE_FILE)
        files = "".join(f" -f {name}" for name in names)
        return f"cd {self.source} && docker compose{files}"


@dataclass
class Running:
    """The containers of a project, or why nobody can tell."""

    docker: Docker
    services: dict[str, list[Container]] = field(default_factory=dict)
    others: list[Container] = field(default_factory=list)
    one_offs: list[Container] = field(default_factory=list)
    surges: list[Container] = field(default_factory=list)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    root: str = ""
    version: str = ""
    down: str = ""

    def address(self, container: Container) -> str:
        """The address of a container, or of the one whose network it uses."""
        mode = container.network_mode
        if mode.startswith("container:"):
            owner = mode.partition(":")[2]
            for other in self.all():
                if owner in (other.id, other.name):
                    return other.address
        return container.address

    def all(self) -> list[Container]:
        """Every container of the project."""
        known = [container for group in self.services.values() for container in group]
        return known + self.others + self.one_offs


def look(docker: Docker, project: Project, services: Iterable[Service]) -> Running:
    """Ask the engine. That it does not run is an answer; that we may not ask is not.

    :raises DockerDeniedError: this user may not use Docker.
    :raises InputError: there is no such project.
    """
    running = Running(docker)
    wanted = list(services)
    try:
        listed = docker.containers()
        info = docker.get("/info")
    except _docker.DockerDownError as error:
        running.down = str(error)
        return running
    running.root = str(info.get("DockerRootDir") or "")
    running.version = str(info.get("ServerVersion") or "")
    running.surges = _surges(docker, listed, project.name)
    names = {service.container: service.compose_service for service in wanted}
    selected = _docker.select(listed, project.name, names)
    if not selected and not all(service.managed for service in wanted):
        _require_project(project, _docker.projects(listed))
    by_service = {service.compose_service: service.name for service in wanted}
    for identity, compose_service in selected:
        try:
            container = docker.inspect(identity)
        except _docker.DockerDownError as error:
            # It stopped answering meanwhile: what was seen so far still counts.
            running.down = str(error)
            break
        except _docker.DockerError:
            # Gone between the list and the look.
            continue
        if any(label.startswith(_OWN_LABELS) for label in container.labels):
            continue
        if container.one_off:
            running.one_offs.append(container)
        elif compose_service in by_service:
            running.services.setdefault(by_service[compose_service], []).append(container)
        else:
            running.others.append(container)
        if not container.running or container.raw.get("RestartCount"):
            running.events[container.id] = _events(docker, container)
    return running


def _surges(docker: Docker, listed: list[dict[str, Any]], project: str) -> list[Container]:
    """Containers that stand in for a service; compose does not count them to the project."""
    found = []
    for item in listed:
        labels = item.get("Labels") or {}
        if SURGE in labels and labels.get(OWNER) == project:
            # Gone between the list and the look: what was begun has just ended.
            with suppress(_docker.DockerError):
                found.append(docker.inspect(item["Id"]))
    return found


def unknown(project: Project, services: Iterable[Service], running: Running) -> list[Service]:
    """Services without a container that no compose file of the project names either.

    A rough look, for no YAML library has to be on the server: it may take another
    key for a service, but misses none. Where no file can be read nobody knows.
    """
    text = ""
    for name in project.compose_files:
        try:
            with open(os.path.join(project.source, name), encoding="utf-8") as stream:
                text += stream.read() + "\n"
        except (OSError, UnicodeDecodeError):
            continue
    if not text or running.down:
        return []
    return [
        service
        for service in services
        if not service.managed
        and not running.services.get(service.name)
        and not re.search(rf"^\s+[\"']?{re.escape(service.compose_service)}[\"']?\s*:", text, re.M)
    ]


def no_such_service(project: Project, service: Service) -> InputError:
    """The refusal of a service that is nowhere."""
    return InputError(
        f"There is no service {service.compose_service} in project {project.name}: no container, "
        f"and not in {', '.join(project.compose_files)} of {project.source}; check its name. "
        "Nothing was changed."
    )


def absence(project: Project, service: Service, declared: bool) -> str:
    """What to do about a service without a container."""
    missing = f"there is no container of it in project {project.name}"
    if declared:
        return f"{missing}; create it with: {project.command} up -d {service.compose_service}"
    return (
        f"{missing}, and no compose file names it; take it out of the table of services with "
        f"carrental_services: {service.name}: enabled: false"
    )


def _events(docker: Docker, container: Container) -> list[dict[str, Any]]:
    try:
        return docker.endings(container.id)
    except (_docker.DockerError, ValueError):
        # Only a better explanation is lost.
        return []


def _require_project(project: Project, known: dict[str, str]) -> None:
    """A stack that is down is a finding; a project that never was is a mistake of the caller."""
    source = os.path.realpath(project.source)
    for name, directory in known.items():
        if directory and os.path.realpath(directory) == source:
            raise InputError(
                f"The containers of {project.source} belong to the compose project {name}, not to "
                f"{project.name}; set project_name to {name}. Nothing was changed."
            )
    if any(os.path.exists(os.path.join(source, name)) for name in project.compose_files):
        return
    files = ", ".join(project.compose_files) or "a compose file"
    others = ", ".join(sorted(known)) or "none"
    raise InputError(
        f"There is no compose project {project.name}: Docker has no container of it (it knows: "
        f"{others}) and {project.source} does not hold {files}; check project_name and "
        "project_src, or deploy first. Nothing was changed."
    )
