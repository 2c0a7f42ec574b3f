#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell how full a server is, and which alerts fire."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_overview
short_description: Tell how full a server is, and which alerts fire
version_added: 0.1.0
description:
  - Adds up what the containers of a stack were promised of the memory of the server, and asks
    Alertmanager what fires that nobody silenced.
  - What cannot be known is said in RV(errors); the rest is told all the same.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
options:
  projects:
    description: Names of the compose projects, the stack itself first.
    type: list
    elements: str
    required: true
  service:
    description: Service of the Alertmanager, in any of O(projects).
    type: str
    default: alertmanager
  port:
    description: Port of the Alertmanager.
    type: int
    default: 9093
"""

EXAMPLES = r"""
- name: Look how full the server is
  carrental.ops.stack_overview:
    projects: [carrental]
  register: overview

- name: Refuse to start another container
  ansible.builtin.assert:
    that: overview.memory.free > 512
"""

RETURN = r"""
memory:
  description:
    - The memory of the server in MiB; empty where it is not known.
    - C(limits) is the sum of the limits, C(unlimited) names containers without one, C(free) is what
      is left when C(reserve) is kept for the server; it is negative when more was promised than there is.
  returned: always
  type: dict
  sample:
    total: 7941
    available: 3120
    limits: 5376
    unlimited: []
    unlimited_used: 0
    reserve: 512
    free: 2053
    containers: [{service: api, container: api, limit: 512, used: 143}]
alerts:
  description: Alerts that fire and that nobody silenced, the most severe first.
  returned: always
  type: list
  elements: dict
  sample:
    - name: HighErrorRate
      severity: P1
      since: "2026-11-26T05:12:00Z"
      age_s: 312
      summary: 7 % of the requests to api fail
errors:
  description: By part (V(memory), V(alerts)) why it is not known.
  returned: always
  type: dict
  sample: {}
lines:
  description: The same for an operator.
  returned: always
  type: list
  elements: str
  sample:
    - "memory: 5376 MiB promised to containers, 512 MiB kept for the server, of 7941 MiB: 2053 MiB are left"
    - no alert fires
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import _docker, _engine, _overview


def look(params: dict[str, Any]) -> dict[str, Any]:
    """Return what there is to see; each part by itself."""
    engine = _engine.Engine()
    errors: dict[str, str] = {}
    memory: dict[str, Any] = {}
    try:
        memory = _overview.capacity(engine, params["projects"])
    except (_docker.DockerError, OSError) as error:
        errors["memory"] = str(error)
    alerts, unknown = _overview.alerts(
        engine, params["projects"], params["service"], params["port"]
    )
    if unknown:
        errors["alerts"] = unknown
    lines = [_overview.budget_line(memory)] if memory else []
    lines += [_overview.alert_line(one) for one in alerts]
    lines += ["no alert fires"] if not alerts and not unknown else []
    lines += [f"{part} not known: {why}" for part, why in errors.items()]
    return {"memory": memory, "alerts": alerts, "errors": errors, "lines": lines}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "projects": {"type": "list", "elements": "str", "required": True},
            "service": {"type": "str", "default": "alertmanager"},
            "port": {"type": "int", "default": 9093},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except _docker.DockerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
