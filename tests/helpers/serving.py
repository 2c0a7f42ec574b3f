# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that live as long as a test."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Server = TypeVar("Server", bound=socketserver.BaseServer)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Answer on a thread until the block ends, and end without waiting for half a second."""
    answering = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    answering.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
