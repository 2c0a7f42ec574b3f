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
  - carrental.ops._operation
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
  env_file:
    description:
      - Path on the server of a whole C(.env) that takes the place of the one in O(dest). A rollback
        uses it to bring back the C(.env) of a release.
      - Only names of its keys are returned, shown or logged. Not together with O(env) and
        O(env_remove).
    type: path
  absent:
    description:
      - Files below O(dest) to remove, which are not delivered. A rollback names what a later release
        brought, for example one more file in a directory that the proxy reads as a whole.
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
      - With O(state=present) what the configuration consists of is kept there by content, and
        C(.env) in C(.env.releases) beside the one in use, so that a rollback can rebuild it. Keys
        and certificates are not kept, for they are renewed and never rolled back.
      - Writing works under the lock that is in it.
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
  description: Files that were written, with C(action) V(added), V(changed), V(removed) or V(mode).
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
      dependencies: [minio, postgres, redis]
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
moved:
  description: Services of the application whose addresses a proxy has to look up again.
  returned: success
  type: list
  elements: str
  sample: [api]
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
pinned:
  description: >-
    The images that C(compose.release.yml) has pinned until now, by service. Empty where there is
    none, or where somebody has edited it.
  returned: success
  type: dict
  sample: {"api": "ghcr.io/acme/backend@sha256:9f86d081"}
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


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _compose,
    _configuration,
    _configuration_module,
    _configuration_report,
    _deployment,
    _docker,
    _engine,
    _env_file,
    _history,
    _one_off,
    _operation,
    _operation_module,
    _releases,
    _service_table,
)

EXPECTED = (
    _compose.ComposeError,
    _configuration.ConfigurationError,
    _docker.DockerError,
    _env_file.EnvFileError,
    _history.HistoryError,
    _one_off.OneOffError,
    _operation.OperationError,
    _releases.ReleaseError,
)


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
            "env_file": {"type": "path"},
            "absent": {"type": "list", "elements": "str", "default": []},
            "pins": {"type": "dict"},
            "table": {"type": "dict", "default": {}},
            "replace": {"type": "list", "elements": "str", "default": []},
            "tests": {"type": "dict", "default": {}},
            **_operation_module.OPERATION_OPTIONS,
            "state": {"type": "str", "choices": ["proved", "present"], "default": "present"},
        },
        mutually_exclusive=[("env_file", "env"), ("env_file", "env_remove")],
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params = run.params
    try:
        wish = _configuration_module.wish(params)
        engine = _engine.Engine()
        with (
            run.operation("stack_config", changes=params["state"] == "present") as operation,
            _configuration.candidate(wish) as proved,
        ):
            current = _releases.current(params["state_dir"]) if params["state_dir"] else None
            config = _configuration_report.fingerprint(proved)
            work = _deployment.work(proved, engine, params["table"], current, config)
            result = {
                "changed": bool(proved.changes),
                "files": [{"path": one.path, "action": one.action} for one in proved.changes],
                "env": {
                    "added": proved.env.added,
                    "changed": proved.env.changed,
                    "removed": proved.env.removed,
                },
                "services": work.services,
                "aliases": _service_table.aliases(params["table"]),
                "pinned": proved.pinned,
                "tested": [],
                "reload": work.reload,
                "moved": work.moved,
                "actions": work.actions,
                "notes": work.notes,
                "config": config,
                "compose_files": [f"{wish.dest}/{file}" for file in proved.project.files],
            }
            if module._diff:
                result["diff"] = _configuration_report.diff(proved, run.masker)
            for warning in proved.warnings:
                module.warn(run.masker.text(warning))
            if not module.check_mode:
                result["tested"] = _deployment.try_out(
                    proved, engine, work.services, params["tests"]
                )
                if params["state"] == "present":
                    if proved.changes:
                        paths = [one.path for one in proved.changes]
                        operation.step("write configuration", files=paths)
                    _deployment.put_in_place(proved, config, current, params["state_dir"])
    except EXPECTED as error:
        run.fail(str(error))
    run.exit(result)


if __name__ == "__main__":
    main()
