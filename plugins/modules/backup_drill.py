#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a backup where nobody can be hurt, and record what it took."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_drill
short_description: Restore a backup in a container of its own, and take the time
version_added: 0.1.0
description:
  - Starts a container of the very image that the database runs, on no network, with a limit of memory
    and a volume of its own, and restores the backup there by the steps of M(carrental.ops.pg_restore).
  - Compares every table with the manifest, and tables with indexes by C(pg_amcheck) where the image has
    it. Then the container and its volume are gone, however the module ends.
  - Records in the manifest when that was and how long it took, and tells node-exporter. That time is
    the recovery time, measured.
  - With O(state=scheduled) the server does it every week without a controller.
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
    support: none
  idempotent:
    support: partial
    details: With O(state=drilled) each call drills again.
options:
  state:
    description:
      - V(drilled) drills now.
      - V(scheduled) has the server drill every week, V(unscheduled) not.
    type: str
    choices: [drilled, scheduled, unscheduled]
    default: drilled
  backup:
    description: The id or file name of a backup, V(latest) or V(before=TIME), which mean verified ones.
    type: str
    default: latest
  memory_mb:
    description: Limit of the container's memory in MB.
    type: int
    default: 512
  start_timeout:
    description: How many seconds the server of the drill may take to start.
    type: float
    default: 120
  min_free_mb:
    description: Room in MB that stays free on the disk beside what is restored.
    type: int
    default: 512
  metrics_dir:
    description: Directory in which node-exporter finds what is measured. Empty writes nothing.
    type: path
  day:
    description: Day of the week of the schedule.
    type: str
    choices: [mon, tue, wed, thu, fri, sat, sun]
    default: sun
  time:
    description: Time of the schedule.
    type: str
    default: "04:00"
  timezone:
    description: Time zone of the schedule.
    type: str
    default: UTC
  unit:
    description: Name of the timer of systemd that starts it, if there is one; cron does otherwise.
    type: str
    default: carrental-drill
  host:
    description: The server, as the inventory calls it.
    type: str
    default: ""
  wait:
    description: How many seconds a scheduled drill waits for an operation that excludes it.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Prove that the newest backup can be restored
  carrental.ops.backup_drill:
    directory: /opt/carrental/backups
    database: carrental
    project: carrental
    state_dir: /opt/carrental/.ops

- name: Have the server prove it every Sunday
  carrental.ops.backup_drill:
    state: scheduled
    directory: /opt/carrental/backups
    database: carrental
    project: carrental
    state_dir: /opt/carrental/.ops
"""

RETURN = r"""
actions:
  description: What was done, or would be, in words.
  returned: always
  type: list
  elements: str
  sample: [restore car_rental_backup_20261125_020000 in a container of its own]
backup:
  description: The backup, in short.
  returned: with O(state=drilled)
  type: dict
  sample: {id: car_rental_backup_20261125_020000, format: dump, rows: 6050}
drill:
  description: What was measured, as the manifest has it.
  returned: with O(state=drilled), outside of check mode
  type: dict
  sample: {at: "2026-11-25T04:00:31Z", seconds: 6.2, rows: 6050, tables: 5, amcheck: ok}
says:
  description: What was found, or what the server does by itself, in a sentence.
  returned: always
  type: str
  sample: The server drills every sun at 04:00 UTC, by the timer carrental-drill.timer of systemd.
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backup_database,
    _drill,
    _drill_scheduled,
    _engine,
    _entry_point,
    _operation_module,
    _schedule,
    _scheduled,
)

_ARGUMENTS = (
    *("project", "database_service", "database", "directory", "backup"),
    *("memory_mb", "jobs", "start_timeout", "min_free_mb"),
)


def arguments(params: dict[str, Any]) -> dict[str, Any]:
    """Return what describes a drill."""
    return {
        **{name: params[name] for name in _ARGUMENTS},
        "identity": params["identity"] or "",
        "metrics_dir": params["metrics_dir"] or "",
    }


def drill(run: _operation_module.OperationModule) -> dict[str, Any]:
    """Drill now, or say what would be drilled."""
    wish = _drill.Wish(**arguments(run.params))
    with run.operation("drill") as operation:
        engine = _engine.Engine()
        production = _backup_database.source(
            engine, wish.project, wish.database_service, wish.database
        )
        run.masker.add(production.password)
        backup = _drill.pick(wish)
        result: dict[str, Any] = {
            "changed": True,
            "backup": backup.as_dict(),
            "actions": [f"restore {backup.id} in a container of its own"],
            "says": f"{backup.id} would be restored in a container of its own.",
        }
        if not run.module.check_mode:
            drilled = _drill.run(engine, production, wish, backup, operation)
            result["drill"] = drilled.as_dict()
            result["says"] = _drill_scheduled.sentence(backup, drilled)
    return result


def scheduled(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Have the server drill every week, or not."""
    program = _schedule.Program(
        "carrental-drill", "drill.json", "the weekly drill", params["unit"], params["state_dir"]
    )
    if params["state"] == "unscheduled":
        actions = _schedule.uninstall(program, check_mode).actions
        said = "The server does not drill by itself."
        return {"changed": bool(actions), "actions": actions, "says": said}
    told = ("state_dir", "day", "time", "timezone", "wait", "host")
    settings = {"arguments": arguments(params), **{key: params[key] for key in told}}
    content = _entry_point.program(_drill_scheduled)
    installed = _schedule.install(program, content, settings, check_mode)
    return {
        "changed": bool(installed.actions),
        "actions": installed.actions,
        "says": f"The server drills every {params['day']} at {params['time']} {params['timezone']}, "
        f"by {installed.how(params['unit'])}.",
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_backup_arguments.RESTORE,
            **_operation_module.OPERATION_OPTIONS,
            "state": {
                "type": "str",
                "choices": ["drilled", "scheduled", "unscheduled"],
                "default": "drilled",
            },
            "backup": {"type": "str", "default": "latest"},
            "memory_mb": {"type": "int", "default": 512},
            "start_timeout": {"type": "float", "default": 120},
            "min_free_mb": {"type": "int", "default": 512},
            "metrics_dir": {"type": "path"},
            "day": {"type": "str", "choices": list(_scheduled.DAYS), "default": "sun"},
            "time": {"type": "str", "default": "04:00"},
            "timezone": {"type": "str", "default": "UTC"},
            "unit": {"type": "str", "default": "carrental-drill"},
            "host": {"type": "str", "default": ""},
            "wait": {"type": "int", "default": 3600},
        },
        required_if=[
            ("state", "scheduled", ("state_dir",)),
            ("state", "unscheduled", ("state_dir",)),
        ],
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    result: dict[str, Any] = {}
    try:
        if run.params["state"] == "drilled":
            result = drill(run)
        else:
            result = scheduled(run.params, module.check_mode)
    except _scheduled.EXPECTED as error:
        run.fail(str(error))
    run.exit(result)


if __name__ == "__main__":
    main()
