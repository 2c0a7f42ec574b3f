#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what was released, and what runs beside it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: Tell what was released, and what runs beside it
version_added: 0.1.0
description:
  - Reads the records of releases and compares the current one, the newest that passed, with the
    containers that run.
  - Tells which releases can be gone back to without a registry. Their images and, where
    O(project_src) is given, their configuration are still on the server then.
  - It returns empty values where nothing was released yet.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
options:
  state_dir:
    description: Directory of what the operations remember.
    type: path
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  project_src:
    description:
      - Directory of the compose project on the server. With it RV(directory), RV(edited) and
        C(missing_files) are looked at.
    type: path
  database:
    description: Database of the application. With it RV(held) is looked at. Empty asks none.
    type: str
    default: ""
  database_service:
    description: Service of the database, as compose calls it.
    type: str
    default: postgres
  limit:
    description: How many releases RV(releases) holds, newest first.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: What runs here?
  carrental.ops.release_info:
    state_dir: /opt/carrental/.ops
    project: carrental
  register: info

- name: Show it
  ansible.builtin.debug:
    msg: "{{ info.current.version }} since {{ info.current.finished_at }}"
  when: info.exists
"""

RETURN = r"""
exists:
  description: Whether a release has ever passed.
  returned: success
  type: bool
  sample: true
current:
  description: The newest release that passed. Empty where there is none.
  returned: success
  type: dict
previous:
  description: >-
    The newest good release before it that differs, in an image or in the configuration. A
    rollback goes to it. Empty where there is none.
  returned: success
  type: dict
releases:
  description: >-
    All releases, also those that did not pass, newest first. C(differs) and C(differs_said) tell
    what is not as in the current one; C(missing_images) names services whose image and
    C(missing_files) files that are not on the server any more; C(rollback) is whether it can be
    gone back to without a registry; C(age_s) is the seconds since it ended.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 20261123T215350Z-2e2e585
      verdict: ok
      version: 2e2e585eb17bf081e2aeb370d6bab51cafc30108
      who: alice
      age_s: 7200
      differs: {images: [api], files: [], env: {added: [], removed: [], values: false}, migrations: []}
      differs_said: images of api
      missing_images: []
      missing_files: []
      rollback: true
lines:
  description: RV(releases) in words, one line each.
  returned: success
  type: list
  elements: str
  sample: ["20261123T215350Z-2e2e585  2 h ago  ok  alice  images of api"]
outside:
  description: Services that do not run what the current release recorded.
  returned: success
  type: list
  elements: dict
  sample: [{"service": "api", "running": "sha256:1b4f0e98", "recorded": "sha256:9f86d081"}]
edited:
  description: Files of the project that are not as the current release recorded them.
  returned: success
  type: list
  elements: str
  sample: [nginx/nginx.conf]
directory:
  description: >-
    What O(project_src) is. C(exists) is whether it is a directory, C(writable) whether the user of
    this connection may write to it, C(owner) the name of its owner, or the number of one that has
    no name.
  returned: when O(project_src) is given
  type: dict
  sample: {exists: true, writable: true, owner: deploy}
held:
  description: >-
    The migrations that O(database) holds, oldest first (C(applied)), those that are in it by half (C(failed)) and
    those that were marked as rolled back (C(rolled_back)). Empty where nobody can tell.
  returned: when O(database) is given
  type: dict
  sample: {applied: [20260101090000_init], failed: [], rolled_back: []}
containers:
  description: How many containers the project has, running or not.
  returned: success
  type: int
  sample: 12
unprotected:
  description:
    - What the current release and those that a rollback goes to consist of, and what a prune
      would take, or somebody has taken. Each has the release it belongs to.
    - The module M(carrental.ops.release_hold) protects it again.
  returned: success
  type: list
  elements: str
  sample: [api of 20261123T215350Z-2e2e585]
