# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Whether the application works with the database that it has now, and how long it had none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils._running import Project

from . import _gap, _service_table, _stack, _verification
from ._docker import DockerError
from ._engine import Engine

_ROLES = ("stateless", "database", "proxy")
_CONSECUTIVE, _INTERVAL = 2, 0.5


@dataclass(frozen=True)
class Application:
    """The services that need the database, as the table describes them."""

    engine: Engine
    project: Project
    table: Mapping[str, Any]
    domain: str = ""
    database: str = ""
    only: list[str] = field(default_factory=list)

    def failed(self) -> list[str]:
        """Return the checks that fail at this moment, each with its line."""
        only = [name for name, one in self.table.items() if one.get("role") in _ROLES]
        if not only:
            return []
        health = _stack.check_stack(
            _stack.Request(
                self.project,
                self.table,
                only,
                deep=True,
                canary=True,
                domain=self.domain,
                database=self.database,
                docker_socket=self.engine.path,
            )
        )
        return sorted(
            f"{one['name']}: {one['detail'] or one['summary']}"
            for one in health.checks
            if one["status"] == "fail"
        )

    def settle(self, before: list[str], timeout: float) -> _verification.Outcome:
        """Wait until nothing fails that did not fail before."""
        known = {line.partition(":")[0] for line in before}

        def look() -> list[str]:
            return [line for line in self.failed() if line.partition(":")[0] not in known]

        return _verification.poll(
            look, deadline=timeout, consecutive=_CONSECUTIVE, interval=_INTERVAL
        )

    @contextmanager
    def watched(self) -> Iterator[dict[str, _gap.Prober]]:
        """Ask the released services through the proxy, as customers do, while something happens."""
        proxy = _service_table.front(self.table, self.domain)
        probers: dict[str, _gap.Prober] = {}
        with ExitStack() as stack:
            for name, one in self.table.items():
                if proxy is None or one.get("role") != "stateless" or not one.get("proxy_path"):
                    continue
                ask = self._asker(proxy, _verification.target(name, "", one))
                if ask:
                    probers[name] = stack.enter_context(_gap.Prober(ask))
            yield probers

    def _asker(self, proxy: _verification.Proxy, target: _verification.Target) -> Any:
        try:
            gates = [
                one
                for one in self.engine.services(self.project.name)
                if one.service == proxy.service and one.running and one.address
            ]
        except DockerError:
            return None
        if not gates:
            return None
        request = proxy.request(gates[0], target.proxy_path)
        return lambda: _verification.ask(request, target, "")
