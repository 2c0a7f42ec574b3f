# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis: a real server where there is one, and a real socket for what it can say."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _redis
from ansible_collections.carrental.ops.plugins.module_utils._checks import Check, Subject
from ansible_collections.carrental.ops.plugins.module_utils._redis import Login

REDIS = Subject("redis", "Redis", "P1", "Redis is responding", "Redis is down")
INFO = {"redis_version": "7.0.15", "used_memory": "10", "maxmemory": "0"}


@pytest.mark.parametrize(
    ("command", "environment", "config", "found"),
    [
        (
            ["redis-server", "--requirepass", "a"],
            {"REDIS_PASSWORD": "b"},
            "",
            ("a", "in its command"),
        ),
        (["redis-server", "--requirepass='a'"], {}, "", ("a", "in its command")),
        (
            ["redis-server", "/r.conf"],
            {"REDIS_PASSWORD": "b"},
            "# requirepass no\nport 1\nrequirepass c d\n",
            ("c d", "in its configuration file"),
        ),
        (["redis-server"], {"REDIS_PASSWORD": "b"}, "", ("b", "in its variable REDIS_PASSWORD")),
        (["redis-server"], {"REDIS_PASSWORD": ""}, "port 1", ("", "")),
    ],
)
def test_password_of(
    command: list[str], environment: dict[str, str], config: str, found: tuple[str, str]
) -> None:
    assert _redis.password_of(command, environment, config) == found


def test_config_file() -> None:
    assert _redis.config_file(["sh", "redis-server", "/etc/redis.conf", "--x"]) == "/etc/redis.conf"
    assert _redis.config_file(["redis-server"]) == ""


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "ok"),
        ({"used_memory": "99", "maxmemory": "100", "maxmemory_policy": "allkeys-lru"}, "ok"),
        ({"used_memory": "94", "maxmemory": "100", "maxmemory_policy": "noeviction"}, "ok"),
        ({"used_memory": "95", "maxmemory": "100", "maxmemory_policy": "noeviction"}, "warn"),
    ],
)
def test_memory(changes: dict[str, str], status: str) -> None:
    assert _redis.memory(REDIS, {**INFO, **changes}).status == status


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({}, ""),
        ({"rdb_last_bgsave_status": "err"}, "its last snapshot failed; see its log"),
        ({"aof_last_write_status": "err"}, "its last write to the append-only file failed; "),
        ({"loading": "1"}, "it is still loading its data; "),
        (
            {"role": "slave", "master_link_status": "down"},
            "it is a replica and has lost its master",
        ),
    ],
)
def test_persistence(changes: dict[str, str], detail: str) -> None:
    assert _redis.persistence(REDIS, {**INFO, **changes}).detail.startswith(detail)


def test_clients() -> None:
    full = {"connected_clients": "95", "maxclients": "100"}
    assert _redis.clients(REDIS, full).detail == "95 of 100 connections are in use"


def test_parse_info() -> None:
    text = "# Server\r\nredis_version:7.0.15\r\n\r\n# Keyspace\r\ndb0:keys=1,expires=0\r\n"
    assert _redis.parse_info(text) == {"redis_version": "7.0.15", "db0": "keys=1,expires=0"}


@pytest.fixture
def speaks() -> Iterator[object]:
    """A server that answers with the given lines, one a command."""
    servers = []

    def start(*replies: bytes) -> Login:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer() -> None:
            connection, _address = server.accept()
            with connection:
                for reply in replies:
                    connection.recv(4096)
                    connection.sendall(reply)

        threading.Thread(target=answer, daemon=True).start()
        port = server.getsockname()[1]
        return Login("127.0.0.1", port, "s3cret", source="in its command", timeout=0.5)

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (
            b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
            "wrong password: {place} refuses the configured one (in its command) (WRONGPASS); "
            "it was changed while the server ran, restart it or change it back",
        ),
        (
            b"-LOADING Redis is loading the dataset in memory\r\n",
            "{place} is loading its data into memory (LOADING); wait",
        ),
        (
            b"-ERR max number of clients reached\r\n",
            "all connections of {place} are in use: ERR max number of clients reached",
        ),
        (
            b"-DENIED Redis is running in protected mode\r\n",
            "{place} runs in protected mode and lets nobody in from outside",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n", "{place}: it does not speak the protocol of Redis"),
        (b"", "{place}: the connection was closed"),
    ],
)
def test_refusals(speaks: object, reply: bytes, detail: str) -> None:
    login = speaks(reply)  # type: ignore[operator]
    (check,) = _redis.check(REDIS, login)
    assert (check.status, check.detail) == ("fail", detail.format(place=login.place))


