# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the watch: what it refuses, and that it does not wait in check mode."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.modules import release_watch
from arguments import answer

TABLE = {"api": {"compose_service": "backend", "metrics_path": "/metrics"}, "web": {}}


def run(
    capfd: pytest.CaptureFixture[str], *, check_mode: bool = False, **params: Any
) -> dict[str, Any]:
    given = {"project": "carrental", "services": TABLE, "watched": ["api"], **params}
    return answer(capfd, release_watch, check_mode=check_mode, **given)


def test_check_mode_says_at_once_that_nothing_was_watched(
    capfd: pytest.CaptureFixture[str],
) -> None:
    started = time.monotonic()
    found = run(capfd, check_mode=True, window=60)
    assert time.monotonic() - started < 5
    assert found["verdict"] == "inconclusive"
    assert found["changed"] is False
    assert found["msg"] == "The watch is inconclusive: it is not run in check mode."


@pytest.mark.parametrize(
    ("params", "says"),
    [
        pytest.param({"watched": ["database"]}, "watched names database", id="unknown"),
        pytest.param({"watched": []}, "watched names no service", id="nothing"),
        pytest.param({"interval": 0}, "interval is 0 and window 60", id="no interval"),
        pytest.param({"window": 3}, "interval is 5 and window 3", id="window too short"),
        pytest.param({"metrics": {"ignore": "("}}, "is no regular expression", id="pattern"),
        pytest.param({"limits": {"p99": 1}}, "Unsupported parameters", id="unknown limit"),
    ],
)
def test_what_cannot_be_watched_is_refused(
    capfd: pytest.CaptureFixture[str], params: dict[str, Any], says: str
) -> None:
    found = run(capfd, **params)
    assert found["failed"]
    assert says in found["msg"]


@pytest.mark.parametrize("name", ["api", "backend"])
def test_services_go_by_both_of_their_names(capfd: pytest.CaptureFixture[str], name: str) -> None:
    assert not run(capfd, check_mode=True, watched=[name]).get("failed")
