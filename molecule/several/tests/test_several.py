# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases over two servers behind a load balancer: one after the other, and none after a failure.

Every test is of the exhaustive tier.
"""

from __future__ import annotations

import json
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
BALANCER = "https://127.0.0.1:8743"
NAME = "carrental-several-balancer"
# Each connection of the balancer to a server is a handshake on the same two cores.
RATE = 60

pytestmark = proof


@pytest.fixture(scope="module", autouse=True)
def balancer() -> Iterator[None]:
    """A load balancer in front of both, which goes with the tests."""
    subprocess.run(["docker", "rm", "--force", NAME], check=True, capture_output=True)
    subprocess.run(
        [
            *("docker", "run", "--detach", "--rm", "--name", NAME, "--network", "host"),
            *("--volume", f"{Path(__file__).with_name('balancer.conf')}:/etc/nginx/nginx.conf:ro"),
            *("--volume", f"{REPO}/demo/.state/ssl:/etc/ssl/balancer:ro"),
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
    listed = subprocess.run(
        ["docker", "exec", f"carrental-{name}-vps", "docker", "ps", "-aq", "--no-trunc"],
        check=True,
        capture_output=True,
        text=True,
    )
    return " ".join(sorted(listed.stdout.split()))


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
