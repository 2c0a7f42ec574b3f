# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What health has to say of releases: whether there is a way back, and what a switch left."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _compose,
    _containers,
    _history,
    _holding,
    _host,
    _owned,
    _releases,
)
from ansible_collections.carrental.ops.plugins.module_utils._checks import WARN, Check
from ansible_collections.carrental.ops.plugins.module_utils._docker import (
    Container,
    Docker,
    DockerError,
)
from ansible_collections.carrental.ops.plugins.module_utils._engine import SURGE
from ansible_collections.carrental.ops.plugins.module_utils._releases import Release


def look(docker: Docker, releases: Sequence[Release]) -> list[Check]:
    """Compare what a rollback needs with what the engine has."""
    if not releases:
        return []
    try:
        images = docker.get("/images/json")
        containers = docker.containers()
    except DockerError:
        # That Docker does not answer is a finding of its own.
        return []
    local = {str(one["Id"]) for one in images}
    safe = {str(one.get("ImageID")) for one in containers if one.get("State") == "running"}
    targets = _releases.targets(releases)
    checks = [check for one in targets[1:] for check in way_back(one, local, safe)]
    return checks + [check for one in targets[:1] for check in names(one, images)]


def way_back(target: Release, local: Collection[str], safe: Collection[str]) -> list[Check]:
    """Whether a rollback to a release needs no registry, now and after the next clean-up.

    :param local: images of the engine.
    :param safe: those that a running container uses; a prune takes no such image.
    """
    gone = _holding.absent(target, local)
    loose = [name for name in _holding.absent(target, safe) if name not in gone]
    short = target["version"][:12]
    if gone:
        pulls = [f"docker pull {target['services'][name]['reference']}" for name in gone]
        return [
            _warn(
                f"rollback:{target['id']}",
                f"A rollback to {short} needs the registry",
                f"the image of {', '.join(gone)} of release {target['id']} was removed from the "
                f"server; get it back with: {'; '.join(pulls)}, and deploy again",
                release=target["id"],
                missing=gone,
            )
        ]
    if loose:
        return [
            _warn(
                f"rollback:{target['id']}",
                f"A rollback to {short} is at the mercy of the next docker system prune",
                f"what held the image of {', '.join(loose)} does not run any more (containers "
                f"named *-hold-*); deploy the current version again, which holds it",
                release=target["id"],
                loose=loose,
            )
        ]
    return []


def names(current: Release, images: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Whether a plain ``docker compose up`` of a colleague would start the release."""
    lost = _holding.unnamed(current, images)
    if not lost:
        return []
    commands = [
        f"docker tag {current['services'][name]['image_id'].removeprefix('sha256:')[:12]} {image}"
        for name, image in sorted(lost.items())
    ]
    return [
        _warn(
            "release_names",
            "A plain docker compose up would not start the release",
            f"the image of {', '.join(sorted(lost))} has not the name that the compose files lead "
            "to (docker image prune -a takes it off, a build gives it to another image); give it "
            f"back with: {'; '.join(commands)}",
            names=dict(lost),
        )
    ]


def edited(release: Release, root: str, state_dir: str) -> list[Check]:
    """Whether somebody edited what a release put in place.

    What runs has as a rule not read it yet, and the next restart will. Certificates are renewed
    without a release, and the file of the pinned images is written by other operations, too.
    """
    found = [
        path
        for path in _history.edited(release, root, _owned.paths(state_dir, root))
        if _history.is_kept(path) or path == _compose.ENV_FILE
    ]
    if not found:
        return []
    return [
        _warn(
            "edited",
            f"Edited since the release: {', '.join(found)}",
            "what runs may not have read it yet, and the next restart will; put the files of the "
            f"release back with: playbooks/rollback.yml -e rollback_to={release['id']}, or "
            "deploy what you want to keep",
            files=found,
            release=release["id"],
        )
    ]


def left(surges: Sequence[Container]) -> list[Check]:
    """Containers that stood in for a service while it was replaced."""
    now = datetime.now(timezone.utc)
    checks = []
    # One that does not run failed, and was kept to be looked at; the next switch removes it.
    for container in (one for one in surges if one.running):
        age = _containers.seconds_since(str(container.raw.get("Created", "")), now)
        since = f", {_containers.duration(age)} old" if age is not None else ""
        checks.append(
            _warn(
                f"surge:{container.name}",
                f"A rollout was interrupted: container {container.name} is left",
                f"it stands in for {container.labels.get(SURGE) or 'a service'}{since}; unless a "
                "deploy is under way, run the deploy again, which ends what was begun",
                container=container.name,
            )
        )
    return checks


def _warn(check: str, summary: str, detail: str, **evidence: Any) -> Check:
    return _host.HOST.says(check, WARN, summary, detail, **evidence)
