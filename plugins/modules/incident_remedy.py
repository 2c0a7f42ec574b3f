#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try remedies for an incident, each behind its guard rails, and see their effect."""

from __future__ import annotations

DOCUMENTATION = r"""
module: incident_remedy
short_description: Try remedies for an incident, each behind its guard rails, and see their effect
version_added: 0.1.0
description:
  - Climbs the ladder that M(carrental.ops.incident_diagnose) returned. Before each remedy it looks
    again whether its precondition holds, whether the alert still fires and nobody silenced it,
    whether it rests (cooldown), was tried too often (caps), or did not help before (breaker), and
    whether C(response.off) in O(state_dir) switches responses off.
  - Every attempt is noted in C(response/ledger.jsonl) of O(state_dir) before it begins, with its
    outcome afterwards. An attempt that cannot be noted is not made.
  - The effect of a remedy is looked at by another way than it was brought about, until O(deadline).
  - What cannot be taken back is left to people unless the ladder says that it was confirmed.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine with Compose 2.24 or later on the server; psycopg2 for remedies of PostgreSQL.
extends_documentation_fragment:
  - carrental.ops._stack
  - carrental.ops._response
  - carrental.ops._operation
  - carrental.ops._attributes
attributes:
  check_mode:
    support: full
    details:
      - Gates and preconditions are looked at; nothing is tried or noted.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - A remedy whose precondition does not hold any more is not tried.
options:
  state_dir:
    required: true
  incident:
    description: Kind of incident, for the ledger.
    type: str
    required: true
  state:
    description:
      - With V(climbed) remedies are tried.
      - With V(checked) the effect of the first one of O(ladder) is looked at, which a role carried
        out, and the others are tried.
      - With V(answered) it is noted that O(alerts) were answered.
      - With V(reset) the breakers are closed.
    type: str
    choices: [climbed, checked, answered, reset]
    default: climbed
  ladder:
    description: As M(carrental.ops.incident_diagnose) returned it.
    type: list
    elements: dict
    default: []
  alerts:
    description: Keys of the alerts that are answered, as M(carrental.ops.incident_alerts) returns them.
    type: list
    elements: str
    default: []
  mode:
    description: Whether V(answered) means that remedies could be tried.
    type: str
    choices: [diagnose, act]
    default: act
  verdict:
    description: How it ended, for V(answered).
    type: str
    default: ""
  evidence:
    description: Directory for what has to be kept before something is changed.
    type: path
    default: ""
  cooldown:
    description: Seconds between two attempts of a remedy on a service.
    type: int
    default: 600
  per_hour:
    description: Attempts of a remedy on a service in an hour.
    type: int
    default: 3
  per_day:
    description: Attempts of a remedy on a service in a day.
    type: int
    default: 10
  total_per_hour:
    description: Attempts of all remedies in an hour.
    type: int
    default: 10
  breaker:
    description: Seconds for which a remedy that did not help is not tried again on that service.
    type: int
    default: 86400
  deadline:
    description: Seconds within which the effect of a remedy has to be seen.
    type: int
    default: 60
  consecutive:
    description: How many good looks in a row a service needs.
    type: int
    default: 3
  healthy_timeout:
    description: Seconds until a new container has to be healthy.
    type: int
    default: 120
  drain_timeout:
    description: Seconds for requests that are under way to end when a service is switched.
    type: int
    default: 60
  memory_max_mb:
    description: The largest memory limit that a response gives, in MiB.
    type: int
    default: 2048
  flush_prefix:
    description: What the keys begin with that may be removed from a cache.
    type: str
    default: ""
seealso:
  - module: carrental.ops.incident_diagnose
"""

EXAMPLES = r"""
- name: Try what may be tried
  carrental.ops.incident_remedy:
    incident: redis_down
    ladder: "{{ diagnosis.ladder }}"
    services: "{{ carrental_services_enabled }}"
    state_dir: /opt/carrental/.ops
    evidence: "{{ diagnosis.evidence }}"

- name: Close the breakers
  carrental.ops.incident_remedy:
    incident: redis_down
    services: "{{ carrental_services_enabled }}"
    state_dir: /opt/carrental/.ops
    state: reset
"""

