# SPDX-License-Identifier: GPL-3.0-or-later
"""One object on its way over a line, against a store that answers what it is told to."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _object_put as puts
from ansible_collections.carrental.ops.plugins.module_utils._object_store import Login
from ansible_collections.carrental.ops.plugins.module_utils._s3_wire import Wire, WireError

LOGIN = Login("store", 9000, "user", "secret", "carrental")


class Line:
    """A line to a store that says yes to everything."""

    def __init__(self) -> None:
        self.sent = b""

    def sendall(self, octets: bytes) -> None:
        self.sent += octets

    def makefile(self, *_how: object) -> io.BufferedReader:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        return io.BufferedReader(io.BytesIO(answer))

    def close(self) -> None:
        pass


def test_what_breaks_off_is_sent_again_over_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[Line] = []

    def connect(wire: Wire) -> Line:
        lines.append(Line())
        wire._socket = lines[-1]  # type: ignore[assignment]
        return lines[-1]

    def read() -> Iterator[bytes]:
        yield b"A" * 1000
        if len(lines) == 1:
            raise WireError("the line broke: the other store went away")
        yield b"A" * 1000

    @contextmanager
    def opened(_begin: int, _length: int) -> Iterator[Iterable[bytes]]:
        yield read()

    monkeypatch.setattr(Wire, "_connect", connect)
    puts.put(Wire(LOGIN), "cars/1", puts.Content(2000, "", {}, opened))
    bodies = [line.sent.partition(b"\r\n\r\n")[2] for line in lines]
    assert bodies == [b"A" * 1000, b"A" * 2000]
