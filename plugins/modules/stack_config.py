#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converge the configuration of the stack, after proving that it works."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_config
short_description: Converge the configuration of the stack, after proving that it works
version_added: 0.1.0
description:
  - Puts compose files, the proxy's and the monitoring's configuration, C(.env) and the pinned
    images in place.
  - Before anything is touched, compose reads a throw-away copy of the result. Variables that are
    demanded and missing (all of them, with the line that asks), broken YAML (with file and line),
    sources of bind mounts that are not there, and services that no file has are refused, each in
    one sentence.
  - Files that were not delivered are left alone.
  - Says what has to be done with each container afterwards, and which containers have not read a
    file that they mount. It does neither.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine with Compose 2.20 or later on the server.
extends_documentation_fragment:
  - carrental.ops._attributes
attributes:
  check_mode:
    support: full
    details: [In check mode everything is proved and nothing is written.]
  diff_mode:
    support: full
    details: [Of C(.env) and of keys only names are shown.]
  idempotent:
    support: full
options:
  dest:
    description: Directory of the compose project on the server.
    type: path
    required: true
  src:
    description:
      - Directory on the server with the delivered files, at the same relative paths as in O(dest).
      - A C(.env) in it is ignored, for values come from O(env). Without it the files that are there
        stay.
    type: path
  files:
    description: Compose files relative to O(dest), in the order of C(-f).
    type: list
    elements: str
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  env:
    description:
      - Keys of C(.env) and their values, taken literally. Keys that are not named stay as they are.
      - The values are never returned, shown or logged.
    type: dict
    default: {}
  env_remove:
    description: Keys to take out of C(.env).
    type: list
    elements: str
    default: []
  pins:
    description:
      - Image of each released service by digest. They are written to C(compose.release.yml), the
        last file of every compose call. Without it that file stays as it is.
    type: dict
  table:
    description:
      - The table of services, as the role C(stack) holds it. The compose files have to have each of
        them.
      - A container of a service that holds data (V(database), V(cache), V(object_store)) is never
        replaced; what would replace it is reported as V(held).
    type: dict
    default: {}
  replace:
    description: Services that hold data and may be replaced this time.
    type: list
    elements: str
    default: []
  tests:
    description:
      - How the configuration of a service is tried, as a command by service. It runs in a container
        of its own, with the candidate's files, before anything is written, when the service exists
        and one of the files that it mounts changes.
      - Not run in check mode, which starts no container.
    type: dict
    default: {}
  state_dir:
    description:
      - Directory of the records of releases. The newest good one tells which configuration the
        containers read.
    type: path
  state:
    description:
      - With V(present) the proved configuration is put in place.
      - With V(proved) nothing is written, also outside check mode; RV(ignore:changed) tells whether
        it would be.
    type: str
    choices: [proved, present]
    default: present
"""

EXAMPLES = r"""
- name: Prove a configuration without writing it
  carrental.ops.stack_config:
    src: /tmp/delivered
    dest: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml, docker-compose.monitoring.yml]
    env: "{{ carrental_env }}"
    state: proved
  register: candidate

- name: Put it in place, with the images of the release
  carrental.ops.stack_config:
    src: /tmp/delivered
    dest: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml, docker-compose.monitoring.yml]
    env: "{{ carrental_env }}"
    pins:
      api: "{{ pulled.images.api.reference }}"
"""

RETURN = r"""
files:
  description: Files that were written, with C(action) V(added), V(changed) or V(mode).
  returned: success
  type: list
  elements: dict
  sample: [{"path": "nginx/nginx.conf", "action": "changed"}]
env:
  description: Names of the keys of C(.env) that were V(added), V(changed) and V(removed).
  returned: success
  type: dict
  sample: {"added": ["JWT_SECRET"], "changed": [], "removed": []}
services:
  description: >-
    Every service of the project. C(action) is V(create), V(recreate), V(start), V(held)
    or V(keep), with C(reasons); V(held) would be recreated were it not stateful.
  returned: success
  type: dict
  sample:
    api:
      action: recreate
      built: true
      held_dependencies: []
      image: carrental-api
      image_id: sha256:1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014
      mounts: []
      plain_image: carrental-api
      reasons: [image]
      role: stateless
      tier: 1
reload:
  description: >-
    What a kept container has to read again, by service. These are mounted files that it has not
    read in their new form and, for a proxy, the addresses of services that get a new container.
  returned: success
  type: dict
  sample: {"nginx": ["nginx/nginx.conf", "addresses of api"]}
