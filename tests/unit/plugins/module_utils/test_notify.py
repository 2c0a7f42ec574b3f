# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told, and what is said of those who were not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _notify
from ansible_collections.carrental.ops.plugins.module_utils._notify import Message, NotifyError
from serving import serving

MESSAGE = Message("P2", "operation", "deploy failed", "why", {"server": "vps"})
TAKEN: list[tuple[str, dict[str, Any]]] = []


class Sink(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        TAKEN.append((self.path, json.loads(body)))
        self.send_response(403 if "refused" in self.path else 204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[str]:
    TAKEN.clear()
    server = HTTPServer(("127.0.0.1", 0), Sink)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


def test_a_channel_without_severities_hears_of_all() -> None:
    assert _notify.hears({}, "P4")
    assert _notify.hears({"severities": ["P1"]}, "P1")
    assert not _notify.hears({"severities": ["P1"]}, "P2")


def test_a_webhook_gets_the_facts(sink: str) -> None:
    _notify.send({"type": "webhook", "url": f"{sink}/hook?x=1"}, MESSAGE, 5)
    ((path, body),) = TAKEN
    assert path == "/hook?x=1"
    assert body["subject"] == "deploy failed"
    assert body["server"] == "vps"


def test_slack_gets_a_text_and_its_address_from_a_file(sink: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{sink}/services/T/B/x\n")
    channel = {"type": "slack", "channel": "#alerts", "url_file": str(tmp_path / "url")}
    _notify.send(channel, MESSAGE, 5)
    ((path, body),) = TAKEN
    assert path == "/services/T/B/x"
    assert body == {"channel": "#alerts", "text": "*[P2] deploy failed*\nwhy"}


def refusal(channel: dict[str, Any]) -> str:
    with pytest.raises(NotifyError) as caught:
        _notify.send(channel, MESSAGE, 2)
    return str(caught.value)


def test_a_refusal_does_not_show_the_secret_path(sink: str) -> None:
    said = refusal({"type": "webhook", "url": f"{sink}/refused-secret"})
    assert said == "127.0.0.1 answers 403"


def test_silence_does_not_show_the_secret_path() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    said = refusal({"type": "webhook", "url": f"http://127.0.0.1:{port}/a-secret"})
    assert "a-secret" not in said
    assert "refused" in said


@pytest.mark.parametrize("url", ["", "no address", "ftp://x/y"])
def test_no_address_is_said(url: str) -> None:
    assert refusal({"type": "webhook", "url": url}) == (
        "its url is empty or no address of http or https"
    )


def test_a_file_that_is_not_there_is_said() -> None:
    said = refusal({"type": "slack", "url_file": "/nonexistent/url"})
    assert said == "/nonexistent/url on the server cannot be read"


def test_an_unknown_type_is_said() -> None:
    assert "none of slack, email, webhook" in refusal({"type": "pigeon"})


def test_a_mail_server_that_is_not_there_is_said() -> None:
    channel = {"type": "email", "to": "a@x", "from": "b@x", "host": "127.0.0.1", "port": 1}
    assert refusal(channel).startswith("127.0.0.1:1 does not answer")
