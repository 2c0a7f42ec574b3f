#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace containers of services without losing a request."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_rollout
short_description: Replace containers of services without losing a request
version_added: 0.1.0
description:
  - Brings services to what the compose files describe now, while their customers are served. The
    images have to be there.
  - A second container starts beside the old one. When it answers as the release should, the proxy
    is led to it, the requests that are under way end, and only then the service's own container is
    replaced. The proxy is led back to that, and the second container goes.
  - Neither the compose files nor the configuration of the proxy are changed for it. The proxy (an
    nginx in a container) is led by a marked line in its own C(/etc/hosts).
  - Where no proxy can be led, and for services that must not run twice, the old container ends
    before the new one starts. RV(services) says so before, and RV(measured) how long it took.
  - When something fails before a service's own container is replaced, everything is led back and
    the container that failed is stopped and kept. After that the second container goes on serving.
  - A run that was killed leaves one container that serves. The next run goes on from what it finds.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine with Compose 2.20 or later on the server.
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
  - carrental.ops._compose_project
  - carrental.ops._rollout
attributes:
  check_mode:
    support: full
    details: [In check mode RV(services) says what would be replaced, and how.]
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  services:
    description:
      - Services to bring up to date, as compose calls them. They are switched together.
      - Only services whose containers hold no data.
    type: list
    elements: str
    required: true
  table:
    description: >-
      The services of the stack, as C(carrental_services) describes them. It says where a service
      answers, which service is the proxy, and with C(overlap=false) which one must not run twice.
    type: dict
    required: true
  dependencies:
    description: >-
      Whether compose may look at what the services depend on. V(false) where it would replace a
      service that holds data and is out of date.
    type: bool
    default: true
  version:
    description: >-
      Version that the new containers have to answer as, where the table names a C(version_key).
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Switch the application to what the files describe
  carrental.ops.compose_rollout:
    project_src: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml, compose.release.yml]
    services: [api, web]
    table: "{{ carrental_services_enabled }}"
    version: 2e2e585eb17bf081e2aeb370d6bab51cafc30108
"""

RETURN = r"""
actions:
  description: What was done, in words.
  returned: always
  type: list
  elements: str
  sample: [started a second api, "led api to carrental-api-surge-1f9a3c", replaced api]
services:
  description: >-
    For each service whether it was due, whether its switch leaves a gap, and why.
  returned: always
  type: dict
  sample: {"api": {"due": true, "gap": false, "why": ""}}
found:
  description: What an interrupted switch had left, in words.
  returned: always
  type: list
  elements: str
  sample: ["carrental-api-surge-1f9a3c stands in for api"]
notes:
  description: What an operator should know about the switch.
  returned: always
  type: list
  elements: str
  sample: []
lines:
  description: RV(notes) and RV(measured) as lines for an operator.
  returned: always
  type: list
  elements: str
  sample: ["api: 212 requests through the proxy, 0 failed"]
measured:
  description: >-
    What requests through the proxy met meanwhile, by service, with C(requests), C(failed) and
    seconds in C(longest_s) and C(total_s).
  returned: always
  type: dict
  sample:
    api: {requests: 212, failed: 0, longest_s: 0.0, total_s: 0.0, first_failure: ""}
cut:
  description: How many old workers of the proxy still had connections when the drain ended.
  returned: always
  type: int
  sample: 0
step:
  description: Step that failed.
  returned: failure
  type: str
  sample: await_surge
undone:
  description: Whether what served before serves again, as before.
  returned: failure
  type: bool
  sample: true
state:
  description: What serves now, in one sentence.
  returned: failure
  type: str
  sample: api and web are served by the containers from before.
report:
  description: The containers that failed, with the last lines that they printed.
  returned: failure
  type: list
  elements: str
  sample: ["carrental-api-surge-1f9a3c: exited with exit code 1; image ghcr.io/example/backend"]
"""

from contextlib import ExitStack
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
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.COMPOSE_PROJECT,
            **_arguments.ROLLOUT,
            "services": {"type": "list", "elements": "str", "required": True},
            "table": {"type": "dict", "required": True},
            "dependencies": {"type": "bool", "default": True},
            "version": {"type": "str", "default": ""},
            **_operation_module.OPERATION_OPTIONS,
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params: dict[str, Any] = run.params
    project = _compose.Project(params["project_src"], params["project"], tuple(params["files"]))
    try:
        with ExitStack() as held:
            engine = _engine.Engine()
            rollout = _rollout_run.Rollout(engine, project, params)
            if module.check_mode:
                run.exit(rollout.foreseen())
            operation = held.enter_context(run.operation("rollout"))
            rollout.step = operation.step
            done = rollout.perform()
    except (
        _compose.ComposeError,
        _docker.DockerError,
        _operation.OperationError,
        _proxy.ProxyError,
        _rollout_run.RolloutError,
    ) as error:
        run.fail(str(error))
    if done.pop("failed"):
        run.fail(done.pop("msg"), **done)
    run.exit(done)


if __name__ == "__main__":
    main()
