# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Talk to the Docker engine, read-only but for exec, over its socket.

The API is plain HTTP. The standard library speaks it in a few milliseconds
and on every server; the SDK of the distributions takes longer to import than
most probes take, and breaks when its HTTP library is newer than itself.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import pwd
import re
import shlex
import socket
import struct
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
_MAX_ANSWER = 16 * 1024 * 1024
_MAX_FILE = 1024 * 1024
# What runc says when its own process was killed before the command began.
CANNOT_START = 126
_NOT_BEGUN = "waiting for init preliminary setup"
_START_PAUSES = (0.5, 1.0, 2.0)
_HERE = ("", "localhost", "127.0.0.1", "::1")
_Begun = TypeVar("_Begun")


class DockerError(Exception):
    """Docker said no; the text is a whole sentence."""


class NotBegunError(DockerError):
    """A command that the runtime of a container could not start: nothing of it has run."""


class DockerDownError(DockerError):
    """Nobody answers on the socket."""


class DockerDeniedError(DockerError):
    """This user may not use Docker."""


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path
        self._seconds = timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


def require_begun(code: int, output: str) -> None:
    """Refuse the end of a command that the runtime could not start.

    :raises NotBegunError: nothing of the command has run.
    """
    if code == CANNOT_START and _NOT_BEGUN in output:
        raise NotBegunError(
            f"The container could not start a command (is its memory full?): {output.strip()}"
        )


def begun(begin: Callable[[], _Begun]) -> _Begun:
    """Begin a command in a container, and again where the runtime could not start it.

    So it is for a moment where the memory of the container is full.

    :raises NotBegunError: it could not be started at last.
    """
    for pause in _START_PAUSES:
        try:
            return begin()
        except NotBegunError:
            time.sleep(pause)
    return begin()


