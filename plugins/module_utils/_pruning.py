# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Which images of past releases nobody needs any more, and taking them away.

Only what a release brought is ever removed, told by the name of its repository.
An image that has another name too belongs to somebody else as well and stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _registry
from ._docker import DockerError
from ._engine import Engine
from ._releases import Release


@dataclass(frozen=True)
class Removable:
    """An image that belongs to no kept release, under all its names."""

    image_id: str
    names: tuple[str, ...]


@dataclass
class Pruned:
    """What was removed, or would be."""

    removed: list[Removable] = field(default_factory=list)
    freed_bytes: int = 0
    warnings: list[str] = field(default_factory=list)


def repositories(images: Mapping[str, str], releases: Iterable[Release], project: str) -> set[str]:
    """Return the repositories that releases use: of the registry, and as compose derives them."""
    found = {_registry.parse(name).name for name in images.values() if name}
    derived = {f"{project}-{service}" for service in images}
    for release in releases:
        derived.update((release.get("names") or {}).values())
    return found | {_registry.parse(name).name for name in derived}


def removable(
    listed: Iterable[Mapping[str, Any]], own: Collection[str], needed: Collection[str]
) -> list[Removable]:
    """Return the images that only releases use, and none that is kept.

    :param listed: the images of the engine, as it lists them.
    :param needed: images of kept releases and of containers.
    """
    found = []
    for image in listed:
        # The last tag of a repository takes its digests along, so tags come first.
        names = _registry.names(image)
        known = [_registry.parse(name).name in own for name in names]
        if names and all(known) and image["Id"] not in needed:
            found.append(Removable(str(image["Id"]), tuple(names)))
    return sorted(found, key=lambda one: one.names)


def prune(engine: Engine, found: Iterable[Removable], write: bool) -> Pruned:
    """Remove images. One that cannot be removed is a warning."""
    report = Pruned()
    before = _usage(engine)
    for one in found:
        problems = [_untag(engine, name) for name in one.names] if write else []
        if any(problems):
            report.warnings.append(
                f"The image {one.names[0]} of no kept release is not removed: "
                f"{next(filter(None, problems)).rstrip('.')}."
            )
        else:
            report.removed.append(one)
    if write:
        report.freed_bytes = max(0, before.layers - _usage(engine).layers)
    else:
        report.freed_bytes = sum(before.own.get(one.image_id, 0) for one in report.removed)
    return report


def _untag(engine: Engine, name: str) -> str:
    try:
        engine.untag(name)
    except DockerError as error:
        # It went with another of its names.
        return "" if "no such image" in str(error).lower() else str(error)
    return ""


@dataclass(frozen=True)
class _Usage:
    layers: int
    own: dict[str, int]


def _usage(engine: Engine) -> _Usage:
    """Return the bytes of all layers, and those that only one image has."""
    try:
        found = engine.get("/system/df", type="image")
    except DockerError:
        # Only the number is lost.
        return _Usage(0, {})
    own = {
        str(one["Id"]): int(one["Size"]) - max(0, int(one.get("SharedSize", 0)))
        for one in found.get("Images") or []
    }
    return _Usage(int(found.get("LayersSize") or 0), own)
