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
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from . import _configuration, _configuration_report, _env_file

DATA_ROLES = ("database", "cache", "object_store")
_HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
_SECRET_OPTIONS = ("env", "registry_password")


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
        self.masker = _configuration_report.masker(self.params.get("dest") or "/nonexistent", given)
        self.masker.add(self.params.get("registry_password"))
        # Without this a terminated module would leave its temporary directory.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _stop)

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


def wish(params: dict[str, Any]) -> _configuration.Wish:
    """Return the configuration that the arguments of a module describe."""
    pins = params.get("pins")
    table = params.get("table") or {}
    return _configuration.Wish(
        dest=params["dest"],
        src=params["src"],
        files=tuple(params["files"]),
        project=params["project"],
        env=_env_file.wanted(params["env"]),
        env_remove=tuple(params["env_remove"]),
        pins=None if pins is None else {str(key): str(value) for key, value in pins.items()},
        services=tuple(aliases(table).values()),
        held=tuple(held(table, params.get("replace") or ())),
    )


def aliases(table: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return what compose calls each service of the table."""
    return {name: one.get("compose_service") or name for name, one in table.items()}


def held(table: Mapping[str, Mapping[str, Any]], replace: Iterable[str]) -> list[str]:
    """Return the services that hold data and that nobody asked to replace."""
    names = aliases(table)
    asked = set(replace)
    return [
        names[name]
        for name, one in table.items()
        if one.get("role") in DATA_ROLES and not {name, names[name]} & asked
    ]
