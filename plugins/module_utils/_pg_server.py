# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The PostgreSQL of a stack as its superuser sees it: settings, where they come from, facts."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from ansible_collections.carrental.ops.plugins.module_utils import (
    _checks,
    _memory_budget,
    _postgres,
    _service_probes,
    _services,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container, DockerError
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine
from ansible_collections.carrental.ops.plugins.module_utils._pg_settings import Entry, Row

if TYPE_CHECKING:
    import psycopg2

_NAME = "carrental.ops tune"
_TCP_SECONDS = 0.3
_STATEMENT_MS = 60_000
_ROWS = """
SELECT name, setting, unit, context, vartype, source, sourcefile, sourceline, boot_val,
       min_val, max_val, enumvals, pending_restart
  FROM pg_settings
"""
_ENTRIES = """
SELECT name, setting, sourcefile, sourceline, error
  FROM pg_file_settings WHERE name IS NOT NULL ORDER BY seqno
"""
_FACTS = """
SELECT current_setting('data_directory') AS folder,
       current_setting('server_version_num')::int / 10000 AS version,
       pg_is_in_recovery() AS in_recovery,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       current_user::text AS user,
       (SELECT sum(pg_database_size(oid))::bigint / 1048576 FROM pg_database
         WHERE datallowconn) AS database_mb,
       extract(epoch FROM pg_postmaster_start_time())::float AS started
"""
_OWN = """
SELECT coalesce(r.rolname, 'every role')::text AS role,
       coalesce(d.datname, 'every database')::text AS database,
       split_part(one, '=', 1) AS name, substr(one, strpos(one, '=') + 1) AS value
  FROM pg_db_role_setting s
  LEFT JOIN pg_roles r ON r.oid = s.setrole
  LEFT JOIN pg_database d ON d.oid = s.setdatabase
 CROSS JOIN LATERAL unnest(s.setconfig) AS one
"""


class ServerError(Exception):
    """A server that cannot be asked; the text is a whole sentence without its end."""


def elsewhere(endpoint: _services.Endpoint) -> _postgres.Login:
    """Return how to reach a server at an endpoint that has a host."""
    user = endpoint.user or "postgres"
    return _postgres.Login(
        endpoint.host,
        endpoint.port or 5432,
        user,
        endpoint.password,
        endpoint.database or user,
        endpoint.tls,
        endpoint.ca_file,
    )


class PgServer:
    """A server in a container; its address is looked up anew, for a restart may change it."""

    def __init__(self, engine: Engine, project: str, service: str, database: str) -> None:
        self.engine = engine
        self.project = project
        self.service = service
        self.database = database
        found = [one for one in engine.services(project) if one.service == service]
        if not found:
            raise ServerError(
                f"There is no container of {service} in project {project}; check its name, or "
                "start it first"
            )
        self.id = found[0].id

    @property
    def container(self) -> Container:
        """Its container as it is now."""
        return self.engine.inspect(self.id)

    def login(self, given: _services.Endpoint | None = None) -> _postgres.Login:
        """Return how to reach it, as the role that its image made.

        :param given: what is known better than by its container.
        """
        container = self.container
        if container.tools_for:
            raise ServerError(
                f"{container.tools_for} is managed elsewhere, and {container.name} only has its "
                "tools: what it is set to is its provider's"
            )
        subject = _checks.Subject(self.service, "PostgreSQL", "P1", "", "")
        service = _services.Service(
            name=self.service,
            subject=subject,
            role="database",
            probe="postgres",
            port=(given.port if given else 0) or 5432,
            container=container.name,
            compose_service=self.service,
            endpoint=given or _services.Endpoint(),
        )
        place = _service_probes.Place(service, container.address, container, self.engine)
        return _service_probes.postgres_login(
            place, _service_probes.Settings(database=self.database)
        )

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a session without a transaction, as ALTER SYSTEM demands it."""
        target = self.login()
        if not target.host:
            raise ServerError(f"{self.service} has no address: its container does not run")
        with session(target, _NAME) as opened:
            yield opened

    def ask(self) -> str:
        """Send one query, for a prober; return why it was not answered."""
        try:
            login = self.login()
            with socket.create_connection((login.host or "0.0.0.0", login.port), _TCP_SECONDS):  # noqa: S104
                pass
            with self.session() as session:
                session.rows("SELECT 1")
        except (ServerError, DockerError, OSError) as error:
            return str(error)
        return ""

    def disk_mb(self, folder: str) -> int:
        """Return the size of the file system of its data; 0 where nobody can tell."""
        try:
            rc, text = self.engine.execute(self.id, ["df", "-P", "-k", folder])
            return int(text.strip().splitlines()[-1].split()[-5]) // 1024 if rc == 0 else 0
        except (DockerError, ValueError, IndexError):
            return 0


@contextmanager
def session(login: _postgres.Login, name: str) -> Iterator[Session]:
    """Open a session in which each statement is a transaction of its own.

    :param name: by which others see it.
    :raises ServerError: nobody answers, or a statement failed.
    """
    import psycopg2  # noqa: PLC0415  # its absence is told by the module

    parameters = {
        **_postgres.parameters(login),
        "connect_timeout": 3,
        "application_name": name,
        "options": f"-c statement_timeout={_STATEMENT_MS} -c lock_timeout=5000",
    }
    try:
        connection = psycopg2.connect(**parameters)
    except psycopg2.Error as error:
        raise ServerError(_postgres.explain(str(error), login)) from error
    try:
        connection.autocommit = True
        yield Session(connection, psycopg2.Error)
    except psycopg2.Error as error:
        raise ServerError(_postgres.first_line(str(error))) from error
    finally:
        connection.close()


class Session:
    """One session, each statement a transaction of its own.

    :ivar error: what its statements raise.
    """

    def __init__(self, connection: psycopg2.extensions.connection, error: type[Exception]) -> None:
        self._connection = connection
        self.error = error

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Run a statement and return its rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        """Run a statement without rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)

    def settings(self) -> dict[str, Row]:
        """Return every setting by its name."""
        return {row["name"]: Row.of(row) for row in self.rows(_ROWS)}

    def entries(self) -> list[Entry]:
        """Return the lines of the configuration files, the one that counts last."""
        return [
            Entry(
                row["name"],
                row["setting"] or "",
                row["sourcefile"] or "",
                int(row["sourceline"] or 0),
                row["error"] or "",
            )
            for row in self.rows(_ENTRIES)
        ]

    def facts(self) -> dict[str, Any]:
        """Return what else decides a plan."""
        return self.rows(_FACTS)[0]

    def own_settings(self, names: Mapping[str, Any]) -> list[str]:
        """Return which roles and databases have settings of their own, in words."""
        return [
            f"{row['role']} in {row['database']} has its own {row['name']} = {row['value']} "
            "(ALTER ROLE or ALTER DATABASE), which stays in force there"
            for row in self.rows(_OWN)
            if row["name"] in names
        ]


