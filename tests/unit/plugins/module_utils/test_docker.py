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
from ansible_collections.carrental.ops.plugins.module_utils import _docker, _exec_stream
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


@pytest.mark.parametrize(
    ("host", "elsewhere"),
    [
        ("db.example.net", "db.example.net"),
        ("10.1.2.3", "10.1.2.3"),
        *((own, "") for own in ("", "localhost", "::1", "/var/run/postgresql")),
        # What the application is told may be told to the server, too.
        *((own, "") for own in ("redis", "cache", "store", "0123456789ab", "172.18.0.2")),
    ],
)
def test_tools_of_a_database_elsewhere_are_told_from_a_server(host: str, elsewhere: str) -> None:
    network = {"IPAddress": "172.18.0.2", "Aliases": ["store"]}
    found = container(
        Config={
            "Env": [f"PGHOST={host}"],
            "Hostname": "0123456789ab",
            "Labels": {"com.docker.compose.service": "cache"},
        },
        NetworkSettings={"Networks": {"carrental_backend": network}},
    )
    assert found.tools_for == elsewhere


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
        found = answers[self.path.partition("?")[0]]
        # Several are given one after the other.
        status, body = found.pop(0) if isinstance(found, list) else found
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


def frame(kind: int, text: bytes) -> bytes:
    return struct.pack(">BxxxI", kind, len(text)) + text


# What the engine prints in place of the command when runc was killed before it began.
NOT_BEGUN = frame(
    1,
    b"OCI runtime exec failed: exec failed: unable to start container process: "
    b"waiting for init preliminary setup: read init-p: connection reset by peer",
)


def not_begun(answers: dict[str, Any], times: int, then: bytes) -> None:
    """A runtime that cannot start a command so many times, and then does."""
    answers["/containers/abc/exec"] = (201, {"Id": "e1"})
    answers["/exec/e1/start"] = [*[(200, NOT_BEGUN)] * times, (200, then)]
    ended = (200, {"Running": False, "ExitCode": 126, "Pid": 0})
    runs = (200, {"Running": True, "ExitCode": None, "Pid": 7})
    answers["/exec/e1/json"] = [
        *[ended] * times,
        runs,
        *[(200, {"Running": False, "ExitCode": 3, "Pid": 7})] * 9,
    ]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_docker, "_START_PAUSES", (0, 0, 0))


@pytest.mark.usefixtures("at_once")
def test_stream_begins_again_where_the_runtime_could_not_start_it(
    engine: tuple[Docker, dict[str, Any]],
) -> None:
    docker, answers = engine
    not_begun(answers, 2, frame(1, b"one") + frame(2, b"oh"))
    assert _exec_stream.run(docker, "abc", ["psql"]) == (3, "one", "oh")


@pytest.mark.usefixtures("at_once")
def test_stream_that_cannot_be_started_says_why(engine: tuple[Docker, dict[str, Any]]) -> None:
    docker, answers = engine
    not_begun(answers, 4, b"")
    with pytest.raises(_docker.NotBegunError, match=r"is its memory full.*init preliminary"):
        _exec_stream.run(docker, "abc", ["psql"])


@pytest.mark.usefixtures("at_once")
def test_execute_begins_again_and_says_at_last_why_it_could_not(
    engine: tuple[Docker, dict[str, Any]],
) -> None:
    docker, answers = engine
    answers["/containers/abc/exec"] = (201, {"Id": "e1"})
    answers["/exec/e1/start"] = [(200, NOT_BEGUN), (200, frame(1, b"one"))]
    answers["/exec/e1/json"] = [(200, {"ExitCode": 126}), (200, {"ExitCode": 0})]
    assert docker.execute("abc", ["date"]) == (0, "one")
    answers["/exec/e1/start"] = (200, NOT_BEGUN)
    answers["/exec/e1/json"] = (200, {"ExitCode": 126})
    code, said = docker.execute("abc", ["date"])
    assert (code, "is its memory full" in said) == (126, True)


def test_command_that_ends_with_126_by_itself_is_not_begun_again(
    engine: tuple[Docker, dict[str, Any]],
) -> None:
    docker, answers = engine
    answers["/containers/abc/exec"] = (201, {"Id": "e1"})
    answers["/exec/e1/start"] = [(200, frame(2, b"no such command"))]
    answers["/exec/e1/json"] = (200, {"Running": False, "ExitCode": 126, "Pid": 0})
    assert _exec_stream.run(docker, "abc", ["nothing"]) == (126, "", "no such command")


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
