#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether Redis answers, keeps what it is given, and can save it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_ping
short_description: Say whether Redis answers, keeps what it is given, and can save it
version_added: 0.1.0
description:
  - Logs in with the password of the stack and wants a PONG. Other than C(redis-cli ping) it takes
    no error for an answer, such as NOAUTH, LOADING or MISCONF.
  - Writes, reads and deletes a key of its own, V(carrental.ops:health:*), which expires should the
    module be killed, and looks at memory, persistence, replication and connections.
  - That the server is down is no failure of this module but its result.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._redis
  - carrental.ops._stack
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
attributes:
  check_mode:
    details:
      - In check mode no key is written; that check is reported as V(not_run).
options:
  canary:
    description: Whether a key may be written and deleted.
    type: bool
    default: true
seealso:
  - module: carrental.ops.stack_health
"""

EXAMPLES = r"""
---
- name: Wait until the cache of the stack works again
  carrental.ops.redis_ping:
    project_name: carrental
  register: cache
  until: cache.available
  retries: 10
  delay: 3

- name: Look at a managed cache
  carrental.ops.redis_ping:
    login_host: cache.example.com
    login_port: 6380
    login_password_file: /opt/carrental/.secrets/redis
    login_tls: true
  register: cache
  failed_when: not cache.available
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
      sample: redis.ping
    service:
      description: The service.
      type: str
      sample: redis
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
      sample: Redis is responding
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
  sample: "[OK] Redis is responding"
latency_ms:
  description: How long the first round trip took; V(null) when there was none.
  returned: success
  type: float
  sample: 3.4
server_version:
  description: What the server says it is; empty when it does not.
  returned: success
  type: str
  sample: "7.0.15"
error:
  description: Why it is not available; empty when it is.
  returned: success
  type: str
  sample: ""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils._arguments import (
    login_argument_spec,
    login_endpoint,
    stack_argument_spec,
)
from ansible_collections.carrental.ops.plugins.module_utils._service_module import (
    evidence,
    run,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **stack_argument_spec(),
            **login_argument_spec("redis", 6379),
            "canary": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    name = module.params["service"]
    entry = {
        "title": "Redis",
        "probe": "redis",
        "port": module.params["login_port"],
        "says": {"ok": "Redis is responding", "down": "Redis is down"},
    }
    run(
        module,
        name,
        entry,
        login_endpoint(module.params),
        lambda health: evidence(health, f"{name}.ping", "version"),
    )


if __name__ == "__main__":
    main()