"""

import os
import pwd
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _comparison,
    _docker,
    _engine,
    _history,
    _holding,
    _migrations,
    _operation_module,
    _owned,
    _releases,
)

_SHOWN = ("id", "verdict", "version", "started_at", "finished_at", "who", "origin")


def outside(
    current: _releases.Release | None, containers: list[_docker.Container]
) -> list[dict[str, str]]:
    """Return the services that do not run what was recorded."""
    found: list[dict[str, str]] = []
    recorded = current["services"] if current else {}
    running: dict[str, str] = {}
    for one in containers:
        running[one.service] = one.image_id if one.running else ""
    for service, image in recorded.items():
        if running.get(service, "") != image["image_id"]:
            found.append(
                {
                    "service": service,
                    "running": running.get(service, ""),
                    "recorded": image["image_id"],
                }
            )
    return found


def describe(
    release: _releases.Release,
    current: _releases.Release | None,
    local: set[str],
    params: dict[str, Any],
) -> dict[str, Any]:
    """Return what an operator wants to know of a release."""
    found: dict[str, Any] = {key: release.get(key) for key in _SHOWN}
    differs = _comparison.differences(release, current or release)
    images = _holding.absent(release, local)
    files = []
    if params["project_src"] and release.get("config"):
        files = _history.missing(release, params["project_src"], params["state_dir"])
    found.update(
        age_s=_comparison.age(release, datetime.now(timezone.utc)),
        differs=differs,
        differs_said=_comparison.words(differs),
        missing_images=images,
        missing_files=files,
        rollback=release["verdict"] == "ok" and not images and not files,
    )
    return found


def unprotected(
    engine: _engine.Engine,
    params: dict[str, Any],
    releases: list[_releases.Release],
    containers: list[_docker.Container],
    images: list[dict[str, Any]],
) -> list[str]:
    """Return what a rollback needs and a prune would take, or somebody has taken."""
    targets = _releases.targets(releases)
    found = _holding.unprotected(
        targets,
        _holding.containers(engine, params["project"]),
        {one.image_id for one in containers},
        images,
    )
    current = targets[0] if targets else None
    if current and params["project_src"] and current.get("config"):
        lost = _history.missing(current, params["project_src"], params["state_dir"])
        found += [f"{path} of {current['id']}" for path in lost]
    return found


def directory(path: str) -> dict[str, Any]:
    """Return what the directory of the project is."""
    exists = os.path.isdir(path)
    return {
        "exists": exists,
        "writable": exists and os.access(path, os.W_OK | os.X_OK),
        "owner": owner(path) if exists else "",
    }


def owner(path: str) -> str:
    """Return the name of an owner, or the number of one without a name."""
    uid = os.stat(path).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def migrations(
    engine: _engine.Engine, params: dict[str, Any], containers: list[_docker.Container]
) -> dict[str, list[str]]:
    """Return the migrations that the database holds."""
    if not params["database"]:
        return {}
    service = params["database_service"]
    container = next((one for one in containers if one.service == service), None)
    found = _migrations.held(engine, container, params["database"])
    return {key: list(names) for key, names in asdict(found).items()} if found else {}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "required": True},
            "project": {"type": "str", "required": True},
            "project_src": {"type": "path"},
            "database": {"type": "str", "default": ""},
            "database_service": {"type": "str", "default": "postgres"},
            "limit": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params = run.params
    try:
        releases = _releases.load(params["state_dir"])
        engine = _engine.Engine()
        containers = engine.services(params["project"])
        images = engine.get("/images/json")
        held = migrations(engine, params, containers)
    except (_docker.DockerError, _releases.ReleaseError) as error:
        run.fail(str(error))
    current = next(iter(_releases.good(releases)), None)
    local = {str(one["Id"]) for one in images}
    described = [describe(one, current, local, params) for one in releases[: params["limit"]]]
    result: dict[str, Any] = {
        "changed": False,
        "exists": current is not None,
        "current": current or {},
        "previous": _releases.previous(releases) or {},
        "releases": described,
        "lines": _comparison.lines(described, current["id"] if current else ""),
        "outside": outside(current, containers),
        "edited": (
            _history.edited(
                current,
                params["project_src"],
                _owned.paths(params["state_dir"], params["project_src"]),
            )
            if current and params["project_src"]
            else []
        ),
        "containers": len(containers),
        "unprotected": unprotected(engine, params, releases, containers, images),
    }
    if params["database"]:
        result["held"] = held
    if params["project_src"]:
        result["directory"] = directory(params["project_src"])
    run.exit(result)


if __name__ == "__main__":
    main()
