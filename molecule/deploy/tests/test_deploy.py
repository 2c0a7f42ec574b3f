# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy.yml on the real stack: a release arrives whole, or nothing of it does."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any

import pytest
from support import Run, inspect, on_server, playbook, release, serving, sql, tree
from tiers import proof

GHCR = "ghcr.carrental.test:5000/carrental"
STATEFUL = ["postgres", "redis", "minio"]


def running() -> dict[str, str]:
    """Id and start time of every container: what a release of something else must not touch."""
    names = on_server("docker", "ps", "-a", "--format", "{{.Names}}").splitlines()
    return {name: inspect(name, "{{.Id}} {{.State.StartedAt}}") for name in sorted(names)}


def local_images() -> set[str]:
    listed = on_server(
        "docker", "images", "--all", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}", "--no-trunc"
    )
    return set(listed.splitlines())


def newest_record() -> dict[str, Any]:
    path = on_server("sh", "-c", "ls /opt/carrental/.ops/releases/*.json | sort | tail -n 1")
    record: dict[str, Any] = json.loads(on_server("cat", path))
    return record


def secrets_of_the_stack() -> set[str]:
    text = on_server("cat", "/opt/carrental/.env")
    return set(re.findall(r"^\w*(?:PASSWORD|SECRET)\w*=(.+)$", text, re.MULTILINE))


def test_converged_release_answers_and_is_recorded() -> None:
    assert serving() == release("v1")
    record = newest_record()
    assert record["verdict"] == "ok"
    assert record["version"] == release("v1")
    for service in ("api", "web"):
        image = inspect(service, "{{.Image}}")
        assert record["services"][service]["image_id"] == image
        digests = on_server("docker", "image", "inspect", "-f", "{{.RepoDigests}}", image)
        assert record["services"][service]["digest"] in digests


def test_environment_file_is_private_and_complete() -> None:
    assert on_server("stat", "-c", "%a %U", "/opt/carrental/.env") == "600 deploy"
    assert "POSTGRES_PASSWORD=" in on_server("cat", "/opt/carrental/.env")


def test_private_key_is_private() -> None:
    assert on_server("stat", "-c", "%a", "/opt/carrental/nginx/ssl/privkey.pem") == "600"


def test_login_of_the_registry_is_gone() -> None:
    # The programs in .ops/bin name the word and hold no login.
    places = "/home/deploy/.docker /root/.docker /opt/carrental"
    found = on_server("sh", "-c", f"grep -rls --exclude-dir=bin auths {places}", check=False)
    assert found == ""


def test_a_plain_up_of_a_colleague_starts_the_same_image() -> None:
    before = inspect("api", "{{.Image}}")
    derived = on_server("docker", "image", "inspect", "-f", "{{.Id}}", "carrental-api")
    assert derived == before


def test_check_mode_tells_the_plan_and_leaves_no_trace() -> None:
    files, containers, images = tree(), running(), local_images()
    run = playbook("deploy", "--check", "--diff", deploy_version=release("v2"))
    assert run.code == 0, run.output
    assert run.changed > 0
    assert release("v2")[:7] in run.output
    assert tree() == files
    assert running() == containers
    assert local_images() == images


def refused(run: Run, says: str) -> None:
    assert run.code != 0
    assert run.result["verdict"] == "refused", run.output
    assert says in run.result["headline"], run.result["headline"]


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        pytest.param({"deploy_version": "f" * 40}, "f" * 40, id="sha that does not exist"),
        pytest.param({"deploy_version": "no such tag!"}, "no such tag!", id="no tag at all"),
        pytest.param(
            {"deploy_registry_password": "wrong"}, "ghcr.carrental.test", id="login refused"
        ),
        pytest.param(
            {"carrental_env": {}, "unset": "JWT_SECRET"}, "JWT_SECRET", id="missing variable"
        ),
        pytest.param(
            {"carrental_compose_files": ["docker-compose.typo.yml"]},
            "docker-compose.typo.yml",
            id="no such compose file",
        ),
    ],
)
def test_bad_input_is_refused_and_nothing_is_changed(extra: dict[str, Any], says: str) -> None:
    unset = extra.get("unset")
    given = {"deploy_version": release("v2"), **{k: v for k, v in extra.items() if k != "unset"}}
    if unset:
        on_server("sed", "-i.before", f"/^{unset}=/d", "/opt/carrental/.env")
    try:
        files, containers = tree(reports=False), running()
        refused(playbook("deploy", **given), says)
        assert tree(reports=False) == files
        assert running() == containers
    finally:
        if unset:
            on_server("mv", "/opt/carrental/.env.before", "/opt/carrental/.env")
    assert serving() == release("v1")


