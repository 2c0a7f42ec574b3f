#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell whether the monitoring reads and hands over everything, and prove that an alert arrives."""

from __future__ import annotations

DOCUMENTATION = r"""
module: monitoring_prove
short_description: Tell whether the monitoring reads everything, and prove that an alert arrives
version_added: 0.1.0
description:
  - Asks Prometheus which targets it cannot read, and to which Alertmanager it hands its alerts.
  - With O(severities) it raises a test alert of each in the way that every alert is raised. A metric
    in a text file is scraped, a rule fires, Alertmanager routes it. Then it waits until Alertmanager
    has delivered by every integration that the alert's receiver has, which means that the other
    side took it, and ends the alert.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
attributes:
  check_mode:
    support: full
    details: [No alert is raised.]
  diff_mode:
    support: none
  idempotent:
    support: N/A
    details: [Each call raises its alerts.]
options:
  projects:
    description: Names of the compose projects that Prometheus and Alertmanager may belong to.
    type: list
    elements: str
    required: true
  prometheus:
    description: Service of Prometheus, as compose calls it.
    type: str
    default: prometheus
  alertmanager:
    description: Service of Alertmanager.
    type: str
    default: alertmanager
  settle:
    description: Seconds to wait until every target was read.
    type: int
    default: 45
  severities:
    description: Severities of which a test alert is raised.
    type: list
    elements: str
    default: []
  expected:
    description: >-
      The integrations by which an alert of each of O(severities) has to be delivered, one entry for each channel.
    type: dict
    default: {}
  shared:
    description:
      - Integrations by which Alertmanager also tells others, all the time, as a dead man's switch. Of
        these no request may fail meanwhile.
    type: list
    elements: str
    default: []
  metrics_dir:
    description: Directory of the text files with metrics.
    type: path
    required: true
  timeout:
    description: Seconds that the delivery may take.
    type: int
    default: 240
"""

EXAMPLES = r"""
- name: Prove that an alert of P1 arrives
  carrental.ops.monitoring_prove:
    projects: [carrental]
    severities: [P1]
    expected: {P1: [email, slack]}
    metrics_dir: /opt/carrental/.ops/metrics
"""

RETURN = r"""
targets:
  description: How many targets Prometheus has.
  returned: success
  type: int
  sample: 16
unread:
  description: The targets that it cannot read, each with its reason.
  returned: success
  type: list
  elements: str
  sample: ["redis redis-exporter:9121: connection refused"]
alertmanagers:
  description: Addresses of the Alertmanagers that it hands alerts to.
  returned: success
  type: list
  elements: str
  sample: ["http://alertmanager:9093/api/v2/alerts"]
arrived:
  description: Seconds from the metric to the delivery, by severity and integration.
  returned: success
  type: dict
  sample: {"P1": {"email": 31.4, "slack": 30.9}}
"""

import contextlib
import os
import time
from collections import Counter
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _alertmanager,
    _docker,
    _engine,
    _monitoring,
    _prometheus,
    _whole_file,
)

ALERT = "MonitoringProof"
_FILE = "monitoring-proof.prom"
_PAUSE = 1.0
# How long the alerts of a proof before this may still fire, and how long after it Alertmanager tells
# of their end (group_interval of their route).
_OVER = 120.0
_TOLD = 10.0


def container(engine: _engine.Engine, projects: list[str], service: str) -> _docker.Container:
    """Return the running container of a service in one of these projects."""
    for project in projects:
        for one in engine.services(project):
            if one.service == service and one.running:
                return one
    raise _monitoring.MonitoringError(f"{service} does not run; see playbooks/health.yml.")


def unread(prometheus: _prometheus.Prometheus) -> tuple[int, list[str], bool]:
    """Return how many targets there are, which cannot be read, and whether all were tried."""
    found = prometheus.targets()
    wrong = [
        f"{one['labels'].get('job')} {one['labels'].get('instance')}: {one['lastError']}"
        for one in found
        if one["health"] == "down"
    ]
    return len(found), sorted(wrong), all(one["health"] != "unknown" for one in found)


def settled(prometheus: _prometheus.Prometheus, seconds: float) -> tuple[int, list[str]]:
    """Return the same once everything was tried and is read, or when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        count, wrong, tried = unread(prometheus)
        if (tried and not wrong) or time.monotonic() > deadline:
            return count, wrong
        time.sleep(_PAUSE)


def text(severities: list[str], proof: str) -> str:
    """Return the metric that raises the alerts; they end with it."""
    lines = ["# TYPE carrental_monitoring_proof gauge"]
    lines += [
        f'carrental_monitoring_proof{{severity="{one}",proof="{proof}"}} 1' for one in severities
    ]
    return "\n".join(lines) + "\n"


def forget(manager: _alertmanager.Alertmanager, path: str) -> None:
    """Wait until the alerts of a proof before this are over, and that was told, too."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of one that was killed
    if not manager.alerts(ALERT):
        return
    deadline = time.monotonic() + _OVER
    while manager.alerts(ALERT):
        if time.monotonic() > deadline:
            raise _monitoring.MonitoringError(
                f"The alert {ALERT} of a proof before this one did not end within {_OVER:.0f} s; "
                "look at carrental_monitoring_proof in Prometheus."
            )
        time.sleep(_PAUSE)
    time.sleep(_TOLD)


