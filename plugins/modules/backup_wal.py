#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the write-ahead log of the database, so that it can be restored to any moment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_wal
short_description: Keep the write-ahead log of the database, to restore it to any moment
version_added: 0.1.0
description:
  - Has a service on the server receive the write-ahead log by C(pg_receivewal) of the very image that
    runs, in a container that shares the network of the database's. Needs no root. A path of systemd
    that C(playbooks/bootstrap.yml) installed starts the service.
  - Copies the files of the server by C(pg_basebackup) where a copy is due, and removes what no moment
    needs any more.
  - The log can never fill the disk of the database. What its replication slot keeps is bounded by
    C(max_slot_wal_keep_size) before the slot is made. When the disk of the backups has less than
    O(min_free_mb) free, nothing is received and the slot is dropped.
  - C(<directory>/wal/<system identifier>) has it all (0700, files 0600). Nothing of it is encrypted or
    copied elsewhere.
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
options:
  state:
    description:
      - V(present) has the log received.
      - V(based) makes a base where there is none, where the last one is older than O(base_hours), or
        where the log has a gap since, and removes what is older than O(keep_days). Waits up to 45 s
        until the log is received and fails if it is not, and waits up to 120 s until what makes the base consistent has arrived.
      - V(absent) ends the service and drops the slot. What was received stays.
    type: str
    choices: [present, based, absent]
    default: present
  project:
    description: Name of the compose project.
    type: str
    default: carrental
  database_service:
    description: The service of the database, as compose calls it.
    type: str
    default: postgres
  database:
    description: Name of the database that is asked. The log is that of all databases of the server.
    type: str
    default: carrental
  state_dir:
    description: Directory of what operations remember; the program and its settings lie in there.
    type: path
    required: true
  metrics_dir:
    description: Where node-exporter finds what is measured.
    type: path
    required: true
  unit:
    description: The name of the path and the service of systemd.
    type: str
    default: carrental-wal
  slot_max_mb:
    description: MB of the log that the server keeps at the most for a receiver that is dead. 1 or more.
    type: int
    default: 1024
  min_free_mb:
    description: MB that stay free on the disk of the backups; with less nothing is received. 1 or more.
    type: int
    default: 2048
  reserve_mb:
    description: MB that stay free on the disk of the backups beside a new base, if not O(min_free_mb), where that is more.
    type: int
    default: 512
  base_hours:
    description: Hours from which age on the last base is followed by another.
    type: float
    default: 20
  keep_days:
    description: Days of which each moment stays reachable. The last good base stays in any case.
    type: int
    default: 7
"""

EXAMPLES = r"""
- name: Receive the write-ahead log
  carrental.ops.backup_wal:
    directory: /opt/carrental/backups
    state_dir: /opt/carrental/.ops
    metrics_dir: /opt/carrental/.ops/metrics

- name: Have a base that is younger than a day
  carrental.ops.backup_wal:
    state: based
    directory: /opt/carrental/backups
    state_dir: /opt/carrental/.ops
    metrics_dir: /opt/carrental/.ops/metrics
"""

RETURN = r"""
actions:
  description: What was done, or would be, in words.
  returned: success
  type: list
  elements: str
  sample: [install the receiver of the write-ahead log]
point_in_time:
  description:
    - What can be reached, as RV(carrental.ops.backup_info#module:point_in_time) has it.
  returned: success
  type: dict
  sample: {"receiving": true, "unbroken": true, "spans": [{"since": "2026-11-25T02:00:04Z", "until": "2026-11-26T03:12:00Z"}]}
says:
  description: What there is, in one sentence; empty where there never was a log.
  returned: success
  type: str
  sample: "point in time: any moment from 2026-11-25T02:00:04Z to 2026-11-26T03:12:00Z"
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backup_database,
    _docker,
    _engine,
    _entry_point,
    _operation,
    _operation_module,
    _wal_arguments,
    _wal_base,
    _wal_receiver,
    _wal_service,
    _wal_status,
)

_EXPECTED = (*_wal_receiver.EXPECTED, _docker.DockerError, _operation.OperationError)


def based(run: _operation_module.OperationModule) -> list[str]:
    """Have a base, or say why one would be made."""
    params = run.params
    source = _backup_database.source(
        _engine.Engine(), params["project"], params["database_service"], params["database"]
    )
    run.masker.add(source.password)
    wish = _wal_arguments.base(params)
    if run.module.check_mode:
        why = _wal_base.due(source, wish).why
        return [f"copy the files of the server to a base, because {why}"] if why else []
    with run.operation("backup") as operation:
        return _wal_base.keep(source, wish, operation)


def work(run: _operation_module.OperationModule) -> list[str]:
    """Bring it to its state; return what was done."""
    params, check = run.params, run.module.check_mode
    if params["state"] == "based":
        return based(run)
    wish = _wal_arguments.receiver(params)
    program = _wal_service.program(params["unit"], params["state_dir"])
    if params["state"] == "absent":
        return _wal_service.uninstall(program, wish, check_mode=check)
    content = _entry_point.program(_wal_receiver)
    return _wal_service.install(program, content, wish, check_mode=check)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_backup_arguments.DIRECTORY,
            **_operation_module.OPERATION_OPTIONS,
            **_wal_arguments.DATABASE,
            **_wal_arguments.RECEIVER,
            **_wal_arguments.BASE,
            "state": {
                "type": "str",
                "choices": ["present", "based", "absent"],
                "default": "present",
            },
            "state_dir": {"type": "path", "required": True},
            "unit": {"type": "str", "default": "carrental-wal"},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    actions: list[str] = []
    try:
        actions = work(run)
    except _EXPECTED as error:
        run.fail(str(error))
    status = _wal_status.read(run.params["state_dir"])
    reachable = _wal_status.as_result(run.params["directory"], status, time.time())
    run.exit(
        {
            "changed": bool(actions),
            "actions": actions,
            "point_in_time": reachable,
            "says": _wal_status.line(reachable) if reachable else "",
        }
    )


if __name__ == "__main__":
    main()
