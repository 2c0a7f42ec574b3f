# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a deploy has to do with each container, decided from what is observed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ._docker import Container

# In the order in which an operator wants to read them.
CREATE, RECREATE, START, HELD, KEEP = "create", "recreate", "start", "held", "keep"
CHANGES = (CREATE, RECREATE, START)
_HASH = "com.docker.compose.config-hash"


@dataclass(frozen=True)
class Step:
    """What has to be done with the containers of a service, and why."""

    action: str
    reasons: tuple[str, ...] = ()


def happened(before: Collection[Container], after: Collection[Container]) -> list[str]:
    """Return what became of the containers of a project, from two looks at them."""
    old = {one.id: one for one in before}
    services = {one.service for one in before}
    found = []
    for one in after:
        earlier = old.get(one.id)
        if earlier is None:
            found.append(f"{'recreated' if one.service in services else 'created'} {one.service}")
        elif earlier.state.get("StartedAt") != one.state.get("StartedAt"):
            found.append(f"started {one.service}")
    kept = {one.service for one in after}
    found += [f"removed {service}" for service in services - kept]
    return sorted(found)


def dependencies(services: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return what each service depends on, directly or not."""
    direct = {name: set(one.get("depends_on") or ()) for name, one in services.items()}
    found: dict[str, set[str]] = {}
    for name in services:
        seen: set[str] = set()
        waiting = list(direct[name])
        while waiting:
            other = waiting.pop()
            if other not in seen:
                seen.add(other)
                waiting += direct.get(other, ())
        found[name] = seen
    return found


def steps(
    *,
    services: Collection[str],
    containers: Collection[Container],
    differing: Mapping[str, Collection[str]],
    hashes: Mapping[str, str],
    image_ids: Mapping[str, str],
    held: Collection[str],
    excused: Collection[str] = (),
) -> dict[str, Step]:
    """Return the step of each service.

    :param differing: members of the definition that change with this deploy.
    :param hashes: compose's hash of each definition as it is on disk now.
    :param image_ids: image each service is to run, where it is known.
    :param held: services whose containers are never replaced without being asked.
    :param excused: services whose hash says nothing. Compose before 2.30 counts what a service
        depends on, and ``--no-deps``, which spares a held service, leaves that out.
    """
    found: dict[str, Step] = {}
    for service in services:
        own = [one for one in containers if one.service == service]
        if not own:
            found[service] = Step(CREATE)
            continue
        reasons = [] if differing.get(service) == ["new"] else list(differing.get(service, ()))
        stale = any(
            hashes.get(service) and one.labels.get(_HASH, hashes[service]) != hashes[service]
            for one in own
            if service not in excused
        )
        if stale and not reasons:
            reasons.append("started from another configuration")
        wanted = image_ids.get(service)
        if wanted and any(one.image_id != wanted for one in own) and "image" not in reasons:
            reasons.append("image")
        if reasons:
            found[service] = Step(HELD if service in held else RECREATE, tuple(reasons))
        elif not all(one.running for one in own):
            found[service] = Step(START, ("it does not run",))
        else:
            found[service] = Step(KEEP)
        if found[service].action == HELD and not all(one.running for one in own):
            # Started as it is: compose would replace it, which was not asked for.
            found[service] = Step(HELD, (*reasons, "it does not run"))
    return found
