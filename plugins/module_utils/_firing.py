# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What fires, as Alertmanager says it, and what somebody silenced on purpose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from . import _guards, _incidents
from ._alertmanager import Alertmanager, AlertmanagerError
from ._docker import DockerError
from ._engine import Engine

# An alert with these asks for nothing.
_NO_RESPONSE = ("", "none")


@dataclass(frozen=True)
class Found:
    """What Alertmanager knows at this moment.

    :param asked: whether one answered; without that nobody knows what fires.
    :param error: why none did.
    """

    asked: bool = False
    error: str = ""
    alerts: list[dict[str, Any]] = field(default_factory=list)
    silences: list[dict[str, Any]] = field(default_factory=list)


def find(
    engine: Engine, projects: Sequence[str], service: str = "alertmanager", port: int = 9093
) -> list[Alertmanager]:
    """Return the Alertmanagers that run in these projects."""
    return [
        Alertmanager(one.address, port)
        for project in projects
        for one in engine.services(project)
        if one.service == service and one.running and one.address
    ]


def ask(managers: Iterable[Alertmanager]) -> Found:
    """Return what the first of them that answers knows."""
    error = "there is no Alertmanager that runs"
    for manager in managers:
        try:
            return Found(True, "", manager.everything(), manager.silences())
        except AlertmanagerError as problem:
            error = str(problem)
    return Found(error=error)


def look(
    engine: Engine, projects: Sequence[str], service: str = "alertmanager", port: int = 9093
) -> Found:
    """Find an Alertmanager and ask it. That none answers is an answer, too."""
    try:
        return ask(find(engine, projects, service, port))
    except DockerError as error:
        return Found(error=str(error))


def short(alert: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a response needs of an alert."""
    labels = alert.get("labels") or {}
    status = alert.get("status") or {}
    return {
        "key": _guards.key(alert),
        "alert": labels.get("alertname", ""),
        "service": labels.get("service", ""),
        "container": labels.get("container", ""),
        "severity": labels.get("severity", ""),
        "response": labels.get("response", ""),
        "summary": (alert.get("annotations") or {}).get("summary", ""),
        "starts_at": alert.get("startsAt", ""),
        "state": status.get("state", ""),
        "silenced": bool(status.get("silencedBy")),
        "inhibited": bool(status.get("inhibitedBy")),
    }


def wanting(found: Found) -> list[dict[str, Any]]:
    """Return the alerts that ask for a response, the gravest first."""
    alerts = [short(one) for one in found.alerts]
    wanted = [one for one in alerts if one["response"] not in _NO_RESPONSE]
    return sorted(wanted, key=lambda one: (one["severity"] or "P9", one["alert"], one["key"]))


def groups(alerts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one response for each incident and service, with the alerts that it answers."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in alerts:
        incident = _incidents.resolve(str(one["response"])) or "diagnose"
        # An alert on containers says which one in a label of its own.
        service = str(one.get("container") or one.get("service") or "")
        group = found.setdefault(
            (incident, service),
            {"incident": incident, "service": service, "severity": one["severity"], "alerts": []},
        )
        group["alerts"].append(dict(one))
    return list(found.values())


def still_firing(found: Found, keys: Sequence[str]) -> str:
    """Return why alerts need no response any more; empty when one of them still fires."""
    if not keys:
        return ""
    if not found.asked:
        return f"nobody can tell whether the alert still fires: {found.error.rstrip('.')}"
    now = [short(one) for one in found.alerts]
    own = [one for one in now if one["key"] in keys]
    if not own:
        return "the alert does not fire any more"
    if all(one["silenced"] for one in own):
        return "the alert is silenced"
    return ""


def _matches(matcher: Mapping[str, Any], value: str) -> bool:
    wanted = str(matcher.get("value", ""))
    if not matcher.get("isEqual", True):
        return False
    if not matcher.get("isRegex"):
        return bool(wanted) and wanted == value
    with suppress(re.error):
        return re.fullmatch(wanted, value) is not None
    return False


def silence_of(
    silences: Iterable[Mapping[str, Any]], service: str, names: Iterable[str], operation: str = ""
) -> str:
    """Return who says by a silence that a service is down on purpose; empty when nobody does.

    A silence names a service by one of the labels ``service`` and ``container``, or by the
    alert that says that it is down. One of our own operation does not count.

    :param names: what the service is called: its key, and as compose and Docker call it.
    """
    known = {service, *names}
    alarm = service.replace("-", " ").replace("_", " ").title().replace(" ", "") + "Down"
    for one in silences:
        if (one.get("status") or {}).get("state") != "active":
            continue
        comment = str(one.get("comment", ""))
        if operation and operation in comment:
            continue
        for matcher in one.get("matchers") or ():
            values = known if matcher.get("name") in ("service", "container") else set()
            if matcher.get("name") == "alertname":
                values = {alarm}
            # ".*" names everything, and so nothing.
            if any(_matches(matcher, value) for value in values) and not _matches(
                matcher, "no-such-name"
            ):
                return f"a silence of {one.get('createdBy') or 'somebody'}: {comment}".strip()
    return ""
