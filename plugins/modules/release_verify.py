#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove that a release is what answers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_verify
short_description: Prove that a release is what answers
version_added: 0.1.0
description:
  - Compares the image that each container runs with the released one, asks the service directly,
    and asks it through the proxy; where the service tells its version, it has to be the released
    one on both ways.
  - Asks until everything was right several times in a row, or until the deadline. It does not fail
    when it was not; the caller decides.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
  - carrental.ops._operation.read_only
options:
  project:
    description: Name of the compose project.
    type: str
    required: true
  version:
    description: Version that the services have to answer with.
    type: str
    required: true
  images:
    description: The released images, as M(carrental.ops.release_pull) returns them.
    type: dict
    required: true
  services:
    description: The table of services, as the role C(stack) holds it.
    type: dict
    required: true
  domain:
    description: Name under which customers reach the proxy. Empty means its address.
    type: str
    default: ""
  timeout:
    description: Seconds until the release has to answer.
    type: int
    default: 60
  consecutive:
    description: How often everything has to be right in a row.
    type: int
    default: 3
  interval:
    description: Seconds between two looks.
    type: float
    default: 1.0
  log_lines:
    description: How many of its last lines are returned of each container when it did not pass.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Prove the release
  carrental.ops.release_verify:
    project: carrental
    version: 2e2e585eb17bf081e2aeb370d6bab51cafc30108
    images: "{{ pulled.images }}"
    services: "{{ carrental_services_enabled }}"
  register: proof
  failed_when: not proof.passed
"""

RETURN = r"""
passed:
  description: Whether everything was right often enough.
  returned: success
  type: bool
  sample: true
problems:
  description: What was wrong at the last look that was not right.
  returned: success
  type: list
  elements: str
  sample: ["api through nginx: https://172.19.0.3:443/api/v1/health answers 502"]
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 2.1
polls:
  description: How often it looked.
  returned: success
  type: int
  sample: 3
containers:
  description: >-
    The containers of the released services. C(log) holds the last lines when the
    release did not pass, without the secrets of the container's environment.
  returned: success
  type: list
  elements: dict
  sample: [{"service": "api", "status": "running", "health": "unhealthy", "log": ["listening"]}]
report:
  description: RV(containers) as lines for an operator.
  returned: success
  type: list
  elements: str
  sample: ["api: running, unhealthy; image ghcr.io/example/backend", "api | listening"]
msg:
  description: The outcome in one sentence.
  returned: success
  type: str
  sample: The release answers, directly and through nginx.
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _environment_masking,
    _operation,
    _operation_module,
    _service_table,
    _verification,
)


def sentence(outcome: _verification.Outcome, proxy: _verification.Proxy | None) -> str:
    """Return the outcome in words."""
    if outcome.passed:
        way = f"directly and through {proxy.service}" if proxy else "directly"
        return f"The release answers, {way}."
    return (
        f"The release did not answer within {outcome.seconds:g} s: {'; '.join(outcome.problems)}."
    )


def look_at(engine: _engine.Engine, params: dict[str, Any], logs: bool) -> list[dict[str, Any]]:
    """Return the containers of the released services, with their last lines where it helps."""
    found = []
    for container in engine.services(params["project"]):
        if container.service in params["images"]:
            masker = _environment_masking.container_masker(container.environment, params["project"])
            lines = engine.log(container, params["log_lines"]) if logs else []
            shown = _verification.shown(container, [masker.text(line) for line in lines])
            found.append(shown)
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "images": {"type": "dict", "required": True},
            "services": {"type": "dict", "required": True},
            "domain": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 60},
            "consecutive": {"type": "int", "default": 3},
            "interval": {"type": "float", "default": 1.0},
            "log_lines": {"type": "int", "default": 20},
            **_operation_module.OPERATION_OPTIONS,
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params = run.params
    table = params["services"]
    described = _service_table.by_alias(table)
    targets = [
        _verification.target(name, image["image_id"], described.get(name, {}))
        for name, image in params["images"].items()
    ]
    proxy = _service_table.front(table, params["domain"])
    try:
        # It changes nothing, but others must see that the operation goes on.
        with run.operation("release_verify", changes=False) as operation:
            operation.step("verify")
            engine = _engine.Engine()
            outcome = _verification.poll(
                lambda: _verification.problems(
                    engine.services(params["project"]), targets, proxy, params["version"]
                ),
                deadline=params["timeout"],
                consecutive=params["consecutive"],
                interval=params["interval"],
            )
            containers = look_at(engine, params, logs=not outcome.passed)
    except (_docker.DockerError, _operation.OperationError) as error:
        run.fail(str(error))
    run.exit(
        {
            "changed": False,
            "passed": outcome.passed,
            "problems": outcome.problems,
            "seconds": outcome.seconds,
            "polls": outcome.polls,
            "containers": containers,
            "report": _verification.report(containers),
            "msg": sentence(outcome, proxy),
        }
    )


if __name__ == "__main__":
    main()
