# SPDX-License-Identifier: GPL-3.0-or-later
"""What others stand on is replaced: with a gap that is said before and measured, and undone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import REPO, Run, inspect, on_server, playbook, release, serving, sql
from tiers import proof
from variants import replace_once

COMPOSE = "docker-compose.prod.yml"
# That of the database.
LIMIT = "          memory: 512M\n    networks: [backend]\n\n  redis:"
MIB = 1024 * 1024


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "stack"
    shutil.copytree(REPO / "demo/stack", folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def as_it_was() -> Iterator[None]:
    """Leave no service that waits to be replaced to what is tested next."""
    yield
    run = deploy(REPO / "demo/stack", deploy_stateful="postgres")
    assert run.code == 0, run.output


def deploy(folder: Path, *argv: str, **extra: Any) -> Run:
    """Deploy the version that runs, with another configuration."""
    return playbook(
        "deploy", *argv, deploy_version=release("v1"), deploy_config_dir=str(folder), **extra
    )


def record() -> dict[str, Any]:
    newest = on_server("sh", "-c", "ls /opt/carrental/.ops/releases/*.json | sort | tail -1")
    return dict(json.loads(on_server("cat", newest)))


def gap(run: Run, what: str) -> str:
    """The line that says what customers met."""
    told: list[str] = run.result["lines"]
    return next(line for line in told if line.startswith(f"{what} was replaced: "))


@proof
def test_database_is_replaced_where_it_was_asked_for_and_the_gap_is_told(folder: Path) -> None:
    before = inspect("postgres", "{{.Id}}")
    replace_once(folder / COMPOSE, LIMIT, LIMIT.replace("512M", "600M"))
    asked = {"deploy_stateful": "postgres"}

    plan = deploy(folder, "--check", **asked)
    assert "postgres is replaced, and nothing stands in for it" in " ".join(plan.result["lines"])
    assert inspect("postgres", "{{.Id}}") == before

    run = deploy(folder, **asked)
    assert run.code == 0, run.output
    assert inspect("postgres", "{{.Id}}") != before
    assert inspect("postgres", "{{.HostConfig.Memory}}") == str(600 * MIB)
    assert " failed, longest outage " in gap(run, "api while postgres")
    assert record()["downtime_s"] > 0
    journals = "cat $(ls -t /opt/carrental/.ops/journal/*-deploy-*.jsonl | head -1)"
    assert '"checkpoint postgres"' in on_server("sh", "-c", journals)
    assert "was not properly shut down" not in on_server("docker", "logs", "postgres")
    assert deploy(folder, **asked).result["verdict"] == "no_change"


@proof
def test_database_that_does_not_come_back_gets_its_old_definition(folder: Path) -> None:
    bookings = sql("SELECT count(*) FROM bookings")
    image = "    image: postgres:16\n"
    replace_once(folder / COMPOSE, image, f"{image}    command: postgres -c shared_buffers=much\n")
    run = deploy(folder, deploy_stateful=["postgres"], deploy_healthy_timeout=30)
    assert run.code == 2
    assert run.result["verdict"] == "rolled_back", run.output
    assert "shared_buffers" not in inspect("postgres", "{{json .Config.Cmd}}")
    assert sql("SELECT count(*) FROM bookings") == bookings


@proof
def test_a_release_goes_out_beside_a_database_that_waits_to_be_replaced(folder: Path) -> None:
    replace_once(folder / COMPOSE, LIMIT, LIMIT.replace("512M", "700M"))
    before = inspect("postgres", "{{.Id}}")
    for version in ("v2", "v1"):
        asked = {"deploy_version": release(version), "deploy_config_dir": str(folder)}
        run = playbook("deploy", deploy_watch=False, **asked)
        assert run.code == 0, run.output
        assert serving() == release(version)
        assert not any("surge" in one for one in on_server("docker", "ps", "-a").splitlines())
        # It is not replaced by the way, and waiting is no change.
        assert inspect("postgres", "{{.Id}}") == before
        assert playbook("deploy", deploy_watch=False, **asked).result["verdict"] == "no_change"


@proof
def test_gap_of_a_proxy_is_told_before_and_after(folder: Path) -> None:
    before = inspect("nginx", "{{.Id}}")
    replace_once(folder / COMPOSE, "memory: 64M", "memory: 72M")
    plan = deploy(folder, "--check")
    assert "nginx is replaced, and nothing stands in for it" in " ".join(plan.result["lines"])
    run = deploy(folder)
    assert run.code == 0, run.output
    assert inspect("nginx", "{{.Id}}") != before
    assert " failed, longest outage " in gap(run, "web while nginx")
    assert record()["downtime_s"] > 0
