#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go back to a release that passed, whole."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_rollback
short_description: Go back to a release that passed, whole
version_added: 0.1.0
description:
  - Puts back the images, the configuration and the C(.env) of a recorded release, switches the
    services as M(carrental.ops.compose_rollout) does, and sees that the release answers.
  - It needs no registry and no repository. Everything lies on the server, and is looked for before
    anything is touched.
  - Certificates and keys stay as they are. Services that hold data keep their containers.
  - When the database holds migrations that the release does not know, their text is judged. Where
    the old code could fail on the new schema, or nobody can tell, the rollback is refused with the
    choice spelled out, see O(on_schema).
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine with Compose 2.20 or later on the server.
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
attributes:
  check_mode:
    support: full
    details:
      - In check mode everything is looked for and judged, and RV(actions) says what would be done.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  to:
    description:
      - V(previous), the newest good release before the current one that was not itself left by a
        rollback; V(current), the newest good one; the id of a release; a git sha or tag, of which
        7 letters are enough; or the digest of an image, as V(sha256:…).
    type: str
    default: previous
  dest:
    description: Directory of the compose project on the server.
    type: path
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  files:
    description: Compose files, relative to O(dest), in compose's order.
    type: list
    elements: str
    required: true
  state_dir:
    required: true
  released:
    description: Services whose images are released, as O(table) or compose calls them.
    type: list
    elements: str
    required: true
  table:
    description: The services of the stack, as C(carrental_services) describes them.
    type: dict
    required: true
  replace:
    description:
      - Services that hold data and may be replaced, as a deploy does that puts back what it has
        replaced itself. All others keep their containers.
    type: list
    elements: str
    default: []
  domain:
    description: Domain under which customers reach the proxy.
    type: str
    default: ""
  on_schema:
    description: >-
      What to do when the database is ahead of the release. V(judge) goes on where the migrations
      between are additive, and refuses otherwise. V(keep) runs the old code on the new schema.
    type: str
    choices: [judge, keep]
    default: judge
  migrate_service:
    description: Service whose image holds the migrations. Empty where there are none.
    type: str
    default: api
  migrations_path:
    description: Directory of the migrations in that image, relative to its working directory.
    type: str
    default: prisma/migrations
  database_service:
    description: Service of the database, as compose calls it.
    type: str
    default: postgres
  database:
    description: Database of the application.
    type: str
    default: carrental
  backup_dir:
    description: >-
      Directory of the backups. With it RV(backup) says which one a restore would go back to. Empty looks for none.
    type: str
    default: ""
  state:
    description: >-
      V(back) goes back. V(planned) looks for everything and judges as V(back) does, a migration whose text only an
      image holds as well, and changes nothing.
    type: str
    choices: [back, planned]
    default: back
  config_tests:
    description: Command by which a service judges its new files before they are written.
    type: dict
    default: {}
  reload_signals:
    description: Signal by which a service reads its files again. Others are restarted.
    type: dict
    default: {}
  healthy_timeout:
    description: Seconds until a container has to be healthy and answer.
    type: int
    default: 120
  drain_timeout:
    description: Seconds for requests that are under way to end.
    type: int
    default: 60
  consecutive:
    description: How many good answers in a row a container needs.
    type: int
    default: 3
  interval:
    description: Seconds between them.
    type: float
    default: 1.0
"""

EXAMPLES = r"""
- name: Go back to the release before
  carrental.ops.compose_rollback:
    to: previous
    dest: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml]
    state_dir: /opt/carrental/.ops
    released: [api, web]
    table: "{{ carrental_services_enabled }}"
"""

RETURN = r"""
release:
  description: The record of the release that was gone back to.
  returned: success
  type: dict
  sample: {"id": "20261123T215350Z-2e2e585", "version": "2e2e585eb17bf081e2aeb370d6bab51cafc30108"}
from:
  description: Id of the newest good release, which is left.
  returned: success
  type: str
  sample: 20261124T020000Z-e849ff1
actions:
  description: All that had to be done, in words.
  returned: success
  type: list
  elements: str
  sample: ["recreate api (image)"]
notes:
  description: What an operator should know.
  returned: success
  type: list
  elements: str
  sample: []
ahead:
  description: Migrations that the database holds and the release does not know. They stay.
  returned: success
  type: list
  elements: str
  sample: [20260301090000_booking_note]
backup:
  description: >-
    The newest verified backup whose schema the code of the release works with: its C(id), when it was made (C(at)),
    how many C(minutes) ago, and the migrations that it holds and the release does not know (C(ahead)). Empty where
    there is none.
  returned: success
  type: dict
  sample: {id: car_rental_backup_20261124_020000, at: "2026-11-24T02:00:00Z", minutes: 34, ahead: []}
touched:
  description: Whether something of production was written or switched.
  returned: always
  type: bool
  sample: true
images:
  description: The released images, as M(carrental.ops.release_record) takes them.
  returned: success
  type: dict
  sample: {}
config:
  description: Fingerprint of the configuration, as M(carrental.ops.release_record) takes it.
  returned: success
  type: dict
  sample: {}
measured:
  description: >-
    What requests through the proxy met meanwhile, see M(carrental.ops.compose_rollout).
  returned: success
  type: dict
  sample: {}
report:
  description: Containers that failed, with the last lines that they printed.
  returned: always
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _engine,
    _operation,
    _operation_module,
    _rollback,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "to": {"type": "str", "default": "previous"},
            "dest": {"type": "path", "required": True},
            "project": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "str", "required": True},
            "released": {"type": "list", "elements": "str", "required": True},
            "table": {"type": "dict", "required": True},
            "replace": {"type": "list", "elements": "str", "default": []},
            "domain": {"type": "str", "default": ""},
            "on_schema": {"type": "str", "choices": ["judge", "keep"], "default": "judge"},
            "migrate_service": {"type": "str", "default": "api"},
            "migrations_path": {"type": "str", "default": "prisma/migrations"},
            "database_service": {"type": "str", "default": "postgres"},
            "database": {"type": "str", "default": "carrental"},
            "backup_dir": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["back", "planned"], "default": "back"},
            "config_tests": {"type": "dict", "default": {}},
            "reload_signals": {"type": "dict", "default": {}},
            "healthy_timeout": {"type": "int", "default": 120},
            "drain_timeout": {"type": "int", "default": 60},
            "consecutive": {"type": "int", "default": 3},
            "interval": {"type": "float", "default": 1.0},
            **_operation_module.OPERATION_OPTIONS,
            "state_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params: dict[str, Any] = {**run.params, "check_mode": module.check_mode}
    write = params["state"] == "back" and not module.check_mode
    rollback: _rollback.Rollback | None = None
    try:
        with run.operation("rollback", changes=write) as operation:
            rollback = _rollback.Rollback(_engine.Engine(), params)
            rollback.learn = run.masker.add_environment
            rollback.step = operation.step
            done = rollback.go(write=write)
    except (*_rollback.EXPECTED, _operation.OperationError) as error:
        run.fail(str(error), report=[], touched=bool(rollback and rollback.touched))
    if params["state"] == "planned":
        done["changed"] = False
    if done.pop("failed"):
        run.fail(done.pop("msg"), touched=rollback.touched, **done)
    run.exit({**done, "touched": rollback.touched})


if __name__ == "__main__":
    main()
