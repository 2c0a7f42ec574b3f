# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Remedies for a full disk: nothing goes that a rollback or a restore needs, and no evidence."""

from __future__ import annotations

import gzip
import os
import shlex
import subprocess
import zlib

from ansible_collections.carrental.ops.plugins.module_utils import (
    _growing,
    _host,
    _pruning,
    _releases,
    _space_look,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import DockerError
from ansible_collections.carrental.ops.plugins.module_utils._remedy import Context, RemedyError

_LOG_BYTES = 64 * 2**20
# What a compressed log takes of its size, at worst.
_COMPRESSED = 4
_SECONDS = 600.0
_CHUNK = 2**20


def available(point: str) -> int:
    """Return the bytes that this user can still write to a file system."""
    found = os.statvfs(point)
    return found.f_bavail * found.f_frsize


def _elsewhere(context: Context) -> str:
    """Return why nothing of Docker's helps: it lies on another file system."""
    point = str(context.cause.facts.get("point") or "/")
    root = str(context.engine.info.get("DockerRootDir") or "/var/lib/docker")
    where = _host.mount_of(root, _host.mounts()).point
    return "" if where == point else f"images and logs lie on {where}, not on {point}"


def _request(context: Context) -> _space_look.Request:
    params = context.params
    return _space_look.Request(
        params["project_name"],
        params["images"],
        context.releases(),
        int(params["keep_releases"]),
        params["backup_dir"],
    )


class PruneImages:
    """Remove the images that no kept release and no container needs."""

    def refuse(self, context: Context) -> str:
        """Return why none is removed."""
        elsewhere = _elsewhere(context)
        if elsewhere:
            return elsewhere
        if not _releases.good(context.releases()):
            return "no release is recorded, so nobody knows which images a way back needs"
        images, dangling = _space_look.prunable(context.engine, _request(context))
        return "" if images or dangling else "no image is left that nobody needs"

    def act(self, context: Context) -> list[str]:
        """Remove them."""
        images, dangling = _space_look.prunable(context.engine, _request(context))
        context.step("prune images")
        report = _pruning.prune(context.engine, images, write=True)
        removed = [one.names[0] for one in report.removed]
        for image in dangling:
            try:
                context.engine.untag(image)
                removed.append(image[:19])
            except DockerError as error:
                report.warnings.append(str(error))
        context.memo["removed"] = [one.image_id for one in report.removed]
        if not removed:
            raise RemedyError("; ".join(report.warnings) or "no image could be removed")
        return [f"removed {len(removed)} images: {', '.join(removed[:10])}"]

    def wrong(self, context: Context) -> str:
        """Return which image is still there, or is gone and must not be."""
        kept = _releases.kept(context.releases(), int(context.params["keep_releases"]))
        for release in kept:
            for name, image in release["services"].items():
                gone = context.engine.image(image["image_id"]) is None
                if gone and name in context.params["images"]:
                    return f"the image of {name} of release {release['id']} is gone"
        for image_id in context.memo.get("removed") or []:
            if context.engine.image(image_id) is not None:
                return f"{image_id[:19]} is still there"
        return ""


class PruneBuildCache:
    """Remove the build cache that nothing uses."""

    def refuse(self, context: Context) -> str:
        """Return why it stays."""
        usage = context.engine.get("/system/df", type="build-cache")
        unused = [one for one in usage.get("BuildCache") or [] if not one.get("InUse")]
        return _elsewhere(context) or ("" if unused else "there is no build cache")

    def act(self, context: Context) -> list[str]:
        """Remove it."""
        context.step("prune the build cache")
        freed = context.engine.prune_build_cache()
        return [f"removed {_host.size(freed)} of build cache"]

    def wrong(self, context: Context) -> str:
        """Return whether there is still some."""
        usage = context.engine.get("/system/df", type="build-cache")
        left = [one for one in usage.get("BuildCache") or [] if not one.get("InUse")]
        return f"{len(left)} parts of the build cache are still there" if left else ""


class RotateLogs:
    """Keep large logs compressed, then empty them."""

    def _large(self, context: Context) -> dict[str, tuple[str, int]]:
        found = {}
        for one in context.engine.services(context.params["project_name"]):
            path = str(one.raw.get("LogPath") or "")
            said = _space_look.as_root(["stat", "--format=%s", "--", path]) if path else None
            if said and said.strip().isdigit() and int(said) >= _LOG_BYTES:
                found[one.name] = (path, int(said))
        return found

    def refuse(self, context: Context) -> str:
        """Return why none is rotated."""
        elsewhere = _elsewhere(context)
        if elsewhere:
            return elsewhere
        if not context.kept:
            return "the logs have nowhere to be kept, for the evidence could not be saved"
        large = self._large(context)
        if not large:
            return "no log of a container is larger than 64 MiB, or this user may not become root"
        needed = max(size for _path, size in large.values()) // _COMPRESSED
        free = available(context.kept)
        if free < needed:
            return (
                f"{_host.size(free)} are free, and a copy of the largest log may take "
                f"{_host.size(needed)}"
            )
        return ""

    def act(self, context: Context) -> list[str]:
        """Copy, prove the copy, empty."""
        done = []
        logs = context.memo.setdefault("logs", {})
        for name, (path, size) in self._large(context).items():
            context.step(f"rotate the log of {name}")
            copy = os.path.join(context.kept, f"{name}-rotated.log.gz")
            # What is written between the copy and the end is copied by the same shell.
            script = (
                f'f={shlex.quote(path)}; n=$(stat --format=%s -- "$f"); '
                'head -c "$n" -- "$f" | gzip -1; '
                'tail -c +"$((n + 1))" -- "$f" | gzip -1; truncate -s 0 -- "$f"'
            )
            command = ["sh", "-euc", script]
            if os.geteuid() != 0:
                command = ["sudo", "-n", *command]
            with open(copy, "wb", opener=_private) as stream:
                ended = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.PIPE,
                    timeout=_SECONDS,
                    check=False,
                )
                os.fsync(stream.fileno())
            if ended.returncode != 0:
                said = ended.stderr.decode(errors="replace").strip()[:200]
                raise RemedyError(f"the log of {name} was not rotated: {said}")
            logs[name] = (path, size, copy)
            done.append(f"rotated the log of {name} ({_host.size(size)}) to {copy}")
        return done

    def wrong(self, context: Context) -> str:
        """Return what is not whole of the copies, or still large."""
        for name, (path, size, copy) in context.memo.get("logs", {}).items():
            if _length(copy) < size:
                return f"the copy of the log of {name} in {copy} is not whole"
            said = _space_look.as_root(["stat", "--format=%s", "--", path])
            if not said or int(said) >= size:
                return f"the log of {name} is as large as before"
        return ""