_URL = re.compile(r"postgres(?:ql)?://", re.IGNORECASE)
_EXPORTER = re.compile(r"DATA_SOURCE_(?:NAME|URI)")


def pool_of(container: Container, cores: int) -> tuple[int, bool] | None:
    """Return the connections of a container, and whether somebody said so; nothing without any.

    :param cores: of the host, from which Prisma derives its pool (two for each, and one).
    """
    sizes = []
    for value in container.environment.values():
        if not _URL.match(value):
            continue
        given = parse_qs(urlsplit(value).query).get("connection_limit", [""])[0]
        sizes.append((int(given), True) if given.isdigit() else (cores * 2 + 1, False))
    # Several URLs are usually one database: a second one is for migrations.
    return max(sizes, default=None)


def pools(engine: Engine, project: str, service: str) -> tuple[list[_memory_budget.Pool], int]:
    """Return the pools of a project's services, and how many exporters look at the database.

    :param service: the database itself, whose own environment does not count.
    """
    cores = int(engine.info.get("NCPU") or 1)
    found: dict[str, _memory_budget.Pool] = {}
    exporters = 0
    for container in engine.services(project):
        if container.service == service:
            continue
        if any(_EXPORTER.fullmatch(name) for name in container.environment):
            exporters += 1
            continue
        pool = pool_of(container, cores)
        if pool:
            before = found.get(container.service)
            found[container.service] = _memory_budget.Pool(
                container.service, pool[0], (before.replicas if before else 0) + 1, pool[1]
            )
    return sorted(found.values(), key=lambda one: one.service), exporters


def limits(container: Container, engine: Engine) -> tuple[int, float]:
    """Return the memory of a container in MiB, 0 without a limit, and the cores it may use."""
    host = container.raw.get("HostConfig") or {}
    total = float(engine.info.get("NCPU") or 1)
    cores = float(host.get("NanoCpus") or 0) / 1e9
    if not cores and int(host.get("CpuQuota") or 0) > 0:
        cores = host["CpuQuota"] / (host.get("CpuPeriod") or 100_000)
    return int(host.get("Memory") or 0) // 2**20, min(cores or total, total)


def shm_mb(container: Container) -> int:
    """Return the size of its /dev/shm in MiB."""
    return int((container.raw.get("HostConfig") or {}).get("ShmSize") or 0) // 2**20


def await_answer(
    server: PgServer, timeout: float, started_after: float = 0.0, *, fresh: bool = False
) -> None:
    """Wait until a server answers a query.

    :param started_after: the moment of its last start, which has to be over.
    :param fresh: it was just started, so that a restart by the engine means that it died.
    :raises ServerError: it died, or did not answer in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        wrong = _dead(server, fresh)
        if wrong:
            raise ServerError(wrong)
        try:
            with server.session() as session:
                if float(session.facts()["started"]) > started_after:
                    return
                why = "it was not restarted"
        except ServerError as error:
            why = str(error)
        if time.monotonic() > deadline:
            raise ServerError(f"{server.service} does not answer {timeout:g} s later: {why}")
        time.sleep(0.1)


def _dead(server: PgServer, fresh: bool) -> str:
    container = server.container
    if container.running and not (fresh and int(container.raw.get("RestartCount") or 0)):
        return ""
    return f"{server.service} does not start: {last_words(server)}"


def last_words(server: PgServer) -> str:
    """Return why a server ended, in its own words."""
    lines = server.engine.log(server.container, 60)
    for line in reversed(lines):
        found = re.search(r"(?:FATAL|PANIC):\s*(.+)", line)
        if found:
            return found[1].strip()
    return lines[-1].strip() if lines else f"see docker logs {server.container.name}"
