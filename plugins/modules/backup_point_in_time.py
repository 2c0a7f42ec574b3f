#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a backup of the database as it was at a moment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_point_in_time
short_description: Make a backup of the database as it was at a moment
version_added: 0.1.0
description:
  - Takes the newest base that M(carrental.ops.backup_wal) made before the moment, and plays the
    write-ahead log back up to it, in a container of the very image that runs, on no network. Its data
    lies in a volume that goes with it, also when this module is killed.
  - What the database is then becomes an ordinary backup, dumped, counted and proved, which
    M(carrental.ops.pg_restore) restores. The live database is not touched.
  - Where the log does not reach the moment yet, the server is told to end the segment that it writes.
    Refuses a moment that cannot be reached, and says which ones can.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
  - carrental.ops._backup
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details: A backup that was made of the same moment of the same database is taken again.
options:
  to_time:
    description: The moment, as V(2026-11-26T03:12:00Z). In UTC unless it says otherwise.
    type: str
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  database_service:
    description: The service of the database, as compose calls it.
    type: str
    default: postgres
  database:
    description: Name of the database.
    type: str
    required: true
  memory_mb:
    description: MB of memory that the container may take.
    type: int
    default: 512
  timeout:
    description: Seconds that the log may take to be played back.
    type: int
    default: 3600
  min_free_mb:
    description: MB that stay free on the disk of Docker beside what is recovered.
    type: int
    default: 512
  prefix:
    description: What the name of the backup begins with.
    type: str
    default: car_rental_backup
  reserve_mb:
    description: MB that stay free on the disk of the backups beside the new one.
    type: int
    default: 512
  who:
    description: Who asks for it, for its manifest.
    type: str
    default: ""
  host:
    description: The name of the server, for its manifest.
    type: str
    default: ""
  encryption:
    description: How the backup is encrypted; empty does not.
    type: str
    choices: ["", age, gpg]
    default: ""
  recipients:
    description: Public keys to which it is encrypted.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Have a backup of the moment before it went wrong
  carrental.ops.backup_point_in_time:
    to_time: "2026-11-26T03:12:00Z"
    directory: /opt/carrental/backups
    database: carrental
    project: carrental
    state_dir: /opt/carrental/.ops
  register: point

- name: Restore it
  carrental.ops.pg_restore:
    backup: "{{ point.backup.id }}"
    directory: /opt/carrental/backups
    database: carrental
    confirm: carrental
    services: "{{ carrental_services_enabled }}"
    project_src: /opt/carrental
    project: carrental
    state_dir: /opt/carrental/.ops
"""

RETURN = r"""
backup:
  description: The backup, in short. Empty in check mode, unless a run before made it.
  returned: success
  type: dict
  sample: {"id": "car_rental_backup_20261126_041500", "at": "2026-11-26T03:12:00Z", "reason": "point_in_time"}
actions:
  description: What was done, or would be, in words.
  returned: success
  type: list
  elements: str
  sample: ["recover carrental to 2026-11-26T03:12:00Z beside it"]
lines:
  description: Which base, which part of the log, how much room, and the last transaction that is in it.
  returned: success
  type: list
  elements: str
  sample: ["base 20261126T020004Z, which ended at 2026-11-26T02:00:09Z"]
seconds:
  description: Seconds that it took.
  returned: success
  type: float
  sample: 14.2
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backup_database,
    _backup_encrypt,
    _backup_run,
    _backups,
    _docker,
    _drill,
    _engine,
    _operation,
    _operation_module,
    _wal_point,
    _wal_server,
)

_EXPECTED = (_backups.BackupError, _docker.DockerError, _operation.OperationError, OSError)
_OF_BACKUP = ("prefix", "encryption", "recipients", "reserve_mb")


def wanted(params: dict[str, Any]) -> _wal_point.Wish:
    """Return which moment, and what may be taken for it."""
    return _wal_point.Wish(
        moment=params["to_time"],
        drill=_drill.Wish(
            project=params["project"],
            database_service=params["database_service"],
            database=params["database"],
            directory=params["directory"],
            memory_mb=params["memory_mb"],
            start_timeout=params["timeout"],
            min_free_mb=params["min_free_mb"],
        ),
        backup=_backup_run.Wish(
            directory=params["directory"],
            state_dir=params["state_dir"] or "",
            prefix=params["prefix"],
            who=params["who"],
            host=params["host"],
            reserve_mb=params["reserve_mb"],
            encryption=params["encryption"],
            recipients=tuple(params["recipients"]),
        ),
    )


def work(run: _operation_module.OperationModule) -> dict[str, Any]:
    """Make the backup, or say how; return the result."""
    wish, engine = wanted(run.params), _engine.Engine()
    _backup_encrypt.require(wish.backup.encryption, wish.backup.recipients)
    source = _backup_database.source(
        engine, wish.drill.project, wish.drill.database_service, wish.drill.database
    )
    run.masker.add(source.password)
    made = _wal_point.known(wish, _wal_server.facts(source).system)
    result: dict[str, Any] = {"changed": False, "actions": [], "lines": [], "seconds": 0.0}
    if made:
        lines = [f"{made.id} was made of {wish.moment} before, and is taken again"]
        return {**result, "backup": made.as_dict(), "lines": lines}
    if run.module.check_mode:
        planned = _wal_point.plan(engine, source, wish)
        # Those of now; what was unlogged at the moment is seen in what is recovered.
        lines = planned.lines() + _wal_point.without_log(source, wish.drill.database)
        actions = [f"recover {wish.drill.database} to {wish.moment} beside it, and back that up"]
        return {"changed": True, "backup": {}, "actions": actions, "lines": lines}
    with run.operation("restore") as operation:
        found = _wal_point.make(engine, source, wish, operation)
    return {
        "changed": True,
        "backup": found.backup.as_dict(),
        "actions": found.actions,
        "lines": found.lines,
        "seconds": found.seconds,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_operation_module.OPERATION_OPTIONS,
            **_backup_arguments.DIRECTORY,
            "to_time": {"type": "str", "required": True},
            "project": {"type": "str", "required": True},
            "database_service": {"type": "str", "default": "postgres"},
            "database": {"type": "str", "required": True},
            "memory_mb": {"type": "int", "default": 512},
            "timeout": {"type": "int", "default": 3600},
            "min_free_mb": {"type": "int", "default": 512},
            **{name: _backup_arguments.BACKUP[name] for name in _OF_BACKUP},
            "who": {"type": "str", "default": ""},
            "host": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    result: dict[str, Any] = {}
    try:
        result = work(run)
    except _EXPECTED as error:
        run.fail(str(error))
    run.exit(result)


if __name__ == "__main__":
    main()
