# SPDX-License-Identifier: GPL-3.0-or-later
"""rollback.yml: back to a release that passed, whole, without a registry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from load import load
from support import (
    Run,
    fetch,
    inspect,
    no_registry,
    on_server,
    playbook,
    release,
    serving,
    sql,
    tree,
)
from tiers import proof

STATEFUL = ["postgres", "redis", "minio"]


def records() -> list[dict[str, Any]]:
    """All records, newest first."""
    names = on_server("sh", "-c", "ls /opt/carrental/.ops/releases/*.json | sort -r").split()
    return [json.loads(on_server("cat", name)) for name in names]


def started() -> dict[str, str]:
    return {name: inspect(name, "{{.Id}} {{.State.StartedAt}}") for name in STATEFUL}


def to(name: str) -> None:
    """Be at a release, whatever a test before left."""
    if serving() != release(name):
        run = playbook("deploy", deploy_version=release(name), deploy_watch=False)
        assert run.code == 0, run.output


def test_plan_says_what_would_be_done_and_leaves_no_trace() -> None:
    to("v2")
    before = tree()
    run = playbook("rollback", "--check", "--diff")
    assert run.code == 0, run.output
    assert run.result["version"] == release("v1")
    assert any("recreate api" in line for line in run.result["changed"]), run.result
    assert serving() == release("v2")
    assert tree() == before


def test_previous_is_back_without_a_registry_and_without_a_failed_request() -> None:
    to("v2")
    kept = started()
    before = records()[0]
    with no_registry(), load(seconds_max=300) as running:
        run = playbook("rollback", rollback_to="previous", deploy_drain_timeout=8)
    assert run.code == 0, run.output
    assert run.result["verdict"] == "ok"
    assert serving() == release("v1")
    record = records()[0]
    assert record["rolled_back_from"] == before["id"]
    for service in ("api", "web"):
        # What runs is what was recorded when v1 passed, by digest.
        assert record["services"][service]["image_id"] == inspect(service, "{{.Image}}")
        first = next(one for one in records()[::-1] if one["version"] == release("v1"))
        assert record["services"][service]["digest"] == first["services"][service]["digest"]
    assert started() == kept
    assert running.result.failed == 0, running.result
    # The additive migration of v2 stays, and does no harm.
    assert sql("SELECT count(*) FROM information_schema.columns WHERE column_name = 'note'") == "1"


def test_what_runs_already_is_not_put_back_again() -> None:
    to("v1")
    newest = records()[0]["id"]
    containers = inspect("api", "{{.Id}}")
    run = playbook("rollback", rollback_to=newest)
    assert run.code == 0, run.output
    assert run.result["verdict"] == "no_change"
    assert run.changed == 0
    assert (inspect("api", "{{.Id}}"), records()[0]["id"]) == (containers, newest)


@pytest.mark.parametrize("wanted", ["sha", "id", "digest"])
@proof
def test_words_for_a_release(wanted: str) -> None:
    to("v1")
    target = next(one for one in records() if one["version"] == release("v2"))
    said = {
        "sha": target["version"][:7],
        "id": target["id"],
        "digest": target["services"]["api"]["digest"],
    }[wanted]
    run = playbook("rollback", rollback_to=said)
    assert run.code == 0, run.output
    assert serving() == release("v2")
    to("v1")


@pytest.mark.parametrize("wanted", ["latest", "0123456789", "sha256:0123", ""])
@proof
def test_a_release_that_never_was_is_refused(wanted: str) -> None:
    before = tree(reports=False)
    run = playbook("rollback", rollback_to=wanted)
    assert run.code != 0
    assert run.result["verdict"] == "refused", run.result
    assert tree(reports=False) == before


@proof
def test_configuration_and_environment_go_back_with_the_images() -> None:
    to("v1")
    run = playbook(
        "deploy",
        deploy_version=release("v2"),
        deploy_watch=False,
        deploy_env={"EXTRA_SETTING": "one"},
    )
    assert run.code == 0, run.output
    assert "EXTRA_SETTING=one" in on_server("cat", "/opt/carrental/.env")
    run = playbook("rollback")
    assert run.code == 0, run.output
    assert "EXTRA_SETTING" not in on_server("cat", "/opt/carrental/.env")
    assert on_server("stat", "-c", "%a", "/opt/carrental/.env") == "600"
    run = playbook("health")
    assert run.code == 0, run.output


@proof
def test_a_destructive_migration_is_the_operators_to_decide() -> None:
    """Last of these: there is no code for the old schema any more."""
    to("v2")
    names = sql("SELECT string_agg(name, ',' ORDER BY id) FROM customers")
    run = playbook(
        "deploy",
        deploy_version=release("v3"),
        deploy_watch=False,
        deploy_allow_destructive_migration=True,
        deploy_drain_timeout=8,
    )
    assert run.code == 0, run.output
    assert serving() == release("v3")
    assert fetch("/api/v1/bookings")[0] == 200
    assert on_server("docker", "ps", "-aqf", "label=carrental.ops.maintenance") == ""
    before = tree(reports=False)
    run = playbook("rollback")
    assert run.code != 0
    assert run.result["verdict"] == "refused", run.result
    for word in ("20260401090000_customer_full_name", "rollback_database=keep", "DROP COLUMN"):
        assert word in run.result["headline"], run.result["headline"]
    assert serving() == release("v3")
    assert tree(reports=False) == before
    # Keeping the schema is a decision that has to be typed.
    run = playbook("rollback", rollback_database="keep")
    assert run.result["verdict"] == "refused"
    assert "rollback_confirm=" in run.result["headline"]
    assert serving() == release("v3")
    # Neither does a deploy put code on a schema that it does not know.
    run = playbook("deploy", deploy_version=release("v2"), deploy_watch=False)
    assert run.result["verdict"] == "refused", run.output
    for word in ("20260401090000_customer_full_name", "deploy_allow_schema_ahead", "DROP COLUMN"):
        assert word in run.result["headline"], run.result["headline"]
    assert serving() == release("v3")
    # Going back with the database loses what was written since, and keeps it aside.
    target = release("v2")
    planned = playbook("rollback", "--check", rollback_database="restore")
    assert planned.code == 0, planned.output
    assert serving() == release("v3")
    asked = playbook("rollback", rollback_database="restore")
    confirm = run_confirm(asked)
    named = asked.result["headline"].split("It goes back to backup ")[1].split(",")[0]
    assert any(f"would be {named} again" in line for line in planned.result["lines"])
    run = playbook("rollback", rollback_database="restore", rollback_confirm=confirm)
    assert run.code == 0, run.output
    assert any(line.startswith(f"the database is {named} again") for line in run.result["lines"])
    assert serving() == target
    applied = "SELECT migration_name FROM _prisma_migrations ORDER BY started_at"
    assert records()[0]["migrations"]["applied"] == sql(applied).split()
    assert sql("SELECT string_agg(name, ',' ORDER BY id) FROM customers") == names
    assert fetch("/api/v1/bookings")[0] == 200
    kept = "SELECT count(*) FROM pg_database WHERE datname LIKE 'carrental_before_%'"
    assert sql(kept) == "1"


def run_confirm(run: Run) -> str:
    """Return what a refusal wants to have typed."""
    assert run.result["verdict"] == "refused", run.output
    return str(run.result["headline"].split("rollback_confirm=")[1].split()[0].rstrip("."))
