#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make sure that a deploy can begin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_preflight
short_description: Make sure that a deploy can begin
version_added: 0.1.0
description:
  - Looks at what runs now, and at what the new release needs, before anything is touched.
  - Each check has a name, by which it can be waived with a reason. C(health) looks at everything once
    and never stops a deploy by what that deploy replaces. C(database) has to take writes. C(proxy)
    has to serve and to accept the configuration that it would read at its next reload. C(space) is for
    the images and the next dump, C(memory) for the new containers beside the old ones. C(ci) judges
    what the repository's service answered. C(outside) tells what was changed outside a deploy.
  - It does not fail when a check did not pass; the caller decides by RV(passed).
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._stack
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
requirements:
  - The Docker engine on the server.
  - psycopg2 (package python3-psycopg2) on the server.
options:
  services:
    description: The table of services, as the role C(stack) holds it.
    type: dict
    required: true
  domain:
    description: Domain of the stack, in whose name the proxy is asked.
    type: str
    default: ""
  database:
    description: Database of the application.
    type: str
    default: carrental
  bucket:
    description: Bucket of the application.
    type: str
    default: carrental
  state_dir:
    description: Directory of what the operations remember. The default is C(.ops) in O(project_src).
    type: path
  roll:
    description:
      - Services, by the names of compose, that get a new container beside the old one. One whose
        C(overlap) is false needs no memory for two.
      - Without any, no image is expected either.
    type: list
    elements: str
    default: []
  replace:
    description: Services, by the names of compose, that this deploy replaces in one way or another.
    type: list
    elements: str
    default: []
  min_free_mb:
    description: Space that has to be free for images.
    type: int
    default: 1024
  backup_dir:
    description: Directory of the dumps. The next one is expected to be a little larger than the last.
    type: path
    default: /opt/carrental/backups
  lock_timeout:
    description: Seconds that a migration waits for a lock.
    type: int
    default: 1
  proxy_test:
    description: Command by which the running proxy judges its configuration. Empty leaves that out.
    type: str
    default: nginx -t
  outside:
    description: What runs outside the release, as M(carrental.ops.release_info) returns it.
    type: list
    elements: dict
    default: []
  commit:
    description: The commit that is deployed.
    type: str
    default: ""
  ci_repository:
    description: Its repository, as owner and name.
    type: str
    default: ""
  ci_answers:
    description:
      - What the API of GitHub answered for the combined status and for the check runs of the commit,
        each with C(status), C(json) and C(msg). Without them C(ci) is not run.
    type: list
    elements: dict
    default: []
  ci_ignore:
    description: Names of statuses and check runs that do not count.
    type: list
    elements: str
    default: []
  waive:
    description: Reason by name of each check that does not stop the deploy when it does not pass.
    type: dict
    default: {}
  state:
    description:
      - With V(checked) the checks are run.
      - With V(listed) RV(lines) tells what checks there are, and nothing is looked at.
    type: str
    choices: [checked, listed]
    default: checked
"""

EXAMPLES = r"""
- name: Look before the deploy
  carrental.ops.deploy_preflight:
    services: "{{ carrental_services_enabled }}"
    roll: [api, web]
    waive:
      memory: the batch service is stopped until tomorrow
  register: preflight
  failed_when: not preflight.passed
"""

RETURN = r"""
passed:
  description: Whether the deploy may begin.
  returned: success
  type: bool
  sample: true
checks:
  description: >-
    Every check with C(status) V(ok), V(warn), V(fail) or V(not_run), what it found, C(remedy) and the
    reason for which it was C(waived).
  returned: success
  type: list
  elements: dict
  sample:
    - name: memory
      service: preflight
      status: ok
      severity: P2
      summary: The memory holds old and new
      detail: 422 MiB are wanted (api 256 MiB + web 128 MiB and a tenth), 3.1 GiB are available
      remedy: ""
      waived: ""
      latency_ms: null
      evidence: {wanted_bytes: 442499072, available_bytes: 3328599654}
      down: false
waived:
  description: Reason by name of each check that did not pass and was waived.
  returned: success
  type: dict
  sample: {}
lines:
  description: The checks as lines for an operator, without those that RV(msg) is about.
  returned: success
  type: list
  elements: str
  sample: ["[OK] preflight: health, database, proxy, space, memory, outside"]
msg:
  description: Why the deploy may not begin, and what to do; empty when it may.
  returned: success
  type: str
  sample: ""
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _checks,
    _docker,
    _engine,
    _operation_module,
    _preflight,
    _preflight_look,
    _service_table,
    _services,
    _stack,
)
from ansible_collections.carrental.ops.plugins.module_utils._arguments import (
    project,
    stack_argument_spec,
)


