# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Talk to Redis in its own protocol, and name what is wrong.

Twenty lines of protocol instead of a library: the errors arrive as the server
words them, and no version of a client retries behind our back.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils._checks import Check, Subject
from ansible_collections.carrental.ops.plugins.module_utils._http import tls_context

CANARY_PREFIX = "carrental.ops:health:"
_CANARY_SECONDS = "60"
_CLIENTS_PERCENT, _MEMORY_PERCENT = 90, 95


class RedisError(Exception):
    """An error reply, as the server worded it, or the end of the connection."""


@dataclass(frozen=True)
class Login:
    """How to reach a server, and as whom. ``source`` says where the password was found."""

    host: str
    port: int
    password: str = field(default="", repr=False)
    user: str = ""
    source: str = ""
    tls: bool = False
    ca_file: str = ""
    timeout: float = 2.5

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"


class Connection:
    """One connection; use it as a context."""

    def __init__(self, login: Login) -> None:
        self._socket = socket.create_connection((login.host, login.port), login.timeout)
        if login.tls:
            context = tls_context(bool(login.ca_file), login.ca_file)
            self._socket = context.wrap_socket(self._socket, server_hostname=login.host)
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stream.close()
        self._socket.close()

    def command(self, *words: str) -> object:
        """Send a command and return the reply; an error reply is raised."""
        encoded = [word.encode() for word in words]
        head = b"*%d\r\n" % len(encoded)
        self._socket.sendall(
            head + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        )
        return self._reply()

    def _reply(self) -> object:
        line = self._stream.readline(65536)
        if not line.endswith(b"\r\n"):
            raise RedisError("the connection was closed")
        kind, rest = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            if length < 0:
                return None
            return self._stream.read(length + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            return [self._reply() for _item in range(max(int(rest), 0))]
        raise RedisError("it does not speak the protocol of Redis")


def check(subject: Subject, login: Login, deep: bool = True, canary: bool = True) -> list[Check]:
    """All checks of a server; the first is an authenticated PONG."""
    started = time.monotonic()
    try:
        with Connection(login) as connection:
            ping = _ping(subject, connection, login, started)
            if not deep:
                return [ping]
            info = parse_info(str(connection.command("INFO")))
            ping.evidence["version"] = info.get("redis_version", "")
            written = (
                _canary(subject, connection)
                if canary
                else subject.skipped("canary", "left out, as asked")
            )
            return [
                ping,
                memory(subject, info),
                persistence(subject, info),
                clients(subject, info),
                written,
            ]
    except RedisError as error:
        return [subject.down("ping", explain(str(error), login), place=login.place)]
    except OSError as error:
        return [subject.down("ping", _no_answer(error, login), place=login.place)]


def _ping(subject: Subject, connection: Connection, login: Login, started: float) -> Check:
    surprise = ""
    if login.password:
        words = [login.user, login.password] if login.user else [login.password]
        try:
            connection.command("AUTH", *words)
        except RedisError as error:
            if "no password is set" not in str(error) and "without any password" not in str(error):
                raise
            surprise = (
                f"it lets anybody in, although a password is configured ({login.source}); "
                "restart it with its configuration"
            )
    reply = connection.command("PING")
    latency = round((time.monotonic() - started) * 1000, 1)
    if reply != "PONG":
        raise RedisError(f"it answers {reply!r} instead of PONG")
    evidence: dict[str, Any] = {
        "place": login.place,
        "authenticated": bool(login.password and not surprise),
    }
    if surprise:
        return subject.finding("ping", surprise, latency_ms=latency, **evidence)
    return subject.passed("ping", latency_ms=latency, **evidence)


def _canary(subject: Subject, connection: Connection) -> Check:
    """Write, read and delete a key of our own; should we die, the server forgets it."""
    key, value = CANARY_PREFIX + os.urandom(8).hex(), os.urandom(16).hex()
    started = time.monotonic()
    try:
        connection.command("SET", key, value, "EX", _CANARY_SECONDS)
        found = connection.command("GET", key)
        removed = connection.command("DEL", key)
    except RedisError as error:
        return subject.down("canary", f"it answers, but {explain_write(str(error))}")
    if found != value or removed != 1:
        return subject.down("canary", "it answers, but does not keep what is written to it")
    return subject.passed("canary", latency_ms=round((time.monotonic() - started) * 1000, 1))


def parse_info(text: str) -> dict[str, str]:
    """The answer to INFO as a dictionary."""
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.strip() for name, colon, value in pairs if colon}


