# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases under load: no request fails, whatever the release is worth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from load import RATE, Result, begun_by_the_proxy, load
from support import REPO, inspect, on_server, playbook, release, serving
from tiers import proof
from variants import MIN_TIMEOUT, nginx_1_30

# Given up after this; the field's default is longer.
HEALTHY_TIMEOUT = 30


def other() -> str:
    """The good release of two that does not run."""
    return "v1" if serving() == release("v2") else "v2"


def assert_nothing_lost(seen: Result) -> None:
    assert seen.rate >= 0.9 * RATE, seen
    assert seen.not_sent == 0, seen
    assert seen.failed == 0, seen
    # An old nginx closes idle connections when it reloads; it had read nothing from them.
    assert begun_by_the_proxy(seen) == []


def test_release_loses_no_request() -> None:
    name = other()
    before = inspect("api", "{{.Id}}")
    with load(seconds_max=600) as running:
        run = playbook("deploy", deploy_version=release(name))
    assert run.code == 0, run.output
    assert run.result["verdict"] == "ok"
    assert inspect("api", "{{.Id}}") != before
    assert_nothing_lost(running.result)
    # Both releases answered under the load: it was there when the switch was.
    assert [line["release"] for line in running.result.versions["api"]][-1] == name
    assert len(running.result.versions["api"]) == 2


@proof
@pytest.mark.parametrize("variant", ["exits", "unhealthy", "hangs"])
def test_release_that_never_becomes_healthy_loses_no_request(variant: str) -> None:
    before = serving()
    with load(seconds_max=900) as running:
        run = playbook(
            "deploy", deploy_version=release(variant), deploy_healthy_timeout=HEALTHY_TIMEOUT
        )
    assert run.code != 0
    assert run.result["verdict"] in ("rolled_back", "failed"), run.output
    assert_nothing_lost(running.result)
    assert serving() == before


@proof
def test_release_that_ignores_sigterm_loses_no_request() -> None:
    name = other()
    with load(seconds_max=900) as running:
        runs = [playbook("deploy", deploy_version=release(n)) for n in ("ignores-sigterm", name)]
    assert [run.result.get("verdict") for run in runs] == ["ok", "ok"], runs[-1].output
    assert_nothing_lost(running.result)


@pytest.fixture
def younger_nginx() -> Iterator[str]:
    """The stack with nginx 1.30 and keepalive_min_timeout, from before the test's load on."""
    folder = str(nginx_1_30(REPO / ".build/stack-nginx-1.30"))
    version = serving()
    run = playbook("deploy", deploy_version=version, deploy_config_dir=folder)
    assert run.code == 0, run.output
    assert "nginx/1.30" in on_server("docker", "exec", "nginx", "sh", "-c", "nginx -v 2>&1")
    assert MIN_TIMEOUT in on_server("docker", "exec", "nginx", "nginx", "-T")
    yield folder
    run = playbook("deploy", deploy_version=serving())
    assert run.code == 0, run.output


@proof
def test_younger_nginx_does_not_even_close_idle_connections(younger_nginx: str) -> None:
    names = [other(), "v1" if other() == "v2" else "v2"]
    with load(seconds_max=1200) as running:
        runs = [
            playbook("deploy", deploy_version=release(name), deploy_config_dir=younger_nginx)
            for name in names
        ]
    assert [run.result.get("verdict") for run in runs] == ["ok", "ok"], runs[-1].output
    seen = running.result
    assert_nothing_lost(seen)
    assert (seen.idle_closed, seen.reopened) == (0, 0), seen
