#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell where the monitoring of a stack reads its files, and which exporters it has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: monitoring_info
short_description: Tell where the monitoring of a stack reads its files, and which exporters it has
version_added: 0.1.0
description:
  - Asks compose what each service mounts, and returns the files of the project that Prometheus,
    Alertmanager and Grafana read. Nobody has to edit a compose file for it.
  - Names what will not work with the monitoring as it is - variables in C(alertmanager.yml) that nobody
    fills in, services that two compose files define, networks that Prometheus is not on.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes.read_only
  - carrental.ops._attributes
  - carrental.ops._compose_project.dest
options:
  services:
    description: Names in the compose files of what plays V(prometheus), V(alertmanager) and V(grafana).
    type: dict
    default: {}
  measured:
    description: Services of the project that Prometheus and its probes have to reach.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look at the monitoring of the stack
  carrental.ops.monitoring_info:
    dest: /opt/carrental
    files: [docker-compose.prod.yml, docker-compose.monitoring.yml]
    project: carrental
    services: {prometheus: prometheus, alertmanager: alertmanager, grafana: grafana}
    measured: [api, web]
  register: monitoring
"""

RETURN = r"""
prometheus:
  description: The service with its files, in the project and in its container; empty without one.
  returned: success
  type: dict
  sample:
    service: prometheus
    config: monitoring/prometheus.yml
    config_inside: /etc/prometheus/prometheus.yml
    rules: monitoring/alerts.yml
    rules_inside: /etc/prometheus/alerts.yml
alertmanager:
  description: The same of Alertmanager, with the directory of its data.
  returned: success
  type: dict
  sample:
    service: alertmanager
    config: monitoring/alertmanager.yml
    config_inside: /etc/alertmanager/alertmanager.yml
    storage: /alertmanager
grafana:
  description: The service, and the directory of the project that it is provisioned from, if any.
  returned: success
  type: dict
  sample: {"service": "grafana", "provisioning": ""}
exporters:
  description: The exporters that the project has, by what they measure.
  returned: success
  type: dict
  sample: {"node": {"service": "node-exporter", "image": "prom/node-exporter:v1.9"}}
networks:
  description: The networks of what is measured, by the name in the compose files.
  returned: success
  type: dict
  sample: {"backend": "carrental_backend"}
missing_networks:
  description: Networks that Prometheus is not on, and that something it reads from is on alone.
  returned: success
  type: list
  elements: str
  sample: []
traps:
  description: What will not work with the monitoring as it is, in a sentence each.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _arguments,
    _compose,
    _configuration,
    _monitoring,
)

_STORAGE = "/alertmanager"


def look(params: dict[str, Any]) -> dict[str, Any]:
    """Return everything."""
    root = params["dest"]
    files = tuple(params["files"])
    model, _warnings = _compose.Project(root, params["project"], files).model()
    services = _compose.services(model)
    named = {kind: str(name) for kind, name in params["services"].items()}
    texts = {file: _configuration.text_of(os.path.join(root, file)) for file in files}
    result: dict[str, Any] = {
        "changed": False,
        "prometheus": {},
        "alertmanager": {},
        "grafana": {},
        "exporters": _monitoring.exporters(services),
        "traps": _monitoring.twice(texts),
    }
    for kind in ("prometheus", "alertmanager"):
        name = named.get(kind, kind)
        if name not in services:
            continue
        found = _monitoring.config_of(kind, services[name], root)
        if kind == "prometheus":
            found |= _monitoring.rules_of(services[name], root, found)
        else:
            storage = _monitoring.option(services[name].get("command"), "--storage.path")
            found["storage"] = storage or _STORAGE
            path = os.path.join(root, found["config"])
            for variable in _monitoring.unexpanded(_configuration.text_of(path)):
                result["traps"].append(
                    f"{found['config']} has {variable}, and Alertmanager fills in no variables: "
                    "with it nobody is told anything."
                )
        result[kind] = {"service": name, **found}
    name = named.get("grafana", "grafana")
    if name in services:
        mounted = _monitoring.binds(services[name], root)
        provisioning = _monitoring.outside(mounted, _monitoring.PROVISIONING)
        result["grafana"] = {"service": name, "provisioning": provisioning}
    result |= reach(model, result, [one for one in params["measured"] if one in services])
    return result


def reach(model: _compose.Model, found: dict[str, Any], measured: list[str]) -> dict[str, Any]:
    """Return on which networks everything is, and which Prometheus would have to be on."""
    named = model.get("networks") or {}
    exporters = [one["service"] for one in found["exporters"].values()]
    alertmanager = found["alertmanager"].get("service")
    wanted = [*measured, *exporters, *([alertmanager] if alertmanager else [])]
    used = {network for one in wanted for network in _monitoring.networks(model, one)}
    keys = {str((one or {}).get("name") or key): key for key, one in named.items()}
    networks = {keys.get(name, name): name for name in sorted(used)}
    own = set(_monitoring.networks(model, found["prometheus"].get("service", "")))
    missing: set[str] = set()
    if own:
        for one in wanted:
            theirs = _monitoring.networks(model, one)
            if theirs and not own & set(theirs):
                missing.add(theirs[0])
    return {"networks": networks, "missing_networks": sorted(missing)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.COMPOSE_DEST,
            "services": {"type": "dict", "default": {}},
            "measured": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except (
        _compose.ComposeError,
        _configuration.ConfigurationError,
        _monitoring.MonitoringError,
    ) as error:
        module.fail_json(msg=f"{error} Nothing was changed.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
