# SPDX-License-Identifier: GPL-3.0-or-later
"""What compose says, and what follows from it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _compose

PROD = """services:
  api:
    environment:
      A: ${A:?}
      B: "${B:?b is needed}"  # ${NOT:?}
      C: ${C?}
      # D: ${D:?}
      E: $${E:?}
      F: ${F:-x} $G
"""
MONITORING = """services:
  grafana:
    environment: {A: "${A:?}", H: "${H:?}"}
"""


def test_required_variables_stand_with_their_lines() -> None:
    assert _compose.required_variables(PROD) == [("A", 4, True), ("B", 5, True), ("C", 6, False)]


@pytest.mark.parametrize(
    ("env", "missing"),
    [
        (
            {},
            [
                "A (prod.yml line 4)",
                "B (prod.yml line 5)",
                "C (prod.yml line 6)",
                "H (monitoring.yml line 3)",
            ],
        ),
        ({"A": "1", "B": "", "C": "", "H": "1"}, ["B (prod.yml line 5)"]),
        ({"A": "1", "B": None, "C": "1", "H": "1"}, []),
    ],
)
def test_all_missing_variables_are_named_at_once(
    env: dict[str, str | None], missing: list[str]
) -> None:
    texts = {"prod.yml": PROD, "monitoring.yml": MONITORING}
    assert _compose.missing_variables(texts, env) == missing


@pytest.mark.parametrize(("variable", "lines"), [("F", [9]), ("G", [9]), ("A", [4]), ("E", [])])
def test_lines_that_use_a_variable(variable: str, lines: list[int]) -> None:
    assert _compose.lines_using(PROD, variable) == lines


STDERR = (
    'time="2026-11-23T22:14:23Z" level=warning msg="The \\"ZZZ\\" variable is not set. '
    'Defaulting to a blank string."\n'
    'time="2026-11-23T22:14:24Z" level=warning msg="The \\"ZZZ\\" variable is not set. '
    'Defaulting to a blank string."\n'
    "error while interpolating services.api.environment.B: required variable B is missing a "
    "value: b is needed\n"
)


def test_warnings_and_error_are_told_apart() -> None:
    assert _compose.warnings(STDERR) == [
        'The "ZZZ" variable is not set. Defaulting to a blank string.'
    ]
    assert _compose.unset_variable(_compose.warnings(STDERR)[0]) == "ZZZ"
    assert _compose.unset_variable("the attribute `version` is obsolete") is None
    assert _compose.missing_variable(_compose.error_text(STDERR)) == "B"
    assert _compose.missing_variable("yaml: line 2") is None


MODEL: dict[str, Any] = {
    "services": {
        "api": {
            "build": {"context": "."},
            "container_name": "api",
            "deploy": {"replicas": 2},
            "volumes": [
                {"type": "bind", "source": "/p/a", "bind": {"create_host_path": True}},
                {"type": "volume", "source": "data"},
            ],
            "secrets": [{"source": "token"}],
        },
        "other": {"image": "x:1", "container_name": "api"},
        "postgres": {
            "image": "postgres:16",
            "ports": [{"published": "5432"}, {"published": "5433", "host_ip": "127.0.0.1"}],
        },
    },
    "secrets": {"token": {"file": "/p/token"}},
}


def test_a_built_service_runs_from_a_derived_image() -> None:
    assert _compose.image_name(MODEL, "carrental", "api") == "carrental-api"
    assert _compose.image_name(MODEL, "carrental", "postgres") == "postgres:16"


def test_binds_are_mounts_and_secrets() -> None:
    assert _compose.binds(MODEL) == [("api", "/p/a", True), ("api", "/p/token", False)]


def test_traps() -> None:
    assert _compose.traps(MODEL, ["postgres"]) == [
        "The service api asks for 2 replicas and has a container_name: compose starts only one.",
        "The services api and other share the container name api: only one of them can run.",
        "The service postgres publishes port 5432 to the world, past any ufw rule; "
        "put 127.0.0.1: in front of it.",
    ]


def test_the_override_pins_and_never_builds() -> None:
    text = _compose.override({"web": "r/web@sha256:b", "api": "r/api@sha256:a"}, ["api"])
    assert text == (
        "# Written by carrental.ops; changes are lost with the next deploy.\n"
        "# It pins the released images and is the last file of every compose call.\n"
        "services:\n"
        "  api:\n    image: r/api@sha256:a\n    pull_policy: missing\n    build: !reset null\n"
        "  web:\n    image: r/web@sha256:b\n    pull_policy: missing\n"
    )
    assert _compose.pinned(text) == {"api": "r/api@sha256:a", "web": "r/web@sha256:b"}


def test_an_override_without_pins_is_a_compose_file() -> None:
    assert _compose.override({}, []).endswith("services: {}\n")


@pytest.mark.parametrize(
    ("stderr", "error"),
    [
        (
            " Container api  Recreate\n Container api  Started\n Container api  Error\n"
            "dependency failed to start: container api is unhealthy\n",
            "dependency failed to start: container api is unhealthy",
        ),
        (" Container api  Started\n", "compose gave no reason"),
    ],
)
def test_the_reason_stands_without_progress(stderr: str, error: str) -> None:
    assert _compose.up_error(stderr) == error


def test_a_dry_run_says_what_would_happen() -> None:
    stderr = (
        " DRY-RUN MODE -  Container minio  Running\n"
        " DRY-RUN MODE -  Container api  Recreate\n"
        " DRY-RUN MODE -  Container api  Recreated\n"
        " DRY-RUN MODE -  Container web  Created\n"
    )
    assert _compose.dry_run_actions(stderr) == ["recreate api", "create web"]


def test_a_call_names_project_directory_and_files() -> None:
    project = _compose.Project("/opt/carrental", "carrental", ("a.yml", "/abs/b.yml"))
    assert project.argv("ps", "--all") == [
        *("docker", "compose", "--project-name", "carrental"),
        *("--project-directory", "/opt/carrental"),
        *("--file", "/opt/carrental/a.yml", "--file", "/abs/b.yml", "ps", "--all"),
    ]


def test_a_missing_program_is_named() -> None:
    project = _compose.Project("/", "x", (), ("/nonexistent/docker",))
    with pytest.raises(_compose.ComposeError) as error:
        project.run("ps")
    assert str(error.value) == (
        "Cannot run /nonexistent/docker: it is not installed; run playbooks/bootstrap.yml first."
    )


def test_a_command_that_hangs_is_ended() -> None:
    project = _compose.Project("/", "x", (), ("/bin/sh", "-c", "sleep 5; :", "sh"))
    with pytest.raises(_compose.ComposeError) as error:
        project.run("ps", timeout=0.2)
    assert str(error.value) == (
        "docker compose ps did not end within 0.2 s; "
        "look at the load of the server and at the Docker engine."
    )


def test_a_service_alone_uses_the_networks_and_volumes_there_are() -> None:
    model: dict[str, Any] = {
        "services": {
            "api": {
                "image": "api",
                "container_name": "api",
                "build": {"context": "."},
                "depends_on": {"postgres": {}},
                "networks": {"frontend": {"aliases": ["backend"], "ipv4_address": "10.0.0.9"}},
                "volumes": [{"type": "volume", "source": "photos", "target": "/photos"}],
            },
            "postgres": {"image": "postgres"},
        },
        "networks": {"frontend": {"name": "carrental_frontend"}, "other": {"name": "x"}},
        "volumes": {"photos": {"name": "carrental_photos"}, "data": {"name": "d"}},
        "secrets": {"key": {"file": "/key"}},
    }
    assert json.loads(_compose.alone(model, "api")) == {
        "services": {
            "api": {
                "image": "api",
                "networks": {"frontend": {"aliases": ["backend"]}},
                "volumes": [{"type": "volume", "source": "photos", "target": "/photos"}],
            }
        },
        "networks": {"frontend": {"name": "carrental_frontend", "external": True}},
        "volumes": {"photos": {"name": "carrental_photos", "external": True}},
        "secrets": {"key": {"file": "/key"}},
    }
