# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""One HTTP request with a reason for whatever goes wrong, and a judgement of its answer."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

_MAX_BODY = 256 * 1024
_GOOD = {"ok", "up", "pass", "passing", "healthy", "ready", "connected", "green", "true"}

_BAD = {"down", "error", "fail", "failed", "unhealthy", "disconnected"}

# Members of the document itself, whose words say nothing about a part.
_NOT_PARTS = ("status", "version", "release", "name")


class HttpError(Exception):
    """No answer; the text says why, as the rest of a sentence."""


@dataclass(frozen=True)
class Request:
    """What is asked of whom. ``hostname`` is what the request claims to be for."""

    host: str
    port: int
    path: str = "/"
    tls: bool = False
    hostname: str = ""
    timeout: float = 2.5
    verify: bool = False
    ca_file: str = ""
    method: str = "GET"
    body: bytes = b""
    content_type: str = "application/json"
    # Metrics are long, and half of them would be a wrong number.
    max_body: int = _MAX_BODY

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes
    latency_ms: float
    certificate: bytes = b""
    url: str = ""

    @property
    def json(self) -> Any:
        """The body as JSON, or None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass
class Expected:
    """What a good answer looks like, as the table of services says it."""

    status: list[int] = field(default_factory=lambda: [200])
    json: dict[str, Any] = field(default_factory=dict)
    json_degraded: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """ok, degraded or bad, and why."""

    outcome: str
    reason: str = ""


def request(wanted: Request) -> Answer:
    """Ask, without following redirects and without any proxy of the environment."""
    started = time.monotonic()
    connection = _Connection(wanted)
    try:
        headers = {
            "Host": wanted.hostname or _host_header(wanted),
            "User-Agent": "carrental.ops health",
            "Accept": "application/json, */*",
            "Connection": "close",
        }
        if wanted.body:
            headers["Content-Type"] = wanted.content_type
        connection.request(wanted.method, wanted.path, wanted.body or None, headers)
        found = connection.getresponse()
        body = found.read(wanted.max_body)
    except (OSError, http.client.HTTPException) as error:
        raise HttpError(explain(error, wanted)) from error
    finally:
        connection.close()
    return Answer(
        found.status,
        {name.lower(): value for name, value in found.getheaders()},
        body,
        round((time.monotonic() - started) * 1000, 1),
        connection.certificate,
        wanted.url,
    )


def handshake(wanted: Request) -> bytes:
    """The certificate that a server shows, without asking it for anything."""
    connection = _Connection(wanted)
    try:
        connection.connect()
    except OSError as error:
        raise HttpError(explain(error, wanted)) from error
    finally:
        connection.close()
    return connection.certificate


class _Connection(http.client.HTTPConnection):
    """A connection that names another host to TLS than the address it goes to."""

    def __init__(self, wanted: Request) -> None:
        super().__init__(wanted.host, wanted.port, timeout=wanted.timeout)
        self._wanted = wanted
        self.certificate = b""

    def connect(self) -> None:
        super().connect()
        if self._wanted.tls:
            context = tls_context(self._wanted.verify, self._wanted.ca_file)
            name = self._wanted.hostname or self._wanted.host
            wrapped = context.wrap_socket(self.sock, server_hostname=name)
            self.certificate = wrapped.getpeercert(binary_form=True) or b""
            self.sock = wrapped


def tls_context(verify: bool, ca_file: str = "") -> ssl.SSLContext:
    """A context; without ``verify`` it takes any certificate, which is then judged by itself."""
    context = ssl.create_default_context(cafile=ca_file or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _host_header(wanted: Request) -> str:
    host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
    return host if wanted.port == (443 if wanted.tls else 80) else f"{host}:{wanted.port}"


def explain(error: Exception, wanted: Request) -> str:
    """Why there was no answer, as the rest of a sentence."""
    place = f"{wanted.host}:{wanted.port}"
    unreachable = (errno.EHOSTUNREACH, errno.ENETUNREACH)
    # From the special to the general: most of these are kinds of OSError.
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"the certificate at {place} is not trusted: {error.verify_message}"
    elif isinstance(error, ssl.SSLError):
        text = f"no TLS at {place}: {error.reason or error}"
    elif isinstance(error, socket.gaierror):
        text = f"the name {wanted.host} cannot be resolved"
    elif isinstance(error, ConnectionRefusedError):
        text = f"connection refused at {place}: no process listens there"
    elif isinstance(error, TimeoutError):
        text = f"{place} gave no answer within {wanted.timeout:g} s"
    elif isinstance(error, (http.client.RemoteDisconnected, ConnectionResetError)):
        text = f"{place} closed the connection without an answer"
    elif isinstance(error, http.client.HTTPException):
        text = f"{place} does not speak HTTP"
    elif isinstance(error, OSError) and error.errno in unreachable:
        text = f"{place} cannot be reached from the host: {error.strerror}"
    else:
        text = f"{place}: {error or type(error).__name__}"
    return text


def judge(answer: Answer, expected: Expected) -> Judgement:
    """Whether an answer is what the table of services says, and otherwise what differs."""
    body = answer.json
    unwell = unhealthy_members(body)
    because = f" ({', '.join(unwell)})" if unwell else ""
    if answer.status not in expected.status:
        wanted = " or ".join(map(str, expected.status))
        return Judgement("bad", f"it answers {answer.status} instead of {wanted}{because}")
    if not expected.json and not expected.json_degraded:
        return Judgement("ok")
    if not isinstance(body, dict):
        return Judgement("bad", f"it answers {answer.status}, but the body is not a JSON object")
    wrong = _differences(body, expected.json)
    if not wrong:
        return Judgement("ok")
    if expected.json_degraded and not _differences(body, expected.json_degraded):
        return Judgement("degraded", f"it says that it is degraded{because}")
    return Judgement("bad", f"it answers {answer.status}, but {', '.join(wrong)}{because}")


def _differences(body: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [
        f"{name} is {json.dumps(body.get(name))} instead of {json.dumps(value)}"
        for name, value in wanted.items()
        if name not in body or body[name] != value
    ]


def unhealthy_members(body: Any, path: str = "", depth: int = 0) -> list[str]:
    """The parts of a health document that are not well: ``redis is down``.

    Documents differ; a part is an object with a member ``status``, or a bare
    word. The status of the whole is not a part.
    """
    if not isinstance(body, dict) or depth > 4:
        return []
    found: list[str] = []
    for name, value in body.items():
        if isinstance(value, dict):
            state = value.get("status")
            if isinstance(state, str) and state.lower() not in _GOOD:
                found.append(f"{name} is {state[:40]}")
            elif state is None or not isinstance(state, str):
                found += unhealthy_members(value, name, depth + 1)
        elif depth == 0 and name not in _NOT_PARTS and str(value).lower() in _BAD:
            found.append(f"{name} is {str(value).lower()}")
    return list(dict.fromkeys(found))
