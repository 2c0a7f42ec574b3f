#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receivers of messages on the server of the tests: a webhook and an SMTP server.

It takes whatever comes and appends it to files, one JSON document a line. Stands alone:
``sinks.py`` copies it to the server.
"""

from __future__ import annotations

import email
import json
import socketserver
import threading
import time
from email import policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path("/run/carrental-sinks")
HTTP_PORT, SMTP_PORT = 8099, 8025


def keep(kind: str, **facts: Any) -> None:
    """Append what arrived."""
    with (FOLDER / kind).open("a") as stream:
        stream.write(json.dumps({"at": time.time(), **facts}) + "\n")


class Webhook(BaseHTTPRequestHandler):
    """Takes every POST."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        keep("webhook", path=self.path, body=json.loads(body))
        self.send_response(500 if self.path == "/refuses" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as two clients speak."""

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        self.say("220 sink")
        recipients: list[str] = []
        while line := self.rfile.readline().decode(errors="replace").strip():
            verb = line.split()[0].upper().split(":")[0]
            if verb in ("EHLO", "HELO"):
                self.say("250 sink")
            elif verb == "RCPT":
                recipients.append(line.partition(":")[2].strip("<> "))
                self.say("250 ok")
            elif verb == "DATA":
                self.say("354 go on")
                self.message(recipients)
                recipients = []
                self.say("250 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def message(self, recipients: list[str]) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        parsed = email.message_from_bytes(b"".join(lines), policy=policy.default)
        body = parsed.get_body(("plain", "html"))
        keep(
            "mail",
            to=recipients,
            subject=str(parsed["Subject"]),
            text=body.get_content() if body else "",
        )


def serve() -> None:
    """Take whatever comes."""
    FOLDER.mkdir(exist_ok=True)
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    mail = socketserver.ThreadingTCPServer(("", SMTP_PORT), Mail)
    threading.Thread(target=mail.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("", HTTP_PORT), Webhook).serve_forever()


if __name__ == "__main__":
    serve()
