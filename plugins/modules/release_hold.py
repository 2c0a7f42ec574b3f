#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep on the server what a rollback needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_hold
short_description: Keep on the server what a rollback needs
version_added: 0.1.0
description:
  - Holds the images of the last good releases, so that a rollback needs no registry. A container
    that was created and never started keeps an image from C(docker image prune -a).
  - The images of the current release, and of those that a rollback goes to, are held by a container
    that runs, for C(docker system prune) removes created ones. It is on no network, uses half a
    megabyte, belongs to no compose project and does nothing but wait.
  - Lets go of releases that are older, and removes their kept configuration.
  - Gives the images of the current release again the names that the compose files lead to, which
    C(docker image prune -a) takes off, so that a plain C(docker compose up -d) starts them.
  - Whatever does not work is a warning, for the release runs and is not worse for it.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state_dir:
    description: Directory of what operations remember, with the lock, the journals and the records.
    type: path
    required: true
  project_src:
    description: Directory of the compose project on the server.
    type: path
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  released:
    description: Services whose images a deploy replaces, as compose calls them.
    type: list
    elements: str
    required: true
  keep:
    description:
      - How many good releases are kept. Releases that do not differ count once.
      - The one before the current one is always kept.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Keep what a rollback needs
  carrental.ops.release_hold:
    state_dir: /opt/carrental/.ops
    project_src: /opt/carrental
    project: carrental
    released: [api, web]
"""

RETURN = r"""
actions:
  description: What was done, in words.
  returned: always
  type: list
  elements: str
  sample: [hold api of 20261123T215350Z-2e2e585 hard]
held:
  description: Images that are held, for which release and services, and whether hard.
  returned: always
  type: list
  elements: dict
  sample:
    - image_id: sha256:1b4f0e98
      release: 20261123T215350Z-2e2e585
      services: [api]
      hard: true
missing:
  description: Releases among the kept ones whose images are gone, with the services.
  returned: always
  type: list
  elements: dict
  sample: []
warnings:
  description: What did not work, in whole sentences.
  returned: when something did not work
  type: list
  elements: str
  sample: []
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _history,
    _holding,
    _operation,
    _operation_module,
    _registry,
    _releases,
)

_EXPECTED = (
    _docker.DockerError,
    _history.HistoryError,
    _operation.OperationError,
    _registry.RegistryError,
    _releases.ReleaseError,
)


def hold(
    run: _operation_module.OperationModule,
    engine: _engine.Engine,
    releases: list[_releases.Release],
) -> _holding.Held:
    """Hold the images."""
    params = run.params
    targets = _releases.targets(releases)
    kept = _releases.kept(releases, params["keep"])
    in_use = {one.image_id for one in engine.services(params["project"])}
    wanted = _holding.wanted(targets, kept, params["released"], in_use)
    holder = _holding.Holder(
        engine, params["project"], params["state_dir"], not run.module.check_mode
    )
    return holder.hold(wanted)


def keep_configuration(
    run: _operation_module.OperationModule, releases: list[_releases.Release]
) -> list[str]:
    """Keep the configuration of the current release, remove that of old ones; say what was done."""
    root, state_dir = run.params["project_src"], run.params["state_dir"]
    write = not run.module.check_mode
    kept = _releases.kept(releases, run.params["keep"])
    lost = _history.missing(kept[0], root, state_dir) if kept else []
    said = []
    if lost and write:
        found = _history.keep_in_use(kept[0], root, state_dir)
        said += [f"keep {path} of {kept[0]['id']}" for path in found]
    gone = _history.collect(kept, root, state_dir, write) if kept else []
    return said + ([f"remove {len(gone)} files of old configurations"] if gone else [])


def name_again(
    run: _operation_module.OperationModule, engine: _engine.Engine, release: _releases.Release
) -> list[str]:
    """Give images the names that they lost; say what was done."""
    images = engine.get("/images/json")
    said = []
    for service, name in sorted(_holding.unnamed(release, images).items()):
        said.append(f"name the image of {service} {name} again")
        if not run.module.check_mode:
            engine.tag(release["services"][service]["image_id"], name)
    return said


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_operation_module.OPERATION_OPTIONS,
            "state_dir": {"type": "path", "required": True},
            "project_src": {"type": "path", "required": True},
            "project": {"type": "str", "required": True},
            "released": {"type": "list", "elements": "str", "required": True},
            "keep": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    if run.params["keep"] < 1:
        run.fail(f"keep is {run.params['keep']}; give 1 or more. Nothing was changed.")
    report = _holding.Held()
    actions: list[str] = []
    try:
        with run.operation("release_hold") as operation:
            operation.step("hold releases")
            releases = _releases.load(run.params["state_dir"])
            actions += keep_configuration(run, releases)
            engine = _engine.Engine()
            report = hold(run, engine, releases)
            for release in _releases.targets(releases)[:1]:
                actions += name_again(run, engine, release)
    except _EXPECTED as error:
        report.warnings.append(f"A rollback may need the registry: {error}")
    for warning in report.warnings:
        module.warn(run.masker.text(warning))
    actions = report.actions + actions
    run.exit(
        {
            "changed": bool(actions),
            "actions": actions,
            "held": [asdict(one) for one in report.holds],
            "missing": report.missing,
        }
    )


if __name__ == "__main__":
    main()
