# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Judge the state of containers: who runs, who died, and who was stopped by hand."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _endings
from ansible_collections.carrental.ops.plugins.module_utils._checks import Check, Subject
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container
from ansible_collections.carrental.ops.plugins.module_utils._host import size

# Between two crashes a container of a restart loop runs: young, and started again and again.
_YOUNG_SECONDS = 60
_LOOP_RESTARTS = 3
_RESTARTING_POLICIES = ("always", "unless-stopped")
# docker kill also sends signals that a process outlives, as a reload of nginx.
_ENDING_SIGNALS = ("2", "3", "9", "15")
_SIGNALS = {
    137: "SIGKILL",
    143: "SIGTERM",
    129: "SIGHUP",
    130: "SIGINT",
    131: "SIGQUIT",
    134: "SIGABRT",
    139: "SIGSEGV",
}


def judge(
    subject: Subject, container: Container, events: list[dict[str, Any]], now: datetime
) -> Check:
    """The state of one container.

    :param events: what the engine still remembers of how it ended, oldest first.
    """
    state = container.state
    name, status = container.name, str(state.get("Status", ""))
    evidence = _evidence(container)
    if status == "paused":
        reason = f"container {name} is paused; go on with: docker unpause {name}"
    elif status == "restarting":
        reason = _loop(container, events)
    elif status == "created":
        why = start_error(state) or "nobody started it"
        reason = (
            f"container {name} was created and never ran: {why}; start it with: {_up(container)}"
        )
    elif status in ("exited", "dead"):
        reason = ending(container, events)
    elif status != "running":
        reason = f"container {name} is {status or 'in no known state'}; look again"
    else:
        return _running(subject, container, events, now, evidence)
    return subject.down("container", reason, **evidence)


def _running(
    subject: Subject,
    container: Container,
    events: list[dict[str, Any]],
    now: datetime,
    evidence: dict[str, Any],
) -> Check:
    age = seconds_since(str(container.state.get("StartedAt", "")), now)
    useless = _useless(container, events, age, now)
    if useless:
        return subject.down("container", useless, **evidence)
    notable = _notable(container, events, age)
    if notable:
        return subject.finding("container", notable, **evidence)
    return subject.passed("container", **evidence)


def _useless(
    container: Container, events: list[dict[str, Any]], age: float | None, now: datetime
) -> str:
    """Why a container that runs does not serve; empty when it may."""
    name, health = container.name, container.state.get("Health") or {}
    if _restarts(container) >= _LOOP_RESTARTS and _young(age):
        return _loop(container, events, age)
    if health.get("Status") == "unhealthy":
        return (
            f"container {name} runs, but its own health check fails{_last_try(health, now)}: "
            f"{last_output(health)}; "
            f"see: docker logs --tail 100 {name}"
        )
    borrowed = container.network_mode == "none" or container.network_mode.startswith("container:")
    if not container.address and not borrowed:
        return (
            f"container {name} runs and is connected to no network: nobody reaches it; recreate it "
            f"with: docker compose up -d --force-recreate {container.service}"
        )
    return ""


def _notable(container: Container, events: list[dict[str, Any]], age: float | None) -> str:
    """What is to be said of a container that serves; empty when nothing is."""
    name, health = container.name, container.state.get("Health") or {}
    if _restarts(container) and _young(age):
        killed = _endings.out_of_memory(container.state, events)
        memory = f", killed for lack of memory{_limit(container)}" if killed else ""
        return (
            f"container {name} was restarted {age:.0f} s ago by Docker"
            f"{_exit_text(_endings.last_exit(events))}{memory}; see: docker logs --tail 100 {name}"
        )
    if container.state.get("OOMKilled"):
        return (
            f"a process in container {name} was killed for lack of memory{_limit(container)}; "
            "raise its limit or find the leak"
        )
    if health.get("Status") == "starting":
        since = f" after {age:.0f} s" if age is not None else ""
        return f"container {name} is starting, its own health check has not passed yet{since}"
    return ""


def _restarts(container: Container) -> int:
    return int(container.raw.get("RestartCount") or 0)


def _young(age: float | None) -> bool:
    return age is not None and age < _YOUNG_SECONDS


