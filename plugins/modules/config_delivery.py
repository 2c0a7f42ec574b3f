#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a configuration from the controller to a temporary directory of the server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: config_delivery
short_description: Bring a configuration from the controller to a temporary directory of the server
version_added: 0.1.0
description:
  - Packs directories of the controller and unpacks them into a new temporary directory of the server,
    which the caller removes. Nothing is written to the controller, and nothing else to the server.
  - Where O(dest) has all of it already the directory is removed again, and RV(path) is not returned.
  - Links are followed. C(.env) and C(.env.releases) at the top of O(src) stay on the controller.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
attributes:
  check_mode:
    support: full
    details: [Works as otherwise, for a plan has to know the files.]
  diff_mode:
    support: none
  idempotent:
    support: none
    details: [Each run that brings something new makes a directory.]
options:
  src:
    description: Directory of the controller with the configuration. Empty brings none.
    type: str
    default: ""
  exclude:
    description: >-
      What of it is left out with all that is below, relative to O(src). C(*) stands for any characters.
    type: list
    elements: str
    default: []
  certificates:
    description: Directory of the controller with the certificates. Empty brings none.
    type: str
    default: ""
  certificates_path:
    description: Where the files of O(certificates) go, relative to the directory.
    type: str
    default: .
  dest:
    description:
      - Directory of the compose project on the server, which is compared with what was brought, by content and
        by the mode that M(carrental.ops.stack_config) gives. Empty compares nothing.
    type: path
  state_dir:
    description: >-
      Directory of what the operations remember. Files of O(dest) that another procedure writes, and which are
      left alone by a release, are named there.
    type: path
  package:
    description: What the controller packed. Given by the controller's part of this module alone.
    type: str
notes:
  - The content of all files together may be 64 MiB.
"""

EXAMPLES = r"""
- name: Bring the configuration
  carrental.ops.config_delivery:
    src: "{{ playbook_dir }}/../stack"
    exclude: [.git, node_modules]
    certificates: "{{ playbook_dir }}/../certificates"
    certificates_path: nginx/ssl
    dest: /opt/carrental
    state_dir: /opt/carrental/.ops
  register: delivered

- name: Remove it
  ansible.builtin.file:
    path: "{{ delivered.path }}"
    state: absent
  when: delivered.path is defined
"""

RETURN = r"""
path:
  description: The new directory of the server, which only this user can read.
  returned: when O(dest) does not have all of it
  type: str
  sample: /tmp/carrental-deploy-9rgikcsj
"""

import base64
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import _delivered, _owned, _package


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "str", "default": ""},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "certificates": {"type": "str", "default": ""},
            "certificates_path": {"type": "str", "default": "."},
            # Private keys are in it.
            "package": {"type": "str", "no_log": True},
            "dest": {"type": "path"},
            "state_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    if not module.params["package"]:
        module.fail_json(
            msg="Nothing was packed: run this as a task, not by itself. Nothing was changed."
        )
    dest = module.params["dest"]
    path = tempfile.mkdtemp(prefix=_delivered.PREFIX)
    try:
        _package.unpack(base64.b64decode(module.params["package"]), path)
    except (OSError, _package.PackageError) as error:
        shutil.rmtree(path, ignore_errors=True)
        module.fail_json(
            msg=f"The configuration was not delivered to {path}: {error} Nothing was changed."
        )
    if dest and _delivered.is_there(path, dest, _owned.paths(module.params["state_dir"], dest)):
        shutil.rmtree(path, ignore_errors=True)
        module.exit_json(changed=False)
    module.exit_json(changed=False, path=path)


if __name__ == "__main__":
    main()
