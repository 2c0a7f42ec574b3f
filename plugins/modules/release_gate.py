#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a checkout before it is merged: what a deploy would meet, without a server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_gate
short_description: Look at a checkout before it is merged, as a deploy would meet it
version_added: 0.1.0
description:
  - Reads the compose files, the configuration of nginx, the migrations and the inventory of a checkout on the
    controller, and asks the registry for the images. Each finding has its place and its fix.
  - It runs where the checkout is, which is the controller or the runner of a CI, and needs no server.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
options:
  src:
    description: Checkout of the application. Empty leaves out all that is looked at in it.
    type: str
    default: ""
  compose_files:
    description: Compose files in it, in the order of C(-f).
    type: list
    elements: str
    default: []
  env:
    description: Variables of the stack and their values, as C(carrental_env) has them.
    type: dict
    default: {}
  held:
    description: Services of the compose files that hold data.
    type: list
    elements: str
    default: []
  released:
    description: Services whose image a deploy pins.
    type: list
    elements: str
    default: []
  migrations:
    description: Directory of the migrations in O(src). Empty leaves them out.
    type: str
    default: ""
  base:
    description: >-
      Branch or commit that is merged into. Migrations that it has, in whatever directory, are not looked at. Empty
      looks at each by itself, as if all before it were released.
    type: str
    default: ""
  lock_timeout:
    description: Whether a deploy gives migrations a C(lock_timeout).
    type: bool
    default: true
  images:
    description: Images that the registry has to have.
    type: list
    elements: str
    default: []
  username:
    description: User of the registries of O(images).
    type: str
    default: ""
  password:
    description: Password or token of that user.
    type: str
    default: ""
  architecture:
    description: Architecture of the servers, as registries call it.
    type: str
    default: amd64
  insecure_registries:
    description: Registries without a certificate that is trusted.
    type: list
    elements: str
    default: []
  inventory:
    description: Inventories (files or directories) that are looked at.
    type: list
    elements: str
    default: []
  directory:
    description: >-
      Directory that the files of O(inventory) are told relative to, which is the repository that they are in. Empty
      takes that of the process, and Ansible runs it where the playbook lies.
    type: str
    default: ""
  variables:
    description: The variables of a host as the inventory has them.
    type: dict
    default: {}
  unreadable:
    description: Why the inventory cannot be read, where it cannot.
    type: str
    default: ""
  known:
    description: The options of all roles by name, as their argument specifications have them.
    type: dict
    default: {}
  prefixes:
    description: How variables of the roles begin, beside V(carrental_) and V(operation_).
    type: list
    elements: str
    default: []
  waive:
    description: Reason by rule of findings that do not count.
    type: dict
    default: {}
  level:
    description: What stops a merge; V(warning) stops at errors, too.
    type: str
    choices: [error, warning]
    default: error
"""

EXAMPLES = r"""
- name: Look at the checkout
  carrental.ops.release_gate:
    src: /builds/carrental
    compose_files: [docker-compose.prod.yml]
    migrations: prisma/migrations
    base: origin/main
  delegate_to: localhost
  register: gate
  failed_when: not gate.passed
"""

RETURN = r"""
passed:
  description: Whether nothing stops the merge.
  returned: success
  type: bool
  sample: false
findings:
  description: What was found, the worst first; C(waived) is the reason for which it does not count.
  returned: success
  type: list
  elements: dict
  sample:
    - rule: compose.variable
      level: error
      message: JWT_SECRET is demanded and empty in carrental_env.
      fix: Add JWT_SECRET to carrental_env, in the vault where it is a secret.
      file: docker-compose.prod.yml
      line: 24
      waived: ""
rules:
  description: Every rule, and what it makes sure of.
  returned: success
  type: dict
  sample: {"compose.variable": "Every variable that the compose files demand has a value"}
skipped:
  description: What was not looked at and why, by rule.
  returned: success
  type: dict
  sample: {"image.missing": "images, for gate_version names none"}
anchor:
  description: File for the findings that have none, where a format demands one.
  returned: success
  type: str
  sample: docker-compose.prod.yml
lines:
  description: The findings for people.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      error: docker-compose.prod.yml:24: JWT_SECRET is demanded and empty in carrental_env. Add JWT_SECRET to
      carrental_env, in the vault where it is a secret. [compose.variable]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import _gate, _gate_look

_HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "str", "default": ""},
            "compose_files": {"type": "list", "elements": "str", "default": []},
            "env": {"type": "dict", "default": {}, "no_log": True},
            "held": {"type": "list", "elements": "str", "default": []},
            "released": {"type": "list", "elements": "str", "default": []},
            "migrations": {"type": "str", "default": ""},
            "base": {"type": "str", "default": ""},
            "lock_timeout": {"type": "bool", "default": True},
            "images": {"type": "list", "elements": "str", "default": []},
            "username": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
            "architecture": {"type": "str", "default": "amd64"},
            "insecure_registries": {"type": "list", "elements": "str", "default": []},
            "inventory": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "str", "default": ""},
            "variables": {"type": "dict", "default": {}, "no_log": True},
            "unreadable": {"type": "str", "default": ""},
            "known": {"type": "dict", "default": {}},
            "prefixes": {"type": "list", "elements": "str", "default": []},
            "waive": {"type": "dict", "default": {}},
            "level": {"type": "str", "choices": ["error", "warning"], "default": "error"},
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    # What Ansible does for secrets would replace every occurrence of every value, the harmless
    # ones among them: findings hold names and never values.
    for option in ("env", "password", "variables"):
        module.params[option] = _HIDDEN
    module.no_log_values.clear()
    try:
        looked = _gate_look.look(params)
        found = _gate.ordered(_gate.waive(looked.found, params["waive"]))
    except _gate.GateError as error:
        module.fail_json(msg=f"{error} Nothing was changed.")
    stops = _gate.stops(found, params["level"])
    module.exit_json(
        changed=False,
        passed=not stops,
        findings=[one.as_dict() for one in found],
        rules=_gate.RULES,
        skipped=looked.skipped,
        anchor=_gate_look.anchor(params),
        lines=[one.text for one in found],
    )


if __name__ == "__main__":
    main()