def ending(container: Container, events: list[dict[str, Any]]) -> str:
    """Why a container does not run any more.

    The engine starts again what ends under the policies ``always`` and
    ``unless-stopped``. So what stays down under them was stopped by somebody,
    or could not be started. Under the others its exit code must tell.
    """
    state, name = container.state, container.name
    code = int(state.get("ExitCode") or 0)
    when = _ago(str(state.get("FinishedAt", "")))
    by_hand = stopped_by_hand(events)
    error = start_error(state)
    policy = container.restart_policy
    again = f"start it with: {_up(container)}"
    if error:
        return f"container {name} could not be started: {error}; repair that, then {again}"
    if by_hand is None and policy in _RESTARTING_POLICIES and not state.get("OOMKilled"):
        by_hand = "stopped"
    if by_hand:
        return f"container {name} was {by_hand} by hand{when} (exit code {code}); {again}"
    if state.get("OOMKilled"):
        return (
            f"container {name} died{when}: killed for lack of memory{_limit(container)}; "
            f"raise its limit or find the leak, then {again}"
        )
    if policy == "on-failure" and code:
        tries = _restarts(container)
        return (
            f"container {name} died{when}{_exit_text(code)}, Docker gave up after "
            f"{tries} restarts; "
            f"see: docker logs --tail 100 {name}"
        )
    if code == 0:
        return f"container {name} ended{when} by itself or was stopped (exit code 0); {again}"
    why = (
        "Docker did not restart it"
        if policy in _RESTARTING_POLICIES
        else "it has no restart policy"
    )
    return (
        f"container {name} died{when}{_exit_text(code)}, and {why}; "
        f"see: docker logs --tail 100 {name}, then {again}"
    )


def stopped_by_hand(events: list[dict[str, Any]]) -> str | None:
    """stopped, killed, or empty when it died by itself; None when the engine has forgotten."""
    last: str | None = None
    asked = ""
    for event in events:
        action = str(event.get("Action") or event.get("status") or "")
        if action == "kill":
            signal = (event.get("Actor") or {}).get("Attributes", {}).get("signal", "")
            if signal in _ENDING_SIGNALS:
                asked = "killed" if signal == "9" and not asked else asked or "stopped"
        elif action == "stop":
            asked = "stopped"
            last = asked
        elif action == "die":
            last, asked = asked, ""
        elif action == "oom":
            asked = ""
    return last


def _loop(container: Container, events: list[dict[str, Any]], age: float | None = None) -> str:
    state = container.state
    restarts = _restarts(container)
    code = (
        int(state.get("ExitCode") or 0) if state.get("Restarting") else _endings.last_exit(events)
    )
    text = f"container {container.name} restarts in a loop: {restarts} restarts{_exit_text(code)}"
    if _endings.out_of_memory(container.state, events):
        text += f", killed for lack of memory{_limit(container)}"
    if age is not None:
        text += f", up for {age:.0f} s"
    error = start_error(state)
    if error:
        text += f", {error}"
    return f"{text}; see: docker logs --tail 100 {container.name}"


def _exit_text(code: int | None) -> str:
    if code is None:
        return ""
    name = _SIGNALS.get(code)
    return f", last exit code {code}" + (f" ({name})" if name else "")


def start_error(state: dict[str, Any]) -> str:
    return " ".join(str(state.get("Error") or "").split())[:300]


def _last_try(health: dict[str, Any], now: datetime) -> str:
    # What was mended since is not known before Docker tries again.
    tries = health.get("Log") or [{}]
    age = seconds_since(str(tries[-1].get("End", "")), now)
    return "" if age is None else f", last tried {age:.0f} s ago"


def last_output(health: dict[str, Any]) -> str:
    # The newest entry may be a success that came after the failures were counted.
    failed = [entry for entry in health.get("Log") or [] if entry.get("ExitCode")]
    output = " ".join(str(failed[-1].get("Output", "")).split()) if failed else ""
    return output[:200] or "it gives no reason"


def _limit(container: Container) -> str:
    limit = int((container.raw.get("HostConfig") or {}).get("Memory") or 0)
    return f" (limit {size(limit)})" if limit else ""


def _up(container: Container) -> str:
    return f"docker start {container.name}"


def _evidence(container: Container) -> dict[str, Any]:
    state = container.state
    return {
        "container": container.name,
        "id": container.id[:12],
        "state": state.get("Status"),
        "health": (state.get("Health") or {}).get("Status", "none"),
        "restarts": _restarts(container),
        "exit_code": state.get("ExitCode"),
        "oom_killed": bool(state.get("OOMKilled")),
        "started_at": state.get("StartedAt"),
        "restart_policy": container.restart_policy,
        "image": container.image,
        "image_id": container.image_id,
        "address": container.address,
    }


def seconds_since(moment: str, now: datetime) -> float | None:
    """Age of a moment as Docker writes it; None when it never was."""
    # Docker writes nanoseconds, which Python does not read, and tries in the zone of the server.
    text = re.sub(r"\.\d+", "", moment).replace("Z", "+00:00")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.year < 2000 else max((now - found).total_seconds(), 0.0)


def _ago(moment: str) -> str:
    seconds = seconds_since(moment, datetime.now(timezone.utc))
    return "" if seconds is None else f" {duration(seconds)} ago"


def duration(seconds: float) -> str:
    """A length of time for people."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
