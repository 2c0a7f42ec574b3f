#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at everything that makes the stack work, at once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_health
short_description: Look at everything that makes the stack work, at once
version_added: 0.1.0
description:
  - Checks all services of a compose stack and the server under it in one call, with evidence rather
    than exit codes. PostgreSQL is queried and written to, Redis answers an authenticated PING, an
    object is put, read and deleted, the API is compared with the release, and each service is also
    asked through the proxy.
  - All probes run at the same time, each in a process of its own. One that hangs is killed, and
    says so.
  - That something is down is no failure of this module but its result. It fails only when what was
    asked for cannot be done. Role P(carrental.ops.health#role) prints and decides.
  - No table and no object of the application is ever written to. Canaries are a record in the
    write-ahead log, a key V(carrental.ops:health:*) that expires, and an object under
    V(.carrental-ops/health/).
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._stack
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
attributes:
  check_mode:
    details:
      - In check mode the canaries are left out and reported as V(not_run).
requirements:
  - psycopg2 (package python3-psycopg2) and boto3 (package python3-boto3) on the server
options:
  services:
    description:
      - The services of the stack by name, as role P(carrental.ops.stack#role) describes them in
        C(carrental_services_enabled). Used of each are C(title), C(role), C(probe), C(port),
        C(tls_port), C(path), C(status), C(json), C(json_degraded), C(version_key), C(proxy_path),
        C(severity), C(says), C(compose_service), C(container) and C(endpoint) (as in O(endpoints)).
    type: dict
    required: true
  only:
    description: Look at these services alone, or at V(host). Without it, at everything.
    type: list
    elements: str
    default: []
  depth:
    description:
      - V(quick) looks at the containers, asks each service once as its application does, and looks
        at the disks.
      - V(deep) also writes canaries, looks into sessions, memory and persistence, at certificates,
        names, the clock, and at each service through the proxy.
    type: str
    choices: [quick, deep]
    default: deep
  canary:
    description: Whether a deep check may write and delete its canaries.
    type: bool
    default: true
  deadline:
    description: Seconds that all probes may take together.
    type: float
    default: 10.0
  endpoints:
    description:
      - By service, what differs from what its container says, for managed services and changed
        credentials. Keys are C(host), C(port), C(user), C(password_file), C(database), C(bucket),
        C(region), C(tls), C(ca_file) and C(hostname). With a C(host) no container is expected.
    type: dict
    default: {}
  domain:
    description:
      - Domain of the stack. The proxy is asked in its name, and its certificate must be made out to
        it.
    type: str
    default: ""
  database:
    description:
      - Database of the application. Without it, what the container was told in E(POSTGRES_DB).
    type: str
    default: ""
  bucket:
    description: Bucket of the application.
    type: str
    default: carrental
  state_dir:
    description: Directory of the records of releases. Without it, C(.ops) in O(project_src).
    type: path
  backup_dir:
    description:
      - Directory of the backups. With it, a newest verified backup that is older than
        O(thresholds.backup_age_h) is a warning, and so is none on a server that is older itself.
    type: path
    default: ""
  excuse_switch:
    description:
      - Whether it is a warning alone that another release runs than the recorded one while a deploy,
        a rollback or a recovery is at work. For whoever looks from outside; in that operation itself
        it would hide what the operation has to see.
    type: bool
    default: false
  disk_paths:
    description:
      - Further paths whose file systems are looked at. C(/), the directories of Docker and of the
        project and volumes with a file system of their own always are.
    type: list
    elements: path
    default: []
  thresholds:
    description: From which value on something is a finding.
    type: dict
    default: {}
    suboptions:
      disk_warn:
        description: Percent of a file system in use; more is a warning.
        type: int
        default: 85
      disk_fail:
        description: Percent of a file system in use; more is a failure.
        type: int
        default: 95
      inodes_warn:
        description: Percent of the inodes in use; more is a warning.
        type: int
        default: 85
      inodes_fail:
        description: Percent of the inodes in use; more is a failure.
        type: int
        default: 95
      memory_warn:
        description: Percent of the memory in use; more is a warning.
        type: int
        default: 90
      memory_fail:
        description: Percent of the memory in use; more is a failure.
        type: int
        default: 97
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
      cert_warn_days:
        description: Days before the certificate expires to warn of.
        type: int
        default: 21
      cert_fail_days:
        description: Days before the certificate expires that are a failure.
        type: int
        default: 3
      clock_offset_s:
        description: Seconds that the clock may be off.
        type: int
        default: 1
      backup_age_h:
        description: Hours that the newest verified backup may be old.
        type: int
        default: 26
seealso:
  - module: carrental.ops.pg_health
  - module: carrental.ops.redis_ping
  - module: carrental.ops.minio_live
  - module: carrental.ops.http_live
"""

EXAMPLES = r"""
---
- name: Look at everything
  carrental.ops.stack_health:
    project_name: carrental
    services: "{{ carrental_services_enabled }}"
    domain: rental.example.com
  register: health
  failed_when: health.verdict == 'fail'

- name: Wait until the cache is back
  carrental.ops.stack_health:
    services: "{{ carrental_services_enabled }}"
    only: [redis]
    depth: quick
  register: health
  until: health.verdict == 'ok'
  retries: 10
  delay: 3

- name: Look at a stack whose database is managed elsewhere
  carrental.ops.stack_health:
    services: "{{ carrental_services_enabled }}"
    endpoints:
      postgres:
        host: db.example.com
        user: carrental
        password_file: /opt/carrental/.secrets/database
        tls: true
"""

RETURN = r"""
verdict:
  description: The worst of all checks.
  returned: success
  type: str
  sample: ok
available:
  description: Whether nothing failed; warnings do not count.
  returned: success
  type: bool
  sample: true
lines:
  description: One line a service and a check of the host, as the runbook prints them.
  returned: success
  type: list
  elements: str
  sample:
    - "[OK] API is healthy"
    - "[OK] PostgreSQL is ready"
    - >-
      [WARN] Redis is down (fallback cache active): container redis was stopped by hand 2 min ago
      (exit code 0); start it with: docker start redis
    - "[OK] Disk usage at 41%"
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
      description: Service, or V(host).
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
      description: How bad it is when the service is down, V(P1) to V(P4).
      type: str
      sample: P1
    summary:
      description: What the line says.
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
      sample: {lsn: 0/1A2B3C8}
failed_checks:
  description: Names of the checks that failed.
  returned: success
  type: list
  elements: str
  sample: [api.http]
error:
  description: The lines of what failed, empty when nothing did.
  returned: success
  type: str
  sample: ""
duration_ms:
  description: How long all of it took.
  returned: success
  type: float
  sample: 640.2
release:
  description:
    - Id and version of the release that production is supposed to run; empty when none is recorded.
  returned: success
  type: dict
  sample: {id: 20261123T215350Z-1b4b5f1, version: 1b4b5f1d30953745313c5b277950713905c7b9c0}
server_version:
  description: Version of the Docker engine; empty when it does not run.
  returned: success
  type: str
  sample: 26.1.5+dfsg1
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils._arguments import (
    project,
    stack_argument_spec,
    threshold_options,
)
from ansible_collections.carrental.ops.plugins.module_utils._checks import Thresholds
from ansible_collections.carrental.ops.plugins.module_utils._docker import DockerError
from ansible_collections.carrental.ops.plugins.module_utils._services import InputError
from ansible_collections.carrental.ops.plugins.module_utils._stack import Request, check_stack


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **stack_argument_spec(),
            "services": {"type": "dict", "required": True},
            "only": {"type": "list", "elements": "str", "default": []},
            "depth": {"type": "str", "choices": ["quick", "deep"], "default": "deep"},
            "canary": {"type": "bool", "default": True},
            "deadline": {"type": "float", "default": 10.0},
            "endpoints": {"type": "dict", "default": {}},
            "domain": {"type": "str", "default": ""},
            "database": {"type": "str", "default": ""},
            "bucket": {"type": "str", "default": "carrental"},
            "state_dir": {"type": "path"},
            "backup_dir": {"type": "path", "default": ""},
            "excuse_switch": {"type": "bool", "default": False},
            "disk_paths": {"type": "list", "elements": "path", "default": []},
            "thresholds": {"type": "dict", "default": {}, "options": threshold_options()},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        health = check_stack(
            Request(
                project(params),
                params["services"],
                params["only"],
                params["endpoints"],
                params["depth"] == "deep",
                params["canary"] and not module.check_mode,
                params["probe_timeout"],
                params["deadline"],
                Thresholds(**params["thresholds"]),
                params["state_dir"] or os.path.join(params["project_src"], ".ops"),
                params["disk_paths"],
                params["domain"],
                params["database"],
                params["bucket"],
                params["docker_socket"],
                backup_dir=params["backup_dir"],
                excuse_switch=params["excuse_switch"],
            )
        )
    except InputError as error:
        module.fail_json(msg=str(error))
    except (DockerError, ValueError) as error:
        module.fail_json(msg=f"{error} Nothing was changed.")
    module.exit_json(
        changed=False,
        verdict=health.verdict,
        available=health.verdict != "fail",
        lines=health.lines,
        checks=health.checks,
        failed_checks=health.failed,
        error="; ".join(line for line in health.lines if line.startswith("[FAIL]")),
        duration_ms=health.duration_ms,
        release=health.release,
        server_version=health.docker_version,
    )


if __name__ == "__main__":
    main()
