#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a copy of the result of an operation on the server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: report_save
short_description: Keep a copy of the result of an operation on the server
version_added: 0.1.0
description:
  - Writes a result as JSON into the directory of reports, whole or not at all, and keeps only the newest ones.
  - A report that cannot be written is no reason to fail an operation that is over. The module then returns
    RV(error) and leaves the decision to its caller.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
attributes:
  check_mode:
    support: full
    details: [In check mode nothing is written and RV(path) is empty.]
  diff_mode:
    support: none
  idempotent:
    support: N/A
    details: [Every call adds one report; production is not changed by it.]
options:
  directory:
    description: Existing directory of the reports on the server.
    type: path
    required: true
  operation:
    description: The operation that ended, for example V(health) or V(deploy).
    type: str
    required: true
  result:
    description: What it returned. It must not hold secrets.
    type: dict
    required: true
  keep:
    description: How many reports of this operation stay.
    type: int
    default: 200
"""

EXAMPLES = r"""
- name: Keep the result
  carrental.ops.report_save:
    directory: /opt/carrental/.ops/reports
    operation: health
    result: "{{ carrental_outcome }}"
"""

RETURN = r"""
path:
  description: File that was written. Empty in check mode and when writing failed.
  returned: always
  type: str
  sample: /opt/carrental/.ops/reports/20261123T031500.000000Z-health.json
error:
  description: Why the report could not be written; empty when it was.
  returned: always
  type: str
  sample: "cannot write to /opt/carrental/.ops/reports: No space left on device; free space there"
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import _reports


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "operation": {"type": "str", "required": True},
            "result": {"type": "dict", "required": True},
            "keep": {"type": "int", "default": _reports.KEPT},
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["keep"] < 1:
        module.fail_json(msg=f"keep is {params['keep']}; give 1 or more. Nothing was changed.")
    kept = {"path": "", "error": ""}
    if not module.check_mode:
        kept = _reports.keep(
            Path(params["directory"]), params["operation"], params["result"], params["keep"]
        )
    module.exit_json(changed=False, **kept)


if __name__ == "__main__":
    main()