def test_a_password_is_wanted(speaks: object) -> None:
    place = speaks(b"-NOAUTH Authentication required.\r\n").place  # type: ignore[operator]
    (check,) = _redis.check(REDIS, Login("127.0.0.1", int(place.split(":")[1])))
    assert check.detail == (
        f"{place} wants a password (NOAUTH), and none was found in the container's command, "
        "environment or configuration"
    )


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (
            "MISCONF Redis is configured to save",
            "refuses to write because it cannot save its snapshot",
        ),
        ("OOM command not allowed", "refuses to write because its memory is full (OOM)"),
        ("READONLY You can't write", "is a read-only replica (READONLY)"),
        ("ERR else", "refuses to write: ERR else"),
    ],
)
def test_refused_writes(reply: str, reason: str) -> None:
    assert _redis.explain_write(reply).startswith(reason)


def test_nobody_listens_and_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (check,) = _redis.check(REDIS, Login("127.0.0.1", port, timeout=0.3))
    assert check.detail == f"127.0.0.1:{port} gave no answer within 0.3 s; the server hangs"
    (check,) = _redis.check(REDIS, Login("127.0.0.1", port))
    assert check.detail == f"connection refused at 127.0.0.1:{port}: no process listens there"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    program = shutil.which("redis-server")
    if not program:
        pytest.skip("no redis-server on this machine")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder: Path = tmp_path_factory.mktemp("redis")
    words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(
        [program, *words, "--requirepass", "s3cret"], stdout=subprocess.DEVNULL
    )
    login = Login("127.0.0.1", port, "s3cret", source="in its command", timeout=2)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if _redis.check(REDIS, login, deep=False)[0].status == "ok":
            break
        time.sleep(0.05)
    yield login
    process.kill()
    process.wait()


def statuses(checks: list[Check]) -> dict[str, str]:
    return {check.name.partition(".")[2]: check.status for check in checks}


def test_a_real_server(server: Login) -> None:
    checks = _redis.check(REDIS, server)
    assert statuses(checks) == dict.fromkeys(
        ["ping", "memory", "persistence", "clients", "canary"], "ok"
    )
    with _redis.Connection(server) as connection:
        connection.command("AUTH", "s3cret")
        assert connection.command("KEYS", "*") == []


def test_a_real_server_without_a_canary(server: Login) -> None:
    assert statuses(_redis.check(REDIS, server, canary=False))["canary"] == "not_run"


def test_a_real_server_that_became_read_only_or_full(server: Login) -> None:
    with _redis.Connection(server) as connection:
        connection.command("AUTH", "s3cret")
        connection.command("CONFIG", "SET", "maxmemory", "1")
        try:
            checks = _redis.check(REDIS, server)
        finally:
            connection.command("CONFIG", "SET", "maxmemory", "0")
    assert statuses(checks)["memory"] == "warn"
    assert checks[-1].detail == (
        "it answers, but refuses to write because its memory is full (OOM); "
        "raise maxmemory, or let it evict"
    )


def test_a_real_server_whose_password_was_changed(server: Login) -> None:
    with _redis.Connection(server) as connection:
        connection.command("AUTH", "s3cret")
        connection.command("CONFIG", "SET", "requirepass", "other")
        try:
            (check,) = _redis.check(REDIS, server)
        finally:
            connection.command("CONFIG", "SET", "requirepass", "s3cret")
    assert check.detail.startswith(f"wrong password: {server.place} refuses the configured one")


def test_a_real_server_that_lets_anybody_in(server: Login) -> None:
    with _redis.Connection(server) as connection:
        connection.command("AUTH", "s3cret")
        connection.command("CONFIG", "SET", "requirepass", "")
        try:
            checks = _redis.check(REDIS, server)
        finally:
            connection.command("CONFIG", "SET", "requirepass", "s3cret")
    assert statuses(checks)["ping"] == "warn"
    assert checks[0].detail == (
        "it lets anybody in, although a password is configured (in its command); "
        "restart it with its configuration"
    )
