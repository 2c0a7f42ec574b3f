#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what stack runs on a server, as the variables of an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_info
short_description: Tell what stack runs on a server, as the variables of an inventory
version_added: 0.1.0
description:
  - Looks at the containers of a compose project and returns what is not as this collection assumes it, which
    are the directory, the compose files, the names of services, images, the database, the bucket and the domain.
  - No value of a secret is read. The server keeps them, and a deploy leaves them as they are. Of C(DATABASE_URL) and
    C(REDIS_URL) of the API only the host is looked at, where several containers may be the service.
  - A text of the server is returned when it is nothing but a name or a path. For another one there is a note without
    it, because an inventory is a template, which Ansible would execute.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
options:
  services:
    description: The services as the collection assumes them, as in C(carrental_services_default).
    type: dict
    required: true
  project:
    description: The compose project. Empty takes the one that is most like the stack.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Look what runs here
  carrental.ops.stack_info:
    services: "{{ carrental_services_default }}"
  register: stack
"""

RETURN = r"""
project:
  description: The compose project.
  returned: success
  type: str
  sample: carrental
variables:
  description: Variables of an inventory; only what is not as assumed.
  returned: success
  type: dict
  sample: {"carrental_domain": "rental.example.com", "carrental_services": {"postgres": {"compose_service": "db"}}}
notes:
  description: What a person has to know or decide.
  returned: success
  type: list
  elements: str
  sample: ["the proxy names no domain: set carrental_domain, if it has one"]
left_out:
  description: Services of severity P1 without a container that is known, so that health proves nothing of them.
  returned: success
  type: list
  elements: str
  sample: [postgres]
services:
  description: The services that were found.
  returned: success
  type: list
  elements: str
  sample: [api, postgres, web]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _discovery,
    _docker,
    _engine,
)


def proxy_text(engine: _engine.Engine, containers: list[_docker.Container]) -> str:
    """Return what the proxy prints of its configuration; nothing where it does not."""
    for one in containers:
        if one.running and _discovery.kind_of(one) == "nginx":
            code, text = engine.execute(one.id, ["nginx", "-T"])
            return text if code == 0 else ""
    return ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "services": {"type": "dict", "required": True},
            "project": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        engine = _engine.Engine()
        found = _discovery.projects(engine.containers())
        project = _discovery.choose(found, params["services"], params["project"])
        containers = engine.services(project)
        text = proxy_text(engine, containers)
        told = _discovery.describe(project, containers, params["services"], text)
    except (_docker.DockerError, _discovery.DiscoveryError) as error:
        module.fail_json(msg=f"{str(error).rstrip('.')}. Nothing was changed.")
    module.exit_json(
        changed=False,
        project=project,
        variables=told.variables,
        notes=told.notes,
        services=told.services,
        left_out=told.left_out,
    )


if __name__ == "__main__":
    main()
