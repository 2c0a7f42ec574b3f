# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers as the engine shows them, and the engine's own refusals."""

from __future__ import annotations

import json
import socketserver
import struct
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _docker
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container, Docker
from serving import serving


def container(**changes: Any) -> Container:
    raw: dict[str, Any] = {
        "Id": "0123456789abcdef",
        "Name": "/redis",
        "Image": "sha256:abc",
        "Path": "docker-entrypoint.sh",
        "Args": [],
        "State": {"Status": "running", "Running": True},
        "Config": {"Image": "redis:7", "Labels": {}, "Env": []},
        "HostConfig": {"NetworkMode": "carrental_backend"},
        "NetworkSettings": {"Networks": {"carrental_backend": {"IPAddress": "172.18.0.2"}}},
    }
    raw.update(changes)
    return Container(raw)


def test_environment() -> None:
    found = container(Config={"Env": ["A=1", "B=x=y", "C="]})
    assert found.environment == {"A": "1", "B": "x=y", "C": ""}


@pytest.mark.parametrize(
    ("args", "command"),
    [
        (["redis-server", "--requirepass", "a b"], ["redis-server", "--requirepass", "a", "b"]),
        (
            ["sh", "-c", 'redis-server --requirepass "$PW"'],
            ["sh", "-c", "redis-server", "--requirepass", "s3"],
        ),
        (
            ["sh", "-c", "exec redis-server --requirepass ${PW:?}"],
            ["sh", "-c", "exec", "redis-server", "--requirepass", "s3"],
        ),
        (["sh", "-c", "it's broken"], ["sh", "-c", "it's", "broken"]),
    ],
)
def test_command(args: list[str], command: list[str]) -> None:
    found = container(Path="x", Args=args, Config={"Env": ["PW=s3"]})
    assert found.command == ["x", *command]


@pytest.mark.parametrize(
    ("state", "running"),
    [
        ({"Running": True}, True),
        ({"Running": True, "Paused": True}, False),
        ({"Running": True, "Restarting": True}, False),
        ({"Running": False}, False),
    ],
)
def test_running(state: dict[str, bool], running: bool) -> None:
    assert container(State=state).running is running


@pytest.mark.parametrize(
    ("mode", "networks", "address"),
    [
        ("host", {}, "127.0.0.1"),
        ("a", {"a": {"IPAddress": ""}, "b": {"IPAddress": "10.0.0.2"}}, "10.0.0.2"),
        ("a", {"a": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}}, "fd00::2"),
        ("a", {}, ""),
        ("none", None, ""),
    ],
)
def test_address(mode: str, networks: Any, address: str) -> None:
    found = container(HostConfig={"NetworkMode": mode}, NetworkSettings={"Networks": networks})
    assert found.address == address


def test_labels_of_compose() -> None:
    labels = {
        "com.docker.compose.service": "api",
        "com.docker.compose.oneoff": "True",
        "com.docker.compose.depends_on": "postgres:service_healthy:false,redis:x:true",
    }
    found = container(Config={"Labels": labels})
    assert (found.service, found.one_off) == ("api", True)
    assert found.depends_on == ["postgres", "redis"]
    assert container().depends_on == []


def test_published_ports() -> None:
    bindings = {"443/tcp": [{"HostPort": "443"}], "80/tcp": None}
    assert container(HostConfig={"PortBindings": bindings}).published == {443}


LISTED: list[dict[str, Any]] = [
    {"Id": "1", "Names": ["/x"], "Labels": {_docker.PROJECT: "carrental", _docker.SERVICE: "api"}},
    {"Id": "2", "Names": ["/redis"], "Labels": {}},
    {"Id": "3", "Names": ["/api"], "Labels": {_docker.PROJECT: "other", _docker.SERVICE: "api"}},
    {"Id": "4", "Names": ["/grafana-api"], "Labels": None},
]


def test_containers_are_found_by_label_and_else_by_their_exact_name() -> None:
    assert _docker.select(LISTED, "carrental", {"api": "api", "redis": "redis"}) == [
        ("1", "api"),
        ("2", "redis"),
    ]


def test_projects() -> None:
    assert sorted(_docker.projects(LISTED)) == ["carrental", "other"]


class Engine(BaseHTTPRequestHandler):
    """Answers with what stands in ``server.answers`` for a path."""

    def address_string(self) -> str:
        return "socket"

    def do_GET(self) -> None:
        answers = self.server.answers  # type: ignore[attr-defined]
        status, body = answers[self.path.partition("?")[0]]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[tuple[Docker, dict[str, Any]]]:
    path = tmp_path / "docker.sock"
    with serving(socketserver.ThreadingUnixStreamServer(str(path), Engine)) as server:
        server.answers = {}  # type: ignore[attr-defined]
        yield Docker(str(path), 0.5), server.answers  # type: ignore[attr-defined]


def test_execute_joins_what_was_printed(engine: tuple[Docker, dict[str, Any]]) -> None:
    docker, answers = engine
    frames = struct.pack(">BxxxI", 1, 4) + b"one " + struct.pack(">BxxxI", 2, 3) + b"two"
    answers["/containers/abc/exec"] = (201, {"Id": "e1"})
    answers["/exec/e1/start"] = (200, frames)
    answers["/exec/e1/json"] = (200, {"ExitCode": 2})
    assert docker.execute("abc", ["getent"]) == (2, "one two")


def test_what_docker_says_is_passed_on(engine: tuple[Docker, dict[str, Any]]) -> None:
    docker, answers = engine
    answers["/containers/abc/json"] = (404, {"message": "No such container: abc"})
    with pytest.raises(_docker.DockerError, match=r"^No such container: abc$"):
        docker.inspect("abc")


def test_there_is_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "none.sock"
    with pytest.raises(_docker.DockerDownError) as caught:
        Docker(str(path)).containers()
    assert str(caught.value) == (
        f"there is no {path}; start it with: sudo systemctl start docker, "
        "and see: sudo journalctl -u docker"
    )


def test_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    socketserver.ThreadingUnixStreamServer(str(path), Engine).server_close()
    with pytest.raises(_docker.DockerDownError, match=rf"^nobody listens on {path}; start it with"):
        Docker(str(path)).containers()


def test_accepts_and_never_answers(tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    with (
        socketserver.ThreadingUnixStreamServer(str(path), Engine),
        pytest.raises(_docker.DockerDownError) as caught,
    ):
        Docker(str(path), 0.3).containers()
    assert str(caught.value) == (
        f"it accepts on {path} and says nothing within 0.3 s; see: journalctl -u docker"
    )
