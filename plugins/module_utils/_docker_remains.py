# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What still works for an operation inside of containers, where no environment tells it."""

from __future__ import annotations

from . import _docker, _engine, _one_off, _operation, _operation_rules

_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = '{}'"


def asker(project: str, database_service: str) -> _operation.Remains:
    """Return whom to ask for what an operation left at work in a project.

    The answer is as good as Docker is: where it does not answer, nothing is known
    and nothing is found.
    """

    def ask(operation: str) -> list[str]:
        if not _operation_rules.kind_of(operation):
            return []
        try:
            engine = _engine.Engine()
            return _containers(engine, operation) + _sessions(
                engine, project, database_service, operation
            )
        except _docker.DockerError:
            return []

    return ask if project else _operation.nothing_remains


def _containers(engine: _engine.Engine, operation: str) -> list[str]:
    return [
        f"container {listed['Names'][0].lstrip('/')}"
        for listed in engine.containers()
        if (listed.get("Labels") or {}).get(_one_off.OPERATION) == operation
        and listed.get("State") in ("running", "restarting", "paused")
    ]


def _sessions(engine: _engine.Engine, project: str, service: str, operation: str) -> list[str]:
    containers = engine.services(project)
    database = next((one for one in containers if one.service == service and one.running), None)
    if database is None:
        return []
    user = database.environment.get("POSTGRES_USER") or "postgres"
    name = database.environment.get("POSTGRES_DB") or user
    query = _SESSIONS.format(_operation.application_name(operation))
    psql = ["psql", "-X", "-A", "-t", "-q", "-U", user, "-d", name, "-c", query]
    rc, output = engine.execute(database.id, psql)
    pids = output.split() if rc == 0 else []
    return [f"database session {pid}" for pid in pids if pid.isdigit()]