RETURN = r"""
attempts:
  description: What was tried.
  returned: success
  type: list
  elements: dict
  contains:
    remedy:
      description: Its name.
      type: str
      sample: start_container
    service:
      description: Of the table, or C(host).
      type: str
      sample: redis
    cause:
      description: Code of the cause.
      type: str
      sample: container_stopped
    verdict:
      description: One of C(fixed), C(ineffective), C(failed).
      type: str
      sample: fixed
    said:
      description: What is missing, when it is not fixed.
      type: str
      sample: ""
    actions:
      description: What was done, in words.
      type: list
      sample: [started redis]
    seconds:
      description: Until its effect was seen.
      type: float
      sample: 3.2
    over:
      description: Whether what was wrong is over.
      type: bool
      sample: true
skipped:
  description: What was not tried, and why.
  returned: success
  type: list
  elements: dict
  sample: []
left:
  description: What is left to people, with its C(why) and its C(title).
  returned: success
  type: list
  elements: dict
  sample: []
over:
  description: Whether everything that the ladder is about is over.
  returned: success
  type: bool
  sample: true
role:
  description: A remedy that a role has to carry out now; empty when there is none.
  returned: success
  type: str
  sample: ""
rest:
  description: The ladder from that remedy on, for the call with O(state=checked).
  returned: success
  type: list
  elements: dict
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _climb,
    _docker,
    _engine,
    _ledger,
    _masking,
    _operation,
    _operation_module,
    _remedy,
)
from ansible_collections.carrental.ops.plugins.module_utils._arguments import (
    response_argument_spec,
    stack_argument_spec,
)

_EXPECTED = (
    _docker.DockerError,
    _ledger.LedgerError,
    _operation.OperationError,
    _remedy.RemedyError,
)


def note(run: _operation_module.OperationModule) -> None:
    """Note that alerts were answered, or that the breakers are closed."""
    params = run.params
    if run.module.check_mode:
        return
    if params["state"] == "reset":
        _ledger.note(params["state_dir"], "reset", incident=params["incident"])
    elif params["alerts"]:
        _ledger.note(
            params["state_dir"],
            "answered",
            **{name: params[name] for name in ("incident", "alerts", "mode", "verdict")},
        )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **stack_argument_spec(),
            **response_argument_spec(),
            **_operation_module.OPERATION_OPTIONS,
            "state_dir": {"type": "path", "required": True},
            "incident": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["climbed", "checked", "answered", "reset"],
                "default": "climbed",
            },
            "ladder": {"type": "list", "elements": "dict", "default": []},
            "alerts": {"type": "list", "elements": "str", "default": []},
            "mode": {"type": "str", "choices": ["diagnose", "act"], "default": "act"},
            "verdict": {"type": "str", "default": ""},
            "evidence": {"type": "path", "default": ""},
            "cooldown": {"type": "int", "default": 600},
            "per_hour": {"type": "int", "default": 3},
            "per_day": {"type": "int", "default": 10},
            "total_per_hour": {"type": "int", "default": 10},
            "breaker": {"type": "int", "default": 86400},
            "deadline": {"type": "int", "default": 60},
            "consecutive": {"type": "int", "default": 3},
            "healthy_timeout": {"type": "int", "default": 120},
            "drain_timeout": {"type": "int", "default": 60},
            "memory_max_mb": {"type": "int", "default": 2048},
            "flush_prefix": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    done = _climb.Climbed()
    climb: _climb.Climb | None = None
    try:
        if run.params["state"] in ("answered", "reset"):
            note(run)
            run.exit({"changed": False, **done.as_dict()})
        ladder = _climb.rungs(run.params["ladder"])
        engine = _engine.Engine()
        # Names that stand in paths must not be masked where a password is equal to one.
        public = [run.params[name] for name in ("project_name", "database", "bucket", "domain")]
        run.masker = _masking.Masker(public=[*public, *run.params["services"]])
        for one in engine.services(run.params["project_name"]):
            run.masker.add_environment(one.environment)
        with run.operation("respond") as operation:
            climb = _climb.Climb(engine, run.params, operation.step, check_mode=module.check_mode)
            if run.params["state"] == "checked" and ladder:
                done = climb.check(ladder)
            else:
                done = climb.climb(ladder)
    except _EXPECTED as error:
        tried: dict[str, Any] = climb.done.as_dict() if climb else done.as_dict()
        said = str(error).removesuffix("Nothing was changed.").strip().rstrip(".")
        ending = "" if tried["attempts"] else " Nothing was changed."
        run.fail(f"{said}.{ending}", **tried)
    run.exit({"changed": bool(done.attempts), **done.as_dict()})


if __name__ == "__main__":
    main()
