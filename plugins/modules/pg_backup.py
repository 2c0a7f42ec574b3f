#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up a PostgreSQL database, and prove it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_backup
short_description: Back up a PostgreSQL database, and prove it
version_added: 0.1.0
description:
  - Streams C(pg_dump) out of the container of the server, so that its version is that of the server,
    and compresses on the way. No shell and no pipe of a shell is involved, and every exit code counts.
  - Then reads the file from its first to its last byte, an archive through C(pg_restore). The tables
    of an archive and the rows of SQL are compared with the rows that were counted in the very snapshot
    that was dumped. Only then does it get its name; until then it ends in C(.partial).
  - Beside it stand a manifest (C(.json)) and a checksum as C(sha256sum -c) reads it (C(.sha256)).
  - A run that is killed leaves no C(pg_dump) at work, and what it wrote is removed by the next run.
  - What belongs to a dead operation is ended first, files and sessions of the database.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The program C(zstd) on the server, for small archives that are made fast.
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
  - carrental.ops._backup
  - carrental.ops._backup.database
attributes:
  check_mode:
    support: full
    details: Looks at the database, the space and the programs for real.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: With O(max_age) a backup that is young enough is taken instead of a new one.
options:
  state:
    description:
      - V(present) makes a backup.
      - V(verified) reads the backup O(backup) to its end once more. One without a manifest, as other
        scripts leave it, gets one, and is as good as any other from then on.
      - Of an encrypted one only the checksum is compared; that it was read before it was encrypted still
        counts.
    type: str
    choices: [present, verified]
    default: present
  backup:
    description: The id or file name of a backup, V(latest) or V(before=TIME). For O(state=verified).
    type: str
    default: latest
  format:
    description:
      - V(dump) is the custom format, which C(pg_restore) loads with several jobs. The server's C(zstd)
        compresses it, and the file ends in C(.dump.zst); without that program C(pg_dump) compresses,
        and the file ends in C(.dump).
      - V(sql.gz) is plain SQL, which C(gunzip -c | psql) loads.
    type: str
    choices: [dump, sql.gz]
    default: dump
  prefix:
    description: What the names of the files begin with.
    type: str
    default: car_rental_backup
  reason:
    description: What the backup is made for.
    type: str
    choices: [manual, scheduled, deploy, safety]
    default: manual
  who:
    description: Who asked for it, for the manifest.
    type: str
    default: ""
  host:
    description: The server, as the inventory calls it.
    type: str
    default: ""
  max_age:
    description:
      - Seconds. The newest verified backup of this database is taken when it is younger and its file
        still has the sha256 of its manifest; nothing is made then. One that has another is marked as
        damaged, and a new one is made. V(0) makes one in any case.
    type: int
    default: 0
  allow_empty:
    description:
      - Whether a database without a table is no failure. Nothing is made then, and RV(empty) says why.
    type: bool
    default: false
  min_ratio:
    description:
      - A backup with less than this part of the tables or rows of the verified one before is kept,
        but not trusted, and the module fails. So is found out that the wrong database was dumped or
        that the right one was emptied. V(0) trusts it.
    type: float
    default: 0.5
  reserve_mb:
    description: Megabytes that stay free on the disk of the backups.
    type: int
    default: 512
  lock_timeout:
    description: Seconds that C(pg_dump) waits for a table that another session holds.
    type: int
    default: 60
  globals_passwords:
    description: Whether the SQL of the roles, in the manifest, has their password hashes.
    type: bool
    default: false
  metrics_dir:
    description: Where node-exporter finds what is measured of backups. Nothing is written without it.
    type: path
  encryption:
    description:
      - The program that encrypts the backup after it was verified. Empty encrypts nothing.
    type: str
    choices: ["", age, gpg]
    default: ""
  recipients:
    description: Public keys, for V(age) as C(age1...), for V(gpg) as exported with C(--armor).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Back up the database
  carrental.ops.pg_backup:
    state_dir: /opt/carrental/.ops
    directory: /opt/carrental/backups

- name: Have a backup that is not older than an hour
  carrental.ops.pg_backup:
    state_dir: /opt/carrental/.ops
    directory: /opt/carrental/backups
    max_age: 3600
    reason: deploy
  register: backup

- name: Prove a dump that another script made
  carrental.ops.pg_backup:
    state_dir: /opt/carrental/.ops
    directory: /opt/carrental/backups
    state: verified
    backup: car_rental_backup_20261101_020000
"""

RETURN = r"""
backup:
  description: The backup, in short.
  returned: when there is one
  type: dict
  sample:
    id: car_rental_backup_20261125_020000
    path: /opt/carrental/backups/car_rental_backup_20261125_020000.dump.zst
    bytes: 54525952
    verified: true
manifest:
  description: What is known of it. The SQL of the roles is left out.
  returned: when there is one
  type: dict
  sample: {"database": {"name": "carrental"}, "tables": {"public.bookings": 61234}}
empty:
  description: Why there is no backup, where O(allow_empty) lets that be.
  returned: when the database has no table
  type: str
  sample: "shop in shop-db-1 has no table: a backup of it holds nothing; check carrental_database."
