# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Who takes the space of a server: images, build cache, logs, volumes, backups. Looks only."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _growing, _host, _pruning, _releases
from ._docker import Container
from ._engine import Engine
from ._facts import Space

_SECONDS = 20.0
_SIZE_FIELDS = 2


@dataclass(frozen=True)
class Request:
    """Whose space it is.

    :param images: repositories by released service, without a tag.
    """

    project: str
    images: Mapping[str, str]
    releases: Sequence[_releases.Release]
    keep: int
    backup_dir: str


def as_root(argv: Sequence[str], timeout: float = _SECONDS) -> str | None:
    """Run a command as root without asking for a password; nothing where that is not allowed."""
    command = list(argv) if os.geteuid() == 0 else ["sudo", "-n", *argv]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def prunable(engine: Engine, request: Request) -> tuple[list[_pruning.Removable], list[str]]:
    """Return the images of releases that nobody needs, and the dangling ones, by their ids.

    Kept are the images of the last good releases, of every way back, and of every container,
    running or not: those that hold the image of a release among them.
    """
    kept = _releases.kept(request.releases, request.keep)
    needed = {image["image_id"] for one in kept for image in one["services"].values()}
    needed |= {str(one["ImageID"]) for one in engine.containers()}
    own = _pruning.repositories(request.images, request.releases, request.project)
    listed = engine.get("/images/json")
    # Without a record nobody knows what a way back needs.
    removable = _pruning.removable(listed, own, needed) if kept else []
    dangling = engine.get("/images/json", filters=json.dumps({"dangling": ["true"]}))
    return removable, [str(one["Id"]) for one in dangling if one["Id"] not in needed]


def look(engine: Engine, request: Request, containers: Sequence[Container]) -> Space:
    """Return who takes how much."""
    found = Space()
    mounted = _host.mounts()
    root = str(engine.info.get("DockerRootDir") or "/var/lib/docker")
    found.docker_point = _host.mount_of(root, mounted).point
    usage = engine.get("/system/df")
    images, dangling = prunable(engine, request)
    gone = {one.image_id for one in images} | set(dangling)
    for one in usage.get("Images") or []:
        own = int(one["Size"]) - max(0, int(one.get("SharedSize", 0)))
        if one["Id"] in gone:
            found.images += own
        else:
            found.images_kept += own
    found.build_cache = sum(
        int(one.get("Size") or 0)
        for one in usage.get("BuildCache") or []
        if not one.get("InUse") and not one.get("Shared")
    )
    found.volumes = {
        str(one["Name"]): int((one.get("UsageData") or {}).get("Size") or 0)
        for one in usage.get("Volumes") or []
        if int((one.get("UsageData") or {}).get("Size") or 0) > 0
    }
    found.log_paths = {
        one.name: str(one.raw.get("LogPath") or "") for one in containers if one.raw.get("LogPath")
    }
    found.logs = _sizes(found.log_paths)
    if request.backup_dir and os.path.isdir(request.backup_dir):
        found.backup_point = _host.mount_of(os.path.realpath(request.backup_dir), mounted).point
        with os.scandir(request.backup_dir) as entries:
            sizes = [one.stat().st_size for one in entries if one.is_file()]
        found.backups, found.backups_count = sum(sizes), len(sizes)
    return found


def _sizes(paths: Mapping[str, str]) -> dict[str, int]:
    """Return the size of each log; none where this user may not look."""
    if not paths:
        return {}
    said = as_root(["stat", "--format=%s %n", "--", *paths.values()])
    sizes: dict[str, int] = {}
    for line in (said or "").splitlines():
        words = line.split(" ", 1)
        if len(words) == _SIZE_FIELDS and words[0].isdigit():
            sizes[words[1]] = int(words[0])
    return {name: sizes[path] for name, path in paths.items() if path in sizes}


def grows(point: str, total: int) -> _growing.Plan | None:
    """Return how a file system can grow on its device; nothing when it cannot.

    :param total: its bytes now.
    """
    try:
        done = subprocess.run(
            ["lsblk", "--json", "--bytes", "--output", _growing.COLUMNS],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        tree: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return _growing.plan(tree, point, total)


def growth(points: Sequence[str]) -> dict[str, int]:
    """Return by how many bytes each file system could grow on its device."""
    found = {}
    for point in points:
        try:
            total = os.statvfs(point)
        except OSError:
            continue
        plan = grows(point, total.f_blocks * total.f_frsize)
        if plan:
            found[point] = plan.gain
    return found
