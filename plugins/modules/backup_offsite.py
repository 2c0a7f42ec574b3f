#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy backups to an S3 bucket elsewhere, and bring them back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_offsite
short_description: Copy backups to an S3 bucket elsewhere, and bring them back
version_added: 0.1.0
description:
  - Copies the newest verified backups that are not there yet, in parts, each with its checksum, and
    compares what the store holds afterwards. The manifest goes last; without it nothing is a copy.
    What another server has there under the same name is not written over.
  - The newest backups of the configuration, which M(carrental.ops.config_backup) makes, go along.
  - Then removes copies that are older than O(days) there, by the same rules as
    M(carrental.ops.backup_prune), with a floor of their own.
  - The bucket has to exist. Versions or an object lock in it keep what a stolen key removes.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - boto3 on the server
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
      - V(copied) copies what is not there yet, and removes what is old there.
      - V(fetched) brings a copy back to O(directory), compared with its manifest. What is there already,
        with the same checksum, is not brought again.
    type: str
    choices: [copied, fetched]
    default: copied
  backup:
    description:
      - With O(state=fetched), the backup that is brought, as V(latest), V(before=TIME), an id or a file
        name. Empty brings none.
    type: str
    default: ""
  configuration:
    description: With O(state=fetched), whether a configuration is brought.
    type: bool
    default: false
  configuration_file:
    description: The configuration that O(configuration) brings, V(latest) or a file name.
    type: str
    default: latest
  bucket:
    description: The bucket.
    type: str
    required: true
  endpoint:
    description: URL of the store. Empty is that of Amazon.
    type: str
    default: ""
  object_prefix:
    description: What the names of the objects begin with, like a directory.
    type: str
    default: ""
  region:
    description: Region of the store.
    type: str
    default: us-east-1
  ca_file:
    description: Certificates to trust, on the server. Empty trusts those of the server.
    type: path
    default: ""
  credentials_file:
    description:
      - A file on the server with a JSON object of C(access_key) and C(secret_key).
      - Where it is not there, C(BACKUP_S3_ACCESS_KEY) and C(BACKUP_S3_SECRET_KEY) of O(env_file) count.
    type: path
    default: ""
  env_file:
    description: The C(.env) of the project on the server.
    type: path
    default: ""
  days:
    description: How many days a copy is kept.
    type: int
    default: 90
  keep_min:
    description: How many copies are kept however old they are.
    type: int
    default: 3
  most:
    description: How many of the newest backups have to be there.
    type: int
    default: 7
"""

EXAMPLES = r"""
- name: Have the last week elsewhere, too
  carrental.ops.backup_offsite:
    state_dir: /opt/carrental/.ops
    directory: /opt/carrental/backups
    bucket: carrental-backups
    endpoint: https://s3.example.com
    credentials_file: /opt/carrental/.ops/offsite.json

- name: Bring what a new server needs
  carrental.ops.backup_offsite:
    state: fetched
    backup: latest
    configuration: true
    state_dir: /opt/carrental/.ops
    directory: /opt/carrental/backups
    bucket: carrental-backups
    endpoint: https://s3.example.com
    credentials_file: /opt/carrental/.ops/offsite.json
"""

RETURN = r"""
backup:
  description: With O(state=fetched), the file of the backup.
  returned: success
  type: str
  sample: car_rental_backup_20261125_020000.dump.zst
configuration:
  description: With O(state=fetched), the file of the configuration.
  returned: success
  type: str
  sample: config_backup_20261125_020000.tar.gz.age
fetched:
  description: With O(state=fetched), the files that were not there already.
  returned: success
  type: list
  elements: str
  sample: [car_rental_backup_20261125_020000.dump.zst]
bytes:
  description: With O(state=fetched), the size of these.
  returned: success
  type: int
  sample: 54525952
copied:
  description: Ids of the backups and files of the configurations that were copied.
  returned: success
  type: list
  elements: str
  sample: [car_rental_backup_20261125_020000]
removed:
  description: What was removed there, called like that.
  returned: success
  type: list
  elements: str
  sample: []
refusal:
  description: Why no old copy was removed; empty otherwise.
  returned: success
  type: str
  sample: ""
kept:
  description: How many copies there are.
  returned: success
  type: int
  sample: 31
where:
  description: The place of the copies.
  returned: success
  type: str
  sample: bucket carrental-backups
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_arguments,
    _backups,
    _offsite,
    _offsite_fetch,
    _offsite_run,
    _operation,
    _operation_module,
)


def fetch(run: _operation_module.OperationModule, place: _offsite.Place) -> dict[str, Any]:
    """Bring copies back; return the result."""
    params, check = run.params, run.module.check_mode
    # What is only brought beside production changes none of it.
    with run.operation("recover", changes=bool(params["operation_id"])) as operation:
        found = _offsite_fetch.fetch(
            _offsite.Offsite(place),
            params["directory"],
            params["backup"],
            operation.step,
            configuration=params["configuration_file"] if params["configuration"] else "",
            write=not check,
        )
    return {"changed": bool(found.fetched), "where": place.where, **asdict(found)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_operation_module.OPERATION_OPTIONS,
            **_backup_arguments.DIRECTORY,
            **_offsite_run.OPTIONS,
            "state": {"type": "str", "choices": ["copied", "fetched"], "default": "copied"},
            "backup": {"type": "str", "default": ""},
            "configuration": {"type": "bool", "default": False},
            "configuration_file": {"type": "str", "default": "latest"},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    try:
        place = _offsite_run.place(run.params)
        run.masker.add(place.secret_key)
        if run.params["state"] == "fetched":
            run.exit(fetch(run, place))
        with run.operation("backup") as operation:
            report = _offsite_run.run(
                run.params, place, operation.step, write=not module.check_mode
            )
    except (_backups.BackupError, _operation.OperationError) as error:
        run.fail(str(error))
    except OSError as error:
        run.fail(f"{error.filename or run.params['directory']}: {error.strerror}.")
    run.exit({"changed": bool(report.copied or report.removed), **asdict(report)})


if __name__ == "__main__":
    main()
