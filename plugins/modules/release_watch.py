#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch what customers get of a release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_watch
short_description: Watch what customers get of a release
version_added: 0.1.0
description:
  - Samples released services for a while after the switch and compares them with the time before.
    Judged are the part of requests that are answered with 5xx, the latency of 95 of 100 requests,
    restarts, kills for lack of memory, health and the growth of memory.
  - What is clear (a container that died, memory that is about to end, at least
    O(limits.clear_percent) percent of 5xx between two samples) ends the watch at once. The rest is
    judged at its end.
  - Requests are counted by the services themselves, at C(metrics_path) of the table of services.
    Counters of a container that is younger than 15 minutes are taken from zero, for everything that
    it counts belongs to the release. What was usual before comes from Prometheus, as the lower
    quarter of ten parts of the O(baseline), so that a release that failed shortly before does not
    count as usual. Prometheus also stands in where a service cannot be read.
  - With too little to judge by it returns V(inconclusive) and why. It does not fail because a
    release is bad; the caller decides.
  - As a part of an operation (O(state_dir) and O(operation_id)) it shows while it waits that the
    operation lives, for a window may be longer than a lock lasts without a sign of life. By itself
    it takes no lock.
  - It runs for as long as O(window) says. Where nothing keeps an idle connection open, run it with
    C(async) and C(poll).
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
  - carrental.ops._operation.read_only
attributes:
  check_mode:
    details:
      - In check mode it returns V(inconclusive) at once.
