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

import json
import os
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backup_scheduled,
    _backups,
    _entry_point,
    _offsite_run,
    _schedule,
)


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
    kinds: dict[str, Any] = {"int": int, "float": float, "bool": as_bool, "list": list}
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
    retention = params["retention"]
    if retention:
        retention = complete(retention, _backup_arguments.RETENTION)
        _backup_arguments.policy(retention)
    offsite = params["offsite"]
    if offsite:
        offsite = complete(offsite, _offsite_run.OPTIONS)
    _schedule.require_time(params["time"])
    try:
        ZoneInfo(params["timezone"])
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise _backups.BackupError(
            f"timezone is {params['timezone']!r}, which this server does not know; give one like "
            "UTC or Europe/Paris. Nothing was changed."
        ) from error
    return {
        "arguments": arguments,
        "retention": retention,
        "offsite": offsite,
        **{key: params[key] for key in ("state_dir", "metrics_dir", "time", "timezone", "wait")},
    }


def install(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring everything in place, or away."""
    program = os.path.join(params["state_dir"], "bin", "carrental-backup")
    config = os.path.join(params["state_dir"], "bin", "backup.json")
    present = params["state"] == "present"
    by_timer = present and _schedule.timer_is_at_work(params["unit"])
    job = ""
    if present and not by_timer:
        command = ["/usr/bin/python3", program]
        job = _schedule.cron_line(params["time"], params["timezone"], command, [config])
    actions = []
    if present:
        text = json.dumps(settings(params), indent=2, sort_keys=True) + "\n"
        changed = _schedule.put(program, _entry_point.program(_backup_scheduled), 0o700, check_mode)
        changed |= _schedule.put(config, text.encode(), 0o600, check_mode)
        actions += ["install the nightly backup"] if changed else []
    else:
        gone = [_schedule.remove(path, check_mode) for path in (program, config)]
        actions += ["remove the nightly backup"] if any(gone) else []
    actions += _schedule.cron(
        job, f"{params['unit']} of carrental.ops", "the nightly backup", check_mode
    )
    by = ("systemd" if by_timer else "cron") if present else ""
    how = f"the timer {params['unit']}.timer of systemd" if by_timer else "cron"
    return {
        "changed": bool(actions),
        "actions": actions,
        "by": by,
        "program": program,
        "says": f"The server backs up every night at {params['time']} {params['timezone']}, by {how}."
        if present
        else "The server does not back up by itself.",
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
            "wait": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    try:
        result = install(module.params, module.check_mode)
    except _backups.BackupError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be written: {error.strerror}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
