# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 and websockets over TLS, just enough to load a server and to see how it ends.

No library tells the two things that count here: whether a connection was used before,
and whether a byte of the answer had arrived when it broke.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from dataclasses import dataclass
from typing import Any

CONNECT_SECONDS = 5.0
# How a connection ends before the answer does.
ENDS = (OSError, EOFError, ValueError, asyncio.LimitOverrunError, asyncio.TimeoutError)


class BrokenError(Exception):
    """The connection ended before the answer did; the text is one word."""


class ResumingContext(ssl.SSLContext):
    """Offers the newest session, as browsers do: asyncio has no way to say so."""

    newest: ssl.SSLSession | None = None

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return super().wrap_bio(*args, **{**kwargs, "session": self.newest})


def context() -> ResumingContext:
    """A self-signed certificate is taken: which server answers is not the question here."""
    made = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def keeps(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """One connection; ``answers`` counts what it gave, ``heard`` is about the last request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.answers = 0
        self.heard = False

    @classmethod
    async def open(cls, host: str, port: int, tls: ResumingContext) -> Connection:
        try:
            opening = asyncio.open_connection(host, port, ssl=tls, server_hostname="carrental.test")
            return cls(*await asyncio.wait_for(opening, CONNECT_SECONDS))
        except ENDS as error:
            raise BrokenError(word(error)) from error

    @property
    def ended(self) -> bool:
        """Whether the server closed it, as far as is known here."""
        return self.reader.at_eof() or self.writer.transport.is_closing()

    @property
    def resumed(self) -> bool:
        return bool(self.writer.get_extra_info("ssl_object").session_reused)

    @property
    def session(self) -> ssl.SSLSession | None:
        found: ssl.SSLSession | None = self.writer.get_extra_info("ssl_object").session
        return found

    def close(self) -> None:
        # Everything was read: an orderly goodbye would only cost both sides time.
        self.writer.transport.abort()

    async def ask(self, request: bytes, seconds: float) -> Answer:
        """Send a request and read the whole answer."""
        self.heard = False
        try:
            self.writer.write(request)
            answer = await asyncio.wait_for(self._read(), seconds)
        except ENDS as error:
            raise BrokenError(word(error)) from error
        self.answers += 1
        return answer

    async def _read(self) -> Answer:
        # The first byte by itself: it is what "heard" means.
        first = await self.reader.readexactly(1)
        self.heard = True
        lines = (first + await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        version, _, status = lines[0].partition(" ")
        if version != "HTTP/1.1":
            raise ValueError(lines[0])
        code = int(status.split()[0])
        return Answer(code, headers, await self._body(code, headers))

    async def _body(self, status: int, headers: dict[str, str]) -> bytes:
        if status == 101:
            return b""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int((await self.reader.readuntil(b"\n")).partition(b";")[0], 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return body

    async def upgrade(self, host: str, path: str) -> None:
        """Turn it into a websocket."""
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{upgrade}Sec-WebSocket-Key: {key}\r\n\r\n"
        )
        answer = await self.ask(request.encode(), CONNECT_SECONDS)
        if answer.status != 101:
            raise BrokenError(f"status {answer.status}")

    async def message(self, seconds: float) -> bytes:
        """The next message of a websocket; pings are answered, a close is an end."""
        try:
            while True:
                code, payload = await asyncio.wait_for(self._frame(), seconds)
                if code == 8:
                    raise BrokenError("closed")
                if code == 9:
                    # What a client sends is masked; zeros are a mask as good as any.
                    self.writer.write(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
                else:
                    return payload
        except ENDS as error:
            raise BrokenError(word(error)) from error

    async def _frame(self) -> tuple[int, bytes]:
        code, size = await self.reader.readexactly(2)
        if size in (126, 127):
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        return code & 0x0F, await self.reader.readexactly(size)


# In this order: some are kinds of others.
_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (asyncio.TimeoutError, "timeout"),
    (ConnectionRefusedError, "refused"),
    (ConnectionResetError, "reset"),
    (BrokenPipeError, "reset"),
    # An end between two bytes of TLS or of HTTP, and one before the first.
    (EOFError, "closed"),
    (ConnectionAbortedError, "closed"),
    (ssl.SSLEOFError, "closed"),
    (ssl.SSLZeroReturnError, "closed"),
    (ValueError, "no HTTP"),
)


def word(error: BaseException) -> str:
    """How a connection broke, in one word."""
    return next((name for kind, name in _WORDS if isinstance(error, kind)), type(error).__name__)
