#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove images of releases that nobody needs any more."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_prune
short_description: Remove images of releases that nobody needs any more
version_added: 0.1.0
description:
  - Removes images by the records of releases. An image goes when its repository is one of O(images)
    or the name that compose derives for such a service, when none of the kept releases has it, and
    when no container uses it.
  - Images of other repositories stay, also an image that has a name in another repository besides.
  - Where a record of a release cannot be read, or none has passed yet, nothing is removed.
  - A module that cleans up does not fail. What did not work is in RV(warnings).
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
  project:
    description: Name of the compose project.
    type: str
    required: true
  images:
    description: Repository of the image of each released service, without tag and digest.
    type: dict
    required: true
  keep:
    description:
      - How many good releases keep their images. Releases that do not differ count once.
      - The one before the current one is always kept.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Remove what is older than the last five releases
  carrental.ops.image_prune:
    state_dir: /opt/carrental/.ops
    project: carrental
    images:
      api: ghcr.io/your-org/carrental/backend
      web: ghcr.io/your-org/carrental/frontend
"""

RETURN = r"""
removed:
  description: Images that were removed, with all their names.
  returned: always
  type: list
  elements: dict
  sample:
    - image_id: sha256:1b4f0e98
      names: ["ghcr.io/your-org/carrental/backend@sha256:9f86d081"]
freed_bytes:
  description:
    - Bytes of disk that became free.
    - In check mode what these images share with no other one, which is the least that would.
  returned: always
  type: int
  sample: 98113536
kept:
  description: Ids of the releases whose images stay.
  returned: always
  type: list
  elements: str
  sample: [20261123T215350Z-2e2e585]
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
    _operation,
    _operation_module,
    _pruning,
    _registry,
    _releases,
)

_EXPECTED = (
    _docker.DockerError,
    _operation.OperationError,
    _registry.RegistryError,
    _releases.ReleaseError,
)


def prune(run: _operation_module.OperationModule) -> tuple[_pruning.Pruned, list[str]]:
    """Return what was removed, and the releases whose images stay."""
    params = run.params
    images = {name: str(image) for name, image in params["images"].items()}
    releases = _releases.load(params["state_dir"])
    kept = _releases.kept(releases, params["keep"])
    if not kept:
        return _pruning.Pruned(), []
    engine = _engine.Engine()
    needed = {image["image_id"] for one in kept for image in one["services"].values()}
    needed |= {str(one["ImageID"]) for one in engine.containers()}
    own = _pruning.repositories(images, releases, params["project"])
    found = _pruning.removable(engine.get("/images/json"), own, needed)
    with run.operation("image_prune", changes=bool(found)) as operation:
        if found:
            operation.step("prune images")
        report = _pruning.prune(engine, found, not run.module.check_mode)
    return report, [one["id"] for one in kept]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_operation_module.OPERATION_OPTIONS,
            "state_dir": {"type": "path", "required": True},
            "project": {"type": "str", "required": True},
            "images": {"type": "dict", "required": True},
            "keep": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    if run.params["keep"] < 1:
        run.fail(f"keep is {run.params['keep']}; give 1 or more. Nothing was changed.")
    report = _pruning.Pruned()
    kept: list[str] = []
    try:
        report, kept = prune(run)
    except _EXPECTED as error:
        report.warnings.append(f"No image was removed: {error}")
    for warning in report.warnings:
        module.warn(run.masker.text(warning))
    run.exit(
        {
            "changed": bool(report.removed),
            "removed": [asdict(one) for one in report.removed],
            "freed_bytes": report.freed_bytes,
            "kept": kept,
        }
    )


if __name__ == "__main__":
    main()
