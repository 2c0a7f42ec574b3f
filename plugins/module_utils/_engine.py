# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The Docker engine for operations: images, registries, and the containers of a project."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from . import _disk_space, _registry
from ._docker import (
    PROJECT,
    Container,
    Docker,
    DockerError,
    _demultiplex,
    _SocketConnection,
)

_HUB_KEY = "https://index.docker.io/v1/"
# A registry or a slow disk may need long between two signs of life.
_PULL_TIMEOUT = 300.0
_STOP_TIMEOUT = 330.0

# Say of a container for which service it stands in while that is replaced, and of which project.
SURGE = "carrental.ops.surge"
OWNER = "carrental.ops.project"


class Engine(Docker):
    """The engine of this server, which can also fetch images."""

    def __init__(self, timeout: float = 30.0) -> None:
        where = os.environ.get("DOCKER_HOST", "")
        path = where.removeprefix("unix://") if where.startswith("unix://") else ""
        super().__init__(path or "/var/run/docker.sock", timeout)
        self.host = socket.gethostname()
        self.info: dict[str, Any] = self.get("/info")

    @property
    def architecture(self) -> str:
        """The architecture of its images, as a registry calls it."""
        name = str(self.info.get("Architecture", ""))
        return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(name, name)

    def services(self, project: str) -> list[Container]:
        """Return the containers of the services of a project, running or not."""
        found = []
        for listed in self.containers():
            if (listed.get("Labels") or {}).get(PROJECT) != project:
                continue
            try:
                container = self.inspect(listed["Id"])
            except DockerError as error:
                if "No such container" in str(error):
                    continue
                raise
            if not container.one_off:
                found.append(container)
        return found

    def beside(self, project: str, service: str = "") -> list[Container]:
        """Return the surge containers of a project, or of one service of it, running or not."""
        found = []
        for listed in self.containers():
            labels = listed.get("Labels") or {}
            stands_for = labels.get(SURGE)
            if stands_for is None or labels.get(OWNER) != project:
                continue
            if service not in ("", stands_for):
                continue
            try:
                found.append(self.inspect(listed["Id"]))
            except DockerError as error:
                if "No such container" not in str(error):
                    raise
        return sorted(found, key=lambda one: one.name)

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        self._call("POST", f"/containers/{container}/rename", {"name": name})

    def processes(self, container: str) -> list[tuple[str, str]]:
        """Return the processes of a container: pid and command line."""
        listed = self.get(f"/containers/{container}/top", ps_args="-eo pid,args")
        return [(row[0], row[-1]) for row in listed.get("Processes") or []]

    def stop(self, container: str, seconds: int | None = None) -> None:
        """Stop a container, with its own grace period or with this one."""
        query = {} if seconds is None else {"t": str(seconds)}
        self._call("POST", f"/containers/{container}/stop", query, timeout=_STOP_TIMEOUT)

    def signal(self, container: str, name: str) -> None:
        """Send a signal to the first process of a container."""
        self._call("POST", f"/containers/{container}/kill", {"signal": name})

    def restart(self, container: str, seconds: int | None = None) -> None:
        """Stop a container, with its own grace period or with this one, and start it.

        The engine goes on when its caller dies in between.
        """
        query = {} if seconds is None else {"t": str(seconds)}
        self._call("POST", f"/containers/{container}/restart", query, timeout=_STOP_TIMEOUT)

    def wait(self, container: str, timeout: float) -> int:
        """Wait until a container has ended, and return its exit code."""
        answer = self._call("POST", f"/containers/{container}/wait", timeout=timeout)
        return int(json.loads(answer)["StatusCode"])

    def limit(self, container: str, limits: Mapping[str, Any]) -> None:
        """Change the limits of a container, running or not, at once."""
        self._call("POST", f"/containers/{container}/update", body=dict(limits))

    def unpack(self, container: str, folder: str, archive: bytes) -> None:
        """Put the files of a tar archive into a folder of a container, running or not."""
        self._call("PUT", f"/containers/{container}/archive", {"path": folder}, archive)

    def restart_policy(self, container: str, policy: str, count: int = 0) -> None:
        """Change when the engine starts a container again."""
        wanted = {"RestartPolicy": {"Name": policy, "MaximumRetryCount": count}}
        self._call("POST", f"/containers/{container}/update", body=wanted)

    def image(self, name: str) -> dict[str, Any] | None:
        """Return a local image, or nothing."""
        try:
            found: dict[str, Any] = self.get(f"/images/{name}/json")
        except DockerError as error:
            if "No such image" in str(error) or "no such image" in str(error):
                return None
            raise
        return found

    def disk(self) -> _disk_space.Disk:
        """Return the space where Docker keeps its images and volumes."""
        return _disk_space.look(str(self.info.get("DockerRootDir") or "/var/lib/docker"))

    def require_space(self, wanted_mb: int) -> None:
        """Refuse to begin what the disk of the images cannot hold."""
        disk = self.disk()
        free_mb = disk.free // 2**20
        if free_mb < wanted_mb:
            raise DockerError(
                f"{self.host} has {free_mb} MB free for images in {disk.path}, and {wanted_mb} MB "
                "are demanded (deploy_min_free_mb); free space first."
            )

    def log(self, container: Container, count: int) -> list[str]:
        """Return the last lines that a container printed."""
        query = {"stdout": "1", "stderr": "1", "tail": str(count)}
        try:
            data = self._call("GET", f"/containers/{container.id}/logs", query)
        except DockerError:
            # No log is no reason to hide the finding that it was wanted for.
            return []
        text = data if (container.raw.get("Config") or {}).get("Tty") else _demultiplex(data)
        return [line.rstrip() for line in text.decode(errors="replace").splitlines()]

    def memory(self, container: Container) -> int | None:
        """Return the bytes that a container uses and the kernel cannot take back at once."""
        found = self.get(f"/containers/{container.id}/stats", **{"stream": "0", "one-shot": "1"})
        memory = found.get("memory_stats") or {}
        if "usage" not in memory:
            return None
        details = memory.get("stats") or {}
        # The first is what control groups of version 1 call it.
        idle = details.get("total_inactive_file", details.get("inactive_file", 0))
        return int(memory["usage"]) - int(idle)

    def tag(self, image_id: str, name: str) -> None:
        """Give a local image one more name."""
        reference = _registry.parse(name)
        query = {"repo": reference.name, "tag": reference.tag or "latest"}
        self._call("POST", f"/images/{image_id}/tag", query)

    def archive(self, container: str, path: str) -> bytes | None:
        """Return a path of a container, running or not, as a tar file; nothing where it is not."""
        try:
            return self._call("GET", f"/containers/{container}/archive", {"path": path})
        except DockerError as error:
            if "Could not find the file" in str(error):
                return None
            raise

    def connect(self, network: str, container: str, aliases: list[str]) -> None:
        """Put a running container on one more network."""
        settings = {"Container": container, "EndpointConfig": {"Aliases": aliases}}
        self._call("POST", f"/networks/{network}/connect", body=settings)

    def remove(self, container: str) -> None:
        """Remove a container, stopping it when it runs."""
        self._call("DELETE", f"/containers/{container}", {"force": "1", "v": "1"})

    def remove_labelled(self, label: str, value: str, *, ended: bool = False) -> list[str]:
        """Remove the containers with this label that nobody waits for any more; return their names.

        Whoever calls it has made sure of that.

        :param ended: leave alone what still runs, or is about to.
        """
        found = []
        for listed in self.containers():
            if (listed.get("Labels") or {}).get(label) != value:
                continue
            if ended and listed.get("State") not in ("exited", "dead"):
                continue
            try:
                self.remove(listed["Id"])
            except DockerError:
                # Its own watchdog was faster.
                continue
            found.append(str(listed["Names"][0]).lstrip("/"))
        return found

    def create(self, name: str, definition: Mapping[str, Any]) -> str:
        """Create a container without starting it, and return its id."""
        answer = self._call("POST", "/containers/create", {"name": name}, dict(definition))
        return str(json.loads(answer)["Id"])

    def start(self, container: str) -> None:
        """Start a container."""
        self._call("POST", f"/containers/{container}/start")

    def unpause(self, container: str) -> None:
        """Let a paused container go on."""
        self._call("POST", f"/containers/{container}/unpause")

    def prune_build_cache(self) -> int:
        """Remove the build cache that nothing uses; return the bytes that were freed."""
        answer = self._call("POST", "/build/prune", timeout=_STOP_TIMEOUT)
        return int(json.loads(answer).get("SpaceReclaimed") or 0)

    def untag(self, name: str) -> None:
        """Take one name off an image; the last one takes the image. Never one that is in use."""
        self._call("DELETE", f"/images/{name}")

    def resolve(self, image: str, auth: Mapping[str, str] | None) -> str:
        """Return the digest that a registry has for a tag."""
        try:
            answer = self._registry_call("GET", f"/distribution/{image}/json", {}, image, auth)
        except DockerError as error:
            raise self._explained(str(error), image, auth) from error
        digest: str = json.loads(answer)["Descriptor"]["digest"]
        return digest

    def pull(self, image: str, auth: Mapping[str, str] | None) -> dict[str, Any]:
        """Pull an image by tag or digest, and return it as it lies on the server."""
        reference = _registry.parse(image)
        query = {
            "fromImage": reference.name,
            "tag": reference.digest or reference.tag or "latest",
        }
        try:
            answer = self._registry_call("POST", "/images/create", query, image, auth)
        except DockerError as error:
            raise self._explained(str(error), image, auth) from error
        error_text = _registry.stream_error(answer.decode(errors="replace").splitlines())
        if error_text:
            raise self._explained(error_text, image, auth)
        found = self.image(image)
        if found is None:
            raise _registry.RegistryError(
                f"{image} was pulled and is not on {self.host}; something removes images at the "
                "same time. Run again when it has ended."
            )
        return found

    def _explained(
        self, error: str, image: str, auth: Mapping[str, str] | None
    ) -> _registry.RegistryError:
        username = auth["username"] if auth else ""
        return _registry.RegistryError(_registry.explain(error, image, username, self.host))

    def _registry_call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        image: str,
        auth: Mapping[str, str] | None,
    ) -> bytes:
        """Call the engine with a login for a registry in the header of the request."""
        login = dict(auth) if auth else stored_login(_registry.parse(image).registry)
        header = base64.urlsafe_b64encode(json.dumps(login).encode()).decode()
        target = quote(path) + (f"?{urlencode(query)}" if query else "")
        connection = _SocketConnection(self.path, _PULL_TIMEOUT)
        try:
            connection.request(method, target, headers={"X-Registry-Auth": header})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise DockerError(
                f"The Docker engine did not finish the request for {image} "
                f"({error or type(error).__name__}); see: journalctl -u docker."
            ) from error
        finally:
            connection.close()
        if answer.status >= 400:
            try:
                message = str(json.loads(content)["message"])
            except (ValueError, KeyError, TypeError):
                message = f"the engine answered {answer.status}"
            raise DockerError(message)
        return content


def stored_login(registry: str) -> dict[str, str]:
    """Return the login that the user of the server has stored for a registry, if any."""
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as stream:
            stored = json.load(stream).get("auths") or {}
        key = _HUB_KEY if registry == _registry.DOCKER_HUB else registry
        encoded = (stored.get(key) or {}).get("auth", "")
        username, _colon, password = base64.b64decode(encoded).decode().partition(":")
    except (OSError, ValueError, AttributeError):
        return {}
    return {"username": username, "password": password} if username else {}