actions:
  description: All that has to be done, in words.
  returned: success
  type: list
  elements: str
  sample: ["add in .env: JWT_SECRET", "recreate api (image)", "reload nginx (addresses of api)"]
notes:
  description: What is deliberately not done, in words.
  returned: success
  type: list
  elements: str
  sample: []
config:
  description: >-
    Hashes of the files and of C(.env), and the names of its keys, as a record of a release holds
    them.
  returned: success
  type: dict
  sample:
    files: {nginx/nginx.conf: 9f86d081884c7d65}
    env: {sha256: 60303ae22b998861, keys: [JWT_SECRET]}
aliases:
  description: What compose calls each service of O(table).
  returned: success
  type: dict
  sample: {"api": "api"}
tested:
  description: Services whose new files were tried in a container of their own.
  returned: success
  type: list
  elements: str
  sample: [nginx]
compose_files:
  description: Absolute paths of the files of every compose call, in order.
  returned: success
  type: list
  elements: str
  sample: [/opt/carrental/docker-compose.prod.yml, /opt/carrental/compose.release.yml]
"""

import shlex
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _compose,
    _configuration,
    _configuration_report,
    _configuration_write,
    _docker,
    _engine,
    _env_file,
    _one_off,
    _operation_module,
    _plan,
    _releases,
)

EXPECTED = (
    _compose.ComposeError,
    _configuration.ConfigurationError,
    _docker.DockerError,
    _env_file.EnvFileError,
    _one_off.OneOffError,
    _releases.ReleaseError,
)
_LAST_TIER = 3
_TEST_TIMEOUT = 60


def describe(
    proved: _configuration.Candidate,
    engine: _engine.Engine,
    table: dict[str, Any],
    as_recorded: bool,
) -> dict[str, Any]:
    """Return what the containers need."""
    wish = proved.wish
    described = {alias: table[name] for name, alias in _operation_module.aliases(table).items()}
    names = _compose.services(proved.model)
    images = {name: _compose.image_name(proved.model, wish.project, name) for name in names}
    local = {name: engine.image(image) for name, image in images.items()}
    look: dict[str, Any] = {
        "services": list(names),
        "containers": engine.services(wish.project),
        "differing": _configuration_report.differing(proved),
        "hashes": proved.hashes,
        "image_ids": {name: str(image["Id"]) for name, image in local.items() if image},
        "held": wish.held,
    }
    steps = _plan.steps(**look)
    needs = _plan.dependencies(names)
    kept_back = {name for name, step in steps.items() if step.action == _plan.HELD}
    if as_recorded:
        excused = [name for name in names if needs[name] & kept_back]
        steps = _plan.steps(**look, excused=excused)
    return {
        name: {
            "action": step.action,
            "reasons": list(step.reasons),
            "image": images[name],
            "plain_image": proved.plain_images.get(name, images[name]),
            "image_id": str((local[name] or {}).get("Id", "")),
            "built": bool(names[name].get("build")),
            "mounts": sorted(proved.mounted.get(name, {})),
            "role": described.get(name, {}).get("role") or "monitor",
            "held_dependencies": sorted(needs[name] & kept_back),
            "tier": int(described.get(name, {}).get("tier", _LAST_TIER)),
        }
        for name, step in steps.items()
    }


def is_unproven(
    current: _releases.Release | None, config: dict[str, Any], services: dict[str, Any]
) -> bool:
    """Return whether containers may have changed since a proxy was last proved.

    A run that was killed after new containers and before the reload leaves a
    proxy with old addresses, and nothing else to do.
    """
    if current is None or current["config"]["env"] != config["env"]:
        return True
    files = [file for file in config["files"] if file.endswith((".yml", ".yaml"))]
    if any(current["config"]["files"].get(file) != config["files"][file] for file in files):
        return True
    images = {name: one["image_id"] for name, one in current["services"].items()}
    return any(
        one["role"] == "stateless" and images.get(name) != one["image_id"]
        for name, one in services.items()
    )


def to_reload(
    proved: _configuration.Candidate,
    services: dict[str, Any],
    recorded: dict[str, str] | None,
    unproven: bool,
) -> dict[str, list[str]]:
    """Return what kept containers have to read again, and why."""
    kept = [name for name, one in services.items() if one["action"] == _plan.KEEP]
    found = _configuration_report.reloads(proved, recorded, kept)
    moved = [
        name
        for name, one in services.items()
        if one["role"] == "stateless" and (one["action"] in _plan.CHANGES or unproven)
    ]
    for name in kept if moved else ():
        # It looks up its upstreams once, when it reads its configuration.
        if services[name]["role"] == "proxy":
            found.setdefault(name, []).append(f"addresses of {', '.join(moved)}")
    return found


def actions(
    proved: _configuration.Candidate, services: dict[str, Any], reload: dict[str, list[str]]
) -> list[str]:
    """Return what has to be done, in words."""
    found = [f"write {one.path} ({one.action})" for one in proved.changes if one.path != ".env"]
    for verb, keys in (
        ("add", proved.env.added),
        ("change", proved.env.changed),
        ("remove", proved.env.removed),
    ):
        if keys:
            found.append(f"{verb} in .env: {', '.join(keys)}")
    for name, one in services.items():
        why = f" ({', '.join(one['reasons'])})" if one["reasons"] else ""
        if one["action"] in _plan.CHANGES:
            found.append(f"{one['action']} {name}{why}")
    return found + [f"reload {name} ({', '.join(why)})" for name, why in reload.items()]


def notes(services: dict[str, Any]) -> list[str]:
    """Return what is deliberately not done."""
    return [
        f"{name} keeps its container, for it holds data ({', '.join(one['reasons'])}); "
        f"to replace it name it in deploy_stateful"
        for name, one in services.items()
        if one["action"] == _plan.HELD
    ]


def try_out(
    proved: _configuration.Candidate,
    engine: _engine.Engine,
    services: dict[str, Any],
    tests: dict[str, Any],
) -> list[str]:
    """Let each service that has a test judge its new files; return whose were judged."""
    touched = {change.path for change in proved.changes if change.content}
    tried = []
    for name, command in sorted(tests.items()):
        service = services.get(name)
        if service is None or service["action"] == _plan.CREATE:
            # Nothing runs that could break, and a proxy cannot find what does not run yet.
            continue
        files = sorted(touched & set(service["mounts"]))
        if not files:
            continue
        done = _one_off.run(engine, proved.project, name, shlex.split(command), _TEST_TIMEOUT)
        if done.rc != 0:
            said = " ".join(_one_off.tail(f"{done.stdout}\n{done.stderr}", 5))
            raise _configuration.ConfigurationError(
                f"{name} refuses {', '.join(files)} ({command}): {said}"
            )
        tried.append(name)
    return tried


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "src": {"type": "path"},
            "files": {"type": "list", "elements": "str", "required": True},
            "project": {"type": "str", "required": True},
            "env": {"type": "dict", "default": {}, "no_log": True},
            "env_remove": {"type": "list", "elements": "str", "default": []},
            "pins": {"type": "dict"},
            "table": {"type": "dict", "default": {}},
            "replace": {"type": "list", "elements": "str", "default": []},
            "tests": {"type": "dict", "default": {}},
            "state_dir": {"type": "path"},
            "state": {"type": "str", "choices": ["proved", "present"], "default": "present"},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params = run.params
    try:
        wish = _operation_module.wish(params)
        engine = _engine.Engine()
        with _configuration.candidate(wish) as proved:
            current = _releases.current(params["state_dir"]) if params["state_dir"] else None
            config = _configuration_report.fingerprint(proved)
            as_recorded = current is not None and current["config"] == config
            services = describe(proved, engine, params["table"], as_recorded)
            recorded = current["config"]["files"] if current else None
            unproven = is_unproven(current, config, services)
            reload = to_reload(proved, services, recorded, unproven)
            result = {
                "changed": bool(proved.changes),
                "files": [{"path": one.path, "action": one.action} for one in proved.changes],
                "env": {
                    "added": proved.env.added,
                    "changed": proved.env.changed,
                    "removed": proved.env.removed,
                },
                "services": services,
                "aliases": _operation_module.aliases(params["table"]),
                "tested": [],
                "reload": reload,
                "actions": actions(proved, services, reload),
                "notes": notes(services),
                "config": config,
                "compose_files": [f"{wish.dest}/{file}" for file in proved.project.files],
            }
            if module._diff:
                result["diff"] = _configuration_report.diff(proved, run.masker)
            for warning in proved.warnings:
                module.warn(run.masker.text(warning))
            if not module.check_mode:
                result["tested"] = try_out(proved, engine, services, params["tests"])
                if params["state"] == "present":
                    _configuration_write.apply(proved)
    except EXPECTED as error:
        run.fail(str(error))
    run.exit(result)


if __name__ == "__main__":
    main()
