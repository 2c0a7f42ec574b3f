#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what a stack lacks to run on more than one server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: scale_readiness
short_description: Say what a stack lacks to run on more than one server
version_added: 0.1.0
description:
  - Looks where the data of the stack is, whether stateless services write to volumes of this server,
    and whether static files may be kept by a network in front of the proxy.
  - Returns fingerprints of variables that have to be the same on every server, for the caller to
    compare. A fingerprint is a short part of a slow hash, by which no secret can be found.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
options:
  project:
    description: Name of the compose project.
    type: str
    required: true
  table:
    description: The services of the stack, as C(carrental_services) describes them.
    type: dict
    required: true
  same:
    description: Variables of stateless services that have to be the same on every server.
    type: list
    elements: str
    default: [JWT_SECRET]
  domain:
    description: Domain under which customers reach the proxy.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Look what is in the way of a second server
  carrental.ops.scale_readiness:
    project: carrental
    table: "{{ carrental_services_enabled }}"
  register: readiness
"""

RETURN = r"""
ready:
  description: Whether nothing is missing on this server.
  returned: success
  type: bool
  sample: false
checks:
  description: What was looked at; C(status) is V(ready) or V(missing).
  returned: success
  type: list
  elements: dict
  sample:
    - name: redis.elsewhere
      status: missing
      detail: a second server needs the same cache
fingerprints:
  description: Fingerprint by service and variable.
  returned: success
  type: dict
  sample: {api.JWT_SECRET: 9f2c11d0}
lines:
  description: The checks for an operator.
  returned: success
  type: list
  elements: str
  sample: ["missing: redis.elsewhere: a second server needs the same cache"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _http,
    _readiness,
    _service_table,
    _switch,
)


def static_files(
    engine: _engine.Engine, project: str, table: _service_table.Table, domain: str
) -> list[_readiness.Check]:
    """Return what customers are told about static files, by asking for a page and one of them."""
    front = _service_table.front(table, domain)
    proxies = _switch.proxies_of(engine, project, front)
    if front is None or not proxies:
        return []
    gate = proxies[0].container
    try:
        page = _http.request(front.request(gate, "/")).body.decode(errors="replace")
        path = _readiness.asset(page)
        if not path:
            detail = "the page refers to no static file"
            return [_readiness.Check("static_files.cached", _readiness.READY, detail)]
        return [_readiness.caching(path, _http.request(front.request(gate, path)).headers)]
    except _http.HttpError as error:
        return [_readiness.Check("static_files.cached", _readiness.MISSING, str(error))]


def _elsewhere(table: _service_table.Table, service: str) -> bool:
    return bool((table.get(service, {}).get("endpoint") or {}).get("host"))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "table": {"type": "dict", "required": True},
            "same": {"type": "list", "elements": "str", "default": ["JWT_SECRET"]},
            "domain": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    table = _service_table.by_alias(params["table"])
    roles = {name: str(one.get("role")) for name, one in table.items()}
    try:
        engine = _engine.Engine()
        containers = engine.services(params["project"])
        stateless = [
            one for one in containers if one.running and roles.get(one.service) == "stateless"
        ]
        # One that is stopped is here too; one that only has the tools is not.
        here = [one.service for one in containers if not one.tools_for]
        checks = _readiness.data(roles, [name for name in here if not _elsewhere(table, name)])
        checks += _readiness.local_state(stateless)
        checks += static_files(engine, params["project"], params["table"], params["domain"])
        prints = _readiness.fingerprints(stateless, params["same"], params["project"])
        checks += _readiness.unknown(prints, params["same"])
    except _docker.DockerError as error:
        module.fail_json(msg=f"{str(error).rstrip('.')}. Nothing was changed.")
    module.exit_json(
        changed=False,
        ready=all(one.status == _readiness.READY for one in checks),
        checks=[one.as_dict() for one in checks],
        fingerprints=prints,
        lines=[f"{one.status}: {one.name}: {one.detail}" for one in checks],
    )


if __name__ == "__main__":
    main()
