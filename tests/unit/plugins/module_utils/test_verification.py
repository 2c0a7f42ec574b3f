# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a release is what answers, against servers that really answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _verification
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container
from serving import serving

VERSION = "e849ff1"


@pytest.fixture(name="port")
def server() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = {
                "/good": (200, {"info": {"version": VERSION}}),
                "/old": (200, {"info": {"version": "2e2e585"}}),
                "/none": (200, {}),
                "/broken": (200, {"info": {"version": VERSION}, "status": "error"}),
                "/degraded": (200, {"info": {"version": VERSION}, "status": "degraded"}),
            }.get(self.path, (503, {}))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_arguments: Any) -> None:
            pass

    one = HTTPServer(("127.0.0.1", 0), Handler)
    with serving(one):
        yield one.server_address[1]


def container(service: str, **state: Any) -> Container:
    return Container(
        {
            "Id": service,
            "Name": f"/{service}",
            "Image": state.pop("image", "sha256:new"),
            "State": {"Running": True, "Status": "running", "ExitCode": 0, **state},
            "Config": {"Labels": {"com.docker.compose.service": service}, "Image": "r/api"},
            "HostConfig": {"NetworkMode": "host"},
        }
    )


def target(port: int, path: str) -> _verification.Target:
    described = {"probe": "http", "port": port, "path": path, "version_key": "info.version"}
    return _verification.target("api", "sha256:new", {**described, "proxy_path": path})


def test_a_release_that_answers_on_both_ways_has_no_problem(port: int) -> None:
    proxy = _verification.Proxy("nginx", port, 0, "")
    found = [container("api"), container("nginx")]
    assert _verification.problems(found, [target(port, "/good")], proxy, VERSION) == []


@pytest.mark.parametrize(("path", "count"), [("/broken", 2), ("/degraded", 0)])
def test_an_answer_that_calls_itself_broken_proves_nothing(
    port: int, path: str, count: int
) -> None:
    described = {
        "probe": "http",
        "port": port,
        "path": path,
        "proxy_path": path,
        "version_key": "info.version",
        "json": {"status": "ok"},
        "json_degraded": {"status": "degraded"},
    }
    asked = _verification.target("api", "sha256:new", described)
    proxy = _verification.Proxy("nginx", port, 0, "")
    found = _verification.problems([container("api"), container("nginx")], [asked], proxy, VERSION)
    assert len(found) == count
    assert all("status" in problem and "error" in problem for problem in found)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("/old", "answers as version 2e2e585 instead of e849ff1"),
        ("/none", "answers 200 without a member info.version"),
        ("/bad", "answers 503"),
    ],
)
def test_a_wrong_answer_is_named_on_both_ways(port: int, path: str, wrong: str) -> None:
    proxy = _verification.Proxy("nginx", port, 0, "")
    found = [container("api"), container("nginx")]
    url = f"http://127.0.0.1:{port}{path}"
    assert _verification.problems(found, [target(port, path)], proxy, VERSION) == [
        f"api directly: {url} {wrong}",
        f"api through nginx: {url} {wrong}",
    ]


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([], "api has no container"),
        (
            [container("api", Running=False, Status="exited", ExitCode=1)],
            "api does not run (exited, exit code 1)",
        ),
        (
            [container("api", image="sha256:old")],
            "api runs the image sha256:old instead of sha256:new",
        ),
        ([container("api", Health={"Status": "unhealthy"})], "api is unhealthy"),
    ],
)
def test_a_wrong_container_is_named(found: list[Container], problem: str) -> None:
    assert _verification.problems(found, [target(1, "/good")], None, VERSION) == [problem]


def test_a_proxy_that_does_not_run_is_named(port: int) -> None:
    proxy = _verification.Proxy("nginx", port, 0, "")
    found = _verification.problems([container("api")], [target(port, "/good")], proxy, VERSION)
    assert found == ["the proxy nginx does not run"]


@pytest.mark.parametrize(
    ("looks", "passed", "polls", "problems"),
    [
        ([[], [], []], True, 3, []),
        ([["a"], [], ["b"], [], [], []], True, 6, []),
        ([["a"]] * 20, False, 10, ["a"]),
        ([[], ["b"]] * 20, False, 10, ["b"]),
    ],
)
def test_polling_needs_several_good_looks_in_a_row(
    looks: list[list[str]], passed: bool, polls: int, problems: list[str]
) -> None:
    now = [0.0]
    answers = iter(looks)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    outcome = _verification.poll(
        lambda: next(answers),
        deadline=9.5,
        consecutive=3,
        interval=1,
        sleep=sleep,
        clock=lambda: now[0],
    )
    assert (outcome.passed, outcome.polls, outcome.problems) == (passed, polls, problems)


def test_the_report_is_for_an_operator() -> None:
    one = container("api", Running=False, Status="exited", ExitCode=137, OOMKilled=True)
    one.raw["RestartCount"] = 3
    assert _verification.report([_verification.shown(one, ["a", "b", "c"])], lines=2) == [
        "api: exited with exit code 137, killed for its memory, restarted 3 times; image r/api",
        "api | b",
        "api | c",
    ]