damaged:
  description: Why the backup that is young enough was not taken. Empty where it was, or there is none.
  returned: with O(state=present)
  type: str
  sample: "car_rental_backup_20261125_020000.dump is damaged: its sha256 is 1b4f0e98…"
numbers:
  description: Seconds that the steps took.
  returned: when something was done
  type: dict
  sample: {"dump_s": 3.8, "count_s": 0.4, "verify_s": 1.3, "total_s": 5.9}
plan:
  description: What a backup would take, in bytes, and how it would be compressed.
  returned: in check mode
  type: dict
  sample: {"size_bytes": 769000000, "needed_bytes": 81000000, "free_bytes": 80000000000, "codec": "zstd"}
actions:
  description: What was done, in words.
  returned: success
  type: list
  elements: str
  sample: [back up carrental to car_rental_backup_20261125_020000.dump.zst]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backup_database,
    _backup_metrics,
    _backup_run,
    _backup_verify,
    _backups,
    _docker,
    _engine,
    _operation,
    _operation_module,
)

_EXPECTED = (_backups.BackupError, _docker.DockerError, _operation.OperationError)


def source(run: _operation_module.OperationModule) -> _backup_database.Source:
    """Return the database."""
    params = run.params
    found = _backup_database.source(
        _engine.Engine(),
        params["project"],
        params["database_service"],
        params["database"],
        params["login_user"],
    )
    run.masker.add(found.password)
    return found


def young_enough(
    run: _operation_module.OperationModule,
) -> tuple[_backups.Backup | None, str]:
    """Return the backup that makes a new one needless, or why the one that is young does not.

    What is relied on may have changed on the disk since it was proved.
    """
    if run.params["max_age"] <= 0:
        return None, ""
    backups = _backups.listing(run.params["directory"])
    newest = _backups.newest_verified(backups, run.params["database"])
    if newest is None or not 0 <= newest.age() <= run.params["max_age"]:
        return None, ""
    try:
        with (
            run.operation("backup", changes=False),
            _backup_verify.distrusting(newest, marks=not run.module.check_mode),
        ):
            _backup_verify.require_checksum(newest)
    except _backup_verify.DamageError as error:
        return None, str(error)
    return newest, ""


def present(run: _operation_module.OperationModule) -> dict[str, Any]:
    """Make a backup, where one is needed."""
    newest, damaged = young_enough(run)
    if newest:
        result = _backup_run.as_result(_backup_run.Outcome(newest))
        return {"changed": False, "damaged": "", **result}
    wish = _backup_arguments.wish(run.params)
    if run.module.check_mode:
        planned = _backup_run.plan(source(run), wish)
        result = _backup_arguments.planned(planned, run.params["database"])
        return {"changed": True, "damaged": damaged, **result}
    with run.operation("backup") as operation:
        outcome = _backup_run.make(source(run), wish, operation)
    return {"changed": True, "damaged": damaged, **_backup_run.as_result(outcome)}


def verified(run: _operation_module.OperationModule) -> dict[str, Any]:
    """Prove a backup that is there."""
    backups = _backups.listing(run.params["directory"])
    wanted = _backups.find(backups, run.params["backup"])
    if run.module.check_mode:
        outcome = _backup_run.Outcome(wanted, [f"verify {wanted.id}"])
        return {"changed": True, **_backup_run.as_result(outcome)}
    with run.operation("backup") as operation:
        archive = wanted.name.format == "dump"
        outcome = _backup_run.prove(wanted, source(run) if archive else None, operation)
    return {"changed": True, **_backup_run.as_result(outcome)}


def tell_node_exporter(run: _operation_module.OperationModule) -> None:
    """Write what is measured; the backup is made, so it is no failure that this is not."""
    if not run.params["metrics_dir"] or run.module.check_mode:
        return
    try:
        backups = _backups.listing(run.params["directory"])
        away = any(one.manifest and one.manifest.offsite for one in backups)
        _backup_metrics.write(run.params["metrics_dir"], backups, offsite=away)
    except (_backups.BackupError, OSError) as error:
        run.module.warn(f"The metrics of the backups were not written: {error}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_operation_module.OPERATION_OPTIONS,
            **_backup_arguments.DIRECTORY,
            **_backup_arguments.DATABASE,
            **_backup_arguments.BACKUP,
            "state": {"type": "str", "choices": ["present", "verified"], "default": "present"},
            "backup": {"type": "str", "default": "latest"},
            "max_age": {"type": "int", "default": 0},
            "allow_empty": {"type": "bool", "default": False},
            "metrics_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    work = present if run.params["state"] == "present" else verified
    try:
        result = work(run)
    except _backup_run.EmptyError as error:
        if not run.params["allow_empty"]:
            run.fail(str(error))
        result = {"changed": False, "empty": str(error), "actions": []}
    except _backup_run.SuspectError as error:
        run.fail(str(error), changed=True, backup=error.backup.as_dict())
    except _EXPECTED as error:
        run.fail(str(error))
    tell_node_exporter(run)
    run.exit(result)


if __name__ == "__main__":
    main()
