#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a service that keeps running read its configuration again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_reload
short_description: Let a service that keeps running read its configuration again
version_added: 0.1.0
description:
  - Tests the configuration in the running container, and tells the service to read it by a command
    or a signal. One that has neither is restarted.
  - Of an nginx that is reloaded by its own command new workers are awaited, for the command says
    nothing of success.
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
    details: [Every call reloads. Call it when a file has changed.]
options:
  project:
    description: Name of the compose project.
    type: str
    required: true
  service:
    description: Service, as compose calls it.
    type: str
    required: true
  test:
    description: Command in the container that judges the configuration first.
    type: str
    default: ""
  command:
    description: Command in the container that makes it read the configuration.
    type: str
    default: ""
  signal:
    description: Signal for its first process, where there is no O(command).
    type: str
    default: ""
  proxy:
    description: Whether the service is the proxy.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Let nginx read its configuration
  carrental.ops.service_reload:
    project: carrental
    service: nginx
    test: nginx -t
    command: nginx -s reload
    proxy: true
"""

RETURN = r"""
actions:
  description: What was done, in words.
  returned: success
  type: list
  elements: str
  sample: [reloaded nginx]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _operation,
    _operation_module,
    _proxy,
    _reload,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "test": {"type": "str", "default": ""},
            "command": {"type": "str", "default": ""},
            "signal": {"type": "str", "default": ""},
            "proxy": {"type": "bool", "default": False},
            **_operation_module.OPERATION_OPTIONS,
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params: dict[str, Any] = run.params
    way = _reload.Way(params["test"], params["command"], params["signal"], params["proxy"])
    actions: list[str] = []
    try:
        engine = _engine.Engine()
        found = _reload.containers(engine, params["project"], params["service"])
        if module.check_mode:
            run.exit({"changed": bool(found), "actions": []})
        with run.operation("service_reload") as operation:
            for container in found:
                operation.step(f"reload {container.name}")
                actions.append(_reload.reload(engine, container, way))
    except (
        _docker.DockerError,
        _operation.OperationError,
        _proxy.ProxyError,
        _reload.ReloadError,
    ) as error:
        run.fail(str(error), changed=bool(actions), actions=actions)
    run.exit({"changed": bool(actions), "actions": actions})


if __name__ == "__main__":
    main()
