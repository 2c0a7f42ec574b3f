# SPDX-License-Identifier: GPL-3.0-or-later
"""Receivers of messages on the server of the tests: start them, read what arrived."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sinks_server import FOLDER, HTTP_PORT, SMTP_PORT
from support import eventually, on_server

__all__ = ["HTTP_PORT", "SMTP_PORT", "forget", "received", "start"]


def _listen() -> bool:
    listed = on_server("ss", "-ltn")
    return f":{SMTP_PORT} " in listed and f":{HTTP_PORT} " in listed


def start() -> str:
    """Start the receivers on the server; return their address as containers see it."""
    program = Path(__file__).with_name("sinks_server.py").read_text()
    on_server("tee", "/run/sinks.py", stdin=program)
    on_server("systemctl", "stop", "sinks", check=False)
    on_server("systemd-run", "--quiet", "--collect", "--unit=sinks", "python3", "/run/sinks.py")
    eventually(_listen, "the receivers listen")
    template = "{{(index .IPAM.Config 0).Gateway}}"
    return on_server("docker", "network", "inspect", "-f", template, "carrental_backend")


def received(kind: str) -> list[dict[str, Any]]:
    """What arrived, oldest first."""
    text = on_server("cat", str(FOLDER / kind), check=False)
    return [json.loads(line) for line in text.splitlines()]


def forget() -> None:
    """Begin anew."""
    on_server("sh", "-c", f"rm -f {FOLDER}/*")
