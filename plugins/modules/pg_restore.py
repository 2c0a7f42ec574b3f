#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore the database from a backup without touching the live one until the new one is proved."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_restore
short_description: Restore the database from a backup
version_added: 0.1.0
description:
  - Reads the backup to its last byte, loads it into a database of its own beside the live one, and
    compares every table with the manifest. Nothing that goes wrong by then touches the live database.
  - Then swaps the two by their names in one transaction. The database is away for about a second,
    whatever its size. Sessions that are connected are ended.
  - Then asks the application. When something fails that did not fail before, the database from
    before comes back.
  - The database from before stays until it is dropped, which is a step of its own.
  - A run that was killed, at any moment, is taken up by the next one from what C(pg_database) shows.
  - What stands outside of a database comes back too, from the manifest, or from the live database
    where a dump has no manifest. That is its owner, encoding, privileges and settings.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
  - carrental.ops._backup
  - carrental.ops._backup.restore
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: none
    details: Each run restores again. One that finds a run before half done goes on with that.
options:
  state:
    description:
      - V(restored) restores.
      - V(loaded) does all that takes long, and stops before the swap. V(restored) of the same backup
        goes on from there.
      - V(planned) looks at everything as check mode does, and changes nothing but the manifest of a
        backup that is damaged, which nobody relies on from then on. In check mode that stays too.
      - V(previous_dropped) drops what restores kept.
    type: str
    choices: [restored, loaded, planned, previous_dropped]
    default: restored
  backup:
    description:
      - The id or file name of a backup in O(directory), V(latest) or V(before=TIME), which mean
        verified ones, or the path of any C(.sql.gz), C(.dump) or C(.dump.zst) on the server.
    type: str
    default: latest
  confirm:
    description: The name of the database, typed by the operator. Not needed for a plan.
    type: str
    default: ""
  drop:
    description: With O(state=previous_dropped), the name of what is dropped, or V(all).
    type: str
    default: ""
  other_server:
    description: The backup may be one of another server of PostgreSQL.
    type: bool
    default: false
  other_database:
    description: The backup may be one of a database of another name.
    type: bool
    default: false
  min_free_mb:
    description: Room in MB that stays free on the disk of the database beside a second copy of it.
    type: int
    default: 256
  verify_timeout:
    description: How many seconds the application may take to work again after the swap.
    type: float
    default: 60
  services:
    description: The table of services; those that are released, the proxy and the database are asked.
    type: dict
    required: true
  domain:
    description: Name under which the proxy is asked.
    type: str
    default: ""
  project_src:
    description: Directory of the compose project on the server.
    type: path
    required: true
  files:
    description: Compose files of the project, relative to O(project_src).
    type: list
    elements: str
    default: [docker-compose.prod.yml, docker-compose.monitoring.yml]
"""

EXAMPLES = r"""
- name: Restore the newest verified backup
  carrental.ops.pg_restore:
    backup: latest
    directory: /opt/carrental/backups
    database: carrental
    confirm: carrental
    services: "{{ carrental_services_enabled }}"
    project_src: /opt/carrental
    project: carrental
    state_dir: /opt/carrental/.ops

- name: Drop what restores kept
  carrental.ops.pg_restore:
    state: previous_dropped
    drop: all
    directory: /opt/carrental/backups
    database: carrental
    confirm: carrental
    services: "{{ carrental_services_enabled }}"
    project_src: /opt/carrental
    project: carrental
    state_dir: /opt/carrental/.ops
"""

RETURN = r"""
actions:
  description: What was done, or would be, in words.
  returned: always
  type: list
  elements: str
  sample: [load car_rental_backup_20261125_020000 into carrental_restore_20261125_093000]
lines:
  description: What an operator has to know, in words.
  returned: success
  type: list
  elements: str
  sample: [a second database takes about 60 MB of the 69000 MB that are free]
backup:
  description: The backup, in short.
  returned: success
  type: dict
  sample: {id: car_rental_backup_20261125_020000, format: dump, rows: 6050}
resume:
  description: How far a run before came. V(loaded), V(swapped), or empty.
  returned: success
  type: str
  sample: ""
live:
  description: In a plan, whether there is a live database.
  returned: success
  type: bool
  sample: true
previous:
  description: The database that was live before; it stays.
  returned: success
  type: str
  sample: carrental_before_20261125_093000
kept:
  description: All databases that restores kept, with their size.
  returned: success
  type: list
  elements: dict
  sample: [{name: carrental_before_20261125_093000, size_bytes: 9000000, live_before: true}]
migrations:
  description:
    - How the migrations differ from those of the release that runs. C(lacking) are those that a
      deploy of C(version) applies, C(gone) those that only the live database had, C(unknown) those
      that neither has. After a restore by what the restored database says, in a plan by the manifest.
    - Empty where no release is recorded or where there are no migrations.
  returned: success
  type: dict
  sample:
    release: 20261123T215350Z-2e2e585
    version: 2e2e585eb17bf081e2aeb370d6bab51cafc30108
    lacking: [20261120090000_add_note]
    gone: []
    unknown: []
