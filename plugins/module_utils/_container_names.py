# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Whether a container finds the others by name, as the application in it has to."""

from __future__ import annotations

import re
from functools import partial

from ansible_collections.carrental.ops.plugins.module_utils._checks import FAIL, Check, Subject
from ansible_collections.carrental.ops.plugins.module_utils._docker import (
    Container,
    Docker,
    DockerError,
)
from ansible_collections.carrental.ops.plugins.module_utils._probes import Probe

_NO_PROGRAM = (126, 127)


def peers(container: Container, others: dict[str, list[Container]]) -> tuple[list[str], list[str]]:
    """Compose services that a container can be expected to resolve, and those out of its reach.

    A name exists in Docker's DNS while a container of it runs on a shared network.

    :param others: containers by compose service.
    """
    networks = {name for name, address in container.networks.items() if address}
    near, far = [], []
    for service, group in others.items():
        # One without any network has a check of its own that says so.
        running = [
            other
            for other in group
            if other.running and other.id != container.id and any(other.networks.values())
        ]
        if not running:
            continue
        if any(networks & other.networks.keys() for other in running):
            near.append(service)
        elif networks and needs(container, service):
            far.append(service)
    return near, far


def needs(container: Container, service: str) -> bool:
    """Whether a container was declared to depend on a service, or is configured to call it.

    ``docker compose up --no-deps`` leaves the declaration out of the labels.
    """
    host = re.compile(rf"(?:@|//){re.escape(service)}(?:[:/?]|$)")
    called = any(host.search(value) for value in container.environment.values())
    return called or service in container.depends_on


def probe(
    subject: Subject, docker: Docker, container: Container, near: list[str], far: list[str]
) -> Probe:
    """The lookup of all peers by one command in the container."""
    return Probe(
        subject,
        "dns",
        f"getent in container {container.name}",
        partial(check, subject, docker, container, near, far),
        f"its name server does not answer, see: docker exec {container.name} cat /etc/resolv.conf",
        f"{subject.title} cannot resolve names",
    )


def check(
    subject: Subject, docker: Docker, container: Container, near: list[str], far: list[str]
) -> list[Check]:
    """Look up all peers at once; ``getent`` prints those that it finds."""
    if far:
        return [
            subject.says(
                "dns",
                FAIL,
                f"{subject.title} cannot reach {', '.join(far)}",
                f"container {container.name} shares no network with what it depends on; "
                "connect it again by recreating it: docker compose up -d --force-recreate "
                f"{container.service}",
            )
        ]
    try:
        code, output = docker.execute(container.id, ["getent", "hosts", *near])
    except DockerError as error:
        return [subject.skipped("dns", f"cannot look from inside: {error}")]
    if code in _NO_PROGRAM:
        return [subject.skipped("dns", f"container {container.name} has no getent")]
    return [judge(subject, container.name, near, output)]


def judge(subject: Subject, container: str, wanted: list[str], output: str) -> Check:
    """Judge what ``getent hosts`` printed: a line a name, the address first."""
    found = {word for line in output.splitlines() for word in line.split()[1:]}
    missing = [name for name in wanted if name not in found]
    if not missing:
        return subject.passed("dns", names=", ".join(wanted))
    return subject.says(
        "dns",
        FAIL,
        f"{subject.title} cannot resolve {_some(missing)}",
        f"DNS does not work in container {container}; see: docker exec {container} cat "
        f"/etc/resolv.conf, and recreate the container",
        container=container,
        missing=missing,
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
