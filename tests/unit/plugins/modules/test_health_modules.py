# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doors to the engine: what they refuse, and that what is down is data."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.modules import (
    http_live,
    minio_live,
    pg_health,
    redis_ping,
    stack_health,
)
from arguments import answer

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a module as Ansible does, and return what it prints."""

    return partial(answer, capfd)


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (pg_health, "[FAIL] PostgreSQL is not ready"),
        (redis_ping, "[FAIL] Redis is down"),
        (minio_live, "[FAIL] MinIO is not responding"),
    ],
)
def test_down_is_data(run: Run, closed: int, module: Any, line: str) -> None:
    result = run(module, login_host="127.0.0.1", login_port=closed)
    assert not result.get("failed")
    assert (result["available"], result["changed"], result["verdict"]) == (False, False, "fail")
    reason = f"connection refused at 127.0.0.1:{closed}: no process listens there"
    assert (result["line"], result["error"]) == (f"{line}: {reason}", reason)
    assert result["server_version"] == ""


def test_a_page_that_is_down_is_data(run: Run, closed: int) -> None:
    result = run(http_live, url=f"http://127.0.0.1:{closed}/")
    assert result["line"] == (
        f"[FAIL] 127.0.0.1 is not responding: connection refused at 127.0.0.1:{closed}: "
        "no process listens there"
    )


@pytest.mark.parametrize("module", [pg_health, redis_ping, minio_live])
def test_a_missing_password_file_is_refused(run: Run, module: Any) -> None:
    result = run(module, login_host="127.0.0.1", login_password_file="/nope")
    assert result["failed"]
    assert result["msg"] == (
        "Cannot read the password from /nope on the server: No such file or directory; "
        "check the path and its owner. Nothing was changed."
    )


def test_a_password_is_read_and_never_returned(run: Run, closed: int, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2-secret\n")
    result = run(
        pg_health, login_host="127.0.0.1", login_port=closed, login_password_file=str(secret)
    )
    assert "hunter2-secret" not in json.dumps(result)


@pytest.mark.parametrize(
    "url", ["htp:/x", "rental.example.com", "http://", "http://a:b/", "http://a b/"]
)
def test_a_bad_url_is_refused(run: Run, url: str) -> None:
    assert run(http_live, url=url)["msg"] == (
        f"{url} is not a URL of http or https; one looks like "
        "https://rental.example.com/api/v1/health. Nothing was changed."
    )


def test_a_password_in_a_url_is_refused_and_not_repeated(run: Run) -> None:
    result = run(http_live, url="http://user:hunter2-secret@example.com/")
    assert result["msg"] == (
        "The URL holds a user or a password; leave them out, they would stand in logs. "
        "Nothing was changed."
    )
    assert "hunter2-secret" not in json.dumps(result)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://a.example.com", ("a.example.com", 80, False, "/")),
        ("https://a.example.com:8443/b?c=d", ("a.example.com", 8443, True, "/b?c=d")),
        ("http://[fd00::1]:81/", ("fd00::1", 81, False, "/")),
    ],
)
def test_parse_url(url: str, parts: tuple[str, int, bool, str]) -> None:
    assert http_live.parse_url(url) == parts


def test_a_missing_library_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg_health, "find_spec", lambda _name: None)
    message = run(pg_health, login_host="127.0.0.1")["msg"]
    assert message.startswith("Failed to import the required Python library (psycopg2) on ")
    assert message.endswith(
        "Install the package python3-psycopg2, or run playbooks/bootstrap.yml, which does. "
        "Nothing was changed."
    )


REDIS = {"redis": {"title": "Redis", "probe": "redis", "port": 6379, "severity": "P3"}}


def test_an_unknown_service_is_refused(run: Run) -> None:
    assert run(stack_health, services=REDIS, only=["rediss"])["msg"] == (
        "Service rediss is not in the table of services; known are redis, host. "
        "Nothing was changed."
    )


def test_thresholds_in_the_wrong_order_are_refused(run: Run) -> None:
    result = run(stack_health, services=REDIS, only=["redis"], thresholds={"disk_warn": 99})
    assert result["msg"] == (
        "thresholds.disk_warn is 99 and disk_fail is 95; the warning must come before the failure. "
        "Nothing was changed."
    )


def test_an_unknown_threshold_is_refused(run: Run) -> None:
    result = run(stack_health, services=REDIS, thresholds={"disk": 99})
    assert "thresholds.disk" in result["msg"]


def test_a_managed_stack(run: Run, closed: int) -> None:
    result = run(
        stack_health,
        services=REDIS,
        only=["redis"],
        endpoints={"redis": {"host": "127.0.0.1", "port": closed}},
    )
    assert (result["verdict"], result["available"], result["failed_checks"]) == ("warn", True, [])
    assert result["release"] == {}
    assert result["lines"] == [
        f"[WARN] Redis is not responding: connection refused at 127.0.0.1:{closed}: "
        "no process listens there"
    ]


def test_an_object_store_without_answer_in_check_mode(run: Run, closed: int) -> None:
    result = run(minio_live, check_mode=True, login_host="127.0.0.1", login_port=closed)
    assert result["verdict"] == "fail"