tables:
  description: How many tables were counted in the restored database.
  returned: success
  type: int
  sample: 5
rows:
  description: How many rows were counted in it.
  returned: success
  type: int
  sample: 6050
read_s:
  description: Seconds that the full read of the backup took.
  returned: success
  type: float
  sample: 1.1
load_s:
  description: Seconds that the load and its analysis took.
  returned: success
  type: float
  sample: 4.5
interruption_s:
  description: Seconds from the end of the first session to the moment from which the new database takes sessions.
  returned: success
  type: float
  sample: 0.3
outages:
  description: What customers saw through the proxy meanwhile, by service.
  returned: success
  type: dict
  sample: {api: {requests: 31, failed: 2, longest_s: 0.4, total_s: 0.4, first_failure: answers 503}}
rolled_back:
  description: The application did not work with it, and the database from before is back.
  returned: failure
  type: bool
  sample: false
damaged:
  description: The backup in which damage was found. Empty where that is not the reason.
  returned: failure
  type: str
  sample: car_rental_backup_20261125_020000
instead:
  description: The newest other backup to rely on. Empty where there is none.
  returned: failure
  type: str
  sample: car_rental_backup_20261124_020000
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backup_database,
    _backups,
    _docker,
    _engine,
    _operation,
    _operation_module,
    _operation_work,
    _restore,
    _restore_health,
    _restore_swap,
    _running,
    _services,
)

_EXPECTED = (
    _backups.BackupError,
    _docker.DockerError,
    _operation.OperationError,
    _services.InputError,
)


def work(
    run: _operation_module.OperationModule, operation: _operation_work.Operation
) -> dict[str, Any]:
    """Restore, or drop; return the result."""
    params, check = run.params, run.module.check_mode
    engine = _engine.Engine()
    source = _backup_database.source(
        engine, params["project"], params["database_service"], params["database"]
    )
    source = _restore_swap.for_restore(source)
    run.masker.add(source.password)
    server = _restore_swap.Server(source, operation.id)
    if params["state"] == "previous_dropped":
        dropped = _restore.drop_previous(
            server, params["database"], params["drop"], operation, act=not check
        )
        return {"changed": bool(dropped), "actions": [f"drop {name}" for name in dropped]}
    project = _running.Project(params["project"], params["project_src"], tuple(params["files"]))
    application = _restore_health.Application(
        engine, project, params["services"], params["domain"], params["database"]
    )
    wish = _restore.Wish(
        database=params["database"],
        directory=params["directory"],
        backup=params["backup"],
        project=params["project"],
        state_dir=params["state_dir"] or "",
        identity=params["identity"] or "",
        jobs=params["jobs"],
        other_server=params["other_server"],
        other_database=params["other_database"],
        min_free_mb=params["min_free_mb"],
        verify_timeout=params["verify_timeout"],
    )
    restore = _restore.Restore(engine, server, wish, operation, application)
    looks = check or params["state"] == "planned"
    swap = params["state"] == "restored"
    report = restore.plan(marks=not check) if looks else restore.run(swap=swap)
    result = {"changed": check or not looks, **report.as_dict()}
    before, after = result.pop("before"), result.pop("after")
    if looks and run.module._diff:
        result["diff"] = {"before": before, "after": after}
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_backup_arguments.RESTORE,
            **_operation_module.OPERATION_OPTIONS,
            "state": {
                "type": "str",
                "choices": ["restored", "loaded", "planned", "previous_dropped"],
                "default": "restored",
            },
            "backup": {"type": "str", "default": "latest"},
            "confirm": {"type": "str", "default": ""},
            "drop": {"type": "str", "default": ""},
            "other_server": {"type": "bool", "default": False},
            "other_database": {"type": "bool", "default": False},
            "min_free_mb": {"type": "int", "default": 256},
            "verify_timeout": {"type": "float", "default": 60},
            "services": {"type": "dict", "required": True},
            "domain": {"type": "str", "default": ""},
            "project_src": {"type": "path", "required": True},
            "files": {
                "type": "list",
                "elements": "str",
                "default": ["docker-compose.prod.yml", "docker-compose.monitoring.yml"],
            },
        },
        required_if=[("state", "previous_dropped", ("drop",))],
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    plans = module.check_mode or run.params["state"] == "planned"
    if not plans and run.params["confirm"] != run.params["database"]:
        run.fail(
            f"This replaces the database {run.params['database']}, so its name has to be typed: add "
            f"-e restore_confirm={run.params['database']}. Nothing was changed."
        )
    result: dict[str, Any] = {}
    try:
        with run.operation("restore", changes=run.params["state"] != "planned") as operation:
            result = work(run, operation)
    except _EXPECTED as error:
        told = {"rolled_back": False, "damaged": "", "instead": ""}
        run.fail(str(error), **{key: getattr(error, key, none) for key, none in told.items()})
    run.exit(result)


if __name__ == "__main__":
    main()
