# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The outermost layer of the modules that change production: arguments in, result out.

What Ansible offers for secrets (``no_log``) replaces every occurrence of every
value: a harmless ``carrental`` in C(.env) would garble each path that is
returned. So the values are taken out of the arguments at once, and only what is
a secret by its name is masked in what goes out.
"""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from . import _environment_masking, _operation_work

# Fragment ``carrental.ops._operation``.
OPERATION_OPTIONS: dict[str, dict[str, Any]] = {
    "state_dir": {"type": "path"},
    "operation_id": {"type": "str", "default": ""},
}
_HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
_SECRET_OPTIONS = ("env", "registry_password", "secrets", "channels")


class OperationModule:
    """A module whose result holds no secret, and which cleans up when it is told to stop."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = dict(module.params)
        for option in _SECRET_OPTIONS:
            if module.params.get(option):
                module.params[option] = _HIDDEN
        module.no_log_values.clear()
        given = {key: str(value) for key, value in (self.params.get("env") or {}).items()}
        self.masker = _environment_masking.masker(
            self.params.get("dest") or "/nonexistent", given, self.params.get("env_file")
        )
        self.masker.add(self.params.get("registry_password"))
        # Without this a terminated module would leave its temporary directory.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _stop)

    def operation(
        self, kind: str, *, changes: bool = True
    ) -> AbstractContextManager[_operation_work.Operation]:
        """Work under the lock of the server: that of an operation, or one of this call alone.

        What changes nothing takes no lock, and neither does check mode; but as a part of an
        operation it shows others that this one goes on, however long it looks.

        :raises _operation.OperationError: when the lock cannot be had, or was lost.
        """
        state_dir = self.params.get("state_dir")
        if not state_dir or self.module.check_mode:
            return nullcontext(_operation_work.Operation())
        if self.params["operation_id"]:
            return _operation_work.join(
                *(state_dir, self.params["operation_id"], kind),
                mask=self.masker.data,
                warn=self.module.warn,
            )
        if not changes:
            return nullcontext(_operation_work.Operation())
        return _operation_work.alone(state_dir, kind, mask=self.masker.data, warn=self.module.warn)

    def fail(self, message: str, **result: Any) -> NoReturn:
        """End with one sentence and the facts that go with it."""
        self.module.fail_json(msg=self.masker.text(message), **self.masker.data(result))
        raise AssertionError("fail_json returned")

    def exit(self, result: dict[str, Any]) -> NoReturn:
        """End with a result."""
        self.module.exit_json(**self.masker.data(result))
        raise AssertionError("exit_json returned")


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
