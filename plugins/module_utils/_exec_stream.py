# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A command in a container with its input and output, over the socket of the engine.

``docker exec`` needs 25 MB and a process for each; here it is one connection. What stands in the
environment goes in the body of a request, and so in nobody's command line. When this process dies
the connection does, and the command sees the end of its input.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ._docker import (
    CANNOT_START,
    Docker,
    DockerDownError,
    DockerError,
    begun,
    require_begun,
)

_BUFFER = 512 * 1024
_SAID = 64 * 1024
_HEAD = 64 * 1024
_END_WAIT = 10.0
_BEGIN_EVERY = 0.02


class Stream:
    """One command, from its start to its exit code. Its errors are kept, up to a limit."""

    def __init__(
        self,
        docker: Docker,
        container: str,
        argv: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._docker = docker
        self.said = bytearray()
        self._rest = b""
        body: dict[str, Any] = {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Cmd": list(argv),
            "Env": [f"{name}={value}" for name, value in (environment or {}).items()],
        }
        self._id, self._socket = begun(lambda: self._begin(container, body))

    def _begin(self, container: str, body: dict[str, Any]) -> tuple[str, socket.socket]:
        """Begin the command; return its id and its connection.

        :raises NotBegunError: the runtime could not start it.
        """
        created = self._docker._call("POST", f"/containers/{container}/exec", body=body)
        number = str(json.loads(created)["Id"])
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._start(number, connection)
            self._require_begun(number, connection)
            # A command may say nothing for as long as it works.
            connection.settimeout(None)
        except BaseException:
            connection.close()
            raise
        return number, connection

    def _require_begun(self, number: str, connection: socket.socket) -> None:
        """Wait until it runs or has ended; look why where it could not run."""
        deadline = time.monotonic() + self._docker.timeout
        while time.monotonic() < deadline:
            found = self._docker.get(f"/exec/{number}/json")
            code = found.get("ExitCode")
            if found.get("Running") and found.get("Pid"):
                return
            if not found.get("Running") and code is not None:
                break
            time.sleep(_BEGIN_EVERY)
        else:
            # An engine that does not say so: what it prints and how it ends tells.
            return
        if code == CANNOT_START:
            while len(self._rest) < _SAID and (piece := connection.recv(4096)):
                self._rest += piece
            require_begun(code, self._rest.decode(errors="replace"))

    def _start(self, number: str, connection: socket.socket) -> None:
        body = b'{"Detach":false,"Tty":false}'
        request = (
            f"POST /exec/{number}/start HTTP/1.1\r\nHost: docker\r\n"
            "Content-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        connection.settimeout(self._docker.timeout)
        try:
            connection.connect(self._docker.path)
            connection.sendall(request.encode() + body)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(4096)
                if not piece or len(head) > _HEAD:
                    raise DockerError("The Docker engine ended the connection to a command.")
                head += piece
        except OSError as error:
            raise DockerDownError(f"{self._docker.path}: {error}") from error
        head, _end, self._rest = head.partition(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0].decode(errors="replace")
        if " 101 " not in f"{status} " and " 200 " not in f"{status} ":
            raise DockerError(f"The Docker engine did not start a command: {status}.")

    def send(self, data: bytes) -> None:
        """Give something to its standard input."""
        try:
            self._socket.sendall(data)
        except OSError:
            # It has ended; why, its exit code and its errors tell.
            return

    def end_input(self) -> None:
        """Let it see the end of its input."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def output(self) -> Iterator[memoryview]:
        """Go through what it prints until it ends. A piece is only good until the next one."""
        buffer = bytearray(_BUFFER)
        view = memoryview(buffer)
        length = len(self._rest)
        view[:length] = self._rest
        self._rest = b""
        # Bytes of the current frame that are still to come, and whether they are errors.
        missing, is_error = 0, False
        while True:
            at = 0
            while at < length:
                if not missing:
                    if length - at < 8:
                        break
                    is_error = buffer[at] == 2
                    (missing,) = struct.unpack_from(">I", buffer, at + 4)
                    at += 8
                    continue
                piece = view[at : min(at + missing, length)]
                at += len(piece)
                missing -= len(piece)
                if is_error:
                    self.said += piece[: max(_SAID - len(self.said), 0)]
                else:
                    yield piece
            left = length - at
            view[:left] = bytes(view[at:length])
            try:
                got = self._socket.recv_into(view[left:])
            except OSError:
                got = 0
            if not got:
                return
            length = left + got

    def exit_code(self) -> int:
        """Return how it ended, after its output did."""
        deadline = time.monotonic() + _END_WAIT
        while True:
            found = self._docker.get(f"/exec/{self._id}/json")
            if not found.get("Running"):
                code = found.get("ExitCode")
                return 255 if code is None else int(code)
            if time.monotonic() > deadline:
                return 255
            time.sleep(0.05)

    @property
    def errors(self) -> str:
        """What it printed on standard error by now."""
        return bytes(self.said).decode(errors="replace")

    def close(self) -> None:
        """Let go of it; it sees the end of its input."""
        self._socket.close()


def run(
    docker: Docker,
    container: str,
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code, its output and its errors."""
    stream = Stream(docker, container, argv, environment)
    try:
        stream.end_input()
        output = b"".join(bytes(piece) for piece in stream.output())
        return stream.exit_code(), output.decode(errors="replace"), stream.errors
    finally:
        stream.close()
