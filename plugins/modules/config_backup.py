#!/usr/bin/python
# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up the configuration of a stack, encrypted, and bring it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: config_backup
short_description: Back up the configuration of a stack, encrypted, and bring it back
version_added: 0.1.0
description:
  - Packs what a new server needs beside database and objects. That is everything below the root of
    the stack that is no data (compose files, C(.env), proxy configuration, certificates, monitoring),
    the records of the releases, and databases of SQLite inside containers, such as Grafana's.
  - The archive is encrypted to public keys with C(age) or C(gpg), for it holds every secret of the
    stack. The private key does not belong on the server.
  - Where nothing changed since the newest backup, none is made.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
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
      - With V(saved) a backup is made in O(directory).
      - With V(restored) one is unpacked below O(root), which has no C(.env) yet. The databases lie in
        C(.recover) there then, by service.
      - With V(databases_restored) containers get these databases, and are stopped for a moment for it.
    type: str
    choices: [saved, restored, databases_restored]
    default: saved
  root:
    description: Directory of the stack.
    type: path
    required: true
  directory:
    description: Directory of the backups. Not needed with O(state=databases_restored).
    type: path
    default: ""
  project:
    description: Name of the compose project.
    type: str
    default: carrental
  databases:
    description: Databases of SQLite that are backed up, as paths in a container by its service.
    type: dict
    default: {}
  encryption:
    description: Program that encrypts. Needed with O(state=saved).
    type: str
    choices: [age, gpg]
  recipients:
    description: Public keys, of C(age) or as armored text for C(gpg).
    type: list
    elements: str
    default: []
  file:
    description: With O(state=restored) the backup that is used, by its name. V(latest) is the newest.
    type: str
    default: latest
  identity_file:
    description: With O(state=restored), file on the server that holds the private key.
    type: path
    default: ""
  overwrite:
    description:
      - With O(state=restored), whether a configuration that is there is overwritten. For one that a run
        before unpacked and that did not come to its end.
    type: bool
    default: false
  scratch_dir:
    description:
      - With O(state=restored), where the decrypted archive and the keyring of C(gpg) are for a while, best
        in memory. Empty is the directory of the system for temporary files.
    type: path
    default: ""
  keep_days:
    description: Backups older than this are removed after one was made. V(0) removes none.
    type: int
    default: 30
  keep_least:
    description: So many backups stay, however old they are.
    type: int
    default: 3
  max_file_mb:
    description: Larger files are no configuration; they are left out and named.
    type: int
    default: 16
"""

EXAMPLES = r"""
- name: Back up the configuration
  carrental.ops.config_backup:
    root: /opt/carrental
    directory: /opt/carrental/backups
    encryption: age
    recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
    databases:
      grafana: /var/lib/grafana/grafana.db
    state_dir: /opt/carrental/.ops

- name: Bring it back to a new server
  carrental.ops.config_backup:
    state: restored
    root: /opt/carrental
    directory: /opt/carrental/backups
    identity_file: /run/user/1000/identity
"""

RETURN = r"""
file:
  description: The backup that was made or used, or the newest one where nothing had changed.
  returned: always
  type: str
  sample: config_backup_20261125_020000.tar.gz.age
files:
  description: What it holds.
  returned: always
  type: list
  elements: str
  sample: [.env, docker-compose.prod.yml, nginx/nginx.conf]
skipped:
  description: What it does not hold, and why.
  returned: always
  type: list
  elements: str
  sample: []
bytes:
  description: Its size.
  returned: always
  type: int
  sample: 20480
removed:
  description: Backups that were removed for their age.
  returned: always
  type: list
  elements: str
  sample: []
"""

import os
from dataclasses import asdict
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backups,
    _config_archive,
    _config_backup,
    _docker,
    _engine,
    _operation,
    _operation_module,
)

_EXPECTED = (
    _backups.BackupError,
    _config_archive.ArchiveError,
    _docker.DockerError,
    _operation.OperationError,
)


def work(run: _operation_module.OperationModule) -> _config_backup.Outcome:
    """Do what is asked for."""
    params, check = run.params, run.module.check_mode
    if params["state"] == "restored":
        choice = _config_backup.Choice(
            params["directory"],
            params["file"],
            params["root"],
            params["identity_file"],
            params["overwrite"],
            params["scratch_dir"],
        )
        with run.operation("recover") as operation:
            return _config_backup.restore(choice, check, operation.step)
    wish = _config_backup.wish(params, params["state_dir"] or "")
    if params["state"] == "databases_restored":
        with run.operation("recover") as operation:
            return _config_backup.restore_databases(_engine.Engine(), wish, check, operation.step)
    now = datetime.now(timezone.utc)
    with run.operation("backup") as operation:
        return _config_backup.save(_engine.Engine(), wish, now, check, operation.step)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_operation_module.OPERATION_OPTIONS,
            "state": {
                "type": "str",
                "choices": ["saved", "restored", "databases_restored"],
                "default": "saved",
            },
            **_config_backup.OPTIONS,
            "file": {"type": "str", "default": "latest"},
            # The path of a file, which is no secret.
            "identity_file": {"type": "path", "default": "", "no_log": False},
            "overwrite": {"type": "bool", "default": False},
            "scratch_dir": {"type": "path", "default": ""},
        },
        required_if=[
            ("state", "saved", ["directory", "encryption", "recipients"]),
            ("state", "restored", ["directory", "identity_file"]),
        ],
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    os.umask(0o077)
    try:
        outcome = work(run)
    except _EXPECTED as error:
        run.fail(str(error))
    except OSError as error:
        run.fail(f"{error.filename or run.params['directory']}: {error.strerror}.")
    run.exit(asdict(outcome))


if __name__ == "__main__":
    main()
