# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of the module config_delivery: packs, and hands the package on."""

from __future__ import annotations

import base64
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.carrental.ops.plugins.module_utils import _package

_SECRET = ".env"  # noqa: S105  # the name of a file
_NEVER = (_SECRET, f"{_SECRET}.releases")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Pack directories of the controller, and unpack them on the server."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Run the module with the package in place of the directories."""
        super().run(tmp, task_vars)
        _checked, given = self.validate_argument_spec(
            argument_spec={
                "src": {"type": "str", "default": ""},
                "exclude": {"type": "list", "elements": "str", "default": []},
                "certificates": {"type": "str", "default": ""},
                "certificates_path": {"type": "str", "default": "."},
                "dest": {"type": "path"},
                "state_dir": {"type": "path"},
            }
        )
        exclude = (*given["exclude"], *_NEVER)
        sources = [
            _package.Source(given["src"], exclude=exclude),
            _package.Source(given["certificates"], given["certificates_path"]),
        ]
        try:
            package = _package.pack([one for one in sources if one.directory])
        except _package.PackageError as error:
            return {"failed": True, "msg": f"{error} Nothing was changed."}
        arguments = {
            "package": base64.b64encode(package).decode(),
            "dest": given["dest"],
            "state_dir": given["state_dir"],
        }
        done: dict[str, Any] = self._execute_module(
            "carrental.ops.config_delivery", arguments, task_vars=task_vars
        )
        return done
