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
  - Judges what is pending by its text, which is read from the image without running it, and
    refuses what is destructive before anything runs. C(additive) leaves the release before
    working, C(locking) lets others wait for a table, C(destructive) loses data or breaks the
    release before; what nobody can tell from the text counts as that. See O(allow_destructive).
  - A migration that failed and, as the schema shows, left nothing behind is marked as rolled back.
    Otherwise it would block every later one.
  - A migration that an earlier, killed run left at work is waited for by the operator, not doubled.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine with Compose 2.20 or later on the server.
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
attributes:
  check_mode:
    support: partial
    details:
      - In check mode nothing is migrated, created or pulled, and what is pending is judged all the same.
        Where no container of the image is on the server to read the migrations from, they are read
        out of the stream of the layers that the registry has and the running image has not. Nothing of
        it is kept.
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
  resolve_command:
    description:
      - Command that marks a failed migration, whose name is its last word, as rolled back.
      - Empty leaves it as failed, and so does a migration that may have written rows.
    type: str
    default: npx prisma migrate resolve --rolled-back
  timeout:
    description: Seconds that the migrations may take.
    type: int
    default: 900
  path:
    description:
      - Directory of the migrations in the image, absolute or seen from its working directory. Each
        migration is a directory in it with a file C(migration.sql).
      - Empty means that nothing is judged.
    type: str
    default: prisma/migrations
  registry_username:
    description:
      - User of the registry, where the migrations are read from there, in check mode.
      - Empty uses the login of the server's user, if any.
    type: str
    default: ""
  registry_password:
    description: Password or token of that user.
    type: str
    default: ""
  allow_destructive:
    description:
      - Whether a destructive migration may run. The release before has to be stopped then, and there
        is no way back but a restore.
      - >-
        A comment in the migration, directly before a statement or behind it on its line, vouches for
        that statement. It has to give a reason, as in
        C(-- carrental.ops: additive, because nobody reads this column any more).
    type: bool
    default: false
  allow_ahead:
    description:
      - Whether a release may be deployed that does not know a destructive migration which the release
        that runs brought. Otherwise O(state=assessed) refuses it.
    type: bool
    default: false
  lock_timeout:
    description:
      - Seconds that a migration waits for a lock on a table, while everybody waits behind it. V(0)
        leaves that to the migration.
      - It is put into the connection URL in O(url_variable) as C(options). That is not done where the
        variable holds no URL of PostgreSQL, where the URL names a pooler (C(pgbouncer=true)), and
        where an index is built or dropped C(CONCURRENTLY), which has to wait. A migration that waits
        for a lock without a limit of its own is told then.
    type: int
    default: 1
  url_variable:
    description: Variable of the service's environment with the URL by which it migrates.
    type: str
    default: DATABASE_URL
  state:
    description:
      - With V(migrated) what is pending is applied.
      - With V(assessed) it is told and judged, and nothing is run. It fails for what
        O(allow_destructive) does not allow.
    type: str
    choices: [assessed, migrated]
    default: migrated
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
- name: Judge what is pending before anything is touched
  carrental.ops.release_migrate:
    dest: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml]
    pins:
      api: "{{ pulled.images.api.reference }}"
    service: api
    command: npx prisma migrate deploy
    state: assessed
  register: judged

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
  description: Migrations that were pending, as far as that can be told.
  returned: always
  type: list
  elements: str
  sample: [20260301090000_booking_note]
risks:
  description: >-
    What each pending migration does: the worst of it as C(risk), each thing as one of C(findings), and
    the statements that its author vouches for, with the reason.
  returned: always
  type: dict
  sample:
    20260401090000_customer_full_name:
      risk: destructive
      findings:
        - kind: drop_column
          risk: destructive
          statement: ALTER TABLE customers DROP COLUMN phone
          why: the values of customers.phone are gone, and the release before still uses them
      vouched: []
destructive:
  description: The pending migrations that are destructive.
  returned: always
  type: list
  elements: str
  sample: [20260401090000_customer_full_name]
unknown:
  description: Why what is pending cannot be told; empty when it can.
  returned: always
  type: str
  sample: ""
ahead:
  description: Migrations that the database holds and the image does not.
  returned: always
  type: list
  elements: str
  sample: []
lines:
  description: RV(pending) and RV(risks) as lines for an operator.
  returned: always
  type: list
  elements: str
  sample: ["pending migration 20260301090000_booking_note: additive"]
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _compose,
    _configuration,
    _configuration_module,
    _docker,
    _engine,
    _env_file,
    _migration_run,
    _migrations,
    _one_off,
    _operation,
    _operation_module,
)

EXPECTED = (
    _compose.ComposeError,
    _configuration.ConfigurationError,
    _docker.DockerError,
    _env_file.EnvFileError,
    _migrations.MigrationError,
    _one_off.OneOffError,
    _operation.OperationError,
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
            "resolve_command": {
                "type": "str",
                "default": "npx prisma migrate resolve --rolled-back",
            },
            "timeout": {"type": "int", "default": 900},
            "path": {"type": "str", "default": "prisma/migrations"},
            "registry_username": {"type": "str", "default": ""},
            "registry_password": {"type": "str", "default": "", "no_log": True},
            "allow_destructive": {"type": "bool", "default": False},
            "allow_ahead": {"type": "bool", "default": False},
            "lock_timeout": {"type": "int", "default": 1},
            "url_variable": {"type": "str", "default": "DATABASE_URL"},
            "database_service": {"type": "str", "default": "postgres"},
            "database": {"type": "str", "default": "carrental"},
            "applied_before": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["assessed", "migrated"], "default": "migrated"},
            **_operation_module.OPERATION_OPTIONS,
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    work: _migration_run.Migration | None = None
    try:
        engine = _engine.Engine()
        work = _migration_run.Migration(engine, run.params, may_create=not module.check_mode)
        if not module.check_mode:
            _one_off.leftovers(engine, run.params["project"])
        if run.params["state"] == "assessed" or module.check_mode:
            work.assess()
        else:
            with (
                run.operation("release_migrate") as operation,
                _configuration.candidate(_configuration_module.wish(run.params)) as proved,
            ):
                work.step = operation.step
                work.migrate(proved)
    except EXPECTED as error:
        failed = list(work.after.failed) if work else []
        applied = work.applied if work else []
        known = work.result() if work else {"changed": False}
        run.fail(str(error), **known, applied=applied, failed_migrations=failed)
    result = work.result()
    if module._diff:
        result["diff"] = {
            "before_header": "migrations",
            "after_header": "migrations",
            "before": "",
            "after": "".join(f"{one}\n" for one in result["pending"]),
        }
    run.exit(result)


if __name__ == "__main__":
    main()
