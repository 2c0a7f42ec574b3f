# SPDX-License-Identifier: GPL-3.0-or-later
"""One operation at a time changes a server, also when its controller died."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import (
    SERVER,
    STATE,
    Run,
    Started,
    eventually,
    fetch,
    go_on,
    on_server,
    playbook,
    release,
    sql,
    stop_at,
    tree,
    wait_stopped,
)
from tiers import proof

SINCE = re.compile(r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# Of operations that are to die: short, and far longer than the time between two tasks.
TTL = 20


@pytest.fixture(autouse=True)
def nobody_has_the_lock() -> Iterator[None]:
    """Each test begins, and leaves, without an operation and without a freeze."""
    yield
    go_on()
    eventually(lambda: not kernel_lock(), "what a test left at work ends", 300)
    on_server("rm", "-f", f"{STATE}/lock", f"{STATE}/freeze")


def lock() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(on_server("cat", f"{STATE}/lock"))
    return record


def kernel_lock() -> bool:
    """Whether a process has the kernel lock, as util-linux sees it."""
    tried = f"test ! -e {STATE}/lock || flock --nonblock {STATE}/lock true"
    return on_server("sh", "-c", f"{tried} && echo free", check=False) != "free"


def journal(operation: str) -> list[dict[str, Any]]:
    text = on_server("cat", f"{STATE}/journal/{operation}.jsonl")
    return [json.loads(line) for line in text.splitlines()]


def refused(run: Run) -> str:
    assert run.code != 0
    assert run.result["verdict"] == "refused", run.output
    assert "playbooks/lock.yml" in run.result["next"]
    return str(run.result["headline"])


def deploy(version: str, **extra: Any) -> Run:
    return playbook("deploy", deploy_version=release(version), **extra)


@contextmanager
def pulling(**extra: Any) -> Iterator[tuple[Started, int]]:
    """A deploy that stopped before its pull: its controller, and the process on the server."""
    # What an earlier test pulled would not be pulled again.
    on_server("docker", "image", "prune", "--all", "--force")
    with stop_at("pull"):
        controller = Started("deploy", deploy_version=release("v2"), operation_who="anna", **extra)
        yield controller, wait_stopped("pull", controller)
        if controller.runs:
            controller.kill()
    # Its task goes on, and ends when it wants to tell its controller.
    eventually(lambda: not kernel_lock(), "the task ends", 300)


def test_of_two_deploys_at_once_one_runs_and_the_other_says_who() -> None:
    names = ("anna", "bert")
    version = release("v1")
    controllers = [
        Started("deploy", deploy_version=version, operation_who=name, operation_origin=f"of {name}")
        for name in names
    ]
    runs = dict(zip(names, (one.wait() for one in controllers), strict=True))
    verdicts = {name: run.result["verdict"] for name, run in runs.items()}
    assert sorted(verdicts.values()) == ["no_change", "refused"], [r.output for r in runs.values()]
    winner = next(name for name in names if verdicts[name] == "no_change")
    loser = next(name for name in names if name != winner)
    headline = refused(runs[loser])
    assert f"by {winner} from of {winner}" in headline
    assert SINCE.search(headline)
    assert "heartbeat" in headline
    assert lock() == {}


def test_a_killed_controller_leaves_a_task_that_keeps_others_out() -> None:
    with pulling(operation_ttl=TTL) as (controller, pid):
        dead = lock()
        assert (dead["who"], dead["step"], dead["pid"]) == ("anna", "pull", pid)
        controller.kill()
        # The fault is in force: the controller is gone, its task is not, and has the lock.
        assert not controller.runs
        assert on_server("sh", "-c", f"tr '\\0' ' ' < /proc/{pid}/cmdline")
        assert kernel_lock()
        # Nor does it help to wait: a task that works is not silent.
        time.sleep(TTL + 1)
        headline = refused(deploy("v1", operation_who="bert"))
        assert f"by anna from {dead['origin']} has the lock since {dead['since']}" in headline
        assert f"process {pid} " in headline
        assert '"pull"' in headline
        assert lock()["id"] == dead["id"]
    # Then nothing works for it, and its time passes.
    taken = deploy("v1", operation_who="bert", operation_wait=2 * TTL)
    assert taken.code == 0, taken.output
    assert taken.result["verdict"] == "no_change"
    [line] = [one for one in taken.result["lines"] if dead["id"] in one]
    assert 'by anna died at step "pull"' in line
    last = journal(dead["id"])[-1]
    assert (last["event"], last["verdict"], last["who"]) == ("taken over", "unknown", "bert")
    assert lock() == {}


def test_health_beside_a_release_names_it_and_wakes_nobody() -> None:
    with stop_at("record"):
        controller = Started("deploy", deploy_version=release("v2"), operation_who="anna")
        wait_stopped("record", controller)
        # Another version than the recorded one answers.
        assert json.loads(fetch("/api/v1/health")[1])["version"] == release("v2")
        beside = playbook("health")
        assert (beside.code, beside.result["verdict"]) == (0, "ok"), beside.output
        beside.line(f"[WARN] API is healthy: deploy {lock()['id']} by anna is at work")
        go_on()
        done = controller.wait()
    assert (done.code, done.result["verdict"]) == (0, "ok"), done.output
    # With nothing at work it is what it is.
    on_server("sh", "-c", f"rm {STATE}/releases/{done.result['release']}.json")
    alone = playbook("health")
    assert alone.code != 0
    failed = [one["name"] for one in alone.result["checks"] if one["status"] == "fail"]
    assert "api.version" in failed, alone.output
    assert deploy("v2").code == 0


@proof
def test_a_freeze_refuses_deploy_and_not_health() -> None:
    asked = {"lock_freeze": "summer sale", "lock_until": "2999-01-01T06:00Z"}
    frozen = playbook("lock", **asked, operation_who="carla")
    assert frozen.code == 0, frozen.output
    assert frozen.changed == 1
    again = playbook("lock", **asked, operation_who="carla")
    assert (again.changed, again.result["verdict"]) == (0, "no_change")
    headline = refused(deploy("v1"))
    for wanted in ("by carla", "summer sale", "2999-01-01T06:00:00Z", "lock_thaw=true"):
        assert wanted in headline
    health = playbook("health", health_depth="quick")
    assert health.code == 0, health.output
    assert "frozen by carla" in playbook("lock").output
    assert playbook("lock", lock_thaw=True).changed == 1
    assert playbook("lock", lock_thaw=True).changed == 0


@proof
def test_the_lock_is_taken_from_a_dead_operation_by_its_exact_id() -> None:
    with pulling() as (controller, pid):
        controller.kill()
        dead = lock()["id"]
        working = playbook("lock", lock_unlock=dead)
        assert working.result["verdict"] == "refused"
        assert f"kill {pid}" in working.result["headline"]
    wrong = playbook("lock", lock_unlock=dead[:-1])
    assert wrong.result["verdict"] == "refused"
    assert dead in wrong.result["headline"]
    files = tree()
    assert playbook("lock", "--check", lock_unlock=dead).changed == 1
    assert tree() == files
    assert playbook("lock", lock_unlock=dead, operation_who="bert").changed == 1
    last = journal(dead)[-1]
    assert (last["event"], last["who"]) == ("unlocked", "bert")
    assert deploy("v1").result["verdict"] == "no_change"


@proof
def test_a_database_session_of_a_dead_operation_keeps_others_out() -> None:
    with pulling(operation_ttl=1) as (controller, _):
        controller.kill()
        dead = lock()["id"]
    psql = ["docker", "exec", "-e", f"PGAPPNAME=carrental-ops {dead}", "postgres", "psql"]
    query = ["-XAtq", "-U", "carrental", "-d", "carrental", "-c", "SELECT pg_sleep(300)"]
    with subprocess.Popen(["docker", "exec", SERVER, *psql, *query]) as session:
        try:
            eventually(lambda: "database session" in refused(deploy("v1")), "it is seen")
            assert lock()["id"] == dead
        finally:
            sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'carrental-ops %'"
            )
            session.wait(30)
    assert dead in "".join(deploy("v1").result["lines"])


@proof
def test_a_plan_is_made_beside_an_operation_and_writes_nothing() -> None:
    with pulling():
        held = lock()
        files = on_server("sh", "-c", f"ls -lR --time-style=full-iso {STATE}/journal")
        plan = playbook("deploy", "--check", deploy_version=release("v2"))
        assert plan.code == 0, plan.output
        assert any("now refused" in line and "by anna" in line for line in plan.result["lines"])
        assert lock()["id"] == held["id"]
        assert on_server("sh", "-c", f"ls -lR --time-style=full-iso {STATE}/journal") == files
