# SPDX-License-Identifier: GPL-3.0-or-later
"""After a release: what runs stays the release and the way back stays, whoever cleans up."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support import Run, eventually, fetch, inspect, on_server, playbook, release, serving
from tiers import proof

STATE = "/opt/carrental/.ops"
GHCR = "ghcr.carrental.test:5000/carrental"
# The runbook's own two lines, and the third that people know.
PRUNES = ("docker system prune -f", "docker image prune -a -f", "docker container prune -f")
PLAIN_UP = "cd /opt/carrental && docker compose -f docker-compose.prod.yml up -d"


def records() -> list[dict[str, Any]]:
    """The records of releases that passed, newest first."""
    text = on_server("sh", "-c", f"for f in {STATE}/releases/*.json; do cat $f; echo; done")
    found = [json.loads(one) for one in re.split(r"(?m)^(?=\{$)", text) if one.strip()]
    passed = [one for one in found if one["verdict"] == "ok"]
    return sorted(passed, key=lambda one: str(one["id"]), reverse=True)


def deploy(name: str, **extra: Any) -> Run:
    run = playbook("deploy", deploy_version=release(name), deploy_watch=False, **extra)
    assert run.code == 0, run.output
    return run


@pytest.fixture(name="before", autouse=True)
def two_releases() -> dict[str, Any]:
    """Release v2 runs, and v1 is what a rollback goes to; return the record of v1."""
    if [one["version"] for one in records()][:2] != [release("v2"), release("v1")]:
        deploy("v1")
    # Also gives back what another test took away.
    deploy("v2")
    newest = records()
    assert newest[0]["version"] == release("v2")
    return next(one for one in newest if one["version"] == release("v1"))


def containers() -> dict[str, str]:
    """Id and start of every container of the stack, without those that hold images."""
    listed = on_server(
        *("docker", "ps", "-a", "--filter", "label=com.docker.compose.project=carrental"),
        *("--format", "{{.Names}}"),
    )
    return {name: inspect(name, "{{.Id}} {{.State.StartedAt}}") for name in listed.splitlines()}


def holding() -> dict[str, str]:
    """State of each container that holds an image."""
    listed = on_server(
        *("docker", "ps", "-a", "--filter", "label=carrental.ops.hold"),
        *("--format", "{{.Names}} {{.State}}"),
    )
    return dict(line.split() for line in listed.splitlines())


def has_image(image_id: str) -> bool:
    return on_server("docker", "image", "inspect", "-f", "{{.Id}}", image_id, check=False) != ""


def has_images(record: dict[str, Any]) -> bool:
    return all(has_image(one["image_id"]) for one in record["services"].values())


def clean_up() -> None:
    for command in PRUNES:
        on_server("sh", "-c", command)


def test_clean_up_of_the_runbook_leaves_the_release_and_the_way_back(
    before: dict[str, Any],
) -> None:
    running = containers()
    # What held softly would have gone, and did not hold.
    on_server("sh", "-c", f"docker create --name probe {before['services']['web']['image_id']}")
    clean_up()
    assert "probe" not in on_server("docker", "ps", "-a", "--format", "{{.Names}}").split()
    assert has_images(before)
    assert containers() == running
    assert serving() == release("v2")
    run = playbook("health")
    assert run.code == 0, run.output
    assert "needs the registry" not in run.output
    run.line("[WARN] A plain docker compose up would not start the release")


@proof
def test_plain_up_of_a_colleague_starts_the_release_and_no_other(before: dict[str, Any]) -> None:
    images = {name: inspect(name, "{{.Image}}") for name in ("api", "web")}
    on_server("sh", "-c", PLAIN_UP)
    assert {name: inspect(name, "{{.Image}}") for name in images} == images
    eventually(lambda: fetch("/api/v1/health")[0] == 200, "the API answers")
    assert serving() == release("v2")
    clean_up()
    assert has_images(before)
    assert playbook("health").code == 0


@proof
def test_plain_up_after_a_clean_up_changes_nothing_and_health_says_why() -> None:
    running = containers()
    clean_up()
    # There is no name to start from any more, and nothing on this server to build from.
    with pytest.raises(AssertionError):
        on_server("sh", "-c", PLAIN_UP)
    assert containers() == running
    assert serving() == release("v2")
    said = playbook("health").line("[WARN] A plain docker compose up would not start the release")
    for command in re.findall(r"docker tag \S+ carrental-\w+", said):
        on_server(*command.split())
    assert "A plain docker compose up" not in playbook("health").output


@proof
def test_another_image_under_the_name_of_the_stack_is_named_by_health(
    before: dict[str, Any],
) -> None:
    on_server("docker", "tag", before["services"]["web"]["image_id"], "carrental-web")
    on_server("sh", "-c", f"{PLAIN_UP} --no-deps web")
    run = playbook("health")
    run.line("somebody changed it outside a deploy")
    run = playbook("status")
    run.line("web does not run the image of the release")
    deploy("v2")
    assert inspect("web", "{{.Image}}") != before["services"]["web"]["image_id"]


@proof
def test_holds_survive_the_daemon_and_end_at_once_with_the_server(
    before: dict[str, Any],
) -> None:
    held = holding()
    # Two images each of the current release and of the one before it.
    assert sorted(held.values())[-4:] == ["running"] * 4
    on_server("systemctl", "restart", "docker")
    eventually(lambda: holding() == held, "the containers that hold images run again")
    # What runs keeps its image itself; the way back has nothing but this.
    name = f"carrental-hold-{before['services']['web']['image_id'].removeprefix('sha256:')[:12]}"
    on_server("timeout", "5", "docker", "stop", "-t", "60", name)
    playbook("health").line("is at the mercy of the next docker system prune")
    deploy("v2")
    assert holding() == held


@proof
def test_holds_are_no_part_of_the_stack() -> None:
    held = holding()
    project = "cd /opt/carrental && docker compose -f docker-compose.prod.yml"
    project += " -f docker-compose.monitoring.yml -f compose.release.yml"
    assert not set(
        on_server("sh", "-c", f"{project} ps -a --format '{{{{.Name}}}}'").split()
    ) & set(held)
    on_server("sh", "-c", f"{project} up -d --remove-orphans")
    assert holding() == held
    for name in held:
        assert inspect(name, "{{.HostConfig.NetworkMode}}") == "none"
    assert not any("hold" in line for line in playbook("health").result["lines"])


@proof
def test_way_back_that_was_removed_is_told(before: dict[str, Any]) -> None:
    on_server("sh", "-c", f"docker rm -f {' '.join(holding())}")
    clean_up()
    assert not has_images(before)
    said = playbook("health").line(f"[WARN] A rollback to {release('v1')[:12]} needs the registry")
    assert f"docker pull {GHCR}/backend@sha256:" in said
    run = playbook("status")
    run.line("a rollback needs the registry (image of api, web)")
    assert [one["rollback"] for one in run.result["releases"] if one["id"] == before["id"]] == [
        False
    ]
    # The next test finds it released anew.
    deploy("v1")


@proof
def test_images_go_by_the_records_and_foreign_ones_never() -> None:
    # Two more releases: v1 leaves the two that are kept.
    oldest = next(one for one in records() if one["version"] == release("v1"))
    foreign = {
        line
        for line in on_server(
            "docker", "images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}"
        ).splitlines()
        if "carrental" not in line
    }
    on_server("docker", "tag", oldest["services"]["web"]["image_id"], "somebody/else:keep")
    deploy("ignores-sigterm", deploy_keep_releases=2)
    deploy("v2", deploy_keep_releases=2)
    assert not has_image(oldest["services"]["api"]["image_id"])
    assert has_image(oldest["services"]["web"]["image_id"])
    left = on_server("docker", "images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}")
    assert foreign <= set(left.splitlines())
    on_server("docker", "rmi", "somebody/else:keep")


@proof
def test_configuration_is_kept_and_its_secrets_apart(before: dict[str, Any]) -> None:
    for path, digest in before["config"]["files"].items():
        here = on_server("sh", "-c", f"sha256sum < {STATE}/content/{digest}", check=False)
        kept = path != "compose.release.yml" and not path.endswith(".pem")
        assert here.startswith(digest) == kept, path
    env = f"/opt/carrental/.env.releases/{before['config']['env']['sha256']}"
    assert on_server("stat", "-c", "%a %U", env) == "600 deploy"
    assert on_server("stat", "-c", "%a", "/opt/carrental/.env.releases") == "700"
    text = on_server("cat", "/opt/carrental/.env")
    for secret in re.findall(r"^\w*(?:PASSWORD|SECRET)\w*=(.+)$", text, re.MULTILINE):
        assert on_server("grep", "-rlF", secret, STATE, check=False) == ""


@proof
def test_status_tells_what_a_rollback_would_change(before: dict[str, Any]) -> None:
    run = playbook("status")
    assert run.code == 0, run.output
    assert run.changed == 0
    assert "images of api, web" in run.line(before["id"])
    told = next(one for one in run.result["releases"] if one["id"] == before["id"])
    assert told["rollback"] is True
    assert told["differs"]["images"] == ["api", "web"]
