# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The Docker engine of the server, for operations: images and the containers of a project."""

from __future__ import annotations

import getpass
import os
import socket
import traceback
from collections.abc import Mapping
from typing import Any

from . import _plan, _registry

DOCKER_IMPORT_ERROR: str | None = None
try:
    import docker
    import docker.errors
    import docker.utils
except ImportError:
    DOCKER_IMPORT_ERROR = traceback.format_exc()


class EngineError(Exception):
    """What the engine could not do, as a whole sentence."""


class Engine:
    """The engine that ``docker`` on this server would use."""

    def __init__(self, timeout: int = 60) -> None:
        where = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self.host = socket.gethostname()
        try:
            self.api: Any = docker.APIClient(
                version="auto", timeout=timeout, **docker.utils.kwargs_from_env()
            )
            self.info: dict[str, Any] = self.api.info()
        except docker.errors.DockerException as error:
            reason = str(error)
            if "Permission denied" in reason:
                raise EngineError(
                    f"The user {getpass.getuser()} may not use the Docker engine at {where}; "
                    "add it to the group docker (playbooks/bootstrap.yml does) and log in again."
                ) from error
            raise EngineError(
                f"The Docker engine does not answer at {where} ({reason}); start it, or run "
                "playbooks/bootstrap.yml on a new server."
            ) from error

    def containers(self, project: str) -> list[_plan.Container]:
        """Return the containers of the services of a project, running or not."""
        label = f"com.docker.compose.project={project}"
        found = []
        for listed in self.api.containers(all=True, filters={"label": label}):
            try:
                shown = _plan.container(self.api.inspect_container(listed["Id"]))
            except docker.errors.NotFound:
                # It went away between the two questions.
                continue
            if shown:
                found.append(shown)
        return found

    def image(self, name: str) -> dict[str, Any] | None:
        """Return a local image."""
        try:
            found: dict[str, Any] = self.api.inspect_image(name)
        except docker.errors.ImageNotFound:
            return None
        except docker.errors.APIError as error:
            raise EngineError(f"Cannot look at the image {name}: {error.explanation}.") from error
        return found

    def resolve(self, image: str, auth: Mapping[str, str] | None) -> str:
        """Return the digest that a registry has for a tag."""
        try:
            answer = self.api.inspect_distribution(image, auth_config=dict(auth) if auth else None)
        except docker.errors.APIError as error:
            raise self._registry_error(str(error.explanation or error), image, auth) from error
        digest: str = answer["Descriptor"]["digest"]
        return digest

    def pull(self, image: str, auth: Mapping[str, str] | None) -> dict[str, Any]:
        """Pull an image by tag or digest, and return it as it lies on the server."""
        reference = _registry.parse(image)
        try:
            events = self.api.pull(
                reference.name,
                tag=reference.digest or reference.tag or "latest",
                stream=True,
                decode=True,
                auth_config=dict(auth) if auth else None,
            )
            error = _registry.stream_error(events)
        except docker.errors.APIError as failure:
            error = str(failure.explanation or failure)
        if error:
            raise self._registry_error(error, image, auth)
        found = self.image(image)
        if found is None:
            raise EngineError(
                f"{image} was pulled and is not on the server; something removes images at the "
                "same time. Run again when it has ended."
            )
        return found

    def _registry_error(
        self, error: str, image: str, auth: Mapping[str, str] | None
    ) -> _registry.RegistryError:
        username = auth["username"] if auth else ""
        return _registry.RegistryError(_registry.explain(error, image, username, self.host))
