# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a watch gets its numbers, against servers that really answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _metrics,
    _prometheus,
    _watch,
    _watch_sources,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container
from serving import serving

METRICS = """\
# TYPE api_requests_total counter
api_requests_total{endpoint="/api/v1/cars",status="200"} 40
"""
Answer = Callable[[str, dict[str, str]], tuple[int, Any]]


class Server:
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _path, _query: (404, "")
        self.asked: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                outer.asked.append(query)
                status, body = outer.answer(parts.path, query)
                self.send_response(status)
                self.end_headers()
                text = body if isinstance(body, str) else json.dumps(body)
                self.wfile.write(text.encode())

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self.server.server_address[1])


@pytest.fixture(name="server")
def a_server() -> Iterator[Server]:
    one = Server()
    with serving(one.server):
        yield one


class Engine:
    """Stands for the Docker engine: containers, their memory and how they ended."""

    def __init__(self, *containers: Container) -> None:
        self.known = list(containers)
        self.down = False

    def containers(self) -> list[dict[str, Any]]:
        if self.down:
            raise _docker.DockerDownError("nobody listens")
        return [{"Id": one.id, "Labels": one.labels} for one in self.known]

    def inspect(self, container: str) -> Container:
        return next(one for one in self.known if one.id == container)

    def memory(self, _container: Container) -> int:
        return 64 * 1024 * 1024

    def endings(self, _container: str) -> list[dict[str, Any]]:
        return [{"Action": "oom"}]


def container(service: str = "api", age: float = 30, **state: Any) -> Container:
    created = datetime.now(timezone.utc) - timedelta(seconds=age)
    return Container(
        {
            "Id": service,
            "Name": f"/{service}",
            "Created": created.strftime("%Y-%m-%dT%H:%M:%S.000000000Z"),
            "RestartCount": state.pop("restarts", 0),
            "State": {
                "Running": True,
                "Status": "running",
                "StartedAt": created.strftime("%Y-%m-%dT%H:%M:%S.000000000Z"),
                **state,
            },
            "Config": {
                "Labels": {
                    "com.docker.compose.service": service,
                    "com.docker.compose.project": "carrental",
                },
                "Env": ["JWT_SECRET=correct-horse"],
            },
            "HostConfig": {"NetworkMode": "host", "Memory": 256 * 1024 * 1024},
        }
    )


def sources(
    engine: Engine, server: Server, *, prometheus: bool = True, path: str = "/metrics"
) -> _watch_sources.Sources:
    return _watch_sources.Sources(
        engine,  # type: ignore[arg-type]
        "carrental",
        {"api": {"port": server.port, "metrics_path": path, "metrics_selector": 'job="api"'}},
        ["api"],
        names=_metrics.Names(),
        prometheus=_prometheus.Prometheus("127.0.0.1", server.port) if prometheus else None,
        missing="no container of the service prometheus runs",
    )


def result(values: list[list[Any]], **labels: str) -> tuple[int, dict[str, Any]]:
    series = [{"metric": labels, "values": values}]
    return 200, {"status": "success", "data": {"result": series}}


def api(seen: Any) -> _watch.Look:
    found = seen["api"]
    assert isinstance(found, _watch.Look)
    return found


def test_containers_are_read_themselves(server: Server) -> None:
    server.answer = lambda path, _query: (200, METRICS) if path == "/metrics" else (500, "")
    seen = api(sources(Engine(container()), server).look(sampled=True))
    assert seen.unread == ""
    assert seen.fresh
    assert seen.counters is not None
    assert list(seen.counters) == ["api"]
    assert _metrics.traffic(seen.counters["api"], _metrics.Names()).requests == 40
    assert seen.members[0].used == 64 * 1024 * 1024


def test_between_samples_nothing_is_asked(server: Server) -> None:
    seen = api(sources(Engine(container()), server).look(sampled=False))
    assert seen.counters is None
    assert server.asked == []


