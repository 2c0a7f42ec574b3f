#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether the object store is alive, has its bucket, and gives back what it is given."""

from __future__ import annotations

DOCUMENTATION = r"""
module: minio_live
short_description: Say whether the object store is alive, has its bucket, and keeps objects
version_added: 0.1.0
description:
  - Asks the endpoints of MinIO for being alive and for being able to write, lists the bucket with
    the credentials of the stack, and puts, reads, compares and deletes an object of its own under
    V(.carrental-ops/health/). Works with other stores that speak S3.
  - That the store is down is no failure of this module but its result.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._s3
  - carrental.ops._stack
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
attributes:
  check_mode:
    details:
      - In check mode no object is put; that check is reported as V(not_run).
options:
  canary:
    description: Whether an object may be put and deleted.
    type: bool
    default: true
seealso:
  - module: carrental.ops.stack_health
"""

EXAMPLES = r"""
---
- name: Look at the object store of the stack
  carrental.ops.minio_live:
    project_name: carrental
    bucket: carrental
  register: objects
  failed_when: not objects.available

- name: Look at a managed store without writing to it
  carrental.ops.minio_live:
    login_host: s3.example.com
    login_port: 443
    login_tls: true
    login_user: carrental
    login_password_file: /opt/carrental/.secrets/objects
    canary: false
  register: objects
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
      sample: minio.canary
    service:
      description: The service.
      type: str
      sample: minio
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
      sample: MinIO is healthy
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
  sample: "[OK] MinIO is healthy"
latency_ms:
  description: How long the first round trip took; V(null) when there was none.
  returned: success
  type: float
  sample: 3.4
server_version:
  description: What the server says it is; empty when it does not.
  returned: success
  type: str
  sample: "MinIO"
error:
  description: Why it is not available; empty when it is.
  returned: success
  type: str
  sample: ""
"""

from importlib.util import find_spec

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import _object_store
from ansible_collections.carrental.ops.plugins.module_utils._arguments import (
    login_argument_spec,
    login_endpoint,
    stack_argument_spec,
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
            **login_argument_spec("minio", 9000),
            "region": {"type": "str", "default": "us-east-1"},
            "bucket": {"type": "str", "default": "carrental"},
            "canary": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    found = find_spec(_object_store.LIBRARY) is not None
    require(module, found, _object_store.LIBRARY, _object_store.PACKAGE)
    name = module.params["service"]
    entry = {
        "title": "MinIO",
        "probe": "object_store",
        "port": module.params["login_port"],
        "says": {"ok": "MinIO is healthy", "down": "MinIO is not responding"},
    }
    run(
        module,
        name,
        entry,
        login_endpoint(module.params),
        lambda health: evidence(health, f"{name}.live", "server"),
    )


if __name__ == "__main__":
    main()