def prove(manager: _alertmanager.Alertmanager, params: dict[str, Any]) -> dict[str, Any]:
    """Raise the alerts, wait until they arrived, and end them."""
    path = os.path.join(params["metrics_dir"], _FILE)
    wanted = {one: list(params["expected"].get(one) or []) for one in params["severities"]}
    deaf = [one for one in wanted if not wanted[one]]
    if deaf:
        raise _monitoring.MonitoringError(
            f"Nobody hears of {', '.join(deaf)}: no channel has that severity, so no alert of it "
            "can arrive. Name a channel for it, or prove a severity that has one."
        )
    arrived: dict[str, dict[str, float]] = {}
    # Alertmanager does not tell again of what it told, so each proof has alerts of its own.
    proof = str(int(time.time()))
    forget(manager, path)
    try:
        # The counters do not tell whose delivery they counted: one after the other, and none ends
        # before the last one has arrived, for an end is told and counted, too.
        for severity, integrations in wanted.items():
            before = manager.delivered()
            began = time.monotonic()
            raised = [*arrived, severity]
            _whole_file.write(path, text(raised, proof).encode(), 0o644)
            arrived[severity] = wait(
                manager, proof, severity, integrations, before=before, began=began, params=params
            )
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
    return arrived


def wait(
    manager: _alertmanager.Alertmanager,
    proof: str,
    severity: str,
    integrations: list[str],
    *,
    before: dict[str, tuple[float, float]],
    began: float,
    params: dict[str, Any],
) -> dict[str, float]:
    """Return after how many seconds it was delivered by each integration.

    Alertmanager counts by integration and not by receiver: as many have to arrive as there are
    channels of one. Where others are told by it all the time (``shared``) none may fail, for their
    success could hide it. Both counters are read twice, for one is written after the other.
    """
    found: dict[str, float] = {}
    failures: dict[str, int] = {}
    channels = Counter(integrations)
    fired, good = False, set[str]()
    while True:
        took = time.monotonic() - began
        fired = fired or any(
            (one["labels"].get("proof"), one["labels"]["severity"]) == (proof, severity)
            for one in manager.alerts(ALERT)
        )
        now = manager.delivered()
        for kind, count in channels.items() if fired else ():
            tried = now.get(kind, (0, 0))[0] - before.get(kind, (0, 0))[0]
            failed = now.get(kind, (0, 0))[1] - before.get(kind, (0, 0))[1]
            failures[kind] = int(failed)
            if tried - failed < count or (failed and kind in params["shared"]):
                good.discard(kind)
            elif kind in good:
                found.setdefault(kind, round(took, 1))
            else:
                good.add(kind)
        if fired and len(found) == len(channels):
            return found
        if took > params["timeout"]:
            missing = [
                f"{kind} ({count} channels, {failures.get(kind, 0)} failures)"
                for kind, count in channels.items()
                if kind not in found
            ]
            raise _monitoring.MonitoringError(
                f"The test alert of {severity} "
                + (
                    f"reached Alertmanager, and was not delivered by {', '.join(missing)} within "
                    f"{params['timeout']} s; its log says why."
                    if fired
                    else f"did not reach Alertmanager within {params['timeout']} s; look at "
                    f"carrental_monitoring_proof and at the alert {ALERT} in Prometheus."
                )
            )
        time.sleep(_PAUSE)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "projects": {"type": "list", "elements": "str", "required": True},
            "prometheus": {"type": "str", "default": "prometheus"},
            "alertmanager": {"type": "str", "default": "alertmanager"},
            "settle": {"type": "int", "default": 45},
            "severities": {"type": "list", "elements": "str", "default": []},
            "expected": {"type": "dict", "default": {}},
            "shared": {"type": "list", "elements": "str", "default": []},
            "metrics_dir": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 240},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        engine = _engine.Engine()
        own = container(engine, params["projects"], params["prometheus"])
        prometheus = _prometheus.Prometheus(own.address)
        count, wrong = settled(prometheus, params["settle"])
        other = container(engine, params["projects"], params["alertmanager"])
        manager = _alertmanager.Alertmanager(other.address)
        result: dict[str, Any] = {
            "changed": False,
            "targets": count,
            "unread": wrong,
            "alertmanagers": prometheus.alertmanagers(),
            "arrived": {},
        }
        if params["severities"] and not module.check_mode:
            result["arrived"] = prove(manager, params)
    except _prometheus.PrometheusError as error:
        module.fail_json(msg=f"{error}.")
    except OSError as error:
        module.fail_json(msg=f"Cannot write to {params['metrics_dir']}: {error.strerror}.")
    except (
        _alertmanager.AlertmanagerError,
        _docker.DockerError,
        _monitoring.MonitoringError,
    ) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
