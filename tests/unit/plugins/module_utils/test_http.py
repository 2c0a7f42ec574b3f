# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP against a real server on loopback, and the judgement of answers."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _http, _proxy_probe, _web_probe
from ansible_collections.carrental.ops.plugins.module_utils._checks import Subject, Thresholds
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from serving import serving

API = Subject("api", "API", "P1", "API is healthy", "API is not responding")
NGINX = Subject("nginx", "Nginx", "P1", "Nginx is serving", "Nginx is not serving")


class Handler(BaseHTTPRequestHandler):
    """Answers what the path says: ``/<status>/<JSON body>``; redirects on 301."""

    def do_GET(self) -> None:
        _empty, status, body = self.path.split("/", 2)
        self.send_response(int(status))
        if status == "301":
            self.send_header("Location", f"https://{self.headers['Host']}/")
        self.end_headers()
        self.wfile.write(body.replace("%20", " ").encode())

    def log_message(self, *_words: Any) -> None:
        pass


def serve(server: ThreadingHTTPServer) -> Iterator[int]:
    with serving(server):
        yield server.server_address[1]


@pytest.fixture
def port() -> Iterator[int]:
    yield from serve(ThreadingHTTPServer(("127.0.0.1", 0), Handler))


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[int]:
    """A server with a certificate of its own that expired eight days ago."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rental.example.com")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now - timedelta(days=8, minutes=1))
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    yield from serve(server)


@pytest.fixture
def silent() -> Iterator[int]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wanted(port: int, path: str = "/200/", **more: Any) -> _http.Request:
    return _http.Request("127.0.0.1", port, path, timeout=0.5, **more)


def test_an_answer(port: int) -> None:
    answer = _http.request(wanted(port, '/200/{"status":"ok"}'))
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert answer.url == f'http://127.0.0.1:{port}/200/{{"status":"ok"}}'
    assert answer.latency_ms > 0


def test_nobody_listens(closed: int) -> None:
    with pytest.raises(_http.HttpError) as caught:
        _http.request(wanted(closed))
    assert str(caught.value) == (
        f"connection refused at 127.0.0.1:{closed}: no process listens there"
    )


def test_accepts_and_never_answers(silent: int) -> None:
    with pytest.raises(_http.HttpError) as caught:
        _http.request(wanted(silent))
    assert str(caught.value) == f"127.0.0.1:{silent} gave no answer within 0.5 s"


def test_no_tls_there(port: int) -> None:
    with pytest.raises(_http.HttpError, match=f"^no TLS at 127.0.0.1:{port}: "):
        _http.request(wanted(port, tls=True))


def test_no_http_there() -> None:
    def speak(server: socket.socket) -> None:
        connection, _address = server.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"+PONG\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=speak, args=[server], daemon=True).start()
        port = server.getsockname()[1]
        with pytest.raises(_http.HttpError) as caught:
            _http.request(wanted(port))
    assert str(caught.value) == f"127.0.0.1:{port} does not speak HTTP"


def test_an_unknown_name() -> None:
    with pytest.raises(_http.HttpError) as caught:
        _http.request(_http.Request("nowhere.invalid", 80))
    assert str(caught.value) == "the name nowhere.invalid cannot be resolved"


def test_a_certificate_that_is_not_trusted(expired: int) -> None:
    with pytest.raises(_http.HttpError, match="is not trusted: "):
        _http.request(wanted(expired, tls=True, verify=True))


DEGRADED = {
    "status": "degraded",
    "dependencies": {"cache": {"status": "down"}, "db": {"status": "up"}},
}


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason"),
    [
        (200, {"status": "ok"}, "ok", ""),
        (200, DEGRADED, "degraded", "it says that it is degraded (cache is down)"),
        (
            200,
            {"status": "error", "redis": "down"},
            "bad",
            'it answers 200, but status is "error" instead of "ok" (redis is down)',
        ),
        (200, {}, "bad", 'it answers 200, but status is null instead of "ok"'),
        (200, [1], "bad", "it answers 200, but the body is not a JSON object"),
        (
            503,
            {"status": "error", "checks": {"database": {"status": "down"}}},
            "bad",
            "it answers 503 instead of 200 or 204 (database is down)",
        ),
        (404, {"release": "unhealthy"}, "bad", "it answers 404 instead of 200 or 204"),
    ],
)
def test_judge(status: int, body: Any, outcome: str, reason: str) -> None:
    answer = _http.Answer(status, {}, json.dumps(body).encode(), 1.0)
    expected = _http.Expected([200, 204], {"status": "ok"}, {"status": "degraded"})
    assert _http.judge(answer, expected) == _http.Judgement(outcome, reason)


def test_a_page_needs_no_json() -> None:
    answer = _http.Answer(200, {}, b"<html>", 1.0)
    assert _http.judge(answer, _http.Expected([200])).outcome == "ok"


@pytest.mark.parametrize(
    ("found", "released", "status"),
    [
        ("e849ff18cac7", "e849ff18cac7", "ok"),
        ("e849ff1", "e849ff18cac7bbef", "ok"),
        ("e849ff18cac7bbef", "e849ff1", "ok"),
        ("e84", "e849ff18cac7bbef", "fail"),
        ("", "e849ff1", "fail"),
        ("anything", "", "not_run"),
    ],
)
def test_version(found: str, released: str, status: str) -> None:
    assert _web_probe.version(API, found, released).status == status


def test_another_version_is_named(port: int) -> None:
    path = '/200/{"status":"ok","version":"1.9"}'
    request = _web_probe.Wanted(
        wanted(port, path), _http.Expected(json={"status": "ok"}), "version", "2.0"
    )
    checks = _web_probe.check(API, request)
    assert [check.status for check in checks] == ["ok", "fail"]
    assert checks[1].line.startswith("[FAIL] API answers version 1.9, but 2.0 is released: ")


def test_a_service_that_is_down_says_why(closed: int) -> None:
    (check,) = _web_probe.check(API, _web_probe.Wanted(wanted(closed), _http.Expected()))
    assert check.line == (
        f"[FAIL] API is not responding: connection refused at 127.0.0.1:{closed}: "
        "no process listens there"
    )


def front(port: int, tls_port: int = 0, hostname: str = "rental.example.com") -> _proxy_probe.Front:
    return _proxy_probe.Front("127.0.0.1", port, tls_port, hostname, 0.5, Thresholds())


def test_a_proxy_with_an_expired_certificate(port: int, expired: int) -> None:
    checks = _proxy_probe.check(NGINX, front(port, expired), "/301/", [301])
    assert [(check.name, check.status) for check in checks] == [
        ("nginx.http", "ok"),
        ("nginx.tls", "ok"),
        ("nginx.certificate", "fail"),
    ]
    assert "the certificate expired 8 days ago, on " in checks[2].detail


def test_a_proxy_whose_tls_is_gone(port: int, closed: int) -> None:
    checks = _proxy_probe.check(NGINX, front(port, closed), "/301/", [301])
    assert checks[-1].line == (
        f"[FAIL] Nginx is not serving: connection refused at 127.0.0.1:{closed}: "
        "no process listens there"
    )


def test_a_service_through_the_proxy(port: int) -> None:
    (good,) = _proxy_probe.through(API, front(port), "/200/", _http.Expected())
    (bad,) = _proxy_probe.through(API, front(port), "/502/", _http.Expected())
    (limited,) = _proxy_probe.through(API, front(port), "/429/", _http.Expected())
    assert good.status == "ok"
    assert bad.detail == "through the proxy GET /502/: it answers 502 instead of 200"
    assert (limited.status, limited.detail) == (
        "warn",
        "through the proxy: it limits our requests (429)",
    )