class Preflight:
    """One run of the module."""

    def __init__(self, engine: _engine.Engine, params: dict[str, Any]) -> None:
        self.engine = engine
        self.params = params
        self.table = params["services"]
        self.containers = engine.services(params["project_name"])

    def one(self, role: str) -> _docker.Container | None:
        """Return the running container of a role."""
        table = _service_table.by_alias(self.table)
        return next(
            (
                container
                for container in self.containers
                if container.running and table.get(container.service, {}).get("role") == role
            ),
            None,
        )

    def results(self) -> list[_preflight.Result]:
        """Return what every check found, in the order in which they are listed."""
        found = self._running() if self.containers else self._nothing_runs()
        found["space"] = self._space()
        found["memory"] = self._memory()
        found["ci"] = self._ci()
        found["outside"] = _preflight.judge_outside(self.params["outside"])
        return [found[name] for name in _preflight.CHECKS]

    def _nothing_runs(self) -> dict[str, _preflight.Result]:
        return {
            name: _preflight.says(name, _checks.NOT_RUN, name, "nothing runs here yet")
            for name in ("health", "database", "proxy")
        }

    def _running(self) -> dict[str, _preflight.Result]:
        params = self.params
        state_dir = params["state_dir"] or os.path.join(params["project_src"], ".ops")
        health = _stack.check_stack(
            _stack.Request(
                project(params),
                self.table,
                deep=False,
                canary=False,
                probe_timeout=params["probe_timeout"],
                state_dir=state_dir,
                domain=params["domain"],
                database=params["database"],
                bucket=params["bucket"],
                docker_socket=params["docker_socket"],
            )
        )
        roles = {name: str(one.get("role") or "") for name, one in self.table.items()}
        names = {alias: name for name, alias in _service_table.aliases(self.table).items()}
        replaced = [names.get(alias, alias) for alias in params["replace"]]
        checks = [_checks.Check(**one) for one in health.checks]
        found = _preflight.judge_health(checks, roles, replaced)
        found["database"] = self._blockers(found["database"])
        found["proxy"] = self._proxy(found["proxy"])
        return found

    def _blockers(self, result: _preflight.Result) -> _preflight.Result:
        database, seconds = self.one("database"), max(self.params["lock_timeout"], 1)
        if database is None:
            return result
        name = self.params["database"]
        blockers = _preflight_look.blockers(self.engine, database, name, seconds)
        return _preflight.with_blockers(result, blockers, seconds)

    def _proxy(self, result: _preflight.Result) -> _preflight.Result:
        proxy, command = self.one("proxy"), self.params["proxy_test"]
        if proxy is None or not command:
            return result
        running = {container.service for container in self.containers if container.running}
        absent = set(_service_table.aliases(self.table).values()) - running
        source = self.params["project_src"]
        test = _preflight_look.proxy_test(self.engine, proxy, command, source, absent)
        return _preflight.with_test(result, test) if test else result

    def _space(self) -> _preflight.Result:
        root = self.engine.info.get("DockerRootDir") or "/var/lib/docker"
        images = self.params["min_free_mb"] if self.params["roll"] else 0
        needs = _preflight_look.space_needs(root, images, self.params["backup_dir"])
        return _preflight.judge_space(needs)

    def _memory(self) -> _preflight.Result:
        table = _service_table.by_alias(self.table)
        roll = [name for name in self.params["roll"] if table.get(name, {}).get("overlap", True)]
        needs = _preflight_look.memory_needs(self.engine, self.containers, roll)
        return _preflight.judge_memory(needs, _preflight_look.available_memory())

    def _ci(self) -> _preflight.Result:
        answers = self.params["ci_answers"]
        commit, repository = self.params["commit"], self.params["ci_repository"]
        answer = _preflight.ci_answer(commit, repository, answers) if answers else None
        return _preflight.judge_ci(answer, self.params["ci_ignore"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **stack_argument_spec(),
            "services": {"type": "dict", "required": True},
            "domain": {"type": "str", "default": ""},
            "database": {"type": "str", "default": "carrental"},
            "bucket": {"type": "str", "default": "carrental"},
            "state_dir": {"type": "path"},
            "roll": {"type": "list", "elements": "str", "default": []},
            "replace": {"type": "list", "elements": "str", "default": []},
            "min_free_mb": {"type": "int", "default": 1024},
            "backup_dir": {"type": "path", "default": "/opt/carrental/backups"},
            "lock_timeout": {"type": "int", "default": 1},
            "proxy_test": {"type": "str", "default": "nginx -t"},
            "outside": {"type": "list", "elements": "dict", "default": []},
            "commit": {"type": "str", "default": ""},
            "ci_repository": {"type": "str", "default": ""},
            "ci_answers": {"type": "list", "elements": "dict", "default": []},
            "ci_ignore": {"type": "list", "elements": "str", "default": []},
            "waive": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["checked", "listed"], "default": "checked"},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    try:
        reasons = _preflight.require_reasons(run.params["waive"])
        if run.params["state"] == "listed":
            results = []
            lines = _preflight.listed()
        else:
            found = Preflight(_engine.Engine(), run.params).results()
            results = _preflight.waive(found, reasons)
            lines = _preflight.lines(results)
    except (_docker.DockerError, _preflight.WaiverError, _services.InputError) as error:
        run.fail(str(error))
    message = _preflight.refusal(results)
    run.exit(
        {
            "changed": False,
            "passed": not message,
            "checks": [one.as_dict() for one in results],
            "waived": {one.check.name: one.waived for one in results if one.waived},
            "lines": lines,
            "msg": message,
        }
    )


if __name__ == "__main__":
    main()