def test_failing_migration_switches_nothing() -> None:
    before = running()
    run = playbook("deploy", deploy_version=release("bad-migration"))
    # Before anything is asserted: no other release can migrate while it is there.
    failed = sql("DELETE FROM _prisma_migrations WHERE finished_at IS NULL RETURNING 1")
    assert run.code != 0
    assert run.result["verdict"] == "rolled_back", run.output
    assert failed.splitlines()[0] == "1"
    assert any("as failed: no deploy can migrate" in line for line in run.result["lines"])
    assert serving() == release("v1")
    assert running() == before


def test_v2_arrives_whole_without_touching_data_services() -> None:
    before = running()
    secrets = secrets_of_the_stack()
    seen: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(
                on_server("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '", check=False)
            )
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run = playbook("deploy", "-vvv", "--diff", deploy_version=release("v2"))
    finally:
        done.set()
        watcher.join()
    assert run.code == 0, run.output
    assert run.result["verdict"] == "ok"
    assert serving() == release("v2")
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'bookings'"
    assert "note" in sql(columns).split()
    after = running()
    for service in STATEFUL:
        assert after[service] == before[service], f"{service} was touched"
    assert after["api"] != before["api"]
    # The way back behind the migration: a backup from before it, which the record names.
    kept = on_server("ls", "/opt/carrental/backups").split()
    assert f"{newest_record()['backup_id']}.dump.zst.json" in kept, kept
    # No secret in what was printed, kept, or visible in the process list meanwhile.
    assert len(secrets) >= 4
    assert len(seen) > 5
    for secret in secrets:
        assert secret not in run.output
        found = on_server("grep", "-raFl", secret, "/opt/carrental/.ops", check=False)
        assert found == "", f"a secret is kept in {found}"
        assert not any(secret in snapshot for snapshot in seen)

    again = playbook("deploy", deploy_version=release("v2"))
    assert again.code == 0, again.output
    assert again.changed == 0
    assert again.result["verdict"] == "no_change"
    assert running() == after
    # The result is kept with what its journal tells, and nothing else of it is left.
    reports = "cat $(ls -t /opt/carrental/.ops/reports/*-deploy.json | head -1)"
    report = json.loads(on_server("sh", "-c", reports))
    assert report["verdict"] == "no_change"
    assert report["operation_id"] == again.result["operation_id"]
    assert report["steps"][-1]["step"] == "ended"
    assert on_server("find", "/tmp", "-maxdepth", "1", "-name", "carrental-*") == ""


@pytest.mark.parametrize("variant", ["exits", pytest.param("unhealthy", marks=proof)])
def test_release_that_does_not_work_is_put_back_by_itself(variant: str) -> None:
    before, images = serving(), {name: inspect(name, "{{.Image}}") for name in ("api", "web")}
    run = playbook("deploy", deploy_version=release(variant), deploy_healthy_timeout=30)
    assert run.code != 0
    assert run.result["verdict"] == "rolled_back", run.output
    assert run.result["version"] == release(variant)
    assert serving() == before
    assert {name: inspect(name, "{{.Image}}") for name in images} == images
    # What failed is kept to be looked at, and says why; it does not run.
    kept = on_server("docker", "ps", "-aqf", "label=carrental.ops.surge", "-f", "status=exited")
    assert kept
    assert on_server("docker", "ps", "-qf", "label=carrental.ops.surge") == ""
    assert any(" | " in line for line in run.result["lines"]), run.result
    # The configuration went back, too: a plain "up" of a colleague finds nothing to change.
    assert release(variant) not in on_server("cat", "/opt/carrental/compose.release.yml")