def memory(subject: Subject, info: Mapping[str, str]) -> Check:
    """Memory against the limit, which matters when nothing may be thrown away."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    policy = info.get("maxmemory_policy", "")
    evidence: dict[str, Any] = {"used_bytes": used, "limit_bytes": limit, "policy": policy}
    if limit and policy == "noeviction" and used * 100 >= limit * _MEMORY_PERCENT:
        return subject.finding(
            "memory",
            f"{used * 100 // limit}% of maxmemory is used and the policy is noeviction: it is "
            "about to refuse writes; raise maxmemory, or evict with allkeys-lru",
            **evidence,
        )
    return subject.passed("memory", **evidence)


def persistence(subject: Subject, info: Mapping[str, str]) -> Check:
    """Whether it can still save, and whether a replica has its master."""
    problems = []
    if info.get("loading", "0") != "0":
        problems.append("it is still loading its data")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        problems.append("its last snapshot failed")
    if info.get("aof_last_write_status", "ok") != "ok":
        problems.append("its last write to the append-only file failed")
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        problems.append("its last rewrite of the append-only file failed")
    if info.get("role") == "slave" and info.get("master_link_status") != "up":
        problems.append("it is a replica and has lost its master")
    if problems:
        return subject.finding(
            "persistence", f"{', '.join(problems)}; see its log, and the space on its disk"
        )
    return subject.passed("persistence")


def clients(subject: Subject, info: Mapping[str, str]) -> Check:
    """Connections against the limit."""
    used, limit = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    evidence: dict[str, Any] = {"connected": used, "limit": limit}
    if limit and used * 100 >= limit * _CLIENTS_PERCENT:
        return subject.finding("clients", f"{used} of {limit} connections are in use", **evidence)
    return subject.passed("clients", **evidence)


_REFUSALS = [
    (
        "NOAUTH",
        "{place} wants a password (NOAUTH), and none was found in the container's command, "
        "environment or configuration",
    ),
    (
        "WRONGPASS",
        "wrong password: {place} refuses the configured one{where} (WRONGPASS); it was changed "
        "while the server ran, restart it or change it back",
    ),
    ("ERR invalid password", "wrong password: {place} refuses the configured one{where}"),
    ("LOADING", "{place} is loading its data into memory (LOADING); wait"),
    (
        "MISCONF",
        "{place} takes no writes because it cannot save its files (MISCONF); see its log, and the "
        "space on its disk",
    ),
    ("NOPERM", "{place} does not allow the commands of the check: {message}"),
    ("ERR max number of clients", "all connections of {place} are in use: {message}"),
    ("DENIED", "{place} runs in protected mode and lets nobody in from outside"),
]


def explain(message: str, login: Login) -> str:
    """The cause in an error reply."""
    where = f" ({login.source})" if login.source else ""
    for start, sentence in _REFUSALS:
        if message.startswith(start):
            return sentence.format(place=login.place, where=where, message=message)
    return f"{login.place}: {message}"


def explain_write(message: str) -> str:
    """Why a write was refused, as the rest of a sentence."""
    if message.startswith("MISCONF"):
        return "refuses to write because it cannot save its snapshot (MISCONF); see its disk"
    if message.startswith("OOM"):
        return "refuses to write because its memory is full (OOM); raise maxmemory, or let it evict"
    if message.startswith("READONLY"):
        return "is a read-only replica (READONLY); the application needs its master"
    return f"refuses to write: {message}"


def _no_answer(error: OSError, login: Login) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused at {login.place}: no process listens there"
    if isinstance(error, TimeoutError):
        return f"{login.place} gave no answer within {login.timeout:g} s; the server hangs"
    if isinstance(error, socket.gaierror):
        return f"the name {login.host} cannot be resolved"
    return f"{login.place}: {error.strerror or error}"


def password_of(
    command: list[str], environment: Mapping[str, str], config: str = ""
) -> tuple[str, str]:
    """The password a container was started with, and where it stands.

    What counts for the server counts here: its arguments override its file. A
    variable is only what the image or the application make of it.
    """
    for index, word in enumerate(command):
        if word == "--requirepass" and index + 1 < len(command):
            return command[index + 1].strip("'\""), "in its command"
        if word.startswith("--requirepass="):
            return word.partition("=")[2].strip("'\""), "in its command"
    for line in config.splitlines():
        words = line.split(None, 1)
        if len(words) == 2 and words[0].lower() == "requirepass":
            return words[1].strip().strip("'\""), "in its configuration file"
    for name in ("REDIS_PASSWORD", "REDIS_PASS", "REDIS_REQUIREPASS", "VALKEY_PASSWORD"):
        if environment.get(name):
            return environment[name], f"in its variable {name}"
    return "", ""


def config_file(command: list[str]) -> str:
    """The configuration file among the arguments; empty when there is none."""
    return next((word for word in command[1:] if word.endswith(".conf")), "")
