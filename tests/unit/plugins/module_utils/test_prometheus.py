# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus answers, and what is made of an answer that is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _prometheus
from serving import serving

SERIES = {"metric": {"__name__": "api_requests_total", "status": "500"}, "values": [[10, "3"]]}


@pytest.fixture(name="port")
def server() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)["query"][0]
            answers: dict[str, tuple[int, Any]] = {
                "good": (200, {"status": "success", "data": {"result": [SERIES]}}),
                "nothing": (200, {"status": "success", "data": {"result": []}}),
                "wrong(": (400, {"status": "error", "error": "parse error"}),
            }
            status, body = answers.get(query, (502, "gone"))
            if not parts.path.startswith("/prom/api/v1/query"):
                status = 404
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_arguments: Any) -> None:
            pass

    one = HTTPServer(("127.0.0.1", 0), Handler)
    with serving(one):
        yield one.server_address[1]


def at(port: int) -> _prometheus.Prometheus:
    return _prometheus.Prometheus.at(f"http://127.0.0.1:{port}/prom/")


def test_series_are_returned(port: int) -> None:
    assert at(port).instant("good") == [SERIES]
    assert at(port).ranges("good", 0, 600, 120) == [SERIES]
    assert at(port).instant("nothing") == []


@pytest.mark.parametrize(
    ("query", "says"), [("wrong(", "answers 400: parse error"), ("gone", "answers 502")]
)
def test_what_is_no_answer_says_why(port: int, query: str, says: str) -> None:
    with pytest.raises(_prometheus.PrometheusError, match=says):
        at(port).instant(query)


def test_nobody_there() -> None:
    with pytest.raises(_prometheus.PrometheusError, match="does not answer: connection refused"):
        _prometheus.Prometheus.at("http://127.0.0.1:9").instant("good")


@pytest.mark.parametrize(
    "url", ["prometheus:9090", "ftp://prometheus", "http://", "http://a:b@c:9090", "http://a:x"]
)
def test_an_address_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(_prometheus.PrometheusError) as error:
        _prometheus.Prometheus.at(url)
    assert "a:b" not in str(error.value)


def test_ports_and_prefix() -> None:
    assert _prometheus.Prometheus.at("https://prometheus.example.com").port == 443
    assert _prometheus.Prometheus.at("http://prometheus.example.com/x/").prefix == "/x"


def test_nan_is_no_value() -> None:
    series = [{"metric": {}, "values": [[60, "0.5"], [120, "NaN"], [180, "1"]]}]
    assert _prometheus.points(series) == {60: 0.5, 180: 1.0}
    assert _prometheus.points([]) == {}


def test_what_was_read_before_the_release_does_not_count() -> None:
    old = {"metric": {"__name__": "x", "instance": "old"}, "values": [[5, "7"], [9, "9"]]}
    new = {"metric": {"__name__": "x", "instance": "new"}, "values": [[9, "900"], [12, "4"]]}
    assert _prometheus.newest([old, new], since=10) == {("x", (("instance", "new"),)): 4.0}
