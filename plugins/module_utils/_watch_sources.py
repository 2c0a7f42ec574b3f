# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a watch looks at: containers, what they count, and what Prometheus remembers.

The counters are read from the containers themselves, for they begin at zero with the
release and are true at every moment. Measured on the sample stack, scraped every 15 s:
after a switch rate() over 30 s gives nothing for 30 s, over 15 s never; and a label
``instance`` that stays the same joins the old container to the new one. Prometheus
tells what was usual before, and stands in where a container cannot be read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _checks,
    _containers,
    _docker,
    _environment_masking,
    _http,
    _metrics,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine
from ansible_collections.carrental.ops.plugins.module_utils._prometheus import (
    Prometheus,
    PrometheusError,
    newest,
    points,
)
from ansible_collections.carrental.ops.plugins.module_utils._watch import Baseline, Look, Member

_MAX_BODY = 8 * 1024 * 1024
# A container that is older was not created for the release that is watched.
_FRESH_SECONDS = 900
# Usual is the lower quarter of several parts: a release that failed shortly before, or
# an hour with little traffic, must not make errors look usual.
_PARTS = 10
_SHORTEST_PART = 30.0


class MetricsError(Exception):
    """The counters could not be read; the text is the rest of a sentence."""


def prometheus_of(
    engine: Engine, project: str, url: str, described: Mapping[str, Mapping[str, Any]], name: str
) -> Prometheus:
    """Return the Prometheus of the project, or the one that was named."""
    if url:
        return Prometheus.at(url)
    own = _found(engine, project, [name])
    running = next((one for one in own if one.running and one.address), None)
    if running is None:
        raise PrometheusError(f"no container of the service {name} runs")
    return Prometheus(running.address, int(described.get(name, {}).get("port") or 9090))


def _found(engine: Engine, project: str, services: Sequence[str]) -> list[Container]:
    """Return the containers of some services; the others need not be inspected every second."""
    found = []
    for container_id, service in _docker.select(engine.containers(), project, {}):
        if service not in services:
            continue
        try:
            container = engine.inspect(container_id)
        except _docker.DockerError as error:
            if "No such container" in str(error):
                continue
            raise
        if not container.one_off:
            found.append(container)
    return found


