# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a remedy works with: the engine, the cause, the stack, and how its effect is seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.carrental.ops.plugins.module_utils import (
    _checks,
    _compose,
    _pg_server,
    _releases,
    _stack,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine
from ansible_collections.carrental.ops.plugins.module_utils._incidents import Cause
from ansible_collections.carrental.ops.plugins.module_utils._running import Project

# Why a remedy for a service is not needed any more.
WELL = "does its work again"


class RemedyError(Exception):
    """A remedy that could not be carried out; the text is a whole sentence without its end."""


@dataclass
class Context:
    """One remedy for one cause.

    :param params: of the module.
    :param step: called with its name before each step; it fails when the lock was lost.
    :param kept: directory for what has to be saved before something is changed.
    :param memo: what the action leaves for its check.
    """

    engine: Engine
    params: Mapping[str, Any]
    cause: Cause
    step: Callable[..., None]
    kept: str = ""
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def service(self) -> str:
        """The service by its name in the table."""
        return self.cause.service

    @property
    def compose_service(self) -> str:
        """The service as compose calls it."""
        entry = self.params["services"].get(self.service) or {}
        return str(entry.get("compose_service") or self.service)

    @property
    def role(self) -> str:
        """The role of the service."""
        return str((self.params["services"].get(self.service) or {}).get("role") or "")

    @property
    def behind_proxy(self) -> bool:
        """Whether customers may reach the service through a proxy."""
        return self.role not in ("database", "cache", "proxy")

    def containers(self) -> list[Container]:
        """Return the containers of the service as they are now."""
        found = self.engine.services(self.params["project_name"])
        return [one for one in found if one.service == self.compose_service]

    def container(self) -> Container:
        """Return the container that the cause names, or the first one of the service."""
        found = self.containers()
        named = [one for one in found if one.name == self.cause.facts.get("container")]
        if not found:
            raise RemedyError(f"there is no container of {self.service}")
        return (named or found)[0]

    def project(self) -> _compose.Project:
        """Return the compose project with the file that pins the release."""
        source = self.params["project_src"]
        files = list(self.params["compose_files"])
        if os.path.exists(os.path.join(source, _compose.RELEASE_FILE)):
            files.append(_compose.RELEASE_FILE)
        return _compose.Project(source, self.params["project_name"], tuple(files))

    def releases(self) -> list[_releases.Release]:
        """Return the records of what was released."""
        return _releases.load(self.params["state_dir"])

    def database(self) -> _pg_server.PgServer:
        """Return the database of the stack."""
        for name, one in self.params["services"].items():
            if one.get("role") == "database":
                service = one.get("compose_service") or name
                return _pg_server.PgServer(
                    self.engine, self.params["project_name"], service, self.params["database"]
                )
        raise RemedyError("no service of the table is a database")

    def health(self, only: list[str]) -> list[dict[str, Any]]:
        """Return the checks of some services, with what is written and read back."""
        params = self.params
        health = _stack.check_stack(
            _stack.Request(
                Project(
                    params["project_name"], params["project_src"], tuple(params["compose_files"])
                ),
                params["services"],
                only,
                probe_timeout=params["probe_timeout"],
                thresholds=_checks.Thresholds(**params["thresholds"]),
                state_dir=params["state_dir"],
                disk_paths=[params["backup_dir"]] if params["backup_dir"] else [],
                domain=params["domain"],
                database=params["database"],
                bucket=params["bucket"],
            )
        )
        return health.checks

    def unwell(self) -> str:
        """Return why the service does not do its work; empty when it does."""
        for one in self.health([self.service]):
            starting = "is starting" in one["detail"]
            if one["service"] == self.service and (one["down"] or starting):
                return f"{one['summary']}: {one['detail']}"
        return ""

    def unwell_through_the_proxy(self) -> str:
        """Return why customers do not reach the service; empty when they do."""
        proxies = [
            name for name, one in self.params["services"].items() if one.get("role") == "proxy"
        ]
        for one in self.health([self.service, *proxies]):
            if one["service"] == self.service and one["down"]:
                return f"{one['summary']}: {one['detail']}"
        return ""


class Action(Protocol):
    """How a remedy is carried out."""

    def refuse(self, context: Context) -> str:
        """Return why its precondition does not hold now; empty when it does."""

    def act(self, context: Context) -> list[str]:
        """Do it; return what was done, in words."""

    def wrong(self, context: Context) -> str:
        """Return what is still missing of its effect; empty when it is there."""


class ForService:
    """A remedy whose effect is that a service does its work again."""

    def refuse(self, context: Context) -> str:
        """Return why its precondition does not hold now."""
        return "" if context.unwell() else f"{context.service} {WELL}"

    def wrong(self, context: Context) -> str:
        """Return what the service still lacks, for itself and for customers."""
        wrong = context.unwell()
        return wrong or (context.unwell_through_the_proxy() if context.behind_proxy else "")
