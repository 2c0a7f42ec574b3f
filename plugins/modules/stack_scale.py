#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give services of a stack other limits and other numbers of containers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_scale
short_description: Give services of a stack other limits and other numbers of containers
version_added: 0.1.0
description:
  - Writes limits and replicas into C(compose.release.yml), the last file of every compose call. The
    compose files of the stack stay as they are, also with a C(container_name). Deploys and
    rollbacks keep what is written.
  - Stateless services are switched without a gap, as M(carrental.ops.compose_rollout) does it. With
    more or fewer replicas too, and what is removed is drained before.
  - Limits of all others are changed while they run. Compose would then replace their containers with
    the next C(up), which RV(pending) and M(carrental.ops.stack_health) say; with O(recreate) that
    happens now, announced and measured.
  - Refused is what does not fit. Limits of all services against the memory of the server, a limit
    below what a container uses, and connections of the replicas against C(max_connections).
  - When something fails after the first change, the sizes from before are put back.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine with Compose 2.24 or later on the server.
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
  - carrental.ops._compose_project
  - carrental.ops._rollout
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state_dir:
    required: true
  files:
    description: Compose files in the order of C(-f), without C(compose.release.yml).
  table:
    description: The services of the stack, as C(carrental_services) describes them.
    type: dict
    required: true
  limits:
    description:
      - Limits by service, with the keys C(memory), C(cpus) and C(shm_size). What is not given stays.
    type: dict
    default: {}
  replicas:
    description: Number of containers by stateless service.
    type: dict
    default: {}
  recreate:
    description: Services that are not stateless and whose containers may be replaced now.
    type: list
    elements: str
    default: []
  database_service:
    description: The service of the database, whose connections are counted.
    type: str
    default: postgres
  database:
    description: Database to log in to for that.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Run the API three times
  carrental.ops.stack_scale:
    state_dir: /opt/carrental/.ops
    project_src: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml, docker-compose.monitoring.yml]
    table: "{{ carrental_services_enabled }}"
    database: carrental
    replicas:
      api: 3

- name: Give PostgreSQL more memory while it runs
  carrental.ops.stack_scale:
    state_dir: /opt/carrental/.ops
    project_src: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml, docker-compose.monitoring.yml]
    table: "{{ carrental_services_enabled }}"
    database: carrental
    limits:
      postgres: {memory: 1G, cpus: '1.5'}
"""

RETURN = r"""
actions:
  description: What was done, in words.
  returned: success
  type: list
  elements: str
  sample: [wrote compose.release.yml, "limited postgres: memory 1024 MB, cpus 1.5"]
sizes:
  description: What differs from the compose files, by service.
  returned: success
  type: dict
  sample: {api: replicas 3}
pending:
  description: Services whose containers compose would replace with the next C(up).
  returned: success
  type: list
  elements: str
  sample: [postgres]
notes:
  description: What an operator should know, with whom the kernel killed for want of memory.
  returned: success
  type: list
  elements: str
  sample: ["api: 212 requests through the proxy, 0 failed"]
measured:
  description: What requests met meanwhile, by service, as of M(carrental.ops.compose_rollout).
  returned: success
  type: dict
  sample: {}
undone:
  description: Whether the sizes from before are in force again.
  returned: failure, when something had been changed
  type: bool
  sample: true
report:
  description: The containers that failed, with the last lines that they printed.
  returned: failure, when something had been changed
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _arguments,
    _compose,
    _docker,
    _engine,
    _operation,
    _operation_module,
    _proxy,
    _rollout_run,
    _scaling,
    _scaling_run,
    _services,
    _sizes,
)

_EXPECTED = (
    _compose.ComposeError,
    _docker.DockerError,
    _operation.OperationError,
    _proxy.ProxyError,
    _rollout_run.RolloutError,
    _scaling.ScalingError,
    _services.InputError,
    _sizes.SizeError,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.COMPOSE_PROJECT,
            **_arguments.ROLLOUT,
            **_operation_module.OPERATION_OPTIONS,
            "state_dir": {"type": "path", "required": True},
            "table": {"type": "dict", "required": True},
            "limits": {"type": "dict", "default": {}},
            "replicas": {"type": "dict", "default": {}},
            "recreate": {"type": "list", "elements": "str", "default": []},
            "database_service": {"type": "str", "default": "postgres"},
            "database": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    result: dict[str, Any] = {}
    scaling: _scaling_run.Scaling | None = None
    try:
        with run.operation("scale") as operation:
            engine = _engine.Engine()
            with _scaling_run.Scaling(engine, run.params) as scaling:
                for one in scaling.containers:
                    run.masker.add_environment(one.environment)
                scaling.step = operation.step
                result = scaling.foreseen() if module.check_mode else scaling.perform()
    except _scaling_run.ScalingFailedError as error:
        run.fail(str(error), undone=error.undone, report=error.report)
    except _EXPECTED as error:
        said = str(error).removesuffix("Nothing was changed.").strip().rstrip(".")
        done = scaling.actions if scaling else []
        run.fail(
            f"{said}. {'Done by then: ' + '; '.join(done) if done else 'Nothing was changed'}."
        )
    run.exit(result)


if __name__ == "__main__":
    main()
