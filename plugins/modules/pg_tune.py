#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set PostgreSQL's settings for the container that it runs in, and take bad ones back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_tune
short_description: Set PostgreSQL's settings for the container that it runs in
version_added: 0.1.0
description:
  - Computes settings from the memory limit and the cores of the container, the connections that the
    services may open, and the size of the data. Given settings take the place of computed ones.
  - Says what governs each setting now. One that is fixed on the command line of the server is
    refused, for C(ALTER SYSTEM) would change nothing.
  - Refuses what does not fit into the container at worst, and says by how much.
  - Lets the server's own program try the settings in a container of its own before a restart, so
    that a library that is not there, or a value that no server starts with, changes nothing.
  - Writes one C(ALTER SYSTEM) after the other, reloads, restarts only when a setting needs it and
    O(restart) allows it, and sees each value in force.
  - When the server does not return or a value is not in force, the settings from before are put
    back through the volume of the container, without SQL.
  - A run that was killed is ended by the next one, which takes back what it wrote and begins anew.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - psycopg2 (package python3-psycopg2) on the server
  - PostgreSQL 15 or later in a container; with an older one settings are not tried before.
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
attributes:
  check_mode:
    support: full
    details: [In check mode the settings are computed, judged and tried, and nothing is written.]
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state_dir:
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  service:
    description: The service of the database, as compose calls it.
    type: str
    default: postgres
  database:
    description: Database in which pg_stat_statements is created.
    type: str
    required: true
  settings:
    description: Settings by name, as C(ALTER SYSTEM) takes them.
    type: dict
    default: {}
  compute:
    description: Whether the other settings of memory, disk and processors are computed.
    type: bool
    default: true
  statements:
    description: Whether pg_stat_statements is loaded and created.
    type: bool
    default: true
  restart:
    description:
      - Whether the server may be restarted. With V(never), settings that need it are left as they
        are and returned as RV(pending).
    type: str
    choices: [never, if_needed]
    default: never
  over_budget:
    description: What to do with settings that may need more memory than the container has.
    type: str
    choices: [refuse, warn]
    default: refuse
  memory_mb:
    description: MiB that the server may use; 0 takes the limit of its container.
    type: int
    default: 0
  connections:
    description:
      - Connections that the server has to offer. 0 adds up the pools of the services, twice for the
        time of a switch, the exporters, and a reserve.
    type: int
    default: 0
  storage:
    description: What the data lies on.
    type: str
    choices: [ssd, hdd]
    default: ssd
  undo:
    description: Go back to the settings from before the last run that changed any.
    type: bool
    default: false
  start_timeout:
    description: Seconds until the server has to answer after a restart.
    type: int
    default: 60
  stop_timeout:
    description: Seconds for the server to stop before it is killed and has to recover.
    type: int
    default: 120
seealso:
  - module: carrental.ops.pg_diagnose
"""

EXAMPLES = r"""
- name: Look what would be set
  carrental.ops.pg_tune:
    state_dir: /opt/carrental/.ops
    project: carrental
    database: carrental
  check_mode: true
  diff: true

- name: Set it, with a restart where it is needed
  carrental.ops.pg_tune:
    state_dir: /opt/carrental/.ops
    project: carrental
    database: carrental
    restart: if_needed
    settings:
      log_min_duration_statement: 1s
"""

RETURN = r"""
actions:
  description: What was done, in words.
  returned: always
  type: list
  elements: str
  sample: ["shared_buffers: set to 256MB", restarted postgres]
lines:
  description: The plan for an operator, a line a setting, with what governs it now.
  returned: success
  type: list
  elements: str
  sample: ["work_mem: 4MB -> 8MB, reload [nothing: PostgreSQL's own default]; pgtune 8MB"]
plan:
  description: Every setting that was looked at.
  returned: success
  type: list
  elements: dict
  sample:
    - name: work_mem
      now: 4MB
      wanted: 8MB
      action: reload
      governed_by: "nothing: PostgreSQL's own default"
      why: (2048 - 512) / ((50 + 8) x 3), 4 MB at least (pgtune)
pending:
  description: Settings that wait for a restart, which O(restart) forbids.
  returned: success
  type: list
  elements: str
  sample: [shared_buffers]
budget:
  description: What the settings may need at worst against what the container may use.
  returned: success
  type: str
  sample: shared_buffers 512 (taken at start) + … of 1843 MB
connections:
  description: The connections that are needed, and the arithmetic.
  returned: success
  type: str
  sample: api 1 x 20 x 2 while a release is switched + operations 5 + superuser 3 = 48
