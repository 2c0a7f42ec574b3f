# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Replacing what others stand on: a proxy, or what holds data. Both leave a gap.

A single one cannot be replaced without: what can be done is to make the gap short, to
kill nothing that is still writing, and to say how long it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from . import _http, _migrations, _service_table
from ._docker import Container, DockerError
from ._engine import Engine

_POLL = 0.2
_CHECKPOINT_SECONDS = 300


@dataclass(frozen=True)
class Standing:
    """What is about to be replaced, and how customers would notice.

    :param holds_data: whether any of it holds data.
    :param databases: the running containers of PostgreSQL among it.
    :param ways_in: what sends one request through the proxy, by the service that answers.
    """

    holds_data: bool = False
    databases: tuple[Container, ...] = ()
    ways_in: dict[str, Callable[[], str]] = field(default_factory=dict)

    def wait(self, seconds: float) -> None:
        """Wait until customers are served again: an application needs a moment to reconnect."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(ask() for ask in self.ways_in.values()):
            time.sleep(_POLL)


def look(
    engine: Engine,
    project: str,
    table: _service_table.Table,
    services: Sequence[str],
    domain: str,
) -> Standing:
    """Return what a look at the table and at the containers tells; it changes nothing."""
    described = _service_table.by_alias(table)
    roles = {name: str(described.get(name, {}).get("role") or "") for name in services}
    data = [name for name, role in roles.items() if role in _service_table.DATA_ROLES]
    if not data and "proxy" not in roles.values():
        return Standing()
    running = [one for one in engine.services(project) if one.running]
    databases = tuple(one for one in running if roles.get(one.service) == "database")
    return Standing(bool(data), databases, _ways_in(engine, project, described, table, domain))


def _ways_in(
    engine: Engine,
    project: str,
    described: Mapping[str, Mapping[str, object]],
    table: _service_table.Table,
    domain: str,
) -> dict[str, Callable[[], str]]:
    """Return one request for each service that serves customers now; a broken one tells nothing."""
    front = _service_table.front(table, domain)
    if front is None:
        return {}

    def asking(path: str) -> Callable[[], str]:
        def ask() -> str:
            # Anew each time: a proxy that is replaced gets another address.
            try:
                gate = next(
                    one
                    for one in engine.services(project)
                    if one.service == front.service and one.running
                )
                answer = _http.request(front.request(gate, path))
            except StopIteration:
                return f"{front.service} does not run"
            except (_http.HttpError, DockerError) as error:
                return str(error)
            return f"it answers {answer.status}" if answer.status >= 500 else ""

        return ask

    found = {
        name: asking(str(one["proxy_path"]))
        for name, one in described.items()
        if one.get("proxy_path")
    }
    return {name: ask for name, ask in found.items() if not ask()}


def checkpoint(engine: Engine, database: Container) -> None:
    """Let PostgreSQL write what it holds, while it still serves.

    Where it cannot be asked the database is replaced all the same: it writes the checkpoint
    when it ends, and takes longer for it.
    """
    name = database.environment.get("POSTGRES_DB") or "postgres"
    statement = f"SET statement_timeout = '{_CHECKPOINT_SECONDS}s'"
    with suppress(DockerError):
        engine.execute(
            database.id, [*_migrations.psql(database, name), statement, "-c", "CHECKPOINT"]
        )
