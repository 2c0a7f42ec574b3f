# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Carry objects from and to a store that speaks S3, over connections that are kept.

What is asked once a run goes through botocore; what is asked once an object goes
through here, for botocore takes a millisecond of the processor for each.
"""

from __future__ import annotations

import html
import http.client
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO
from urllib.parse import quote

from ._object_store import Login
from ._s3_signature import EMPTY, Signer, query_string

_TRIES = 4
_AGAIN = (429, 500, 502, 503, 504)
_MAX_ERROR = 64 * 1024
_MAX_LINE, _MAX_HEADERS = 64 * 1024, 500


class WireError(Exception):
    """The store did not do what it was asked; the text says why, without the object."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Answer:
    """What came back, with the body still to be read."""

    status: int
    headers: Mapping[str, str]
    body: _Response


class _Response(http.client.HTTPResponse):
    """An answer, its headers read without the parser of e-mail, which takes most of the time."""

    def __init__(self, line: socket.socket, of_head: bool) -> None:
        super().__init__(line)
        self.of_head = of_head
        self.line = None if isinstance(line, ssl.SSLSocket) else line
        self.named: dict[str, str] = {}

    def begin(self) -> None:
        """Read the status and the headers; names are in lower case."""
        while True:
            line = self.fp.readline(_MAX_LINE)
            words = line.split(None, 2)
            if not line:
                raise http.client.RemoteDisconnected("the store closed the line")
            if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
                raise http.client.BadStatusLine(line.decode("latin-1"))
            found: dict[str, str] = {}
            while (line := self.fp.readline(_MAX_LINE)) not in (b"\r\n", b"\n"):
                name, colon, value = line.partition(b":")
                if not colon or len(found) > _MAX_HEADERS:
                    raise http.client.HTTPException("the store sends headers that are none")
                found[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
            if words[1] != b"100":
                break
        self.version = 10 if words[0] == b"HTTP/1.0" else 11
        self.code = self.status = int(words[1])
        self.reason = ""
        self.named = found
        self.headers = self.msg = http.client.HTTPMessage()
        self.chunked = found.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        told = found.get("content-length", "")
        self.length = int(told) if told.isdigit() and not self.chunked else None
        if self.status in (204, 304) or self.of_head:
            self.length = 0
        closing = found.get("connection", "").lower() == "close" or self.version == 10
        self.will_close = closing or (self.length is None and not self.chunked)

    def take(self, buffer: memoryview) -> int:
        """Read a piece of the body, as much of the buffer as there is, in one call of the kernel.

        The interpreter's lock is waited for once a piece, and not once a packet.
        """
        if self.line is None or self.length is None:
            return self.readinto(buffer)
        wanted = buffer[: self.length]
        if not wanted:
            return 0
        # What came together with the headers lies in the file already.
        got = self.fp.readinto(wanted[: len(self.fp.peek(1))])
        if got and got < len(wanted):
            got += self.line.recv_into(wanted[got:], 0, socket.MSG_WAITALL)
        self.length -= got
        if not self.length:
            self.close()
        return int(got)


@dataclass(frozen=True)
class _Told:
    """What a request says besides its body."""

    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: str


class Wire:
    """One connection to one bucket; not for two threads at once."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self._signer = Signer(login.access_key, login.secret_key, login.region)
        host = f"[{login.host}]" if ":" in login.host else login.host
        default = 443 if login.tls else 80
        self._host = host if login.port == default else f"{host}:{login.port}"
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def call(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        content: str = EMPTY,
    ) -> Answer:
        """Send a request with a small body; again when the store is busy or the line broke.

        :raises WireError: the store refuses, or does not answer.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                told = _Told(method, key, query or {}, headers or {}, content)
                answer = self._send(told, [body], len(body))
                return self._accepted(answer)
            except WireError as error:
                if attempt == _TRIES or error.code not in ("", "again"):
                    raise
            time.sleep(0.1 * 4 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    def send(
        self,
        key: str,
        chunks: Iterable[bytes],
        length: int,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: str,
    ) -> Answer:
        """PUT a body that is read while it is sent, once: the caller begins anew after an error.

        :raises WireError: the store refuses, or does not answer.
        """
        told = _Told("PUT", key, query or {}, headers or {}, content)
        answer = self._send(told, chunks, length)
        return self._accepted(answer)

    def _send(self, told: _Told, chunks: Iterable[bytes], length: int) -> Answer:
        path = f"/{self.login.bucket}/{quote(told.key, safe='-_.~/')}"
        signed = self._signer.sign(
            *(told.method, path, told.query),
            headers={"host": self._host, **told.headers},
            now=datetime.now(timezone.utc),
            content=told.content,
        )
        target = f"{path}?{query_string(told.query)}" if told.query else path
        lines = [f"{name}: {value}" for name, value in signed.items()]
        if length or told.method in ("PUT", "POST"):
            lines.append(f"content-length: {length}")
        # One piece: a line at a time would be a packet at a time.
        head = f"{told.method} {target} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"
        if re.search(r"[\r\n]", "".join([target, *lines])):
            raise WireError("a header of it has a line break, which no request can carry", "400")
        try:
            line = self._socket or self._connect()
            line.sendall(head.encode("latin-1"))
            for chunk in chunks:
                if chunk:
                    line.sendall(chunk)
            answer = _Response(line, told.method == "HEAD")
            answer.begin()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise WireError(f"{self.login.place}: {error or type(error).__name__}") from error
        except BaseException:
            # Such as what is sent that cannot be read any more. The store still waits for the rest
            # of it, and would take the next request for that.
            self.close()
            raise
        if answer.will_close:
            # It is read to its end all the same, and the next request takes a new line.
            self._socket = None
        return Answer(answer.status, answer.named, answer)

    def _connect(self) -> socket.socket:
        login = self.login
        line = socket.create_connection((login.host, login.port), login.timeout)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if login.tls:
            context = ssl.create_default_context(cafile=login.ca_file or None)
            if not login.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            line = context.wrap_socket(line, server_hostname=login.host)
        else:
            # Python's own timeouts are of sockets that never wait, which cannot wait for more
            # than a packet. The kernel's are of ones that do.
            line.settimeout(None)
            seconds = struct.pack("ll", int(login.timeout), int(login.timeout % 1 * 1_000_000))
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                line.setsockopt(socket.SOL_SOCKET, option, seconds)
        self._socket = line
        return line

    def _accepted(self, answer: Answer) -> Answer:
        if answer.status < 300:
            return answer
        try:
            content = answer.body.read(_MAX_ERROR)
        except (OSError, http.client.HTTPException):
            content = b""
        # What is left of the answer would be read as the next one.
        self.close()
        code = error_code(content) or str(answer.status)
        raise WireError(
            f"the store answers {answer.status} ({code})",
            "again" if answer.status in _AGAIN else code,
        )


def error_code(content: bytes) -> str:
    """Return the code in the body of an error; empty where there is none."""
    return text_of(content, "Code")


def text_of(content: bytes, name: str) -> str:
    """Return the text of an element in the small documents of a store; empty without it."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", content.decode(errors="replace"))
    return html.unescape(found[1]) if found else ""


def read_into(body: _Response, buffer: memoryview) -> int:
    """Read a piece of a body; 0 at its end.

    :raises WireError: the line broke.
    """
    try:
        return body.take(buffer)
    except (OSError, http.client.HTTPException) as error:
        raise WireError(f"the line broke: {error or type(error).__name__}") from error


def read_piece(body: http.client.HTTPResponse) -> bytes:
    """Read a piece of a small body; nothing at its end.

    :raises WireError: the line broke.
    """
    try:
        return body.read(_MAX_ERROR)
    except (OSError, http.client.HTTPException) as error:
        raise WireError(f"the line broke: {error or type(error).__name__}") from error


def pieces(stream: IO[bytes], length: int, size: int = 256 * 1024) -> Iterable[bytes]:
    """Yield so many bytes of a file, piece by piece."""
    while length:
        piece = stream.read(min(size, length))
        if not piece:
            return
        length -= len(piece)
        yield piece
