#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring up named services of the stack."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_up
short_description: Bring up named services of the stack
version_added: 0.1.0
description:
  - Runs C(docker compose up) for named services, waits until they are healthy, and compares the
    containers before and after to say what changed.
  - Nothing is pulled and nothing is built; the images have to be there.
  - Unlike C(community.docker.docker_compose_v2) it returns no command lines of containers, which
    hold passwords in the field (C(redis-server --requirepass)).
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine with Compose 2.20 or later on the server.
extends_documentation_fragment:
  - carrental.ops._attributes
attributes:
  check_mode:
    support: full
    details: [In check mode compose says what it would do.]
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  project_src:
    description: Directory of the compose project on the server.
    type: path
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  files:
    description: Compose files, absolute or relative to O(project_src), in the order of C(-f).
    type: list
    elements: str
    required: true
  services:
    description: Services to bring up. At least one, for without a name compose takes all of them.
    type: list
    elements: str
    required: true
  dependencies:
    description: Whether what they depend on is brought up with them.
    type: bool
    default: true
  recreate:
    description: >-
      With V(never) containers that exist are started as they are, also where they are out of date.
    type: str
    choices: [auto, never]
    default: auto
  wait_timeout:
    description: Seconds until all of them have to run and be healthy.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Start the services that hold data
  carrental.ops.compose_up:
    project_src: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml, compose.release.yml]
    services: [postgres, redis, minio]
"""

RETURN = r"""
actions:
  description: What happened to containers, in words.
  returned: always
  type: list
  elements: str
  sample: [recreated api]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _compose,
    _docker,
    _engine,
    _operation_module,
    _plan,
)

# What compose needs beside waiting: stopping what it replaces, with its grace period.
_MARGIN = 300


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project_src": {"type": "path", "required": True},
            "project": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "str", "required": True},
            "services": {"type": "list", "elements": "str", "required": True},
            "dependencies": {"type": "bool", "default": True},
            "recreate": {"type": "str", "choices": ["auto", "never"], "default": "auto"},
            "wait_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params: dict[str, Any] = run.params
    if not params["services"]:
        run.fail("services is empty; name the services to bring up. Nothing was changed.")
    project = _compose.Project(params["project_src"], params["project"], tuple(params["files"]))
    actions: list[str] = []
    try:
        engine = _engine.Engine()
        before = engine.services(params["project"])
        done = project.up(
            params["services"],
            dependencies=params["dependencies"],
            recreate=params["recreate"] == "auto",
            wait_timeout=params["wait_timeout"],
            dry_run=module.check_mode,
            timeout=params["wait_timeout"] + _MARGIN,
        )
        if module.check_mode:
            actions = _compose.dry_run_actions(done.stderr)
        else:
            actions = _plan.happened(before, engine.services(params["project"]))
    except (_compose.ComposeError, _docker.DockerError) as error:
        run.fail(str(error))
    if done.rc != 0:
        names = ", ".join(params["services"])
        run.fail(
            f"{names} did not come up: {_compose.up_error(done.stderr)}",
            changed=bool(actions),
            actions=actions,
        )
    run.exit({"changed": bool(actions), "actions": actions})


if __name__ == "__main__":
    main()