class Docker:
    """A client of one engine."""

    def __init__(self, path: str = "/var/run/docker.sock", timeout: float = 3.0) -> None:
        self.path = path
        self.timeout = timeout

    def get(self, path: str, **query: str) -> Any:
        """GET a JSON document."""
        return json.loads(self._call("GET", path, query))

    def containers(self) -> list[dict[str, Any]]:
        """All containers of the engine, as it lists them."""
        found: list[dict[str, Any]] = self.get("/containers/json", all="1")
        return found

    def inspect(self, container: str) -> Container:
        """One container, in full."""
        return Container(self.get(f"/containers/{container}/json"))

    def execute(self, container: str, argv: list[str], user: str = "") -> tuple[int, str]:
        """Run a command in a container; return its exit code and what it printed."""
        try:
            return begun(lambda: self._execute(container, argv, user))
        except NotBegunError as error:
            return CANNOT_START, str(error)

    def _execute(self, container: str, argv: list[str], user: str) -> tuple[int, str]:
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": argv, "User": user}
        created = json.loads(self._call("POST", f"/containers/{container}/exec", body=body))
        path = f"/exec/{created['Id']}"
        output = _demultiplex(self._call("POST", f"{path}/start", body={"Detach": False}))
        code, text = int(self.get(f"{path}/json")["ExitCode"]), output.decode(errors="replace")
        require_begun(code, text)
        return code, text

    def read_file(self, container: str, path: str) -> str:
        """The text of a file in a container, which needs neither a shell nor a running process."""
        data = self._call("GET", f"/containers/{container}/archive", {"path": path})
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    return content.read(_MAX_FILE).decode(errors="replace")
        raise DockerError(f"{path} in the container is not a file.")

    def endings(self, container: str, seconds: int = 3600) -> list[dict[str, Any]]:
        """What the engine still remembers of how a container ended, oldest first."""
        now = int(time.time())
        wanted = {"container": [container], "event": ["die", "stop", "kill", "oom"]}
        raw = self._call(
            "GET",
            "/events",
            {"since": str(now - seconds), "until": str(now), "filters": json.dumps(wanted)},
        )
        return [json.loads(line) for line in raw.splitlines() if line.strip()]

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | bytes | None = None,
        timeout: float | None = None,
    ) -> bytes:
        target = quote(path) + (f"?{urlencode(query)}" if query else "")
        connection = _SocketConnection(self.path, timeout or self.timeout)
        try:
            kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
            data = json.dumps(body) if isinstance(body, dict) else body
            headers = {} if body is None else {"Content-Type": kind}
            connection.request(method, target, data, headers)
            answer = connection.getresponse()
            content = answer.read(_MAX_ANSWER)
        except PermissionError as error:
            raise DockerDeniedError(
                f"User {_user()} may not use Docker: permission denied on {self.path}; "
                "run playbooks/bootstrap.yml, which adds carrental_user to the group docker."
            ) from error
        except TimeoutError as error:
            raise DockerDownError(
                f"it accepts on {self.path} and says nothing within {self.timeout:g} s; "
                "see: journalctl -u docker"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise DockerDownError(_why_down(self.path, error)) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise DockerError(_message(content, answer.status))
        return content


def _why_down(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        reason = f"there is no {path}"
    elif isinstance(error, ConnectionRefusedError):
        reason = f"nobody listens on {path}"
    else:
        reason = f"{path}: {error or type(error).__name__}"
    return (
        f"{reason}; start it with: sudo systemctl start docker, and see: sudo journalctl -u docker"
    )


def _message(content: bytes, status: int) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return f"Docker answered {status}."


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _demultiplex(data: bytes) -> bytes:
    """Join the frames in which output comes: stream, three zeros, length, bytes."""
    output, position = bytearray(), 0
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position + 4)
        output += data[position + 8 : position + 8 + length]
        position += 8 + length
    return bytes(output)


@dataclass(frozen=True)
class Container:
    """A container as ``docker inspect`` shows it, with the questions that we ask."""

    raw: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.raw["Id"])

    @property
    def name(self) -> str:
        return str(self.raw["Name"]).lstrip("/")

    @property
    def labels(self) -> dict[str, str]:
        return self.raw["Config"].get("Labels") or {}

    @property
    def service(self) -> str:
        return self.labels.get(SERVICE, self.name)

    @property
    def one_off(self) -> bool:
        return self.labels.get("com.docker.compose.oneoff", "").lower() == "true"

    @property
    def state(self) -> dict[str, Any]:
        return self.raw["State"]  # type: ignore[no-any-return]

    @property
    def running(self) -> bool:
        """Runs, and is neither paused nor between two attempts of a restart loop."""
        state = self.state
        return bool(
            state.get("Running") and not state.get("Paused") and not state.get("Restarting")
        )

    @property
    def environment(self) -> dict[str, str]:
        pairs = (item.partition("=") for item in self.raw["Config"].get("Env") or [])
        return {name: value for name, _equals, value in pairs}

    @property
    def tools_for(self) -> str:
        """The PostgreSQL elsewhere that it has the tools for; empty for a server of its own."""
        host = self.environment.get("PGHOST", "")
        networks = (self.raw.get("NetworkSettings") or {}).get("Networks") or {}
        aliases = [one for network in networks.values() for one in network.get("Aliases") or []]
        hostname = self.raw["Config"].get("Hostname")
        own = (*_HERE, self.name, self.service, hostname, *self.networks.values(), *aliases)
        return "" if host.startswith("/") or host in own else host

    @property
    def command(self) -> list[str]:
        """What it runs, in words: a command for a shell is taken apart, variables are filled in."""
        words: list[str] = []
        for word in [self.raw.get("Path") or "", *(self.raw.get("Args") or [])]:
            words += split(word) if " " in word else [word]
        return [_expand(word, self.environment) for word in words]

    @property
    def image_id(self) -> str:
        return str(self.raw.get("Image", ""))

    @property
    def image(self) -> str:
        return str(self.raw["Config"].get("Image", ""))

    @property
    def restart_policy(self) -> str:
        policy = (self.raw.get("HostConfig") or {}).get("RestartPolicy") or {}
        return policy.get("Name") or "no"

    @property
    def network_mode(self) -> str:
        return str((self.raw.get("HostConfig") or {}).get("NetworkMode", ""))

    @property
    def networks(self) -> dict[str, str]:
        """Address by network; empty where it has none."""
        found = (self.raw.get("NetworkSettings") or {}).get("Networks") or {}
        return {
            name: network.get("IPAddress") or network.get("GlobalIPv6Address") or ""
            for name, network in found.items()
        }

    @property
    def address(self) -> str:
        """How the host reaches it, published or not; empty when it does not."""
        if self.network_mode == "host":
            return "127.0.0.1"
        return next((address for address in self.networks.values() if address), "")

    @property
    def depends_on(self) -> list[str]:
        """Compose services that it was declared to need."""
        label = self.labels.get("com.docker.compose.depends_on", "")
        return [item.split(":")[0] for item in label.split(",") if item]

    @property
    def volumes(self) -> list[tuple[str, str]]:
        """Directory on the host and in the container, of what is mounted into it."""
        return [
            (mount.get("Source", ""), mount.get("Destination", ""))
            for mount in self.raw.get("Mounts") or []
            if mount.get("Type") in ("volume", "bind") and mount.get("Source")
        ]

    @property
    def exposed(self) -> set[int]:
        """Ports that it says it listens on."""
        ports = self.raw["Config"].get("ExposedPorts") or {}
        return {int(port.split("/")[0]) for port in ports if port.endswith("/tcp")}

    @property
    def published(self) -> set[int]:
        """Ports of the container that are published on the host."""
        bindings = (self.raw.get("HostConfig") or {}).get("PortBindings") or {}
        return {int(port.split("/")[0]) for port, hosts in bindings.items() if hosts}


def split(text: str) -> list[str]:
    """Return the words of a command line; one that a shell would refuse is cut at its spaces."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _expand(word: str, environment: dict[str, str]) -> str:
    return re.sub(
        r"\$(?:\{(\w+)[^}]*\}|(\w+))",
        lambda found: environment.get(found.group(1) or found.group(2), found.group(0)),
        word,
    )


def select(
    listed: list[dict[str, Any]], project: str, names: dict[str, str]
) -> list[tuple[str, str]]:
    """Ids and compose services of the containers of a project.

    :param listed: the containers of the engine, see :meth:`Docker.containers`.
    :param names: compose service by the container name that stands for it, for
        containers that were started without compose.
    """
    found: list[tuple[str, str]] = []
    for item in listed:
        labels = item.get("Labels") or {}
        if labels.get(PROJECT) == project:
            found.append((item["Id"], labels.get(SERVICE, "")))
        elif PROJECT not in labels:
            for name in item.get("Names") or []:
                if name.lstrip("/") in names:
                    found.append((item["Id"], names[name.lstrip("/")]))
                    break
    return found


def projects(listed: list[dict[str, Any]]) -> dict[str, str]:
    """The compose projects of an engine, and the directory each was started from."""
    found = {}
    for item in listed:
        labels = item.get("Labels") or {}
        if labels.get(PROJECT):
            found[labels[PROJECT]] = labels.get("com.docker.compose.project.working_dir", "")
    return found
