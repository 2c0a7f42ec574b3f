#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what is wrong and why, with evidence, and change nothing of the stack."""

from __future__ import annotations

DOCUMENTATION = r"""
module: incident_diagnose
short_description: Say what is wrong and why, with evidence, and change nothing of the stack
version_added: 0.1.0
description:
  - Looks at everything that an incident may come from. State, limits and past ends of containers,
    their logs, every check of M(carrental.ops.stack_health) that writes nothing, sessions of
    PostgreSQL, who takes the space of the disk, releases, firing alerts, silences, freeze and lock.
  - Names the likely cause by a code of a closed list, and what may be done about it.
  - Keeps what it saw in C(response/evidence) of O(state_dir), without secrets. This is all that it
    writes.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine on the server; psycopg2 to look into PostgreSQL.
extends_documentation_fragment:
  - carrental.ops._stack
  - carrental.ops._response
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
options:
  incident:
    description:
      - Kind of incident. C(docs/response.md) lists them.
    type: str
    required: true
  service:
    description: The service that an alert names. Without it the kind of incident decides.
    type: str
    default: ""
  state_dir:
    description: Directory of what operations remember.
    type: path
    required: true
  operation_id:
    description: The operation that this call is a part of. Its lock and its silences are no reason to wait.
    type: str
    default: ""
  confirm:
    description: Names of remedies that cannot be taken back, and that somebody agreed to.
    type: list
    elements: str
    default: []
  release_window:
    description: Seconds after a release in which it is looked at as a cause.
    type: int
    default: 3600
  save:
    description: Whether the evidence is kept on the server. It never is in check mode.
    type: bool
    default: true
seealso:
  - module: carrental.ops.incident_remedy
  - module: carrental.ops.stack_health
"""

EXAMPLES = r"""
- name: Find out why the API does not answer
  carrental.ops.incident_diagnose:
    incident: api_down
    services: "{{ carrental_services_enabled }}"
    state_dir: /opt/carrental/.ops
  register: diagnosis

- name: Show the likely cause
  ansible.builtin.debug:
    msg: "{{ diagnosis.causes[0].sentence }}"
"""