class Sources:
    """The watched services of a project."""

    def __init__(
        self,
        engine: Engine,
        project: str,
        described: Mapping[str, Mapping[str, Any]],
        watched: Sequence[str],
        *,
        names: _metrics.Names,
        prometheus: Prometheus | None,
        missing: str = "",
    ) -> None:
        self.engine = engine
        self.project = project
        self.described = described
        self.watched = list(watched)
        self.names = names
        self.prometheus = prometheus
        # Why there is no Prometheus.
        self.missing = missing
        self.notes: list[str] = []
        # Decided with the first sample: two sources of one service would count twice.
        self._through_prometheus: dict[str, bool] = {}
        containers = _found(engine, project, self.watched)
        begun = [one for one in map(_created, containers) if _fresh(one)]
        self.began_here = bool(begun)
        self.since = min(begun, default=time.time())

    def metered(self, service: str) -> bool:
        """Return whether a service says where its metrics are."""
        return bool(self.described.get(service, {}).get("metrics_path"))

    def look(self, sampled: bool) -> Mapping[str, Look] | str:
        """Return the services at this moment, or why Docker does not tell."""
        try:
            containers = _found(self.engine, self.project, self.watched)
            found = {}
            for service in self.watched:
                own = [one for one in containers if one.service == service]
                look = Look(tuple(self._member(one) for one in own))
                found[service] = self._sample(service, own, look) if sampled else look
        except _docker.DockerError as error:
            return str(error)
        return found

    def _member(self, container: Container) -> Member:
        """Return a container as the watch judges it."""
        state = container.state
        restarts = int(container.raw.get("RestartCount") or 0)
        health = (state.get("Health") or {}).get("Status", "")
        serving = container.running and health != "unhealthy"
        oom_killed = bool(state.get("OOMKilled"))
        try:
            used = self.engine.memory(container) if container.running else None
        except _docker.DockerError:
            # It died between the two questions; the next look tells.
            used = None
        return Member(
            id=container.id,
            name=container.name,
            serving=serving,
            fresh=_fresh(_created(container)),
            restarts=restarts,
            oom_killed=oom_killed,
            used=used,
            limit=int((container.raw.get("HostConfig") or {}).get("Memory") or 0),
            detail="" if serving and not restarts and not oom_killed else self._detail(container),
        )

    def _detail(self, container: Container) -> str:
        """Return what a health check says of a container."""
        subject = _checks.Subject(container.service, "", "P1", "", "")
        events = self.engine.endings(container.id)
        check = _containers.judge(subject, container, events, datetime.now(timezone.utc))
        masker = _environment_masking.container_masker(container.environment, self.project)
        return masker.text(check.detail)

    def _sample(self, service: str, own: Sequence[Container], look: Look) -> Look:
        """Return the look with what was counted."""
        if not self.metered(service):
            return look
        fresh = all(member.fresh for member in look.members)
        try:
            if service not in self._through_prometheus:
                self._choose(service, own)
            if self._through_prometheus[service]:
                counters = {"prometheus": self._remembered(service)}
            else:
                counters = {one.id: self._read(one) for one in own if one.running}
        except (MetricsError, PrometheusError) as error:
            return replace(look, unread=str(error))
        return replace(look, counters=counters, fresh=fresh)

    def _choose(self, service: str, own: Sequence[Container]) -> None:
        """Take the containers themselves where they can be read, else Prometheus."""
        try:
            for container in own:
                self._read(container)
        except MetricsError as error:
            if not self.prometheus:
                raise MetricsError(f"{error}, and {self.missing}") from error
            if not self._remembered(service):
                raise
            self.notes.append(f"{service} was read through Prometheus, because {error}")
            self._through_prometheus[service] = True
        else:
            self._through_prometheus[service] = False

    def _read(self, container: Container) -> _metrics.Counters:
        """Return what a container says that it has counted."""
        described = self.described[container.service]
        if not container.address:
            raise MetricsError(f"container {container.name} has no address")
        wanted = _http.Request(
            container.address,
            int(described.get("port") or 80),
            described["metrics_path"],
            max_body=_MAX_BODY,
        )
        try:
            answer = _http.request(wanted)
        except _http.HttpError as error:
            raise MetricsError(str(error)) from error
        if answer.status != 200:
            raise MetricsError(f"{wanted.url} answers {answer.status}")
        text = answer.body.decode("utf-8", "replace")
        if self.names.requests not in text:
            raise MetricsError(f"{wanted.url} has no metric {self.names.requests}")
        return _metrics.parse(text, self.names)

    def _remembered(self, service: str) -> _metrics.Counters:
        """Return what Prometheus has read of a service since the release began."""
        if self.prometheus is None:
            raise PrometheusError(self.missing)
        seconds = max(int(time.time() - self.since), 0) + 60
        wanted = f'__name__=~"{self.names.requests}|{self.names.buckets}"'
        query = f"{{{','.join(filter(None, [wanted, self._selector(service)]))}}}[{seconds}s]"
        return newest(self.prometheus.instant(query), self.since if self.began_here else 0.0)

    def _selector(self, service: str) -> str:
        return str(self.described[service].get("metrics_selector") or "")

    def baseline(self, service: str, seconds: float, min_requests: int) -> Baseline:
        """Return what was usual before the release began."""
        if not self.metered(service):
            return Baseline()
        if self.prometheus is None:
            return Baseline(unknown=self.missing)
        try:
            return self._baseline(self.prometheus, service, seconds, min_requests)
        except PrometheusError as error:
            return Baseline(unknown=str(error))

    def _baseline(
        self, prometheus: Prometheus, service: str, seconds: float, min_requests: int
    ) -> Baseline:
        names = self.names
        step = max(seconds / _PARTS, _SHORTEST_PART)
        # Each part holds the one before it too: where Prometheus reads once a minute, a
        # shorter one would hold no two values.
        width = 2 * step
        endpoints = f"{names.endpoint}!~{json.dumps(names.ignore)}" if names.ignore else ""
        common = [endpoints, self._selector(service)]
        failed = [*common, f'{names.status}=~"5.*"']

        def increase(metric: str, matchers: list[str]) -> str:
            return f"increase({metric}{{{','.join(filter(None, matchers))}}}[{width:.0f}s])"

        def parts(query: str) -> dict[float, float]:
            start = self.since - max(seconds - width, 0)
            return points(prometheus.ranges(query, start, self.since, step))

        asked = parts(f"sum({increase(names.requests, common)})")
        total = sum(asked.values()) * step / width
        if total < min_requests:
            return Baseline(
                unknown=f"Prometheus knows of {total:.0f} requests in the {seconds:.0f} s before"
            )
        errors = parts(f"sum({increase(names.requests, failed)})")
        p95 = parts(f"histogram_quantile(0.95, sum by (le) ({increase(names.buckets, common)}))")
        ratios = [errors.get(at, 0.0) / count for at, count in asked.items() if count > 0]
        return Baseline(
            ratio=_lower_quarter(ratios),
            p95=_lower_quarter(list(p95.values())) if p95 else None,
            requests=total,
        )


def _lower_quarter(values: list[float]) -> float:
    return sorted(values)[len(values) // 4]


def _created(container: Container) -> float:
    """Return when a container was made."""
    now = datetime.now(timezone.utc)
    age = _containers.seconds_since(str(container.raw.get("Created", "")), now)
    return now.timestamp() - (_FRESH_SECONDS * 2 if age is None else age)


def _fresh(created: float) -> bool:
    return time.time() - created < _FRESH_SECONDS
