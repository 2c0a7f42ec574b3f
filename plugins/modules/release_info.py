#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what was released, and what runs beside it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: Tell what was released, and what runs beside it
version_added: 0.1.0
description:
  - Reads the records of releases and compares the current one, the newest that passed, with the
    containers that run.
  - It returns empty values where nothing was released yet.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
options:
  state_dir:
    description: Directory of what the operations remember.
    type: path
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  limit:
    description: How many releases RV(releases) holds, newest first.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: What runs here?
  carrental.ops.release_info:
    state_dir: /opt/carrental/.ops
    project: carrental
  register: info

- name: Show it
  ansible.builtin.debug:
    msg: "{{ info.current.version }} since {{ info.current.finished_at }}"
  when: info.exists
"""

RETURN = r"""
exists:
  description: Whether a release has ever passed.
  returned: success
  type: bool
  sample: true
current:
  description: The newest release that passed. Empty where there is none.
  returned: success
  type: dict
previous:
  description: >-
    The newest good release before it that had another version. Empty where there is none.
  returned: success
  type: dict
releases:
  description: All releases, also those that did not pass, newest first.
  returned: success
  type: list
  elements: dict
  sample: [{"id": "20261123T215350Z-2e2e585", "verdict": "ok", "version": "2e2e585eb17b"}]
outside:
  description: Services that do not run what the current release recorded.
  returned: success
  type: list
  elements: dict
  sample: [{"service": "api", "running": "sha256:1b4f0e98", "recorded": "sha256:9f86d081"}]
containers:
  description: How many containers the project has, running or not.
  returned: success
  type: int
  sample: 12
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _operation_module,
    _releases,
)

_SHOWN = ("id", "verdict", "version", "started_at", "finished_at", "who", "origin")


def outside(
    current: _releases.Release | None, containers: list[_docker.Container]
) -> list[dict[str, str]]:
    """Return the services that do not run what was recorded."""
    found: list[dict[str, str]] = []
    recorded = current["services"] if current else {}
    running: dict[str, str] = {}
    for one in containers:
        running[one.service] = one.image_id if one.running else ""
    for service, image in recorded.items():
        if running.get(service, "") != image["image_id"]:
            found.append(
                {
                    "service": service,
                    "running": running.get(service, ""),
                    "recorded": image["image_id"],
                }
            )
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "required": True},
            "project": {"type": "str", "required": True},
            "limit": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    try:
        releases = _releases.load(run.params["state_dir"])
        containers = _engine.Engine().services(run.params["project"])
    except (_docker.DockerError, _releases.ReleaseError) as error:
        run.fail(str(error))
    good = _releases.good(releases)
    current = good[0] if good else None
    previous = next((one for one in good if current and one["version"] != current["version"]), None)
    result: dict[str, Any] = {
        "changed": False,
        "exists": current is not None,
        "current": current or {},
        "previous": previous or {},
        "releases": [
            {key: one.get(key) for key in _SHOWN} for one in releases[: run.params["limit"]]
        ],
        "outside": outside(current, containers),
        "containers": len(containers),
    }
    run.exit(result)


if __name__ == "__main__":
    main()
