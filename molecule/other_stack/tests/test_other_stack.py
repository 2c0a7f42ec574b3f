# SPDX-License-Identifier: GPL-3.0-or-later
"""Another stack, given only variables: replicas, two proxied ports, no healthcheck, no names."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support import REPO, Run, on_server, playbook
from tiers import proof

INVENTORY = str(REPO / "molecule/other_stack/inventory")
# The two ports of the proxy as the machine of the tests sees them.
PORTS = (8180, 8543)
CLIENTS = 4


@dataclass
class Seen:
    """What clients met."""

    answers: list[tuple[str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    longest_gap: float = 0.0

    @property
    def versions(self) -> set[str]:
        return {version for version, _host in self.answers}


@contextmanager
def customers() -> Iterator[Seen]:
    """Ask both ports again and again, on a fresh connection each time."""
    seen, over = Seen(), threading.Event()

    def ask(port: int) -> None:
        last = time.monotonic()
        while not over.is_set():
            try:
                seen.answers.append(get(port))
            except (OSError, http.client.HTTPException, ValueError) as error:
                seen.failures.append(f"port {port}: {error!r}")
            else:
                seen.longest_gap = max(seen.longest_gap, time.monotonic() - last)
                last = time.monotonic()
            time.sleep(0.02)

    threads = [threading.Thread(target=ask, args=(port,)) for port in PORTS * CLIENTS]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def get(port: int) -> tuple[str, str]:
    """Version and container of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/version", headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ValueError(f"status {response.status}")
    finally:
        connection.close()
    answer = json.loads(body)
    return answer["version"], answer["host"]


def run(name: str, *argv: str, **extra: Any) -> Run:
    return playbook(name, *argv, inventory=INVENTORY, **extra)


def containers(service: str) -> dict[str, str]:
    """Version by container of a service, as the engine has them."""
    label = f"label=com.docker.compose.service={service}"
    found = {}
    for one in on_server("docker", "ps", "-q", "--filter", label).split():
        environment = on_server("docker", "inspect", "-f", "{{json .Config.Env}}", one)
        values = dict(item.split("=", 1) for item in json.loads(environment))
        found[one] = values.get("VERSION", "")
    return found


def test_replicas_are_switched_without_a_failed_request() -> None:
    before, data = containers("store"), containers("db")
    assert set(before.values()) == {"2026.1"}
    with customers() as seen:
        done = run("deploy", deploy_version="2026.2")
    assert done.code == 0, done.output
    assert seen.failures == []
    assert seen.versions == {"2026.1", "2026.2"}
    after = containers("store")
    assert list(after.values()) == ["2026.2", "2026.2"]
    assert not set(after) & set(before)
    assert list(containers("worker").values()) == ["2026.2"]
    assert containers("db") == data
    # Both replicas serve, on both ports.
    for port in PORTS:
        assert len({get(port)[1] for _ in range(40)}) == 2


def test_nothing_to_do_is_said_and_nothing_is_done() -> None:
    before = containers("store")
    done = run("deploy", deploy_version="2026.2")
    assert done.result["verdict"] == "no_change", done.output
    assert done.changed == 0
    assert containers("store") == before


@proof
def test_release_that_does_not_answer_reaches_no_customer() -> None:
    with customers() as seen:
        done = run("deploy", deploy_version="2026.4", deploy_healthy_timeout=10)
    assert done.result["verdict"] == "rolled_back", done.output
    assert seen.failures == []
    assert seen.versions == {"2026.2"}
    assert list(containers("store").values()) == ["2026.2", "2026.2"]


@proof
def test_rollback_without_a_failed_request() -> None:
    with customers() as seen:
        done = run("rollback", rollback_to="previous")
    assert done.code == 0, done.output
    assert seen.failures == []
    assert list(containers("store").values()) == ["2026.1", "2026.1"]


def test_health_speaks_of_this_stack_alone() -> None:
    done = run("health")
    assert done.code == 0, done.output
    assert "[OK] Store sells" in done.output
    assert "redis" not in done.output.lower().replace("/redis", "")
