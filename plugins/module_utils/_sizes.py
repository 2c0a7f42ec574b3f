# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""How large a service is: limits and replicas, as the release override says them. Pure.

They belong to the server and not to a release: a deploy and a rollback keep them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

_MARK = "# sizes: "
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?\Z", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
# Docker refuses less.
_MEMORY_FLOOR = 6 * 2**20


class SizeError(Exception):
    """A size that cannot be; the text is a whole sentence without its end."""


@dataclass(frozen=True)
class Size:
    """What of a service differs from its compose files; 0 is what stands there."""

    memory: int = 0
    cpus: float = 0.0
    shm_size: int = 0
    replicas: int = 0


def memory(service: str, name: str, value: Any) -> int:
    """Return bytes from what compose takes: 512M, 1g, a number of bytes."""
    found = _MEMORY.match(str(value).strip())
    size = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if size < _MEMORY_FLOOR:
        raise SizeError(
            f"scaling_limits.{service}.{name} is {value!r}; give 6M or more of memory, as 512M "
            "or 1G"
        )
    return size


def cpus(service: str, value: Any, cores: int) -> float:
    """Return how many cores a service may use."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = 0.0
    if not math.isfinite(found) or not 0.01 <= found <= cores:
        raise SizeError(
            f"scaling_limits.{service}.cpus is {value!r}; the server has {cores} cores, so give a "
            f"number from 0.01 to {cores}"
        )
    return found


def given(limits: Mapping[str, Any], replicas: Mapping[str, Any], cores: int) -> dict[str, Size]:
    """Return the sizes that an operator gave.

    :param limits: by service; keys are C(memory), C(cpus) and C(shm_size).
    """
    found: dict[str, Size] = {}
    for service, own in limits.items():
        if not isinstance(own, Mapping):
            raise SizeError(
                f"scaling_limits.{service} is {own!r}; give memory, cpus or shm_size as keys"
            )
        size = Size()
        for name, value in own.items():
            if name == "cpus":
                size = replace(size, cpus=cpus(service, value, cores))
            elif name in ("memory", "shm_size"):
                size = replace(size, **{name: memory(service, name, value)})
            else:
                raise SizeError(
                    f"scaling_limits.{service} has no key {name}; known are memory, cpus, shm_size"
                )
        found[service] = size
    for service, value in replicas.items():
        if isinstance(value, bool) or not str(value).isdigit() or not 1 <= int(value) <= 50:
            raise SizeError(f"scaling_replicas.{service} is {value!r}; give a number from 1 to 50")
        found[service] = replace(found.get(service, Size()), replicas=int(value))
    return found


def merged(old: Mapping[str, Size], new: Mapping[str, Size]) -> dict[str, Size]:
    """Return sizes with others on top: what is not given stays."""
    found = dict(old)
    for service, size in new.items():
        told = {one.name: value for one in fields(Size) if (value := getattr(size, one.name))}
        found[service] = replace(found.get(service, Size()), **told)
    return {service: size for service, size in found.items() if size != Size()}


def read(text: str) -> dict[str, Size]:
    """Return the sizes that a release override holds."""
    for line in text.splitlines():
        if line.startswith(_MARK):
            stored = json.loads(line.removeprefix(_MARK))
            return {service: Size(**size) for service, size in stored.items()}
    return {}


def mark(sizes: Mapping[str, Size]) -> list[str]:
    """Return the line by which an override remembers them; none without any."""
    if not sizes:
        return []
    stored = {name: _told(size) for name, size in sorted(sizes.items())}
    return [_MARK + json.dumps(stored, sort_keys=True)]


def _told(size: Size) -> dict[str, Any]:
    return {name: value for name, value in asdict(size).items() if value}


def lines(size: Size) -> list[str]:
    """Return what stands below a service in an override."""
    found = []
    if size.replicas:
        # Compose starts one container where they all would have the same name.
        found += ["    container_name: !reset null"] if size.replicas > 1 else []
    if size.memory:
        # The older way to say the same; compose refuses two answers.
        found.append("    mem_limit: !reset null")
    if size.cpus:
        found.append("    cpus: !reset null")
    if size.shm_size:
        found.append(f"    shm_size: {size.shm_size}")
    deploy = []
    if size.replicas:
        deploy.append(f"      replicas: {size.replicas}")
    if size.memory or size.cpus:
        deploy += ["      resources:", "        limits:"]
        deploy += [f'          cpus: "{size.cpus:g}"'] if size.cpus else []
        deploy += [f'          memory: "{size.memory}"'] if size.memory else []
    return found + (["    deploy:", *deploy] if deploy else [])


def shown(size: Size) -> str:
    """Return a size for people."""
    parts = []
    if size.memory:
        parts.append(f"memory {megabytes(size.memory)}")
    if size.cpus:
        parts.append(f"cpus {size.cpus:g}")
    if size.shm_size:
        parts.append(f"shm_size {megabytes(size.shm_size)}")
    if size.replicas:
        parts.append(f"replicas {size.replicas}")
    return ", ".join(parts) or "as the compose files say"


def megabytes(size: int) -> str:
    """Return bytes as an operator reads them."""
    return f"{size / 2**20:.0f} MB"
