# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The records of what was released: one JSON file a release, in <state_dir>/releases.

A record is the closing line of a deploy. It is written once, whole or not at
all, and says with which images, configuration and database schema production
ran from then on. It holds no secret: of ``.env`` only a hash and the names.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any, TypedDict

from . import _whole_file

SCHEMA = 1
VERDICTS = ("ok", "no_change", "refused", "rolled_back", "failed")
_ID = re.compile(r"^\d{8}T\d{6}Z-[0-9A-Za-z_.-]+$")


class ServiceImage(TypedDict):
    """The image of one service: what was asked for, and what really runs."""

    image: str
    digest: str | None
    reference: str
    image_id: str


class Config(TypedDict):
    """The configuration of a release, as hashes."""

    files: dict[str, str]
    env: dict[str, Any]


class Migrations(TypedDict):
    """The schema of the database after the release."""

    head: str | None
    applied: list[str]


class _Later(TypedDict, total=False):
    """What records did not have from the beginning."""

    # The name that the compose files alone give the image of each released service.
    names: dict[str, str]
    # The release that a rollback to this one left behind.
    rolled_back_from: str
    # The commit that the images were built from on the server.
    git_sha: str
    # Checks of the preflight that did not pass, and why they did not count.
    waived: dict[str, str]


class Release(_Later):
    """One record."""

    schema: int
    id: str
    verdict: str
    started_at: str
    finished_at: str
    who: str
    origin: str
    host: str
    version: str
    services: dict[str, ServiceImage]
    config: Config
    migrations: Migrations
    backup_id: str | None
    downtime_s: float | None


class ReleaseError(Exception):
    """A record that cannot be read, written or found; the text is a whole sentence."""


def directory(state_dir: str) -> str:
    """Return the directory of the records."""
    return os.path.join(state_dir, "releases")


def utc(moment: datetime | None = None) -> str:
    """Return a moment (default: now) as it stands in a record."""
    return (moment or datetime.now(timezone.utc)).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(moment: str, now: datetime | None = None) -> float:
    """Return the seconds since a moment as it stands in a record."""
    then = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return ((now or datetime.now(timezone.utc)) - then).total_seconds()