def test_prometheus_stands_in_and_that_is_said(server: Server) -> None:
    now = datetime.now(timezone.utc).timestamp()

    def answer(path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/nope":
            return 404, ""
        assert (
            '__name__=~"api_requests_total|api_request_duration_seconds_bucket"' in query["query"]
        )
        assert 'job="api"' in query["query"]
        return result(
            [[now - 100, "900"], [now, "12"]], __name__="api_requests_total", status="200"
        )

    server.answer = answer
    from_there = sources(Engine(container()), server, path="/nope")
    seen = api(from_there.look(sampled=True))
    assert seen.counters is not None
    assert sum(seen.counters["prometheus"].values()) == 12
    assert "was read through Prometheus, because" in from_there.notes[0]
    assert "/nope answers 404" in from_there.notes[0]


def test_without_any_source_it_says_why(server: Server) -> None:
    seen = api(sources(Engine(container()), server, prometheus=False).look(sampled=True))
    assert seen.unread.endswith(
        "/metrics answers 404, and no container of the service prometheus runs"
    )


def test_metrics_without_the_counter_are_not_taken_for_no_traffic(server: Server) -> None:
    server.answer = lambda _path, _query: (200, "nodejs_version_info 1\n")
    seen = api(sources(Engine(container()), server, prometheus=False).look(sampled=True))
    assert "has no metric api_requests_total, and no container" in seen.unread


def test_a_broken_container_is_explained_without_its_secrets(server: Server) -> None:
    log = [{"ExitCode": 1, "Output": "bad token correct-horse"}]
    health = {"Status": "unhealthy", "Log": log}
    (member,) = api(sources(Engine(container(Health=health)), server).look(sampled=False)).members
    assert not member.serving
    assert "its own health check fails: bad token ********" in member.detail


def test_a_restart_is_explained(server: Server) -> None:
    engine = Engine(container(age=5, restarts=1))
    (member,) = api(sources(engine, server).look(sampled=False)).members
    assert member.serving
    assert "was restarted" in member.detail
    assert "killed for lack of memory (limit 256 MiB)" in member.detail


def test_an_old_container_is_not_of_this_release(server: Server) -> None:
    server.answer = lambda _path, _query: (200, METRICS)
    seen = api(sources(Engine(container(age=5000)), server).look(sampled=True))
    assert not seen.fresh
    assert not seen.members[0].fresh


def test_docker_away_is_told(server: Server) -> None:
    engine = Engine(container())
    one = sources(engine, server)
    engine.down = True
    assert one.look(sampled=True) == "nobody listens"


def baseline_answers(total: list[str], errors: list[str], p95: list[str]) -> Answer:
    def answer(_path: str, query: dict[str, str]) -> tuple[int, Any]:
        asked = query["query"]
        chosen = p95 if "quantile" in asked else errors if '"5.*"' in asked else total
        return result([[60 * number, value] for number, value in enumerate(chosen)])

    return answer


def test_what_was_usual_is_not_what_a_failed_release_left(server: Server) -> None:
    server.answer = baseline_answers(
        ["200"] * 9, ["0", "0", "0", "0", "2", "90", "100", "100", "0"], ["0.1", "NaN", "0.3"]
    )
    found = sources(Engine(container()), server).baseline("api", 600, 20)
    assert found.unknown == ""
    assert (found.ratio, found.p95, found.requests) == (0.0, 0.1, 900)
    first = server.asked[0]
    assert first["query"].startswith("sum(increase(api_requests_total{endpoint!~")
    assert first["query"].endswith('job="api"}[120s]))')
    # The last part ends where the release began.
    assert float(first["end"]) == pytest.approx(datetime.now(timezone.utc).timestamp() - 30, abs=3)
    assert float(first["end"]) - float(first["start"]) == pytest.approx(480)


def test_few_requests_before_say_nothing(server: Server) -> None:
    server.answer = baseline_answers(["2", "3"], [], [])
    found = sources(Engine(container()), server).baseline("api", 600, 20)
    assert found.unknown == "Prometheus knows of 2 requests in the 600 s before"


def test_prometheus_away_is_told(server: Server) -> None:
    one = sources(Engine(container()), server, prometheus=False)
    assert one.baseline("api", 600, 20).unknown == "no container of the service prometheus runs"
    server.answer = lambda _path, _query: (503, "")
    assert "answers 503" in sources(Engine(container()), server).baseline("api", 600, 20).unknown


def test_prometheus_is_found_by_its_service() -> None:
    engine: Any = Engine(container("prometheus"))
    found = _watch_sources.prometheus_of(engine, "carrental", "", {}, "prometheus")
    assert (found.host, found.port) == ("127.0.0.1", 9090)
    given = _watch_sources.prometheus_of(
        engine, "carrental", "http://prometheus.example.com:9999", {}, "prometheus"
    )
    assert (given.host, given.port) == ("prometheus.example.com", 9999)
    with pytest.raises(_prometheus.PrometheusError, match="no container of the service metrics"):
        _watch_sources.prometheus_of(engine, "carrental", "", {}, "metrics")
