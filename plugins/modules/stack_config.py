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
  - Puts compose files, the proxy's and the monitoring's configuration, C(.env) and the pinned images in place.
  - Before anything is touched, compose reads a throw-away copy of the result. Variables that are demanded and
    missing (all of them, with the line that asks), broken YAML (with file and line), sources of bind mounts that
    are not there, and services that no file has are refused, each in one sentence.
  - Files that were not delivered are left alone.
  - Says what has to be done with each container afterwards, and which containers have not read a file that
    they mount. It does neither.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine with Compose 2.20 or later, and the Python package C(docker), on the server.
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
      - A C(.env) in it is ignored, for values come from O(env). Without it the files that are there stay.
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
      - Image of each released service by digest. They are written to C(compose.release.yml), the last file of
        every compose call. Without it that file stays as it is.
    type: dict
  services:
    description: Services that the compose files have to have.
    type: list
    elements: str
    default: []
  stateful:
    description: Services whose container is never replaced; what would replace it is reported as V(held).
    type: list
    elements: str
    default: []
  state_dir:
    description:
      - Directory of the records of releases. The newest good one tells which configuration the containers read.
    type: path
"""

EXAMPLES = r"""
- name: Prove a configuration without writing it
  carrental.ops.stack_config:
    src: /tmp/delivered
    dest: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml, docker-compose.monitoring.yml]
    env: "{{ carrental_env }}"
  check_mode: true
  register: candidate

- name: Put it in place, with the images of the release
  carrental.ops.stack_config:
    src: /tmp/delivered
    dest: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml, docker-compose.monitoring.yml]
    env: "{{ carrental_env }}"
    pins:
      api: ghcr.io/example/backend@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
"""

RETURN = r"""
files:
  description: Files that were written, with RV(files[].action) V(added), V(changed) or V(mode).
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
    Every service of the project. RV(services.*.action) is V(create), V(recreate), V(start), V(held) or V(keep),
    with RV(services.*.reasons); V(held) would be recreated were it not stateful.
  returned: success
  type: dict
  sample:
    api:
      action: recreate
      built: true
      image: carrental-api
      mounts: []
      plain_image: carrental-api
      present: true
      reasons: [image]
reload:
  description: Mounted files that a kept container has not read in their new form, by service.
  returned: success
  type: dict
  sample: {"nginx": ["nginx/nginx.conf"]}
config:
  description: Hashes of the files and of C(.env), and the names of its keys, as a record of a release holds them.
  returned: success
  type: dict
  sample: {"files": {"nginx/nginx.conf": "9f86d08…"}, "env": {"sha256": "60303ae…", "keys": ["JWT_SECRET"]}}
compose_files:
  description: Absolute paths of the files of every compose call, in order.
  returned: success
  type: list
  elements: str
  sample: [/opt/carrental/docker-compose.prod.yml, /opt/carrental/compose.release.yml]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _compose,
    _configuration,
    _engine,
    _env_file,
    _operation_module,
    _plan,
    _releases,
)

EXPECTED = (
    _compose.ComposeError,
    _configuration.ConfigurationError,
    _engine.EngineError,
    _env_file.EnvFileError,
    _releases.ReleaseError,
)


def describe(proved: _configuration.Candidate, engine: _engine.Engine) -> dict[str, Any]:
    """Return what the containers need, and what a record will say."""
    wish = proved.wish
    names = _compose.services(proved.model)
    images = {name: _compose.image_name(proved.model, wish.project, name) for name in names}
    local = {name: engine.image(image) for name, image in images.items()}
    steps = _plan.steps(
        services=list(names),
        containers=engine.containers(wish.project),
        differing=_configuration.differing(proved),
        hashes=proved.hashes,
        image_ids={name: str(image["Id"]) for name, image in local.items() if image},
        held=wish.stateful,
    )
    return {
        name: {
            "action": step.action,
            "reasons": list(step.reasons),
            "image": images[name],
            "plain_image": proved.plain_images.get(name, images[name]),
            "present": local[name] is not None,
            "built": bool(names[name].get("build")),
            "mounts": sorted(proved.mounted.get(name, {})),
        }
        for name, step in steps.items()
    }


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
            "services": {"type": "list", "elements": "str", "default": []},
            "stateful": {"type": "list", "elements": "str", "default": []},
            "state_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params = run.params
    try:
        wish = _operation_module.wish(params)
        engine = _engine.Engine()
        with _configuration.candidate(wish) as proved:
            services = describe(proved, engine)
            current = _releases.current(params["state_dir"]) if params["state_dir"] else None
            kept = [name for name, one in services.items() if one["action"] == _plan.KEEP]
            recorded = current["config"]["files"] if current else None
            result = {
                "changed": bool(proved.changes),
                "files": [{"path": one.path, "action": one.action} for one in proved.changes],
                "env": {
                    "added": proved.env.added,
                    "changed": proved.env.changed,
                    "removed": proved.env.removed,
                },
                "services": services,
                "reload": _configuration.reloads(proved, recorded, kept),
                "config": _configuration.fingerprint(proved),
                "compose_files": [f"{wish.dest}/{file}" for file in proved.project.files],
            }
            if module._diff:
                result["diff"] = _configuration.diff(proved, run.masker)
            for warning in proved.warnings:
                module.warn(run.masker.text(warning))
            if not module.check_mode:
                _configuration.apply(proved)
    except EXPECTED as error:
        run.fail(str(error))
    run.exit(result)


if __name__ == "__main__":
    main()
