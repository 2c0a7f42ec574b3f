# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Whether a release is what answers: by the image that runs, directly, and through the proxy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _http
from ._docker import Container


@dataclass(frozen=True)
class Target:
    """What a released service has to answer."""

    service: str
    image_id: str
    port: int
    path: str
    status: tuple[int, ...]
    version_key: str
    proxy_path: str
    expected: _http.Expected | None = None


@dataclass(frozen=True)
class Proxy:
    """Where customers come in."""

    service: str
    port: int
    tls_port: int
    domain: str

    def request(self, gate: Container, path: str) -> _http.Request:
        """Return a request through one container of it, as customers send them."""
        tls = bool(self.tls_port) and (not gate.published or self.tls_port in gate.published)
        port = self.tls_port if tls else self.port
        return _http.Request(gate.address, port, path, tls=tls, hostname=self.domain)


def target(service: str, image_id: str, described: Mapping[str, Any]) -> Target:
    """Return what the table of services demands of a released service."""
    probed = described.get("probe") == "http"
    return Target(
        service=service,
        image_id=image_id,
        port=int(described.get("port") or 0) if probed else 0,
        path=described.get("path") or "/",
        status=tuple(int(code) for code in described.get("status") or [200]),
        version_key=described.get("version_key") or "",
        proxy_path=described.get("proxy_path") or "",
        expected=_http.Expected(
            [int(code) for code in described.get("status") or [200]],
            described.get("json") or {},
            described.get("json_degraded") or {},
        ),
    )


def version_of(body: Any, key: str) -> str | None:
    """Return a member of an answer; dots lead into nested ones."""
    for part in key.split("."):
        if not isinstance(body, dict) or part not in body:
            return None
        body = body[part]
    return str(body)


def wrong_answer(
    answer: _http.Answer, status: Sequence[int], version_key: str, version: str
) -> str:
    """Return why an answer is not that of the release; nothing when it is."""
    if answer.status not in status:
        return f"{answer.url} answers {answer.status}"
    if version_key and version:
        found = version_of(answer.json, version_key)
        if found is None:
            return f"{answer.url} answers {answer.status} without a member {version_key}"
        if found != version:
            return f"{answer.url} answers as version {found} instead of {version}"
    return ""


def ask(wanted: _http.Request, one: Target, version: str) -> str:
    """Ask once, and return what is wrong."""
    try:
        answer = _http.request(wanted)
    except _http.HttpError as error:
        return str(error)
    wrong = wrong_answer(answer, one.status, one.version_key, version)
    if not wrong and one.expected:
        # Degraded is no fault of the release: the cache may be down.
        found = _http.judge(answer, one.expected)
        wrong = f"{answer.url}: {found.reason}" if found.outcome not in ("ok", "degraded") else ""
    return wrong


def problems(
    containers: Sequence[Container],
    targets: Sequence[Target],
    proxy: Proxy | None,
    version: str,
) -> list[str]:
    """Return everything that speaks against the release at this moment."""
    found: list[str] = []
    gates = [one for one in containers if proxy and one.service == proxy.service]
    for one in targets:
        own = [container for container in containers if container.service == one.service]
        if not own:
            found.append(f"{one.service} has no container")
        for container in own:
            found += _container_problems(container, one, version)
        if proxy and one.proxy_path:
            found += _proxy_problems(gates, proxy, one, version)
    return found


def _container_problems(container: Container, one: Target, version: str) -> list[str]:
    name = container.name
    if not container.running:
        state = container.state
        return [f"{name} does not run ({state.get('Status')}, exit code {state.get('ExitCode')})"]
    if container.image_id != one.image_id:
        return [f"{name} runs the image {container.image_id} instead of {one.image_id}"]
    health = (container.state.get("Health") or {}).get("Status", "")
    if health == "unhealthy":
        return [f"{name} is unhealthy"]
    if not one.port:
        return []
    if not container.address:
        return [f"{name} has no address"]
    wrong = ask(_http.Request(container.address, one.port, one.path), one, version)
    return [f"{name} directly: {wrong}"] if wrong else []


def _proxy_problems(
    gates: Sequence[Container], proxy: Proxy, one: Target, version: str
) -> list[str]:
    gate = next((gate for gate in gates if gate.running and gate.address), None)
    if gate is None:
        return [f"the proxy {proxy.service} does not run"]
    wrong = ask(proxy.request(gate, one.proxy_path), one, version)
    return [f"{one.service} through {gate.name}: {wrong}"] if wrong else []


def shown(container: Container, lines: Sequence[str]) -> dict[str, Any]:
    """Return what an operator has to see of a container."""
    state = container.state
    return {
        "service": container.service,
        "name": container.name,
        "status": state.get("Status", ""),
        "health": (state.get("Health") or {}).get("Status", ""),
        "exit_code": state.get("ExitCode"),
        "oom_killed": bool(state.get("OOMKilled")),
        "restarts": container.raw.get("RestartCount", 0),
        "image_id": container.image_id,
        "image": container.image,
        "log": list(lines),
    }


def report(containers: Sequence[Mapping[str, Any]], lines: int = 8) -> list[str]:
    """Return the containers as lines for an operator, each with the end of its log."""
    found = []
    for one in containers:
        state = one["status"] + (f", {one['health']}" if one["health"] else "")
        if one["status"] != "running":
            state += f" with exit code {one['exit_code']}"
        if one["oom_killed"]:
            state += ", killed for its memory"
        if one["restarts"]:
            state += f", restarted {one['restarts']} times"
        found.append(f"{one['name']}: {state}; image {one['image']}")
        found += [f"{one['name']} | {line}" for line in one["log"][-lines:]]
    return found


@dataclass(frozen=True)
class Outcome:
    """How the polling ended."""

    passed: bool
    seconds: float
    polls: int
    problems: list[str]


def poll(
    look: Callable[[], list[str]],
    *,
    deadline: float,
    consecutive: int,
    interval: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Look until nothing was wrong several times in a row, or the deadline has passed."""
    started = clock()
    good = polls = 0
    last: list[str] = []
    while True:
        found = look()
        polls += 1
        good = 0 if found else good + 1
        last = found or last
        spent = clock() - started
        if good >= consecutive:
            return Outcome(True, round(spent, 1), polls, [])
        if spent + interval > deadline:
            return Outcome(False, round(spent, 1), polls, last)
        sleep(interval)
