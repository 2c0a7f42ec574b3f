#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the server back up its database every night."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_schedule
short_description: Have the server back up its database every night
version_added: 0.1.0
description:
  - Installs a program on the server that makes, proves and prunes backups as M(carrental.ops.pg_backup)
    and M(carrental.ops.backup_prune) do, without a controller. It is made of the very files that this
    module is, so it needs nothing but Python.
  - A timer of systemd starts it where C(playbooks/bootstrap.yml) installed one, else the cron of the
    user that this module runs as. Needs no root.
  - Lines of that cron which start the script of the runbook (C(backup-db.sh)) are taken out, and said.
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
  state:
    description: Whether the server backs up by itself.
    type: str
    choices: [present, absent]
    default: present
  state_dir:
    description: Directory of what operations remember; the program and its settings lie in there.
    type: path
    required: true
  time:
    description: The time of the day, as V(02:00).
    type: str
    default: "02:00"
  timezone:
    description: The time zone of O(time), as V(UTC) or V(Europe/Paris).
    type: str
    default: UTC
  unit:
    description: The name of the unit of systemd.
    type: str
    default: carrental-backup
  metrics_dir:
    description: Where node-exporter finds what is measured.
    type: path
    required: true
  arguments:
    description: Arguments of M(carrental.ops.pg_backup).
    type: dict
    required: true
  retention:
    description: Arguments of M(carrental.ops.backup_prune). Empty removes nothing.
    type: dict
    default: {}
  offsite:
    description: Arguments of M(carrental.ops.backup_offsite). Empty copies nothing elsewhere.
    type: dict
    default: {}
  configuration:
    description: Arguments of M(carrental.ops.config_backup). Empty backs up no configuration.
    type: dict
    default: {}
  objects:
    description: Arguments of M(carrental.ops.object_mirror) for a snapshot. Empty saves no objects.
    type: dict
    default: {}
  point_in_time:
    description:
      - Arguments of M(carrental.ops.backup_wal) with O(carrental.ops.backup_wal#module:state=based), of
        them C(reserve_mb), C(min_free_mb), C(base_hours) and C(keep_days). Empty makes no base.
    type: dict
    default: {}
  wait:
    description: Seconds to wait for an operation that excludes a backup.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Back up every night
  carrental.ops.backup_schedule:
    state_dir: /opt/carrental/.ops
    metrics_dir: /opt/carrental/.ops/metrics
    timezone: Europe/Paris
    arguments:
      directory: /opt/carrental/backups
    retention:
      days: 30
"""

RETURN = r"""
actions:
  description: What was done, in words.
  returned: always
  type: list
  elements: str
  sample: [install the nightly backup]
by:
  description: What starts it.
  returned: always
  type: str
  sample: systemd
says:
  description: When it is started, and by what, in one sentence.
  returned: always
  type: str
  sample: The server backs up every night at 02:00 UTC, by the timer carrental-backup.timer of systemd.
program:
  description: The path of the program.
  returned: always
  type: str
  sample: /opt/carrental/.ops/bin/carrental-backup
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backup_encrypt,
    _backup_scheduled,
    _backups,
    _config_backup,
    _entry_point,
    _object_arguments,
    _offsite_run,
    _schedule,
    _services,
    _wal_arguments,
)

# What comes after the database, each with the arguments of its module.
_PARTS = {
    "configuration": _config_backup.OPTIONS,
    "offsite": _offsite_run.OPTIONS,
    "retention": _backup_arguments.RETENTION,
    "point_in_time": _wal_arguments.BASE,
    "objects": {
        name: spec
        for name, spec in _object_arguments.OPTIONS.items()
        if name not in ("state", "to")
    },
}


def complete(given: dict[str, Any], *specs: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with their defaults, typed as the modules have them.

    :raises BackupError: one is unknown.
    """
    known = {name: spec for one in specs for name, spec in one.items()}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise _backups.BackupError(
            f"arguments has {', '.join(unknown)}, which is not known. Nothing was changed."
        )
    kinds: dict[str, Any] = {
        "int": int,
        "float": float,
        "bool": as_bool,
        "list": list,
        "dict": dict,
    }
    return {
        name: kinds.get(spec["type"], str)(given.get(name, spec.get("default", "")))
        for name, spec in known.items()
    }


def as_bool(value: Any) -> bool:
    """Return a switch, which a template may have made a text."""
    return str(value).lower() in ("true", "yes", "1", "on")


def settings(params: dict[str, Any]) -> dict[str, Any]:
    """Return what the program reads."""
    arguments = complete(
        params["arguments"],
        _backup_arguments.DIRECTORY,
        _backup_arguments.DATABASE,
        _backup_arguments.BACKUP,
    )
    _backup_arguments.wish(arguments)
    found: dict[str, Any] = {"arguments": arguments, "host": arguments["host"]}
    for name, options in _PARTS.items():
        found[name] = complete(params[name], options) if params[name] else {}
    if found["retention"]:
        _backup_arguments.policy(found["retention"])
    if found["objects"]:
        _object_arguments.job({**found["objects"], "state": "saved"})
    if found["configuration"]:
        _backup_encrypt.require(
            found["configuration"]["encryption"], tuple(found["configuration"]["recipients"])
        )
    told = ("state_dir", "metrics_dir", "time", "timezone", "wait")
    return {**found, **{key: params[key] for key in told}}


def install(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring everything in place, or away."""
    unit = params["unit"]
    program = _schedule.Program(
        "carrental-backup", "backup.json", "the nightly backup", unit, params["state_dir"]
    )
    if params["state"] == "absent":
        installed = _schedule.uninstall(program, check_mode)
        said = "The server does not back up by itself."
    else:
        content = _entry_point.program(_backup_scheduled)
        installed = _schedule.install(program, content, settings(params), check_mode)
        when = f"{params['time']} {params['timezone']}"
        said = f"The server backs up every night at {when}, by {installed.how(unit)}."
    return {
        "changed": bool(installed.actions),
        "actions": installed.actions,
        "by": installed.by,
        "program": program.path,
        "says": said,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "state_dir": {"type": "path", "required": True},
            "time": {"type": "str", "default": "02:00"},
            "timezone": {"type": "str", "default": "UTC"},
            "unit": {"type": "str", "default": "carrental-backup"},
            "metrics_dir": {"type": "path", "required": True},
            "arguments": {"type": "dict", "required": True},
            "retention": {"type": "dict", "default": {}},
            "offsite": {"type": "dict", "default": {}},
            "configuration": {"type": "dict", "default": {}},
            "objects": {"type": "dict", "default": {}},
            "point_in_time": {"type": "dict", "default": {}},
            "wait": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    try:
        result = install(module.params, module.check_mode)
    except (_backups.BackupError, _services.InputError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be written: {error.strerror}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
