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
  - carrental.ops._operation
  - carrental.ops._compose_project
attributes:
  check_mode:
    support: full
    details: [In check mode compose says what it would do.]
  diff_mode:
    support: none
  idempotent:
    support: full
options:
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
  table:
    description:
      - The services of the stack by name, as role P(carrental.ops.stack#role) describes them in
        C(carrental_services_enabled).
      - With it, while something is replaced that others stand on (a proxy, or what holds data),
        requests through the proxy measure how long customers are not served; and what holds data
        gets O(stop_timeout) to end. A PostgreSQL writes a checkpoint before, so that it ends and
        starts fast.
    type: dict
    default: {}
  domain:
    description: Domain of the stack, in whose name the proxy is asked.
    type: str
    default: ""
  stop_timeout:
    description: Seconds that what holds data may take to end before it is killed.
    type: int
    default: 300
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
measured:
  description:
    - What requests through the proxy saw meanwhile, by service with a C(proxy_path); see
      M(carrental.ops.compose_rollout). Empty where nothing was replaced.
  returned: when it did not fail
  type: dict
  sample:
    api while postgres was replaced:
      {requests: 60, failed: 12, longest_s: 1.4, total_s: 1.4, first_failure: it answers 503}
lines:
  description: The same in words.
  returned: when it did not fail
  type: list
  elements: str
  sample:
    - >-
      api while postgres was replaced: 60 requests through the proxy, 12 failed, longest outage
      1.4 s (it answers 503)
"""

from contextlib import ExitStack
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _arguments,
    _compose,
    _docker,
    _engine,
    _gap,
    _operation,
    _operation_module,
    _plan,
    _standing,
)

# What compose needs beside waiting: stopping what it replaces, with its grace period.
_MARGIN = 300


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.COMPOSE_PROJECT,
            "services": {"type": "list", "elements": "str", "required": True},
            "dependencies": {"type": "bool", "default": True},
            "recreate": {"type": "str", "choices": ["auto", "never"], "default": "auto"},
            "wait_timeout": {"type": "int", "default": 120},
            "table": {"type": "dict", "default": {}},
            "domain": {"type": "str", "default": ""},
            "stop_timeout": {"type": "int", "default": 300},
            **_operation_module.OPERATION_OPTIONS,
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params: dict[str, Any] = run.params
    if not params["services"]:
        run.fail("services is empty; name the services to bring up. Nothing was changed.")
    project = _compose.Project(params["project_src"], params["project"], tuple(params["files"]))
    actions: list[str] = []
    probers: dict[str, _gap.Prober] = {}
    try:
        engine = _engine.Engine()
        standing = _standing.look(
            engine, params["project"], params["table"], params["services"], params["domain"]
        )
        with run.operation("compose_up") as operation, ExitStack() as probing:
            before = engine.services(params["project"])
            for database in standing.databases if not module.check_mode else ():
                operation.step(f"checkpoint {database.name}")
                _standing.checkpoint(engine, database)
            operation.step(f"up {', '.join(params['services'])}", recreate=params["recreate"])
            for name, ask in standing.ways_in.items() if not module.check_mode else ():
                probers[name] = probing.enter_context(_gap.Prober(ask))
            stop = params["stop_timeout"] if standing.holds_data else 0
            done = project.up(
                params["services"],
                dependencies=params["dependencies"],
                recreate=params["recreate"] == "auto",
                wait_timeout=params["wait_timeout"],
                dry_run=module.check_mode,
                timeout=params["wait_timeout"] + _MARGIN + stop,
                stop_timeout=stop,
            )
            standing.wait(params["wait_timeout"] if probers and done.rc == 0 else 0)
            if module.check_mode:
                actions = _compose.dry_run_actions(done.stderr)
            else:
                actions = _plan.happened(before, engine.services(params["project"]))
    except (_compose.ComposeError, _docker.DockerError, _operation.OperationError) as error:
        run.fail(str(error))
    if done.rc != 0:
        names = ", ".join(params["services"])
        run.fail(
            f"{names} did not come up: {_compose.up_error(done.stderr)}",
            changed=bool(actions),
            actions=actions,
        )
    # Where nothing was replaced there is nothing to tell.
    told = {
        f"{name} while {', '.join(params['services'])} was replaced": one.measured
        for name, one in probers.items()
        if actions
    }
    run.exit(
        {
            "changed": bool(actions),
            "actions": actions,
            "measured": {name: one.as_dict() for name, one in told.items()},
            "lines": [_gap.sentence(name, one) for name, one in told.items()],
        }
    )


if __name__ == "__main__":
    main()
