#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether PostgreSQL does its work, and what holds it up."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_health
short_description: Say whether PostgreSQL does its work, and what holds it up
version_added: 0.1.0
description:
  - Logs in over the network as the role of the application, queries, and writes a record to the
    write-ahead log, which touches no table. A server that is read-only, full, or starting says so.
  - Looks at connections against the limit, sessions that block others, forgotten and endless
    transactions, standbys, replication slots, and the age of transaction ids.
  - That the server is down is no failure of this module but its result.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._postgres
  - carrental.ops._stack
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
attributes:
  check_mode:
    details:
      - In check mode the write is left out and reported as V(not_run).
options:
  canary:
    description: Whether a record may be written to the write-ahead log.
    type: bool
    default: true
  thresholds:
    description: From which value on something is a finding.
    type: dict
    default: {}
    suboptions:
      connections_warn:
        description: Percent of PostgreSQL's connection slots in use; more is a warning.
        type: int
        default: 80
      connections_fail:
        description: Percent of PostgreSQL's connection slots in use; more is a failure.
        type: int
        default: 95
      long_transaction_s:
        description: Age of a running transaction to warn of.
        type: int
        default: 900
      idle_in_transaction_s:
        description: Age of an idle transaction to warn of.
        type: int
        default: 300
      blocked_s:
        description: How long a session waits for a lock to warn of.
        type: int
        default: 30
      wraparound_warn:
        description: Age of the oldest transaction id; more is a warning.
        type: int
        default: 500000000
      wraparound_fail:
        description: Age of the oldest transaction id; more is a failure.
        type: int
        default: 1500000000
      replication_lag_mb:
        description: How far a standby may lag behind.
        type: int
        default: 256
      slot_retained_mb:
        description: What a replication slot that nobody reads may retain.
        type: int
        default: 1024
seealso:
  - module: carrental.ops.stack_health
"""

EXAMPLES = r"""
---
- name: Wait until the database of the stack takes writes
  carrental.ops.pg_health:
    project_name: carrental
  register: database
  until: database.available
  retries: 30
  delay: 2

- name: Look at a managed database
  carrental.ops.pg_health:
    login_host: db.example.com
    login_user: carrental
    login_password_file: /opt/carrental/.secrets/database
    login_db: carrental
    login_tls: true
  register: database
  failed_when: not database.available
"""

RETURN = r"""
available:
  description: Whether it does what it is there for; warnings do not count.
  returned: success
  type: bool
  sample: true
verdict:
  description: The worst of all checks, V(ok), V(warn) or V(fail).
  returned: success
  type: str
  sample: ok
checks:
  description: Every check.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Service and check.
      type: str
      sample: postgres.write
    service:
      description: The service.
      type: str
      sample: postgres
    status:
      description: One of V(ok), V(warn), V(fail) and V(not_run).
      type: str
      sample: ok
    down:
      description: Whether the service does not do its work; a warning may be less than that.
      type: bool
      sample: false
    severity:
      description: Always V(P1), for this module is asked about one service alone.
      type: str
      sample: P1
    summary:
      description: The state of the service in a few words.
      type: str
      sample: PostgreSQL is ready
    detail:
      description: What was found, and what to do next.
      type: str
      sample: ""
    latency_ms:
      description: How long it took, if it was asked for something.
      type: float
      sample: 3.4
    evidence:
      description: What the statement rests on; keys differ by check.
      type: dict
      sample: {}
line:
  description: The checks in one line, as the runbook prints it.
  returned: success
  type: str
  sample: "[OK] PostgreSQL is ready"
latency_ms:
  description: How long the first round trip took; V(null) when there was none.
  returned: success
  type: float
  sample: 3.4
server_version:
  description: What the server says it is; empty when it does not.
  returned: success
  type: str
  sample: "16.14"
error:
  description: Why it is not available; empty when it is.
  returned: success
  type: str
  sample: ""
"""

from importlib.util import find_spec

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import _postgres
from ansible_collections.carrental.ops.plugins.module_utils._arguments import (
    DATABASE_THRESHOLDS,
    login_argument_spec,
    login_endpoint,
    stack_argument_spec,
    threshold_options,
)
from ansible_collections.carrental.ops.plugins.module_utils._service_module import (
    evidence,
    require,
    run,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **stack_argument_spec(),
            **login_argument_spec("postgres", 5432),
            "login_db": {"type": "str"},
            "canary": {"type": "bool", "default": True},
            "thresholds": {
                "type": "dict",
                "default": {},
                "options": threshold_options(*DATABASE_THRESHOLDS),
            },
        },
        supports_check_mode=True,
    )
    require(module, find_spec(_postgres.LIBRARY) is not None, _postgres.LIBRARY, _postgres.PACKAGE)
    name = module.params["service"]
    entry = {
        "title": "PostgreSQL",
        "probe": "postgres",
        "port": module.params["login_port"],
        "says": {"ok": "PostgreSQL is ready", "down": "PostgreSQL is not ready"},
    }
    run(
        module,
        name,
        entry,
        login_endpoint(module.params),
        lambda health: evidence(health, f"{name}.login", "version"),
    )


if __name__ == "__main__":
    main()
