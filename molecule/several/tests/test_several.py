# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases over two servers behind a load balancer: one after the other, and none after a failure.

A server that is changed leaves the balancer, where the balancer can be told.

Every test is of the exhaustive tier.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from load import load
from support import REPO, Run, eventually, fetch, playbook, release
from tiers import proof

INVENTORY = "molecule/several/inventory"
SERVERS = {"test": "https://127.0.0.1:8543", "second": "https://127.0.0.1:8643"}
BALANCER = "https://127.0.0.1:8793"
NAME = "carrental-several-balancer"
# A file in it, called like a server, is how the balancer is told; see balancer.conf.
OUT = REPO / ".build/several"
MARK = "/opt/carrental/.ops/out-of-balancer"
TASKS = REPO / "molecule/several/tasks"
TOLD = {
    "operation_drain_tasks": str(TASKS / "out.yml"),
    "operation_readmit_tasks": str(TASKS / "in.yml"),
}
# A service that must not run twice at once is away while it is replaced.
GAP = {"carrental_services": {"api": {"overlap": False}}}
# Each connection of the balancer to a server is a handshake on the same two cores.
RATE = 60

pytestmark = proof


@pytest.fixture(scope="module", autouse=True)
def balancer() -> Iterator[None]:
    """A load balancer in front of both, which goes with the tests."""
    subprocess.run(["docker", "rm", "--force", NAME], check=True, capture_output=True)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    subprocess.run(
        [
            *("docker", "run", "--detach", "--rm", "--name", NAME, "--network", "host"),
            *("--volume", f"{Path(__file__).with_name('balancer.conf')}:/etc/nginx/nginx.conf:ro"),
            *("--volume", f"{REPO}/demo/.state/ssl:/etc/ssl/balancer:ro"),
            *("--volume", f"{OUT}:/run/out:ro"),
            "carrental-demo/nginx:1.30",
        ],
        check=True,
        capture_output=True,
    )
    try:
        eventually(lambda: fetch("/", BALANCER)[0] == 200, "the balancer answers")
        yield
    finally:
        subprocess.run(["docker", "rm", "--force", NAME], check=True, capture_output=True)


def versions() -> dict[str, str]:
    """The release that each server answers by itself."""
    found = {}
    for name, base in SERVERS.items():
        code, body = fetch("/api/v1/health", base)
        assert code == 200, (name, body)
        found[name] = str(json.loads(body)["version"])
    return found


def containers(name: str) -> str:
    """Ids and times of start of what runs on a server, its holds included."""
    return " ".join(sorted(on(name, "docker", "ps", "-aq", "--no-trunc").split()))


def on(name: str, *argv: str) -> str:
    """What a command on one of the servers prints."""
    done = subprocess.run(
        ["docker", "exec", f"carrental-{name}-vps", *argv],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def out_of_balancer() -> list[str]:
    """Servers that the balancer leads nobody to."""
    return sorted(path.name for path in OUT.iterdir())


def marked() -> list[str]:
    """Servers with a mark that they are out."""
    return [
        name
        for name in SERVERS
        if MARK in on(name, "find", "/opt/carrental/.ops", "-maxdepth", "1")
    ]


def deploy(name: str, **extra: Any) -> Run:
    return playbook("deploy", inventory=INVENTORY, deploy_version=release(name), **extra)


def test_both_servers_get_a_release_without_a_failed_request() -> None:
    assert versions() == dict.fromkeys(SERVERS, release("v1"))
    with load(base=BALANCER, rate=RATE) as running:
        run = deploy("v2")
    assert run.code == 0, run.output
    assert versions() == dict.fromkeys(SERVERS, release("v2"))
    assert running.result.failed == 0, running.result


def test_release_that_does_not_work_stops_at_the_first_server() -> None:
    before, untouched = versions(), containers("second")
    with load(base=BALANCER, rate=RATE) as running:
        run = deploy("exits", deploy_healthy_timeout=30)
    assert run.code != 0, run.output
    assert "rolled_back" in run.output
    assert versions() == before
    assert containers("second") == untouched
    assert running.result.failed == 0, running.result


def test_going_back_goes_through_both() -> None:
    run = playbook("rollback", inventory=INVENTORY, rollback_to="previous")
    assert run.code == 0, run.output
    assert versions() == dict.fromkeys(SERVERS, release("v1"))


def test_customers_meet_the_gap_of_a_server_that_stays_in() -> None:
    with load(base=BALANCER, rate=RATE) as running:
        run = deploy("v2", **GAP)
    assert run.code == 0, run.output
    assert running.result.failed > 0, running.result


def test_nobody_meets_the_gap_of_a_server_that_leaves() -> None:
    with load(base=BALANCER, rate=RATE) as running:
        run = deploy("v1", **GAP, **TOLD)
    assert run.code == 0, run.output
    assert versions() == dict.fromkeys(SERVERS, release("v1"))
    assert running.result.failed == 0, running.result
    assert (out_of_balancer(), marked()) == ([], [])


def test_release_that_does_not_work_returns_its_server() -> None:
    untouched = containers("second")
    run = deploy("exits", deploy_healthy_timeout=30, **TOLD)
    assert run.code != 0, run.output
    assert containers("second") == untouched
    assert (out_of_balancer(), marked()) == ([], [])


def test_server_that_is_not_taken_back_ends_the_release_and_the_next_run_takes_it() -> None:
    untouched = containers("second")
    refused = {**TOLD, "operation_readmit_tasks": str(TASKS / "refuses.yml")}
    run = deploy("v2", **refused)
    assert run.code != 0, run.output
    assert "the balancer refuses" in run.line("This server is still out")
    assert versions() == {"test": release("v2"), "second": release("v1")}
    assert containers("second") == untouched
    assert (out_of_balancer(), marked()) == (["test"], ["test"])
    run = playbook("health", inventory=INVENTORY)
    assert "[WARN] This server is out of its load balancer" in run.output

    again = deploy("v2", **TOLD)
    assert again.code == 0, again.output
    assert versions() == dict.fromkeys(SERVERS, release("v2"))
    assert (out_of_balancer(), marked()) == ([], [])


def test_plan_leaves_the_balancer_alone() -> None:
    run = playbook("rollback", "--check", inventory=INVENTORY, rollback_to="previous", **TOLD)
    assert run.code == 0, run.output
    assert (out_of_balancer(), marked()) == ([], [])


def test_path_that_is_no_file_is_refused() -> None:
    run = deploy("v1", **{**TOLD, "operation_readmit_tasks": "/srv/no-such-file.yml"})
    assert run.code != 0, run.output
    assert "operation_readmit_tasks" in run.output
    assert versions() == dict.fromkeys(SERVERS, release("v2"))
    assert (out_of_balancer(), marked()) == ([], [])
