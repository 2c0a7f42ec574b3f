# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a release differs in from the one that runs, told by their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from . import _compose, _containers
from ._releases import Release

_SHOWN_FILES = 4


def differences(then: Release, now: Release) -> dict[str, Any]:
    """Return what differs: images by service, files, names of keys, migrations.

    ``added`` and ``removed`` are seen from the older release: what came after it.
    """
    images = {name: one["image_id"] for name, one in now["services"].items()}
    before = {name: one["image_id"] for name, one in then["services"].items()}
    keys, keys_before = _env(now).get("keys", []), _env(then).get("keys", [])
    added, removed = sorted(set(keys) - set(keys_before)), sorted(set(keys_before) - set(keys))
    other = _env(now).get("sha256") != _env(then).get("sha256")
    return {
        "images": _differing(before, images),
        "files": [
            path
            for path in _differing(_files(then), _files(now))
            # It follows from the images.
            if path != _compose.RELEASE_FILE
        ],
        "env": {
            "added": added,
            "removed": removed,
            "values": other and not added and not removed,
        },
        "migrations": [name for name in _applied(now) if name not in set(_applied(then))],
    }


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    names = sorted(before.keys() | after.keys())
    return [name for name in names if before.get(name) != after.get(name)]


def _files(release: Release) -> dict[str, str]:
    return (release.get("config") or {}).get("files") or {}


def _env(release: Release) -> dict[str, Any]:
    return (release.get("config") or {}).get("env") or {}


def _applied(release: Release) -> list[str]:
    return (release.get("migrations") or {}).get("applied") or []


def words(found: Mapping[str, Any]) -> str:
    """Return the differences in a line; empty where there are none."""
    said = []
    if found["images"]:
        said.append(f"images of {', '.join(found['images'])}")
    files = found["files"]
    if files:
        more = f" and {len(files) - _SHOWN_FILES} more" if len(files) > _SHOWN_FILES else ""
        said.append(", ".join(files[:_SHOWN_FILES]) + more)
    env = found["env"]
    since = [f"+{key}" for key in env["added"]] + [f"-{key}" for key in env["removed"]]
    if since:
        said.append(f".env since then {' '.join(since)}")
    elif env["values"]:
        said.append(".env (values)")
    if found["migrations"]:
        count = len(found["migrations"])
        said.append(f"{count} migration{'s' if count > 1 else ''} since then")
    return "; ".join(said)


def age(release: Release, now: datetime) -> float | None:
    """Return the seconds since a release ended, as far as its record tells."""
    try:
        ended = datetime.strptime(release["finished_at"], "%Y-%m-%dT%H:%M:%SZ")
    except (KeyError, ValueError):
        return None
    return (now - ended.replace(tzinfo=timezone.utc)).total_seconds()


def lines(described: Sequence[Mapping[str, Any]], current: str) -> list[str]:
    """Return one line a release for an operator, in columns."""
    rows = [
        (
            str(one["id"]),
            "?" if one["age_s"] is None else f"{_containers.duration(one['age_s'])} ago",
            str(one["verdict"]),
            str(one["who"] or "?"),
            "; ".join(_said(one, current)),
        )
        for one in described
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    return [
        "  ".join([*(row[column].ljust(width) for column, width in enumerate(widths)), row[4]])
        for row in rows
    ]


def _said(one: Mapping[str, Any], current: str) -> list[str]:
    if one["id"] == current:
        return ["the current release"]
    if one["verdict"] == "rolled_back":
        # Its record holds what ran in the end, which says nothing of what did not pass.
        return ["did not pass; the release before it was put back"]
    said = [one["differs_said"] or "as the current one"]
    if one["verdict"] != "ok":
        return said
    if one["missing_images"]:
        said.append(f"a rollback needs the registry (image of {', '.join(one['missing_images'])})")
    if one["missing_files"]:
        said.append(f"not kept: {', '.join(one['missing_files'])}")
    return said
