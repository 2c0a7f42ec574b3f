#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which backups there are, and what is known of them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: Tell which backups there are, and what is known of them
version_added: 0.1.0
description:
  - Lists the backups of a directory, newest first, from their manifests. Reads none of them; see
    M(carrental.ops.pg_backup) with O(carrental.ops.pg_backup#module:state=verified) for that.
  - Backups that something else made are listed too, as foreign and unverified.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._backup
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  database:
    description: Counts backups of this database alone as the newest. Empty counts those of any.
    type: str
    default: ""
  state_dir:
    description:
      - Directory of what operations remember, where the receiver of the write-ahead log says how it is.
        Empty says of the log only what lies in O(directory).
    type: path
  backup:
    description:
      - The id or file name of a backup, V(latest) or V(before=TIME), of which the manifest is wanted.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Look at the backups
  carrental.ops.backup_info:
    directory: /opt/carrental/backups
  register: backups

- name: Refuse to go on without one of today
  ansible.builtin.assert:
    that: backups.newest.age_s < 86400
"""

RETURN = r"""
backups:
  description: All backups, newest first.
  returned: always
  type: list
  elements: dict
  sample:
    - id: car_rental_backup_20261125_020000
      verified: true
      bytes: 54525952
newest:
  description: The newest verified one, with its age in seconds; empty where there is none.
  returned: always
  type: dict
  sample: {"id": "car_rental_backup_20261125_020000", "age_s": 5025}
drilled:
  description: The newest one that was restored in a drill; empty where there is none.
  returned: always
  type: dict
  sample: {}
drill:
  description: When a backup was last restored in a drill, how long ago and how long it took. Empty if never.
  returned: always
  type: dict
  sample: {"id": "car_rental_backup_20261122_020000", "at": "2026-11-22T04:00:31Z", "age_s": 262800, "seconds": 6.2}
manifest:
  description: The manifest of O(backup), without the SQL of the roles.
  returned: when asked for
  type: dict
  sample: {"tables": {"public.bookings": 61234}}
bytes:
  description: The size of all backups.
  returned: always
  type: int
  sample: 1635778560
lines:
  description: What there is of them, for an operator.
  returned: always
  type: list
  elements: str
  sample:
    - "backup: car_rental_backup_20261125_020000, 84 min old, verified; 31 kept, 1.5 GB"
    - "drill: car_rental_backup_20261122_020000 was restored 3 d ago, which took 6.2 s"
point_in_time:
  description:
    - What M(carrental.ops.backup_wal) kept, and which moments can be restored by it. Empty if it never did.
    - C(spans) are the times that can be reached. Between them the log has a gap.
    - C(receiving) is whether the log is received now, and C(why) why not.
    - C(unbroken) is whether what is written now can be reached.
    - C(former) is what lies there of a database server that is gone, and is never removed by itself.
  returned: always
  type: dict
  sample:
    receiving: true
    why: ""
    unbroken: true
    spans: [{"since": "2026-11-25T02:00:09Z", "until": "2026-11-26T03:12:00Z"}]
    bases: [20261126T020004Z, 20261125T020004Z]
    bytes: 412000000
    former: []
partial:
  description: Files of backups that are being written, or that a killed run left.
  returned: always
  type: list
  elements: str
  sample: []
"""

import time
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backups,
    _containers,
    _host,
    _wal_status,
)


def with_age(backup: _backups.Backup | None) -> dict[str, Any]:
    """Return a backup in short, with its age."""
    return {**backup.as_dict(), "age_s": round(backup.age())} if backup else {}


def say(newest: dict[str, Any], drill: dict[str, Any], kept: int, size: int) -> list[str]:
    """Return what there is for an operator."""
    if newest:
        age = _containers.duration(newest["age_s"])
        backup = f"{newest['id']}, {age} old, verified; {kept} kept, {_host.size(size)}"
    else:
        backup = f"none is verified ({kept} are there); make one with playbooks/backup.yml"
    proof = "no backup was ever restored in a drill; prove one with playbooks/drill.yml"
    if drill:
        ago = _containers.duration(drill["age_s"])
        proof = f"{drill['id']} was restored {ago} ago, which took {drill['seconds']} s"
    return [f"backup: {backup}", f"drill: {proof}"]


def look(params: dict[str, Any]) -> dict[str, Any]:
    """Return what there is."""
    found = _backups.listing(params["directory"])
    result: dict[str, Any] = {
        "changed": False,
        "backups": [one.as_dict() for one in found],
        "newest": with_age(
            _backups.newest_verified(
                [one for one in found if not one.put_aside], params["database"]
            )
        ),
        "drilled": with_age(next((one for one in found if one.drilled), None)),
        "drill": _backups.last_drill(found),
        "bytes": sum(one.bytes for one in found),
        "partial": _backups.partials(params["directory"]),
    }
    result["lines"] = say(result["newest"], result["drill"], len(found), result["bytes"])
    status = _wal_status.read(params["state_dir"]) if params["state_dir"] else None
    log = _wal_status.as_result(params["directory"], status, time.time())
    result["point_in_time"] = log
    result["lines"] += [_wal_status.line(log)] if log else []
    if params["backup"]:
        wanted = _backups.find(found, params["backup"])
        manifest = asdict(wanted.manifest) if wanted.manifest else {}
        result["manifest"] = {**manifest, "globals": ""} if manifest else {}
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_backup_arguments.DIRECTORY,
            "database": {"type": "str", "default": ""},
            "state_dir": {"type": "path"},
            "backup": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except _backups.BackupError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
