#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrate the database from the image that is about to be released."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_migrate
short_description: Migrate the database from the image that is about to be released
version_added: 0.1.0
description:
  - Runs the migrations in a container of its own, made from the candidate image and the candidate
    configuration, while production still runs the old ones.
  - Asks for the status first, so that nothing pending is no change.
  - A migration that an earlier, killed run left at work is waited for by the operator, not doubled.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine with Compose 2.20 or later on the server.
extends_documentation_fragment:
  - carrental.ops._attributes
attributes:
  check_mode:
    support: partial
    details: [In check mode no container is started, so what is pending is not known.]
  diff_mode:
    support: full
    details: [Shows the names of the migrations.]
  idempotent:
    support: full
options:
  dest:
    description: Directory of the compose project on the server.
    type: path
    required: true
  src:
    description: >-
      Directory on the server with the delivered files. See M(carrental.ops.stack_config).
    type: path
  files:
    description: Compose files relative to O(dest), in the order of C(-f).
    type: list
    elements: str
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  env:
    description: Keys of C(.env) and their values. They are never returned, shown or logged.
    type: dict
    default: {}
  env_remove:
    description: Keys to take out of C(.env).
    type: list
    elements: str
    default: []
  pins:
    description: Image of each released service by digest.
    type: dict
    required: true
  service:
    description: Service whose image holds the migrations.
    type: str
    required: true
  command:
    description: Command that applies what is pending. It replaces the entrypoint of the image.
    type: str
    required: true
  status_command:
    description:
      - Command that lists what is pending, as C(prisma migrate status) does.
      - Without it O(command) always runs.
    type: str
    default: ""
  timeout:
    description: Seconds that the migrations may take.
    type: int
    default: 900
  database_service:
    description: Service of the database, asked for the migrations that it holds.
    type: str
    default: postgres
  database:
    description: Database of the application.
    type: str
    default: carrental
  applied_before:
    description:
      - Migrations that the database held after this very image was released. When it holds exactly
        these, nothing can be pending, and no container is started to ask.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Migrate before the switch
  carrental.ops.release_migrate:
    dest: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml]
    pins:
      api: "{{ pulled.images.api.reference }}"
    service: api
    command: npx prisma migrate deploy
    status_command: npx prisma migrate status
"""

RETURN = r"""
pending:
  description: Migrations that were pending, where a status command tells.
  returned: success
  type: list
  elements: str
  sample: [20260301090000_booking_note]
migrations:
  description: >-
    The migrations that the database holds now, C(applied), and the last of them,
    C(head). Both are empty where they cannot be read.
  returned: always
  type: dict
  sample: {"head": "20260301090000_booking_note", "applied": ["20260102090000_init"]}
applied:
  description: Migrations that were applied before one failed.
  returned: failure
  type: list
  elements: str
  sample: []
failed_migrations:
  description: >-
    Migrations that failed in the database and block every later one until they are resolved.
  returned: failure
  type: list
  elements: str
  sample: [20260315090000_broken]
log:
  description: The last lines of what the commands printed.
  returned: always
  type: list
  elements: str
  sample: ["All migrations have been successfully applied."]
"""

import shlex
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _compose,
    _configuration,
    _docker,
    _engine,
    _env_file,
    _migrations,
    _one_off,
    _operation_module,
)

EXPECTED = (
    _compose.ComposeError,
    _configuration.ConfigurationError,
    _docker.DockerError,
    _env_file.EnvFileError,
    _migrations.MigrationError,
    _one_off.OneOffError,
)


class Migration:
    """One run of the module on one candidate."""

    def __init__(
        self, engine: _engine.Engine, proved: _configuration.Candidate, params: dict[str, Any]
    ) -> None:
        self.engine = engine
        self.project = proved.project
        self.params = params
        self.log: list[str] = []

    def held(self) -> _migrations.Held:
        """Return the migrations that the database holds."""
        containers = self.engine.services(self.params["project"])
        service = self.params["database_service"]
        database = next((one for one in containers if one.service == service), None)
        return (
            _migrations.held(self.engine, database, self.params["database"]) or _migrations.Held()
        )

    def _run(self, command: str) -> _compose.Completed:
        words = shlex.split(command)
        done = _one_off.run(
            self.engine, self.project, self.params["service"], words, self.params["timeout"]
        )
        self.log = _one_off.tail(f"{done.stdout}\n{done.stderr}")
        return done

    def pending(self) -> list[str] | None:
        """Return what is pending; nothing where it cannot be told."""
        if not self.params["status_command"]:
            return None
        done = self._run(self.params["status_command"])
        output = f"{done.stdout}\n{done.stderr}"
        status = _migrations.parse_status(output)
        if status.failed:
            raise _migrations.MigrationError(
                f"The database holds a migration that failed before: {', '.join(status.failed)}. No "
                "other is applied until it is resolved; nothing was migrated now."
            )
        if not status.known:
            raise _migrations.MigrationError(
                f"{self.params['status_command']} ended with {done.rc} and does not say what is "
                f"pending: {_migrations.reason(output)}"
            )
        return list(status.pending)

    def apply(self) -> None:
        """Apply what is pending."""
        done = self._run(self.params["command"])
        if done.rc != 0:
            raise _migrations.MigrationError(
                f"{self.params['command']} ended with {done.rc}: "
                f"{_migrations.reason(f'{done.stdout}{chr(10)}{done.stderr}')}"
            )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "src": {"type": "path"},
            "files": {"type": "list", "elements": "str", "required": True},
            "project": {"type": "str", "required": True},
            "env": {"type": "dict", "default": {}, "no_log": True},
            "env_remove": {"type": "list", "elements": "str", "default": []},
            "pins": {"type": "dict", "required": True},
            "service": {"type": "str", "required": True},
            "command": {"type": "str", "required": True},
            "status_command": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 900},
            "database_service": {"type": "str", "default": "postgres"},
            "database": {"type": "str", "default": "carrental"},
            "applied_before": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    work: Migration | None = None
    before = after = _migrations.Held()
    changed = False
    pending: list[str] = []
    try:
        engine = _engine.Engine()
        _one_off.leftovers(engine, run.params["project"])
        with _configuration.candidate(_operation_module.wish(run.params)) as proved:
            work = Migration(engine, proved, run.params)
            before = after = work.held()
            held = list(before.applied)
            passed = bool(held) and not before.failed and held == run.params["applied_before"]
            found = [] if module.check_mode or passed else work.pending()
            if not module.check_mode and (found is None or found or before.rolled_back):
                # From here on the database is touched, whatever comes of it.
                changed = True
                try:
                    work.apply()
                finally:
                    after = work.held()
                pending = [one for one in after.applied if one not in before.applied] or found or []
                changed = bool(pending) or found is None
    except EXPECTED as error:
        run.fail(
            str(error),
            changed=changed,
            log=work.log if work else [],
            migrations=after.as_dict(),
            applied=[one for one in after.applied if one not in before.applied],
            failed_migrations=list(after.failed),
        )
    result: dict[str, Any] = {
        "changed": changed,
        "pending": pending,
        "migrations": after.as_dict(),
        "log": work.log if work else [],
    }
    if module._diff:
        result["diff"] = {
            "before_header": "migrations",
            "after_header": "migrations",
            "before": "",
            "after": "".join(f"{one}\n" for one in pending),
        }
    run.exit(result)


if __name__ == "__main__":
    main()
