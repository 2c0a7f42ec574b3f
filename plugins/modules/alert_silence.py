#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep alerts that an operation causes from being told while it lasts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alert_silence
short_description: Keep alerts that an operation causes from being told while it lasts
version_added: 0.1.0
description:
  - Creates a silence in Alertmanager that ends by itself, and ends it when the operation is over.
  - Where no Alertmanager runs there is nothing to do. One that does not answer is told in
    RV(error) and fails nothing, for the operation matters more.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  projects:
    description: Names of the compose projects that Alertmanager may belong to.
    type: list
    elements: str
    required: true
  service:
    description: Service of Alertmanager, as compose calls it.
    type: str
    default: alertmanager
  port:
    description: Port that it listens on.
    type: int
    default: 9093
  operation:
    description: Id of the operation; a silence belongs to it by its comment.
    type: str
    required: true
  alerts:
    description: Names of the alerts. Others are told as always.
    type: list
    elements: str
    default: []
  minutes:
    description: When the silence ends by itself, if the operation does not end it.
    type: int
    default: 30
  who:
    description: Who is shown as its author.
    type: str
    default: carrental.ops
  state:
    description: With V(absent) the silences of the operation are ended.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Be silent about what a restore causes
  carrental.ops.alert_silence:
    projects: [carrental]
    operation: 20261124T021500Z-restore-ab12
    alerts: [ApiDown, WebDown]
    minutes: 60

- name: Tell of it again
  carrental.ops.alert_silence:
    projects: [carrental]
    operation: 20261124T021500Z-restore-ab12
    state: absent
"""

RETURN = r"""
silences:
  description: Ids of the silences that were created or ended.
  returned: always
  type: list
  elements: str
  sample: [4f2a6f6e-5bdc-4d0c-9d6e-3c3c3c3c3c3c]
error:
  description: Why it could not be done; empty when it was, or when there is no Alertmanager.
  returned: always
  type: str
  sample: ""
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _alertmanager,
    _docker,
    _engine,
)


def converge(
    manager: _alertmanager.Alertmanager, params: dict[str, Any], check_mode: bool
) -> list[str]:
    """Create the silence or end those of the operation; return their ids."""
    mark = f"({params['operation']})"
    own = [str(one["id"]) for one in manager.silences() if mark in str(one.get("comment", ""))]
    if params["state"] == "absent":
        for silence in own if not check_mode else ():
            manager.expire(silence)
        return own
    if own or not params["alerts"]:
        return []
    if check_mode:
        return ["(new)"]
    names = "|".join(re.escape(name) for name in params["alerts"])
    matcher = {"name": "alertname", "value": names, "isRegex": True, "isEqual": True}
    comment = f"What this operation causes is expected {mark}"
    return [manager.silence([matcher], 60 * params["minutes"], params["who"], comment)]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "projects": {"type": "list", "elements": "str", "required": True},
            "service": {"type": "str", "default": "alertmanager"},
            "port": {"type": "int", "default": 9093},
            "operation": {"type": "str", "required": True},
            "alerts": {"type": "list", "elements": "str", "default": []},
            "minutes": {"type": "int", "default": 30},
            "who": {"type": "str", "default": "carrental.ops"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params = module.params
    done: list[str] = []
    error = ""
    try:
        engine = _engine.Engine()
        for project in params["projects"]:
            for one in engine.services(project):
                if one.service == params["service"] and one.running:
                    manager = _alertmanager.Alertmanager(one.address, params["port"])
                    done += converge(manager, params, bool(module.check_mode))
    except (_alertmanager.AlertmanagerError, _docker.DockerError) as problem:
        error = str(problem)
    module.exit_json(changed=bool(done), silences=done, error=error)


if __name__ == "__main__":
    main()