def make_id(version: str, moment: datetime | None = None) -> str:
    """Return the id of a release: sortable by time, with the short version for people."""
    stamp = (moment or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%SZ")
    short = version[:7] if re.fullmatch(r"[0-9a-f]{7,64}", version) else version[:32]
    return f"{stamp}-{re.sub(r'[^0-9A-Za-z_.-]', '-', short) or 'none'}"


def write(state_dir: str, release: Release) -> str:
    """Write a record, whole or not at all, and return its path."""
    if not _ID.match(release["id"]):
        raise ReleaseError(
            f"{release['id']!r} is not the id of a release; ids look like 20261123T215350Z-abc1234."
        )
    folder = directory(state_dir)
    path = os.path.join(folder, f"{release['id']}.json")
    text = json.dumps(release, indent=2, sort_keys=True) + "\n"
    try:
        for wanted in (state_dir, folder):
            os.makedirs(wanted, mode=0o700, exist_ok=True)
        _whole_file.write(path, text.encode())
    except OSError as error:
        raise ReleaseError(
            f"Cannot write the record of the release to {path}: {error.strerror}; "
            "check the owner of the directory and the free space."
        ) from error
    return path


def parse(text: str, path: str) -> Release:
    """Return the record that a text holds."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ReleaseError(
            f"{path} is not the record of a release ({error}); move it out of the directory."
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("schema"), int):
        raise ReleaseError(
            f"{path} is not the record of a release (it has no schema); "
            "move it out of the directory."
        )
    if found["schema"] > SCHEMA:
        raise ReleaseError(
            f"{path} has schema {found['schema']}, and this version of carrental.ops knows "
            f"{SCHEMA}; use the version that wrote it, or a newer one."
        )
    missing = sorted({"id", "verdict", "version", "services"} - found.keys())
    if missing:
        raise ReleaseError(
            f"{path} is not the record of a release (it has no {', '.join(missing)}); "
            "move it out of the directory."
        )
    return found  # type: ignore[return-value]


def load(state_dir: str) -> list[Release]:
    """Return all records, newest first; none when nothing was ever released.

    A record that cannot be read is an error, not a gap: without it the
    answer to "what is current" could be an older release.
    """
    folder = directory(state_dir)
    try:
        names = sorted(os.listdir(folder), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ReleaseError(
            f"Cannot read the records of releases in {folder}: {error.strerror}; "
            "run as the user that deploys."
        ) from error
    releases = []
    for name in names:
        if name.startswith(".") or not name.endswith(".json"):
            continue
        path = os.path.join(folder, name)
        try:
            with open(path, encoding="utf-8") as stream:
                text = stream.read()
        except (OSError, UnicodeDecodeError) as error:
            raise ReleaseError(
                f"Cannot read the record of a release at {path}: "
                f"{getattr(error, 'strerror', None) or error}; run as the user that deploys."
            ) from error
        releases.append(parse(text, path))
    return sorted(releases, key=lambda release: release["id"], reverse=True)


def good(releases: Iterable[Release]) -> list[Release]:
    """Return the releases that passed, newest first."""
    return [release for release in releases if release["verdict"] == "ok"]


def current(state_dir: str) -> Release | None:
    """Return the newest release that passed: what production is supposed to run."""
    passed = good(load(state_dir))
    return passed[0] if passed else None


def differ(one: Release, other: Release) -> bool:
    """Return whether two releases differ in what runs: an image, a file, the environment."""
    return _runs(one) != _runs(other)


def _runs(release: Release) -> tuple[str, dict[str, str], Any]:
    images = {name: image["image_id"] for name, image in release["services"].items()}
    return release["version"], images, release.get("config")


def previous(releases: Iterable[Release]) -> Release | None:
    """Return what a rollback goes to: the newest good release before the current that differs.

    A change of configuration alone is a release, too.
    """
    passed = good(releases)
    # What was once left behind by a rollback is no way back: two rollbacks in a row lead on to
    # the release before, not to the one that was fled from.
    left = {one.get("rolled_back_from") for one in passed}
    return next(
        (one for one in passed[1:] if differ(one, passed[0]) and one["id"] not in left), None
    )


def targets(releases: Iterable[Release]) -> list[Release]:
    """Return the releases that have to be there at once: the current one, and where back to.

    That is the one before it and, where that differs in its configuration only, the newest
    one with another version.
    """
    passed = good(releases)
    other = (one for one in passed if one["version"] != passed[0]["version"])
    found: list[Release] = []
    for one in (*passed[:1], previous(passed), next(other, None)):
        if one is not None and one not in found:
            found.append(one)
    return found


def kept(releases: Iterable[Release], count: int) -> list[Release]:
    """Return the newest good releases of which each differs from the others, and the targets."""
    passed = good(releases)
    found: list[Release] = []
    for one in passed:
        if len(found) < count and all(differ(one, other) for other in found):
            found.append(one)
    return found + [one for one in targets(passed) if one not in found]


def find(releases: list[Release], wanted: str) -> Release:
    """Return the newest good release with an id or version, which may be shortened to 7 letters."""
    passed = good(releases)
    for release in passed:
        if wanted in (release["id"], release["version"]):
            return release
    matches = [
        release for release in passed if len(wanted) >= 7 and release["version"].startswith(wanted)
    ]
    if len({release["version"] for release in matches}) > 1:
        versions = ", ".join(sorted({release["version"] for release in matches}))
        raise ReleaseError(f"{wanted} stands for several versions: {versions}; give one in full.")
    if matches:
        return matches[0]
    known = ", ".join(release["id"] for release in passed[:5]) or "none"
    raise ReleaseError(f"There is no good release {wanted}; the newest ones are: {known}.")
