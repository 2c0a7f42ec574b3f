#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove old backups, and never the last good ones."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_prune
short_description: Remove old backups, and never the last good ones
version_added: 0.1.0
description:
  - Removes backups that are older than O(days), those of other scripts with the same kind of name too.
  - Never the newest O(keep_min) verified ones, the newest that was restored in a drill, nor one from
    before a release that runs or can be gone back to.
  - Judges the backups of each database by themselves. What names no database counts to the only one
    there is.
  - Removes nothing of a database when no backup of it is verified, or the newest verified one is older
    than O(max_age_hours), for then backups fail; says so in RV(refusal) and does not fail itself.
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
    support: full
  idempotent:
    support: full
options:
  days:
    description: How many days a backup is kept.
    type: int
    default: 30
  keep_min:
    description: How many verified backups are kept however old they are.
    type: int
    default: 3
  weeks:
    description: For how many weeks with a verified backup the newest of each is kept.
    type: int
    default: 0
  months:
    description: For how many months with a verified backup the newest of each is kept.
    type: int
    default: 0
  max_age_hours:
    description: Nothing is removed when the newest verified backup is older.
    type: int
    default: 48
"""

EXAMPLES = r"""
- name: Remove old backups
  carrental.ops.backup_prune:
    state_dir: /opt/carrental/.ops
    directory: /opt/carrental/backups
"""

RETURN = r"""
keep:
  description: What stays, and why.
  returned: always
  type: list
  elements: dict
  sample: [{"id": "car_rental_backup_20261125_020000", "bytes": 54525952, "reason": "not older than 30 days"}]
remove:
  description: What went, or in check mode would go, and why.
  returned: always
  type: list
  elements: dict
  sample: [{"id": "car_rental_backup_20261001_020000", "bytes": 54525952, "reason": "older than 30 days"}]
refusal:
  description: Why nothing is removed, or nothing of a database, although some are old; empty otherwise.
  returned: always
  type: str
  sample: ""
freed_bytes:
  description: The size of what went.
  returned: always
  type: int
  sample: 54525952
"""

from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backup_prune,
    _backups,
    _operation,
    _operation_module,
    _operation_work,
    _retention,
)


def plan(run: _operation_module.OperationModule) -> _retention.Plan:
    """Judge what is there now."""
    params = run.params
    return _retention.plan(
        _backups.listing(params["directory"]),
        _backup_arguments.policy(params),
        datetime.now(timezone.utc),
        _backup_prune.pinned(params.get("state_dir") or ""),
    )


def prune(
    run: _operation_module.OperationModule, operation: _operation_work.Operation
) -> _retention.Plan:
    """Remove what may go, judged under the lock."""
    found = plan(run)
    for one in found.remove:
        operation.step("remove an old backup", id=one.backup.id, reason=one.reason)
        _backup_prune.remove(one.backup)
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_operation_module.OPERATION_OPTIONS,
            **_backup_arguments.DIRECTORY,
            **_backup_arguments.RETENTION,
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    try:
        found = plan(run)
        # With nothing to remove the lock is nobody's business.
        if found.remove and not module.check_mode:
            with run.operation("prune") as operation:
                found = prune(run, operation)
    except (_backups.BackupError, _operation.OperationError) as error:
        run.fail(str(error))
    before = [one.backup.id for one in (*found.keep, *found.remove)]
    gone = {one.backup.id for one in found.remove}
    after = [one for one in before if one not in gone]
    run.exit(
        {
            "changed": bool(gone),
            **_backup_prune.as_result(found),
            "diff": {
                "before": "".join(f"{one}\n" for one in sorted(before)),
                "after": "".join(f"{one}\n" for one in sorted(after)),
            },
        }
    )


if __name__ == "__main__":
    main()
