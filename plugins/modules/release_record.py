#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write down what was released."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_record
short_description: Write down what was released
version_added: 0.1.0
description:
  - Writes the closing record of a deploy to C(releases) below O(state_dir), whole or not at all.
  - What runs is read from the engine, not taken from the caller.
  - Gives each released image the name that the compose files alone lead to, so that a plain
    C(docker compose up -d) of a colleague starts the same image instead of building one.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: N/A
    details: [Every call writes one record. Call it only for a release.]
options:
  state_dir:
    description: Directory of what operations remember, with the lock, the journals and the records.
    type: path
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  version:
    description: Version that was released, usually a git sha.
    type: str
    required: true
  git_sha:
    description: Commit that the images were built from on the server. Empty where that was not so.
    type: str
    default: ""
  verdict:
    description: How the deploy ended.
    type: str
    choices: [ok, rolled_back, failed]
    required: true
  images:
    description: The released images, as M(carrental.ops.release_pull) returns them.
    type: dict
    default: {}
  config:
    description: The configuration, as M(carrental.ops.stack_config) returns it.
    type: dict
    required: true
  migrations:
    description: The schema, as M(carrental.ops.release_migrate) returns it.
    type: dict
    default: {}
  names:
    description: Name that the compose files alone give the image of each released service.
    type: dict
    default: {}
  started_at:
    description: When the deploy began, as V(2026-11-23T21:53:50Z).
    type: str
    required: true
  who:
    description: Who deployed.
    type: str
    default: ""
  origin:
    description: From where it was deployed, for example a laptop, a job of AWX or of CI.
    type: str
    default: ""
  host:
    description: Name of the server in the inventory.
    type: str
    default: ""
  backup_id:
    description: Backup that was made before.
    type: str
  rolled_back_from:
    description: Release that was left behind, when this one is the result of a rollback.
    type: str
    default: ""
  waived:
    description: Reason by name of each check of the preflight that did not pass and was waived.
    type: dict
    default: {}
  downtime_s:
    description: Measured downtime in seconds. Without it nothing was measured.
    type: float
"""

EXAMPLES = r"""
- name: Record the release
  carrental.ops.release_record:
    state_dir: /opt/carrental/.ops
    project: carrental
    version: 2e2e585eb17bf081e2aeb370d6bab51cafc30108
    verdict: ok
    images: "{{ pulled.images }}"
    config: "{{ written.config }}"
    started_at: "2026-11-23T21:53:50Z"
"""

RETURN = r"""
id:
  description: Id of the release.
  returned: success
  type: str
  sample: 20261123T215350Z-2e2e585
path:
  description: File of the record.
  returned: success
  type: str
  sample: /opt/carrental/.ops/releases/20261123T215350Z-2e2e585.json
release:
  description: The record.
  returned: success
  type: dict
named:
  description: Names that were given to released images.
  returned: success
  type: list
  elements: str
  sample: [carrental-api]
"""

from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _operation,
    _operation_module,
    _registry,
    _releases,
)

EXPECTED = (
    _docker.DockerError,
    _operation.OperationError,
    _registry.RegistryError,
    _releases.ReleaseError,
)


def running(engine: _engine.Engine, params: dict[str, Any]) -> dict[str, _releases.ServiceImage]:
    """Return what every service of the project runs, as the engine says it."""
    found: dict[str, _releases.ServiceImage] = {}
    for container in engine.services(params["project"]):
        released = params["images"].get(container.service, {})
        name = released.get("image") or container.image
        image = engine.image(container.image_id) or {}
        digest = _registry.digest_of(image, name) if image else None
        found[container.service] = {
            "image": name,
            "digest": digest,
            "reference": f"{_registry.parse(name).name}@{digest}" if digest else name,
            "image_id": container.image_id,
        }
    return dict(sorted(found.items()))


def name_images(engine: _engine.Engine, params: dict[str, Any], write: bool) -> list[str]:
    """Give the released images the names that the compose files alone lead to."""
    given = []
    for service, name in sorted(params["names"].items()):
        released = params["images"].get(service)
        if released is None or "@" in name:
            continue
        present = engine.image(name)
        if present is None or present["Id"] != released["image_id"]:
            given.append(name)
            if write:
                engine.tag(released["image_id"], name)
    return given


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_operation_module.OPERATION_OPTIONS,
            "state_dir": {"type": "path", "required": True},
            "project": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "git_sha": {"type": "str", "default": ""},
            "verdict": {
                "type": "str",
                "required": True,
                "choices": ["ok", "rolled_back", "failed"],
            },
            "images": {"type": "dict", "default": {}},
            "config": {"type": "dict", "required": True},
            "migrations": {"type": "dict", "default": {}},
            "names": {"type": "dict", "default": {}},
            "started_at": {"type": "str", "required": True},
            "who": {"type": "str", "default": ""},
            "origin": {"type": "str", "default": ""},
            "host": {"type": "str", "default": ""},
            "backup_id": {"type": "str"},
            "rolled_back_from": {"type": "str", "default": ""},
            "waived": {"type": "dict", "default": {}},
            "downtime_s": {"type": "float"},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params = run.params
    now = datetime.now(timezone.utc)
    try:
        with run.operation("release_record") as operation:
            engine = _engine.Engine()
            release: _releases.Release = {
                "schema": _releases.SCHEMA,
                "id": _releases.make_id(params["version"], now),
                "verdict": params["verdict"],
                "started_at": params["started_at"],
                "finished_at": _releases.utc(now),
                "who": params["who"],
                "origin": params["origin"],
                "host": params["host"],
                "version": params["version"],
                "git_sha": params["git_sha"],
                "services": running(engine, params),
                "config": params["config"],
                "migrations": {
                    "head": params["migrations"].get("head"),
                    "applied": params["migrations"].get("applied", []),
                },
                "backup_id": params["backup_id"],
                "downtime_s": params["downtime_s"],
                "rolled_back_from": params["rolled_back_from"],
                "waived": {name: str(why) for name, why in params["waived"].items()},
                "names": {name: str(image) for name, image in params["names"].items()},
            }
            operation.step("record", release=release["id"], verdict=release["verdict"])
            named = name_images(engine, params, write=not module.check_mode)
            path = f"{_releases.directory(params['state_dir'])}/{release['id']}.json"
            if not module.check_mode:
                path = _releases.write(params["state_dir"], release)
    except EXPECTED as error:
        run.fail(str(error))
    result = {"id": release["id"], "path": path, "release": release, "named": named}
    run.exit({"changed": True, **result})


if __name__ == "__main__":
    main()
