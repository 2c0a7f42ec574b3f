#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask Alertmanager which alerts ask for a response, and believe nobody else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: incident_alerts
short_description: Ask Alertmanager which alerts ask for a response
version_added: 0.1.0
description:
  - Returns the alerts that fire now, carry a label C(response), are neither silenced nor inhibited,
    and were not answered before, as one response for each incident and service, the gravest first.
  - An alert is known by its fingerprint and the moment at which it began, so one that is delivered
    again and again is answered once.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
options:
  projects:
    description: Names of the compose projects that Alertmanager may belong to.
    type: list
    elements: str
    required: true
  service:
    description: Service of Alertmanager, as compose calls it.
    type: str
    default: alertmanager
  port:
    description: Port that it listens on.
    type: int
    default: 9093
  state_dir:
    description: Directory of what operations remember, with the ledger of responses.
    type: path
    required: true
  alert:
    description: Only alerts of this name.
    type: str
    default: ""
  mode:
    description: A diagnosis is no answer where acting is asked for.
    type: str
    choices: [diagnose, act]
    default: diagnose
  incidents:
    description:
      - Incident by name of alert, for an O(alert) that does not fire and that somebody wants to look at.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Ask what fires
  carrental.ops.incident_alerts:
    projects: [carrental, carrental-monitoring]
    state_dir: /opt/carrental/.ops
  register: firing
"""

RETURN = r"""
responses:
  description: What has to be answered, the gravest first.
  returned: success
  type: list
  elements: dict
  contains:
    incident:
      description: Kind of incident.
      type: str
      sample: redis_down
    service:
      description: The service or container that the alert names.
      type: str
      sample: redis
    severity:
      description: Of the alert.
      type: str
      sample: P3
    alerts:
      description: The alerts that it answers.
      type: list
      sample: []
answered:
  description: Alerts that were answered before, in words.
  returned: success
  type: list
  elements: str
  sample: ["RedisDown was answered at 2026-11-26T05:43:02.123Z: ok"]
suppressed:
  description: Alerts that are silenced or inhibited, by name.
  returned: success
  type: list
  elements: str
  sample: []
incident:
  description: What O(alert) means; empty when nobody knows.
  returned: success
  type: str
  sample: redis_down
asked:
  description: Whether an Alertmanager answered.
  returned: success
  type: bool
  sample: true
error:
  description: Why none did.
  returned: success
  type: str
  sample: ""
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _firing,
    _guards,
    _incidents,
    _ledger,
)


def judged(
    found: _firing.Found, lines: list[dict[str, Any]], params: dict[str, Any]
) -> dict[str, Any]:
    """Return what has to be answered, and what has not."""
    wanting = [
        one
        for one in _firing.wanting(found)
        if not params["alert"] or one["alert"] == params["alert"]
    ]
    loud = [one for one in wanting if not (one["silenced"] or one["inhibited"])]
    before = _guards.answered(lines, [one["key"] for one in loud], params["mode"])
    fresh = [one for one in loud if one["key"] not in before]
    means = wanting[0]["response"] if wanting and params["alert"] else ""
    return {
        "responses": _firing.groups(fresh),
        "answered": sorted(
            f"{one['alert']} was answered at {before[one['key']]['at']}: {before[one['key']].get('verdict', '')}"
            for one in loud
            if one["key"] in before
        ),
        "suppressed": sorted({one["alert"] for one in wanting if one not in loud}),
        "incident": _incidents.resolve(str(means or params["incidents"].get(params["alert"], ""))),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "projects": {"type": "list", "elements": "str", "required": True},
            "service": {"type": "str", "default": "alertmanager"},
            "port": {"type": "int", "default": 9093},
            "state_dir": {"type": "path", "required": True},
            "alert": {"type": "str", "default": ""},
            "mode": {"type": "str", "choices": ["diagnose", "act"], "default": "diagnose"},
            "incidents": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    params: dict[str, Any] = module.params
    found = _firing.Found(error="Docker does not answer")
    try:
        found = _firing.look(
            _engine.Engine(), params["projects"], params["service"], params["port"]
        )
        result = judged(found, _ledger.read(params["state_dir"]), params)
    except _docker.DockerError as error:
        result = judged(_firing.Found(error=str(error)), [], params)
    except _ledger.LedgerError as error:
        module.fail_json(msg=f"{error} Nothing was changed.")
    module.exit_json(changed=False, asked=found.asked, error=found.error, **result)


if __name__ == "__main__":
    main()
