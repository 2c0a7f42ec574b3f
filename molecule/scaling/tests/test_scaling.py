# SPDX-License-Identifier: GPL-3.0-or-later
"""scale.yml: more and fewer containers behind the same proxy, other limits, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from load import load
from support import (
    Run,
    Started,
    fetch,
    go_on,
    inspect,
    on_server,
    playbook,
    release,
    stop_at,
    tree,
    wait_stopped,
)
from tiers import proof

OVERRIDE = "/opt/carrental/compose.release.yml"


def scale(*argv: str, **extra: Any) -> Run:
    return playbook("scale", *argv, scaling_drain_timeout=10, **extra)


def containers(service: str) -> list[str]:
    """The containers of a service that run, by the labels of compose."""
    listed = on_server(
        *("docker", "ps", "--format", "{{.Names}}"),
        *("--filter", "label=com.docker.compose.project=carrental"),
        *("--filter", f"label=com.docker.compose.service={service}"),
    )
    return sorted(listed.split())


def replicas(number: int) -> None:
    """Have this many of the API, whatever a test before left."""
    if len(containers("api")) != number:
        run = scale(scaling_replicas={"api": number})
        assert run.code == 0, run.output
    assert len(containers("api")) == number


def answering() -> set[str]:
    """The addresses to which nginx led requests, by its own log."""
    for _ in range(30):
        assert fetch("/api/v1/health")[0] == 200
    lines = on_server("docker", "logs", "--tail", "30", "nginx").splitlines()
    return {line.split("upstream=")[1].split()[0] for line in lines if "upstream=" in line}


def nothing_left() -> None:
    """No second container beside, and no pin in the proxy."""
    assert on_server("docker", "ps", "-q", "--filter", "label=carrental.ops.surge") == ""
    assert "carrental.ops" not in on_server("docker", "exec", "nginx", "cat", "/etc/hosts")


def limit(container: str) -> int:
    """The memory that the kernel gives a container, in MiB."""
    # Where control groups of version 2 keep it, and where those of version 1 do.
    files = "cd /sys/fs/cgroup && cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes"
    found = on_server("docker", "exec", container, "sh", "-c", files)
    return int(found) // 2**20


def test_three_answer_behind_the_same_proxy() -> None:
    replicas(3)
    addresses = {
        inspect(name, "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}").split()[0]
        for name in containers("api")
    }
    assert len(addresses) == 3
    assert len(answering()) == 3
    nothing_left()


def test_a_second_run_changes_nothing() -> None:
    replicas(3)
    before = [inspect(name, "{{.Id}}") for name in containers("api")]
    run = scale(scaling_replicas={"api": 3})
    assert run.code == 0, run.output
    assert (run.result["verdict"], run.changed) == ("no_change", 0)
    assert [inspect(name, "{{.Id}}") for name in containers("api")] == before


def test_a_plan_leaves_no_trace() -> None:
    replicas(3)
    before = tree()
    run = scale("--check", "--diff", scaling_replicas={"api": 2})
    assert run.code == 0, run.output
    assert any("switch api without a gap" in line for line in run.result["changed"])
    assert tree() == before


def without_a_failed_request(number: int) -> None:
    """Scale under the load; what holds data is left alone meanwhile."""
    started = "{{.Id}} {{.State.StartedAt}}"
    stateful = {name: inspect(name, started) for name in ("postgres", "redis")}
    with load(seconds_max=400) as running:
        run = scale(scaling_replicas={"api": number})
    assert run.code == 0, run.output
    assert len(containers("api")) == number
    assert running.result.failed == 0, running.result
    for name, seen in stateful.items():
        assert inspect(name, started) == seen
    nothing_left()


def test_fewer_without_a_failed_request() -> None:
    replicas(3)
    without_a_failed_request(1)
    assert containers("api") == ["api"]


@proof
def test_more_without_a_failed_request() -> None:
    replicas(1)
    without_a_failed_request(3)


def test_more_pools_than_connections_are_refused_with_the_arithmetic() -> None:
    before = tree(reports=False)
    run = scale(scaling_replicas={"api": 9})
    assert run.code != 0
    assert run.result["verdict"] == "refused", run.output
    assert "api 9 x 20" in run.result["headline"]
    assert "PostgreSQL offers 100" in run.result["headline"]
    assert tree(reports=False) == before


@proof
def test_a_limit_is_live_and_says_what_compose_would_do() -> None:
    kept = inspect("postgres", "{{.Id}} {{.State.StartedAt}}")
    run = scale(scaling_limits={"postgres": {"memory": "640M"}})
    assert run.code == 0, run.output
    assert limit("postgres") == 640
    assert inspect("postgres", "{{.Id}} {{.State.StartedAt}}") == kept
    assert run.result["pending"] == ["postgres"]
    health = playbook("health")
    assert "pending recreate" in health.line("PostgreSQL")


@proof
def test_replaced_when_asked_it_waits_no_more() -> None:
    run = scale(scaling_limits={"postgres": {"memory": "640M"}}, scaling_recreate=["postgres"])
    assert run.code == 0, run.output
    assert run.result["pending"] == []
    assert limit("postgres") == 640
    assert run.result["measured"]["postgres"]["longest_s"] < 60
    assert "pending recreate" not in playbook("health").output


@proof
def test_a_deploy_and_a_rollback_keep_the_sizes() -> None:
    replicas(2)
    for name in ("v2", "v1"):
        run = playbook("deploy", deploy_version=release(name), deploy_watch=False)
        assert run.code == 0, run.output
        assert len(containers("api")) == 2
        assert json.loads(fetch("/api/v1/health")[1])["version"] == release(name)
    run = playbook("rollback")
    assert run.code == 0, run.output
    assert len(containers("api")) == 2
    nothing_left()


@proof
def test_a_limit_that_kills_is_taken_back() -> None:
    replicas(1)
    before = on_server("cat", OVERRIDE)
    with load(seconds_max=300) as running:
        run = scale(scaling_limits={"api": {"memory": "8M"}})
    assert run.result["verdict"] == "rolled_back", run.output
    assert on_server("cat", OVERRIDE) == before
    assert running.result.failed == 0, running.result
    assert limit("api") == 256


@proof
def test_a_limit_that_kills_what_has_a_gap_is_taken_back() -> None:
    """Its old container is gone by then."""
    replicas(1)
    before = on_server("cat", OVERRIDE)
    run = scale(
        carrental_services={"api": {"overlap": False}},
        scaling_limits={"api": {"memory": "8M"}},
        scaling_healthy_timeout=30,
    )
    assert run.result["verdict"] == "rolled_back", run.output
    assert on_server("cat", OVERRIDE) == before
    assert fetch("/api/v1/health")[0] == 200
    assert limit("api") == 256


@proof
def test_what_a_killed_scaling_left_brings_no_old_release_back() -> None:
    replicas(1)
    with stop_at("api: replace"):
        dies: dict[str, Any] = {"operation_ttl": 5, "scaling_limits": {"api": {"memory": "300M"}}}
        controller = Started("scale", **dies)
        pid = wait_stopped("api: replace", controller)
        on_server("kill", "-9", str(pid))
        controller.kill()
    go_on()
    newer: dict[str, Any] = {"deploy_version": release("v2"), "deploy_watch": False}
    run = playbook("deploy", operation_wait=60, **newer)
    assert run.code == 0, run.output
    run = scale(scaling_limits={"api": {"memory": "8M"}}, scaling_healthy_timeout=30)
    assert run.result["verdict"] == "rolled_back", run.output
    pinned = inspect("api", "{{.Config.Image}}")
    assert json.loads(fetch("/api/v1/health")[1])["version"] == release("v2")
    assert pinned in on_server("cat", OVERRIDE)
    # The sizes from before the one that was killed are in force, in the file and in the container.
    assert limit("api") == 256
    assert playbook("deploy", deploy_version=release("v1"), deploy_watch=False).code == 0


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"scaling_replicas": {"postgres": 2}}, "its role is database"),
        ({"scaling_replicas": {"nginx": 2}}, "its role is proxy"),
        ({"scaling_limits": {"postgres": {"memory": "900G"}}}, "do not fit into the server"),
        ({"scaling_limits": {"postgres": {"memory": "8M"}}}, "would be killed"),
        ({"scaling_limits": {"apo": {"memory": "1G"}}}, "There is no service apo"),
        ({"scaling_limits": {"api": {"memory": "lots"}}}, "give 6M or more"),
    ],
)
@proof
def test_what_cannot_be_is_refused(extra: dict[str, Any], said: str) -> None:
    before = tree(reports=False)
    run = scale(**extra)
    assert run.result["verdict"] == "refused", run.output
    assert said in run.result["headline"]
    assert tree(reports=False) == before


@pytest.mark.parametrize("step", ["write the sizes", "api: lead_to_surge", "api: replace"])
@proof
def test_killed_at_a_step_the_next_run_ends_it(step: str) -> None:
    replicas(1)
    wanted: dict[str, Any] = {"scaling_replicas": {"api": 2}}
    with stop_at(step):
        controller = Started("scale", scaling_drain_timeout=10, operation_ttl=5, **wanted)
        pid = wait_stopped(step, controller)
        on_server("kill", "-9", str(pid))
        controller.kill()
    go_on()
    assert fetch("/api/v1/health")[0] == 200
    run = scale(operation_wait=60, **wanted)
    assert run.code == 0, run.output
    assert len(containers("api")) == 2
    nothing_left()
