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

from . import _registry
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


class Engine(Docker):
    """The engine of this server, which can also fetch images."""

    def __init__(self, timeout: float = 30.0) -> None:
        where = os.environ.get("DOCKER_HOST", "")
        path = where.removeprefix("unix://") if where.startswith("unix://") else ""
        super().__init__(path or "/var/run/docker.sock", timeout)
        self.host = socket.gethostname()
        self.info: dict[str, Any] = self.get("/info")

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

    def image(self, name: str) -> dict[str, Any] | None:
        """Return a local image, or nothing."""
        try:
            found: dict[str, Any] = self.get(f"/images/{name}/json")
        except DockerError as error:
            if "No such image" in str(error) or "no such image" in str(error):
                return None
            raise
        return found

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

    def tag(self, image_id: str, name: str) -> None:
        """Give a local image one more name."""
        reference = _registry.parse(name)
        query = {"repo": reference.name, "tag": reference.tag or "latest"}
        self._call("POST", f"/images/{image_id}/tag", query)

    def remove(self, container: str) -> None:
        """Remove a container, stopping it when it runs."""
        self._call("DELETE", f"/containers/{container}", {"force": "1", "v": "1"})

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
        login = dict(auth) if auth else _stored_login(_registry.parse(image).registry)
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


def _stored_login(registry: str) -> dict[str, str]:
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