peers:
  description: By setting, what is in force, and what we, pgtune and timescaledb-tune would set.
  returned: success
  type: dict
  sample: {work_mem: {now: 4MB, ours: 8MB, pgtune: 8MB, timescaledb_tune: 16MB}}
shared_memory_mb:
  description: MiB of shared memory that the server said it would ask for; 0 when it was not asked.
  returned: success
  type: int
  sample: 562
recommendations:
  description: What this module does not change and somebody should.
  returned: success
  type: list
  elements: str
  sample: ["postgres has 64 MB of /dev/shm; 256 MB lets parallel queries work"]
notes:
  description: What an operator should know.
  returned: always
  type: list
  elements: str
  sample: []
measured:
  description: >-
    What a query every 50 ms met meanwhile: C(requests), C(failed), and seconds in C(longest_s) and
    C(total_s).
  returned: when something was changed
  type: dict
  sample: {requests: 212, failed: 9, longest_s: 0.6, total_s: 0.6, first_failure: connection refused}
undone:
  description: Whether the settings from before are in force again.
  returned: failure, when something had been changed
  type: bool
  sample: true
state:
  description: What is in force now.
  returned: failure, when something had been changed
  type: str
  sample: postgres answers with the settings from before
"""

from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _operation,
    _operation_module,
    _pg_auto_conf,
    _pg_server,
    _postgres,
    _service_module,
    _tuning_plan,
    _tuning_report,
    _tuning_run,
    _tuning_state,
)

_EXPECTED = (
    _docker.DockerError,
    _operation.OperationError,
    _pg_auto_conf.AutoConfError,
    _pg_server.ServerError,
    _tuning_plan.PlanError,
    _tuning_state.StateError,
)


def options(params: dict[str, Any]) -> tuple[_tuning_run.Options, _tuning_plan.Wish]:
    """Return what the arguments of the module say."""
    settings = {name: _tuning_report.text(value) for name, value in params["settings"].items()}
    return (
        _tuning_run.Options(
            project=params["project"],
            service=params["service"],
            database=params["database"],
            state_dir=params["state_dir"],
            memory_mb=params["memory_mb"],
            connections=params["connections"],
            rotating=params["storage"] == "hdd",
            undo=params["undo"],
            start_timeout=params["start_timeout"],
            stop_timeout=params["stop_timeout"],
        ),
        _tuning_plan.Wish(
            settings=settings,
            compute=params["compute"],
            statements=params["statements"],
            restart=params["restart"] == "if_needed",
            tolerate=params["over_budget"] == "warn",
        ),
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_operation_module.OPERATION_OPTIONS,
            "state_dir": {"type": "path", "required": True},
            "project": {"type": "str", "required": True},
            "service": {"type": "str", "default": "postgres"},
            "database": {"type": "str", "required": True},
            "settings": {"type": "dict", "default": {}},
            "compute": {"type": "bool", "default": True},
            "statements": {"type": "bool", "default": True},
            "restart": {"type": "str", "choices": ["never", "if_needed"], "default": "never"},
            "over_budget": {"type": "str", "choices": ["refuse", "warn"], "default": "refuse"},
            "memory_mb": {"type": "int", "default": 0},
            "connections": {"type": "int", "default": 0},
            "storage": {"type": "str", "choices": ["ssd", "hdd"], "default": "ssd"},
            "undo": {"type": "bool", "default": False},
            "start_timeout": {"type": "int", "default": 60},
            "stop_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    _service_module.require(
        module, find_spec(_postgres.LIBRARY) is not None, _postgres.LIBRARY, _postgres.PACKAGE
    )
    done: list[str] = []
    try:
        with ExitStack() as held:
            engine = _engine.Engine()
            tuner = _tuning_run.Tuner(engine, *options(run.params))
            run.masker.add_environment(tuner.server.container.environment)
            operation = held.enter_context(run.operation("tune"))
            tuner.step, tuner.operation = operation.step, operation.id
            left = tuner.found()
            if not module.check_mode:
                done = tuner.recover()
            plan = tuner.plan()
            tuner.try_settings(plan)
            report = _tuning_report.Report(tuner, plan)
            if module.check_mode:
                run.exit(report.foreseen(left))
            tuner.perform(plan)
            result = report.done(done)
    except _tuning_run.UndoneError as error:
        run.fail(
            f"{error}. {error.state}.",
            undone=error.undone,
            state=error.state,
            actions=tuner.story.actions,
            notes=tuner.story.notes,
            measured=_tuning_report.measured(tuner.story),
        )
    except _EXPECTED as error:
        end = "Nothing was changed" if not done else "; ".join(done)
        run.fail(f"{str(error).rstrip('.')}. {end}.")
    run.exit(result)


if __name__ == "__main__":
    main()