options:
  project:
    description: Name of the compose project.
    type: str
    required: true
  services:
    description:
      - The table of services, as the role P(carrental.ops.stack#role) holds it. Used of each are
        C(compose_service), C(port), C(metrics_path) and C(metrics_selector), which is what tells its
        series from others in Prometheus, for example C(job="api").
    type: dict
    required: true
  watched:
    description: The services to watch, by their names in the table or in compose.
    type: list
    elements: str
    required: true
  window:
    description: Seconds to watch.
    type: float
    default: 60
  interval:
    description: Seconds between two samples. State and memory of containers are looked at every second.
    type: float
    default: 5
  baseline:
    description: Seconds before the release that count as usual.
    type: float
    default: 600
  limits:
    description: From where on a release is bad.
    type: dict
    default: {}
    suboptions:
      min_requests:
        description: With fewer requests nothing is said about errors and latency.
        type: int
        default: 20
      min_errors:
        description: Fewer 5xx than that are never held against a release.
        type: int
        default: 3
      error_percent:
        description: >-
          Percent of requests with 5xx; more of them in the whole window, or in each of three samples
          in a row, is a failure.
        type: float
        default: 2
      error_factor:
        description: How many times the usual part of 5xx it also has to be more than.
        type: float
        default: 3
      clear_percent:
        description: Percent of requests with 5xx between two samples that end the watch at once.
        type: float
        default: 20
      clear_requests:
        description: With fewer requests between two samples nothing is clear.
        type: int
        default: 5
      p95_seconds:
        description: Latency of 95 of 100 requests; no lower one is a failure.
        type: float
        default: 0.5
      p95_factor:
        description: How many times the usual latency it also has to be more than.
        type: float
        default: 2
      memory_percent:
        description: Percent of its memory limit; a container above it that still grows is a failure.
        type: float
        default: 95
      memory_full_in:
        description: >-
          A container that grew for five seconds without a pause, is above 75 percent of its memory limit,
          and reaches it within as many seconds, is a failure: so long does it take to lead customers back
          before it is killed. V(0) leaves that out.
        type: float
        default: 15
  metrics:
    description: What the application calls its metrics.
    type: dict
    default: {}
    suboptions:
      requests:
        description: Counter of answered requests.
        type: str
        default: api_requests_total
      durations:
        description: Histogram of their durations in seconds.
        type: str
        default: api_request_duration_seconds
      status:
        description: Label of the counter that holds the HTTP status.
        type: str
        default: status
      endpoint:
        description: Label of both that holds the endpoint.
        type: str
        default: endpoint
      ignore:
        description: Regular expression of endpoints that no customer asks. It has to match the whole label.
        type: str
        default: .*/(health|healthz|live|livez|ready|readyz|metrics)
  prometheus:
    description: The service that is Prometheus, by its name in compose.
    type: str
    default: prometheus
  prometheus_url:
    description: Address of a Prometheus elsewhere, instead of the one of the project.
    type: str
    default: ""
seealso:
  - module: carrental.ops.release_verify
"""

EXAMPLES = r"""
---
- name: Watch the API for a minute
  carrental.ops.release_watch:
    project: carrental
    services: "{{ carrental_services_enabled }}"
    watched: [api]
  register: watch
  failed_when: watch.verdict == 'failed'

- name: Watch for half an hour, also where idle connections are cut
  carrental.ops.release_watch:
    project: carrental
    services: "{{ carrental_services_enabled }}"
    watched: [api, web]
    window: 1800
    interval: 15
  register: watch
  async: 1900
  poll: 15
"""

RETURN = r"""
verdict:
  description: One of V(ok), V(failed) and V(inconclusive).
  returned: success
  type: str
  sample: ok
problems:
  description: What speaks against the release. Empty unless it failed.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      api answered 98 of 196 requests (50.0 %) with 5xx between second 15 and 20; the limit is 20.0 %,
      and 0.0 % was usual before
at_fault:
  description: The services against which RV(problems) speaks, by their names in compose.
  returned: success
  type: list
  elements: str
  sample: [api]
doubts:
  description: Why too little was seen to judge. Empty unless the watch is inconclusive.
  returned: success
  type: list
  elements: str
  sample: ["api answered 3 requests in 60 s, and fewer than 20 say nothing about a release"]
report:
  description:
    - What was seen, as lines for an operator. With the verdict V(failed) also how the containers of
      RV(at_fault) are, and the last lines that they printed.
    - A way back replaces them. With O(state_dir) their last 20,000 lines stay in the file that is named here.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      api: 0 of 2286 requests with 5xx (usual 0.0 %), p95 24 ms (usual 23 ms), no restart, memory at
      most 12 % of its limit
numbers:
  description: By service what was measured, and what was usual. C(null) where it is not known.
  returned: success
  type: dict
  sample:
    api:
      requests: 2286
      errors: 0
      error_ratio: 0.0
      p95: 0.0241
      restarts: 0
      oom_kills: 0
      memory_peak: 0.118
      baseline_requests: 4810
      baseline_error_ratio: 0.0
      baseline_p95: 0.0233
samples:
  description: RV(numbers) as far as they were known with each sample, and its C(second).
  returned: success
  type: list
  elements: dict
  sample: [{"second": 0.0, "api": {"requests": 12, "errors": 0}}]
seconds:
  description: How long it was watched.
  returned: success
  type: float
  sample: 60.0
msg:
  description: The outcome in one sentence.
  returned: success
  type: str
  sample: >-
    The release passed the watch of 60 s: api: 0 of 2286 requests with 5xx (usual 0.0 %), p95 24 ms (usual
    23 ms), no restart, memory at most 12 % of its limit.
"""

import re
from dataclasses import fields
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _failed_container,
    _metrics,
    _operation,
    _operation_module,
    _prometheus,
    _service_table,
    _watch,
    _watch_sources,
)

# One that does not answer for as long is not asked in vain for the whole window.
_ENGINE_TIMEOUT = 5.0


def options_of(kind: type[Any]) -> dict[str, Any]:
    """Return the members of a dataclass as options with their defaults."""
    return {
        one.name: {"type": type(one.default).__name__, "default": one.default}
        for one in fields(kind)
    }


def complaint(params: dict[str, Any], known: list[str]) -> str:
    """Return what of the arguments cannot be used."""
    unknown = [name for name in params["watched"] if name not in known]
    if unknown or not params["watched"]:
        named = ", ".join(unknown) or "no service"
        return f"watched names {named}; name services of the table: {', '.join(known)}."
    if params["interval"] <= 0 or params["window"] < params["interval"]:
        return (
            f"interval is {params['interval']:g} and window {params['window']:g}; "
            "the window has to hold at least one interval, and that has to be above 0."
        )
    try:
        re.compile(params["metrics"]["ignore"])
    except re.error as error:
        return f"metrics.ignore {params['metrics']['ignore']} is no regular expression: {error}."
    return ""


def watch(params: dict[str, Any]) -> _watch.Outcome:
    """Watch from the first look to the verdict."""
    table = params["services"]
    aliases = _service_table.aliases(table)
    described = {alias: table[name] for name, alias in aliases.items()}
    watched = list(dict.fromkeys(aliases.get(name, name) for name in params["watched"]))
    names = _metrics.Names(**params["metrics"])
    limits = _watch.Limits(**params["limits"])
    engine = _engine.Engine(_ENGINE_TIMEOUT)
    missing = ""
    try:
        prometheus = _watch_sources.prometheus_of(
            engine, params["project"], params["prometheus_url"], described, params["prometheus"]
        )
    except _prometheus.PrometheusError as error:
        prometheus, missing = None, str(error)
    sources = _watch_sources.Sources(
        engine,
        params["project"],
        described,
        watched,
        names=names,
        prometheus=prometheus,
        missing=missing,
    )
    courses = {
        name: _watch.Course(
            name,
            sources.metered(name),
            sources.baseline(name, params["baseline"], limits.min_requests),
            limits,
        )
        for name in watched
    }
    planned = int(params["window"] // params["interval"]) + 1
    run = _watch.Watch(courses, names, planned, notes=sources.notes)
    _watch.follow(run, sources.look, window=params["window"], interval=params["interval"])
    return run.outcome()


def evidence(params: dict[str, Any], services: list[str]) -> list[str]:
    """Return what is to be seen of the containers of some services, and where their logs are."""
    if not services:
        return []
    try:
        engine = _engine.Engine(_ENGINE_TIMEOUT)
        containers = engine.services(params["project"])
    except _docker.DockerError as error:
        # What was found must not be hidden by it.
        return [f"the containers of {', '.join(services)} could not be looked at: {error}"]
    found = []
    for one in containers:
        if one.service not in services:
            continue
        found += _failed_container.lines(engine, params["project"], one)
        if params["state_dir"]:
            found.append(
                _failed_container.keep_log(engine, params["project"], one, params["state_dir"])
            )
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "services": {"type": "dict", "required": True},
            "watched": {"type": "list", "elements": "str", "required": True},
            "window": {"type": "float", "default": 60},
            "interval": {"type": "float", "default": 5},
            "baseline": {"type": "float", "default": 600},
            "limits": {"type": "dict", "default": {}, "options": options_of(_watch.Limits)},
            "metrics": {"type": "dict", "default": {}, "options": options_of(_metrics.Names)},
            "prometheus": {"type": "str", "default": "prometheus"},
            "prometheus_url": {"type": "str", "default": ""},
            **_operation_module.OPERATION_OPTIONS,
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    aliases = _service_table.aliases(run.params["services"])
    wrong = complaint(run.params, sorted({*aliases, *aliases.values()}))
    if wrong:
        run.fail(wrong)
    if module.check_mode:
        why = "it is not run in check mode"
        run.exit(
            {
                "changed": False,
                "verdict": _watch.INCONCLUSIVE,
                "problems": [],
                "at_fault": [],
                "doubts": [why],
                "report": [],
                "numbers": {},
                "samples": [],
                "seconds": 0.0,
                "msg": f"The watch is inconclusive: {why}.",
            }
        )
    try:
        # It changes nothing, but others must see that the operation goes on.
        with run.operation("release_watch", changes=False) as operation:
            operation.step(f"watch {', '.join(run.params['watched'])}")
            outcome = watch(run.params)
            outcome.report.extend(evidence(run.params, outcome.at_fault))
    except (_docker.DockerError, _operation.OperationError) as error:
        run.fail(str(error))
    run.exit({"changed": False, **vars(outcome)})


if __name__ == "__main__":
    main()