RETURN = r"""
incident:
  description: The kind of incident, by its own name.
  returned: success
  type: str
  sample: redis_down
causes:
  description: What was found, the likely cause first.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: One of a closed list, see C(docs/response.md).
      type: str
      sample: container_out_of_memory
    service:
      description: Service of the table, or C(host).
      type: str
      sample: api
    detail:
      description: What was seen.
      type: str
      sample: container api was killed for lack of memory at 256 MB
    sentence:
      description: All of it in words.
      type: str
      sample: "api: the kernel killed it at its memory limit (...)"
    rank:
      description: The smallest is the likely cause.
      type: int
      sample: 15
    facts:
      description: What a remedy needs to know.
      type: dict
      sample: {container: api, limit_mb: 256}
ladder:
  description: What may be done, the least first.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the remedy.
      type: str
      sample: raise_memory
    title:
      description: What it does.
      type: str
      sample: raise the memory limit by half
    precondition:
      description: What has to be so.
      type: str
      sample: the kernel killed it at its limit
    check:
      description: How its effect is seen.
      type: str
      sample: the kernel has the new limit
    blast:
      description: Whom it may hit.
      type: str
      sample: this service only
    reversible:
      description: What is not needs a confirmation of its own.
      type: bool
      sample: true
    confirmed:
      description: Whether it may be done.
      type: bool
      sample: true
evidence:
  description: Directory of the evidence on the server; empty when it could not be kept.
  returned: success
  type: str
  sample: /opt/carrental/.ops/response/evidence/20261126T054302.123Z-api_down
title:
  description: The incident in words.
  returned: success
  type: str
  sample: Redis does not answer
runbook:
  description: Section of the runbook.
  returned: success
  type: str
  sample: "3.3"
severity:
  description: How grave it is, by the runbook.
  returned: success
  type: str
  sample: P1
lines:
  description: Causes and remedies in words.
  returned: success
  type: list
  elements: str
  sample: []
checks:
  description: The checks that are not well.
  returned: success
  type: list
  elements: dict
  sample: []
notes:
  description: What could not be looked at, and why.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _bundle,
    _checks,
    _diagnosis,
    _diagnosis_services,
    _docker,
    _evidence,
    _incidents,
    _remedies,
    _services,
)
from ansible_collections.carrental.ops.plugins.module_utils._arguments import (
    project,
    response_argument_spec,
    stack_argument_spec,
)


def lines(
    causes: list[_incidents.Cause], ladder: list[_remedies.Rung], checks: list[dict[str, Any]]
) -> list[str]:
    """Return the diagnosis for a terminal."""
    shown = [
        f"{'likely' if place == 0 else 'also'}: {one.sentence}" for place, one in enumerate(causes)
    ]
    # Nobody knows whether it is the cause, and it is the first thing that a human would ask.
    shown += [
        f"note: {one['summary']}: {one['detail']}" for one in checks if one["name"] == "host.edited"
    ]
    for rung in ladder:
        remedy = rung.remedy
        leave = "by hand" if remedy.by_hand else "" if rung.confirmed else "needs confirmation"
        marked = f" [{leave}]" if leave else ""
        shown.append(
            f"remedy {remedy.name} for {rung.cause.service}{marked}: {remedy.title}; hits {remedy.blast}"
        )
    return shown


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **stack_argument_spec(),
            **response_argument_spec(),
            "incident": {"type": "str", "required": True},
            "service": {"type": "str", "default": ""},
            "state_dir": {"type": "path", "required": True},
            "operation_id": {"type": "str", "default": ""},
            "confirm": {"type": "list", "elements": "str", "default": []},
            "release_window": {"type": "int", "default": 3600},
            "save": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    params: dict[str, Any] = module.params
    incident = _incidents.resolve(params["incident"])
    if not incident:
        module.fail_json(
            msg=f"{params['incident']} is no incident; known are {', '.join(_incidents.INCIDENTS)}. "
            "Nothing was changed."
        )
    unknown = [name for name in params["confirm"] if name not in _remedies.REMEDIES]
    if unknown:
        destructive = [one.name for one in _remedies.REMEDIES.values() if not one.reversible]
        module.fail_json(
            msg=f"confirm names {', '.join(unknown)}, which is no remedy; to be confirmed are "
            f"{', '.join(destructive)}. Nothing was changed."
        )
    try:
        thresholds = _checks.Thresholds(**params["thresholds"])
        evidence = _evidence.Evidence(
            _evidence.Request(
                incident,
                project(params),
                params["services"],
                params["state_dir"],
                params["service"],
                params["database"],
                params["bucket"],
                params["domain"],
                params["backup_dir"],
                params["images"],
                params["keep_releases"],
                params["monitor_projects"],
                params["alertmanager_service"],
                params["alertmanager_port"],
                thresholds,
                params["probe_timeout"],
                params["operation_id"],
            )
        )
        facts = evidence.gather()
    except (_docker.DockerError, _services.InputError, ValueError) as error:
        said = str(error).removesuffix("Nothing was changed.").strip().rstrip(".")
        module.fail_json(msg=f"{said}. Nothing was changed.")
    settings = _diagnosis_services.Settings(
        params["release_window"], params["idle_in_transaction"], disk_warn=thresholds.disk_warn
    )
    causes = _diagnosis.diagnose(facts, settings)
    roles = {name: str(one.get("role", "")) for name, one in params["services"].items()}
    ladder = _remedies.ladder(causes, params["confirm"], roles)
    kept = ""
    if params["save"] and not module.check_mode:
        try:
            kept = _bundle.save(params["state_dir"], facts, causes, evidence.masker)
        except _bundle.BundleError as error:
            facts.notes.append(str(error))
    module.exit_json(
        changed=False,
        **evidence.masker.data(
            {
                "incident": incident,
                "title": _incidents.INCIDENTS[incident].title,
                "severity": _incidents.INCIDENTS[incident].severity,
                "runbook": _incidents.INCIDENTS[incident].runbook,
                "causes": [one.as_dict() for one in causes],
                "ladder": [one.as_dict() for one in ladder],
                "evidence": kept,
                "lines": lines(causes, ladder, facts.checks),
                "checks": [one for one in facts.checks if one["status"] in ("warn", "fail")],
                "notes": facts.notes,
            }
        ),
    )


if __name__ == "__main__":
    main()
