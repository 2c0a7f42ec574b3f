#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show customers a page while services have to be away."""

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance
short_description: Show customers a page while services have to be away
version_added: 0.1.0
description:
  - Leads the proxy (an nginx in a container) to a small responder that answers 503 with a page, and
    stops the services. The responder is made from the image of the proxy; nothing is pulled, and
    neither the compose files nor the configuration of the proxy are changed.
  - M(carrental.ops.compose_rollout) starts the services again and leads the proxy back to them.
    Afterwards O(state=ended) removes the responder.
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
    support: full
options:
  state:
    description: >-
      V(begun) shows the page and stops the services. V(ended) removes the responder, unless a
      proxy still leads to it.
    type: str
    choices: [begun, ended]
    default: begun
  project:
    description: Name of the compose project.
    type: str
    required: true
  services:
    description: Services to stop, as compose calls them.
    type: list
    elements: str
    default: []
  table:
    description: The services of the stack, as C(carrental_services) describes them.
    type: dict
    required: true
  page:
    description: What customers read.
    type: str
    default: We are working on the service and will be back in a few minutes.
  retry_after:
    description: Seconds after which clients may come again.
    type: int
    default: 120
  drain_timeout:
    description: Seconds for requests that are under way to end before the services stop.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Show the page
  carrental.ops.maintenance:
    project: carrental
    services: [api, web]
    table: "{{ carrental_services_enabled }}"
"""

RETURN = r"""
actions:
  description: What was done, in words.
  returned: success
  type: list
  elements: str
  sample: [led nginx to carrental-maintenance, stopped api]
notes:
  description: What an operator should know.
  returned: success
  type: list
  elements: str
  sample: []
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _maintenance,
    _operation,
    _operation_module,
    _proxy,
    _service_table,
    _switch,
)

_POLL = 0.3


def begin(engine: _engine.Engine, params: dict[str, Any], step: Any) -> dict[str, Any]:
    """Show the page, let requests end, stop the services."""
    project = params["project"]
    described = _service_table.by_alias(params["table"])
    containers = [one for one in engine.services(project) if one.service in params["services"]]
    names: dict[str, list[str]] = {}
    for one in containers:
        names.setdefault(one.service, [])
        names[one.service] += _proxy.names_of(one)
    proxies = _switch.proxies_of(engine, project, _service_table.front(params["table"], ""))
    flat = sorted({name for own in names.values() for name in own})
    fit, reasons = _switch.fit(proxies, flat) if flat else ([], [])
    actions: list[str] = []
    notes = [f"no page: {reason}" for reason in reasons]
    if fit and containers:
        step("maintenance: begin", services=list(names))
        ports = [int(described.get(name, {}).get("port") or 80) for name in names]
        # A proxy may lead to another port than the one that is probed.
        ports += [port for one in containers for port in one.exposed]
        responder = _maintenance.begin(
            engine, project, fit, names, ports, params["page"], params["retry_after"]
        )
        actions.append(f"led {', '.join(one.name for one in fit)} to {responder.name}")
        deadline = time.monotonic() + params["drain_timeout"]
        while any(one.workers().finishing for one in fit) and time.monotonic() < deadline:
            time.sleep(_POLL)
    for one in containers:
        if one.running:
            step(f"maintenance: stop {one.name}")
            engine.stop(one.id)
            actions.append(f"stopped {one.name}")
    for one in engine.beside(project):
        if one.labels[_engine.SURGE] in params["services"]:
            engine.remove(one.id)
            actions.append(f"removed {one.name}")
    return {"changed": bool(actions), "actions": actions, "notes": notes}


def end(engine: _engine.Engine, params: dict[str, Any], step: Any) -> dict[str, Any]:
    """Remove the responder."""
    project = params["project"]
    before = _maintenance.responders(engine, project)
    if not before:
        return {"changed": False, "actions": [], "notes": []}
    proxies = _switch.proxies_of(engine, project, _service_table.front(params["table"], ""))
    step("maintenance: end")
    notes = _maintenance.end(engine, project, proxies)
    after = {one.id for one in _maintenance.responders(engine, project)}
    actions = [f"removed {one.name}" for one in before if one.id not in after]
    return {"changed": bool(actions), "actions": actions, "notes": notes}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["begun", "ended"], "default": "begun"},
            "project": {"type": "str", "required": True},
            "services": {"type": "list", "elements": "str", "default": []},
            "table": {"type": "dict", "required": True},
            "page": {
                "type": "str",
                "default": "We are working on the service and will be back in a few minutes.",
            },
            "retry_after": {"type": "int", "default": 120},
            "drain_timeout": {"type": "int", "default": 60},
            **_operation_module.OPERATION_OPTIONS,
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    try:
        engine = _engine.Engine()
        if module.check_mode:
            there = bool(_maintenance.responders(engine, run.params["project"]))
            changed = there if run.params["state"] == "ended" else not there
            run.exit({"changed": changed, "actions": [], "notes": []})
        with run.operation("maintenance") as operation:
            work = begin if run.params["state"] == "begun" else end
            result = work(engine, run.params, operation.step)
    except (
        _docker.DockerError,
        _maintenance.MaintenanceError,
        _operation.OperationError,
        _proxy.ProxyError,
    ) as error:
        run.fail(str(error))
    run.exit(result)


if __name__ == "__main__":
    main()
