#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the images of a release to the server, by digest."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_pull
short_description: Bring the images of a release to the server, by digest
version_added: 0.1.0
description:
  - Asks the registry which digest the tag of each released service stands for, and pulls exactly
    that. All are resolved before the first is pulled.
  - Images of the other services are pulled where they are missing, and never renewed.
  - The login goes to the engine with each request. There is no C(docker login), so nothing has to
    be removed afterwards, and C(~/.docker) is not touched. Without O(registry_username) the login
    that the user of the server already has is used.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine on the server.
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
attributes:
  check_mode:
    support: full
    details: [In check mode the registry is asked for real and nothing is pulled.]
  diff_mode:
    support: full
    details: [Shows the image of each service that has to be pulled.]
  idempotent:
    support: full
options:
  released:
    description: Repository of the image of each released service, without a tag.
    type: dict
    required: true
  version:
    description: Tag of the release in each of these repositories, usually a git sha.
    type: str
    required: true
  digests:
    description:
      - Digest of the image of a released service, as a record of a release has it. The tag is not
        asked then, for it may have been moved since.
    type: dict
    default: {}
  services:
    description: >-
      All services of the stack, as M(carrental.ops.stack_config) returns them; of each the keys
      C(plain_image) and C(built) are read.
    type: dict
    default: {}
  registry_username:
    description: User of the registries of O(released). No other registry gets the login.
    type: str
    default: ""
  registry_password:
    description:
      - Password or token of that user.
      - It is a value and not the path of a file, because a file would have to be put on the server
        first. As an argument it travels on the standard input of the module (with pipelining) and
        never lies on a disk.
    type: str
    default: ""
  min_free_mb:
    description: Space that has to be free where Docker keeps its images, before anything is pulled.
    type: int
    default: 1024
"""

EXAMPLES = r"""
- name: Pull the images of a release
  carrental.ops.release_pull:
    released:
      api: ghcr.io/example/backend
      web: ghcr.io/example/frontend
    version: 2e2e585eb17bf081e2aeb370d6bab51cafc30108
    registry_username: deployer
    registry_password: "{{ vault_registry_password }}"
  register: pulled
"""

RETURN = r"""
images:
  description: >-
    The image of each released service. In check mode C(image_id) is empty for one that
    is not on the server yet.
  returned: success
  type: dict
  sample:
    api:
      image: ghcr.io/example/backend:2e2e585eb17bf081e2aeb370d6bab51cafc30108
      digest: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      reference: ghcr.io/example/backend@sha256:9f86d081884c7d65
      image_id: sha256:1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014
      pulled: true
others:
  description: Images of other services that were missing and were pulled.
  returned: success
  type: list
  elements: str
  sample: ["postgres:16"]
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _operation,
    _operation_module,
    _registry,
)


class Puller:
    """What is needed to resolve and pull, and what came of it."""

    def __init__(self, engine: _engine.Engine, params: dict[str, Any]) -> None:
        self.engine = engine
        self.released = {
            name: _registry.released_name(str(repository), params["version"])
            for name, repository in params["released"].items()
        }
        self.username = params["registry_username"]
        self.password = params["registry_password"]
        self.registries = [_registry.parse(image).registry for image in self.released.values()]
        self.services: dict[str, Any] = params["services"]
        self.digests: dict[str, Any] = params["digests"]

    def auth(self, image: str) -> dict[str, str] | None:
        """Return the login for an image."""
        return _registry.authentication(image, self.username, self.password, self.registries)

    def resolve(self) -> dict[str, dict[str, Any]]:
        """Return the image of each released service, or every reason why one cannot be had."""
        found: dict[str, dict[str, Any]] = {}
        errors: list[str] = []
        for name, image in self.released.items():
            repository = _registry.parse(image).name
            known = self.digests.get(name)
            asked = f"{repository}@{known}" if known else image
            try:
                digest = self.engine.resolve(asked, self.auth(asked))
            except _registry.RegistryError as error:
                if str(error) not in errors:
                    errors.append(str(error))
                continue
            reference = f"{repository}@{digest}"
            local = self.engine.image(reference)
            found[name] = {
                "image": image,
                "digest": digest,
                "reference": reference,
                "image_id": str(local["Id"]) if local else "",
                "pulled": local is None,
            }
        if errors:
            raise _registry.RegistryError(" ".join(errors))
        return found

    def missing(self) -> list[str]:
        """Return the images of other services that are not on the server."""
        found: list[str] = []
        unbuilt: list[str] = []
        for name, service in self.services.items():
            image = service["plain_image"]
            if name in self.released or self.engine.image(image) is not None:
                continue
            if service.get("built"):
                unbuilt.append(name)
            elif image not in found:
                found.append(image)
        if unbuilt:
            raise _registry.RegistryError(
                f"{', '.join(unbuilt)} would have to be built on the server, which a deploy never "
                "does; name the repository in carrental_images, or build the image first."
            )
        return found

    def pull(self, image: str) -> str:
        """Pull an image, verify that this server can run it, and return its id."""
        local = self.engine.pull(image, self.auth(image))
        wanted = self.engine.architecture
        if local.get("Architecture") not in (None, "", wanted):
            raise _registry.RegistryError(
                f"{image} is built for {local['Architecture']}, and {self.engine.host} has "
                f"{wanted}; push an image for both."
            )
        return str(local["Id"])


def diff(images: Mapping[str, Mapping[str, Any]], others: list[str]) -> dict[str, str]:
    """Return what will be new on the server."""
    new = [f"{name}: {one['reference']}\n" for name, one in images.items() if one["pulled"]]
    header = "images on the server"
    return {
        "before_header": header,
        "after_header": header,
        "before": "",
        "after": "".join(new) + "".join(f"{image}\n" for image in others),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "released": {"type": "dict", "required": True},
            "version": {"type": "str", "required": True},
            "digests": {"type": "dict", "default": {}},
            "services": {"type": "dict", "default": {}},
            "registry_username": {"type": "str", "default": ""},
            "registry_password": {"type": "str", "default": "", "no_log": True},
            "min_free_mb": {"type": "int", "default": 1024},
            **_operation_module.OPERATION_OPTIONS,
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    try:
        puller = Puller(_engine.Engine(), run.params)
        images = puller.resolve()
        others = puller.missing()
        wanted = [one for one in images.values() if one["pulled"]]
        if wanted or others:
            puller.engine.require_space(run.params["min_free_mb"])
        if not module.check_mode:
            with run.operation("release_pull", changes=bool(wanted or others)) as operation:
                for one in wanted:
                    operation.step("pull", image=one["reference"])
                    one["image_id"] = puller.pull(one["reference"])
                for image in others:
                    operation.step("pull", image=image)
                    puller.pull(image)
    except (_docker.DockerError, _operation.OperationError, _registry.RegistryError) as error:
        run.fail(str(error))
    result: dict[str, Any] = {"changed": bool(wanted or others), "images": images, "others": others}
    if module._diff:
        result["diff"] = diff(images, others)
    run.exit(result)


if __name__ == "__main__":
    main()
