# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Where the monitoring of a stack reads its files, and what will not work with it.

Nobody edits a compose file to use us: what is written has to go where the
containers look already.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _compose

CONFIG = {
    "prometheus": "/etc/prometheus/prometheus.yml",
    "alertmanager": "/etc/alertmanager/alertmanager.yml",
}
PROVISIONING = "/etc/grafana/provisioning"
# How the repository of an exporter's image ends.
EXPORTERS = {
    "node": ("node-exporter", "node_exporter"),
    "postgres": ("postgres-exporter", "postgres_exporter"),
    "redis": ("redis-exporter", "redis_exporter"),
    "blackbox": ("blackbox-exporter", "blackbox_exporter"),
}
_RULES = re.compile(r"alert|rule", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{?[A-Z_][A-Z0-9_]*\}?")
_TOP = re.compile(r"^(\S[^:]*):")
_SECOND = re.compile(r"^  ([A-Za-z0-9._-]+):\s*(?:#.*)?$")


class MonitoringError(Exception):
    """Monitoring that cannot be written or does not work; the text is a whole sentence."""


@dataclass(frozen=True)
class Bind:
    """A path of the project as a container sees it."""

    source: str
    target: str


def binds(service: Mapping[str, Any], root: str) -> list[Bind]:
    """Return what a service mounts of the project, the most particular first."""
    found = []
    for volume in service.get("volumes") or []:
        if volume.get("type") != "bind":
            continue
        relative = os.path.relpath(str(volume["source"]), root)
        if not relative.startswith(".."):
            found.append(Bind(relative, str(volume["target"]).rstrip("/")))
    return sorted(found, key=lambda one: -len(one.target))


def outside(mounted: Sequence[Bind], inside: str) -> str:
    """Return the file of the project that a path in a container is; empty where it is none."""
    for one in mounted:
        if inside == one.target:
            return one.source
        if inside.startswith(f"{one.target}/"):
            return os.path.join(one.source, inside[len(one.target) + 1 :])
    return ""


def option(command: Any, name: str) -> str:
    """Return the value of an option in a command, in either form."""
    words = command.split() if isinstance(command, str) else [str(one) for one in command or []]
    for number, word in enumerate(words):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name and number + 1 < len(words):
            return words[number + 1]
    return ""


def config_of(kind: str, service: Mapping[str, Any], root: str) -> dict[str, str]:
    """Return where a service reads its configuration, in its container and in the project.

    :raises MonitoringError: it mounts none, so that nobody can give it another one.
    """
    inside = option(service.get("command"), "--config.file") or CONFIG[kind]
    mounted = outside(binds(service, root), inside)
    if not mounted:
        raise MonitoringError(
            f"{kind} reads {inside}, and nothing of {root} is mounted there; mount a file of the "
            "project at that place."
        )
    return {"config": mounted, "config_inside": inside}


def rules_of(service: Mapping[str, Any], root: str, config: Mapping[str, str]) -> dict[str, str]:
    """Return where Prometheus can be given a file of rules.

    :raises MonitoringError: it mounts no such file.
    """
    mounted = binds(service, root)
    folder = os.path.dirname(config["config_inside"])
    whole = [one for one in mounted if config["config_inside"].startswith(f"{one.target}/")]
    if whole:
        inside = os.path.join(folder, "alerts.yml")
        return {"rules": outside(mounted, inside), "rules_inside": inside}
    files = [
        one
        for one in mounted
        if one.target.endswith((".yml", ".yaml", ".rules")) and one.source != config["config"]
    ]
    for one in sorted(files, key=lambda file: not _RULES.search(file.target)):
        return {"rules": one.source, "rules_inside": one.target}
    raise MonitoringError(
        f"Prometheus mounts {config['config']} and no file for rules; mount one, for example "
        f"./monitoring/alerts.yml at {folder}/alerts.yml."
    )


def exporters(services: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the exporters that a project has, told by their images."""
    found: dict[str, dict[str, str]] = {}
    for name, service in services.items():
        image = str(service.get("image") or "")
        repository = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
        for kind, ends in EXPORTERS.items():
            if repository.endswith(ends):
                found.setdefault(kind, {"service": name, "image": image})
    return found


def networks(model: _compose.Model, service: str) -> list[str]:
    """Return the names of the networks of a service, as the engine knows them."""
    named = model.get("networks") or {}
    keys = _compose.services(model).get(service, {}).get("networks") or {}
    return [str((named.get(key) or {}).get("name") or key) for key in keys]


def unexpanded(text: str) -> list[str]:
    """Return variables in a configuration in which nobody fills them in."""
    code = "\n".join(line.partition("#")[0] for line in text.splitlines())
    return sorted(set(_VARIABLE.findall(code)))


def twice(texts: Mapping[str, str]) -> list[str]:
    """Return, in a sentence each, the services that more than one compose file defines."""
    places: dict[str, list[str]] = {}
    for file, text in texts.items():
        top = ""
        for line in text.splitlines():
            if match := _TOP.match(line):
                top = match[1]
            elif top == "services" and (match := _SECOND.match(line)):
                places.setdefault(match[1], []).append(file)
    return [
        f"The service {name} is in {' and in '.join(files)}: together they are one service, and "
        "used apart their containers have the same name and only one of them can run."
        for name, files in places.items()
        if len(files) > 1
    ]
