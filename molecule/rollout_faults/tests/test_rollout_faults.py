# SPDX-License-Identifier: GPL-3.0-or-later
"""A switch that is interrupted at any step leaves one container that serves, and is finished."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import (
    STATE,
    Started,
    eventually,
    fetch,
    go_on,
    on_server,
    playbook,
    release,
    serving,
    stop_at,
    wait_stopped,
)
from tiers import proof

ROLLOUT = [
    "start_surge",
    "await_surge",
    "lead_to_surge",
    "drain_old",
    "replace",
    "await_regular",
    "lead_to_regular",
    "drain_surge",
    "remove_surge",
    "unpin",
]
STEPS = ["write configuration", *(f"api, web: {step}" for step in ROLLOUT), "record"]
# What CI has time for: customers are at the second container, and the first is still there.
CI = "api, web: lead_to_surge"
# Of an operation that is to die: how long until another one takes the lock from it.
TTL = 5


class Customers:
    """One request after the other through the proxy, on fresh connections."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        while not self._over.is_set():
            self.answers.append(fetch("/api/v1/health")[0])
            time.sleep(0.1)

    def __enter__(self) -> Customers:
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._over.set()
        self._thread.join(timeout=30)

    @property
    def wrong(self) -> list[int]:
        return [code for code in self.answers if code != 200]


def other() -> str:
    """The release of v1 and v2 that does not run now: each test goes to it."""
    return "v2" if serving() == release("v1") else "v1"


def at_work() -> bool:
    """Whether a process still has the kernel lock."""
    tried = f"test ! -e {STATE}/lock || flock --nonblock {STATE}/lock true"
    return on_server("sh", "-c", f"{tried} && echo free", check=False) != "free"


def remains() -> tuple[str, str]:
    """Second containers that run, and pins of the proxy."""
    beside = on_server("docker", "ps", "-qf", "label=carrental.ops.surge")
    hosts = on_server("docker", "exec", "nginx", "cat", "/etc/hosts")
    return beside, "\n".join(line for line in hosts.splitlines() if "carrental.ops" in line)


def deploy_arguments(name: str) -> dict[str, Any]:
    return {
        "deploy_version": release(name),
        "deploy_watch": False,
        "deploy_drain_timeout": 8,
        "operation_ttl": TTL,
    }


@contextmanager
def stopped_deploy(step: str, name: str) -> Iterator[int]:
    """A deploy that stands before a step, and whose controller was killed there."""
    with stop_at(step):
        controller = Started("deploy", **deploy_arguments(name))
        pid = wait_stopped(step)
        controller.kill()
        yield pid
    go_on()


def finished(name: str, step: str) -> None:
    """Deploy again, and see that nothing is left of the run that died."""
    eventually(lambda: not at_work(), "what was at work ends", 300)
    time.sleep(TTL + 1)
    run = playbook("deploy", **deploy_arguments(name))
    assert run.code == 0, run.output
    assert any("died" in line or "deploy" in line for line in run.result["lines"]), run.result
    assert serving() == release(name)
    assert remains() == ("", ""), step


@pytest.mark.parametrize("step", [pytest.param(s, marks=[] if s == CI else proof) for s in STEPS])
def test_server_lost_at_a_step(step: str) -> None:
    """Controller and module are killed, as by a power cut of the one and a cut ssh of the other."""
    name = other()
    with Customers() as customers:
        with stopped_deploy(step, name) as pid:
            on_server("kill", "-KILL", str(pid))
        assert fetch("/api/v1/health")[0] == 200
        finished(name, step)
    assert customers.wrong == []
    assert len(customers.answers) > 20


@proof
@pytest.mark.parametrize("step", STEPS)
def test_controller_killed_at_a_step(step: str) -> None:
    """The module outlives its controller, and ends what it has begun."""
    name = other()
    with Customers() as customers:
        with stopped_deploy(step, name):
            pass
        finished(name, step)
    assert customers.wrong == []


@proof
def test_daemon_restarted_between_surge_and_replacement() -> None:
    name = other()
    with stopped_deploy("api, web: replace", name) as pid:
        on_server("systemctl", "restart", "docker")
        on_server("kill", "-KILL", str(pid), check=False)
    eventually(lambda: fetch("/api/v1/health")[0] == 200, "production serves again", 120)
    finished(name, "daemon restarted")


@proof
def test_the_other_release_may_follow_an_interrupted_one() -> None:
    """Nobody has to finish what died: going back is as good."""
    before = "v1" if serving() == release("v1") else "v2"
    name = other()
    with stopped_deploy("api, web: replace", name) as pid:
        on_server("kill", "-KILL", str(pid))
    finished(before, "going back")