def _length(path: str) -> int:
    """Return how many bytes a compressed file holds; -1 when it does not read back."""
    total = 0
    try:
        with gzip.open(path, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                total += len(chunk)
    except (OSError, EOFError, zlib.error):
        return -1
    return total


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Grow:
    """Let a file system grow into the disk that was enlarged."""

    def _plan(self, context: Context) -> _growing.Plan | None:
        point = str(context.cause.facts.get("point") or "/")
        found = os.statvfs(point)
        return _space_look.grows(point, found.f_blocks * found.f_frsize)

    def refuse(self, context: Context) -> str:
        """Return why it does not grow."""
        plan = self._plan(context)
        if plan is None:
            return "its device has no room; enlarge the disk at the provider first"
        if _space_look.as_root(["true"]) is None:
            return "this user may not become root; run by hand: " + "; ".join(
                " ".join(one) for one in plan.commands
            )
        return ""

    def act(self, context: Context) -> list[str]:
        """Let it grow."""
        plan = self._plan(context)
        if plan is None:
            raise RemedyError("its device has no room any more")
        found = os.statvfs(plan.point)
        context.memo.update(point=plan.point, before=found.f_blocks * found.f_frsize)
        done = []
        for one in plan.commands:
            context.step(" ".join(one))
            if _space_look.as_root(list(one), _SECONDS) is None:
                raise RemedyError(f"{' '.join(one)} failed; see its output by hand")
            done.append(" ".join(one))
        return done

    def wrong(self, context: Context) -> str:
        """Return whether it is as small as before."""
        found = os.statvfs(context.memo["point"])
        larger = found.f_blocks * found.f_frsize > context.memo["before"]
        return "" if larger else f"{context.memo['point']} is not larger than before"
