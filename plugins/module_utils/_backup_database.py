# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The database that is backed up: asked in its own container, by its own tools.

pg_dump of the server's container has the server's version by itself, and its socket lets the
superuser in whatever became of the password. A server that is managed elsewhere has a container of
its tools in the stack, whose environment says where it is. One session of psql exports the snapshot
that pg_dump reads, and waits: it ends the others when it is left alone. A second one counts the
rows in the same snapshot while pg_dump works.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import _exec_stream, _operation, _operation_rules
from ._backups import BackupError
from ._docker import Container
from ._engine import Engine

# Neither a limit of the database nor one of the role may end a backup half-way.
_BEGIN = """
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
SET search_path = pg_catalog;
SET lock_timeout = '{lock_timeout}s';
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT json_build_object('snapshot', pg_export_snapshot());
"""
_JOIN = """
SET statement_timeout = 0; SET max_parallel_workers_per_gather = 0;
SET search_path = pg_catalog;
SET lock_timeout = '{lock_timeout}s';
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET TRANSACTION SNAPSHOT '{snapshot}';
"""
_FACTS = """
SELECT json_build_object(
  'database', json_build_object(
    'name', d.datname, 'oid', d.oid::bigint, 'size_bytes', pg_database_size(d.oid),
    'owner', pg_get_userbyid(d.datdba), 'encoding', pg_encoding_to_char(d.encoding),
    'collate', d.datcollate, 'ctype', d.datctype,
    'locale_provider', to_jsonb(d) ->> 'datlocprovider',
    'icu_locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
    'connection_limit', d.datconnlimit,
    'acl', CASE WHEN d.datacl IS NOT NULL THEN (
      SELECT coalesce(json_agg(json_build_object(
        'grantee', CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee) END,
        'privilege', a.privilege_type, 'grantable', a.is_grantable)), '[]')
      FROM aclexplode(d.datacl) a) END,
    'settings', (
      SELECT coalesce(json_agg(json_build_object(
        'role', CASE WHEN s.setrole = 0 THEN '' ELSE pg_get_userbyid(s.setrole) END,
        'name', split_part(c, '=', 1), 'value', substr(c, strpos(c, '=') + 1))), '[]')
      FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setdatabase = d.oid)),
  'server_version', current_setting('server_version'),
  'system_identifier', (SELECT system_identifier::text FROM pg_control_system()),
  'in_recovery', pg_is_in_recovery(),
  'extensions', (SELECT coalesce(json_object_agg(extname, extversion), '{}') FROM pg_extension),
  'roles', (SELECT json_agg(name ORDER BY name) FROM (
    SELECT pg_get_userbyid(d.datdba)::text AS name
    UNION SELECT pg_get_userbyid(relowner)::text FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    UNION SELECT pg_get_userbyid(refobjid)::text FROM pg_shdepend
      WHERE refclassid = 'pg_authid'::regclass
        AND (dbid = d.oid OR (classid = 'pg_database'::regclass AND objid = d.oid))) found),
  'table_count', (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'),
  'has_migrations', to_regclass('public._prisma_migrations') IS NOT NULL)
FROM pg_database d WHERE d.datname = current_database();
"""
_MIGRATIONS = """
SELECT to_json(migration_name) FROM public._prisma_migrations
 WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL ORDER BY started_at, migration_name;
"""
_HAS_MIGRATIONS = "SELECT to_json(to_regclass('public._prisma_migrations') IS NOT NULL);"
# What belongs to an extension comes with the extension, and is not dumped.
_TABLES = """
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT 1 FROM pg_depend e
                    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid
                      AND e.deptype = 'e')
 ORDER BY pg_relation_size(c.oid) DESC
\\gexec
"""
# First all locks, as pg_dump takes them: a table that is emptied or rewritten meanwhile would
# look empty in an older snapshot.
_LOCK = "SELECT format('LOCK TABLE ONLY %I.%I IN ACCESS SHARE MODE', n.nspname, c.relname)"
_ROWS = """
SELECT format('SELECT json_build_array(%L, count(*)) FROM ONLY %I.%I',
              n.nspname || '.' || c.relname, n.nspname, c.relname)
"""
_COUNT = _LOCK + _TABLES + _ROWS + _TABLES
# What psql does when its input ends, as it does when this process is killed: the engine lets a
# command go on whose client is gone, and pg_dump would hold its locks to its end.
_LAST = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE application_name = '{}' AND pid <> pg_backend_pid()
"""
_ORPHANS = """
SELECT json_build_array(application_name, pid) FROM pg_stat_activity
 WHERE application_name LIKE 'carrental-ops %' AND pid <> pg_backend_pid();
"""


# Of libpq: where a server is that is not in the container, and how it is trusted.
_CONNECTION = ("PGHOST", "PGPORT", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY")


class DatabaseError(BackupError):
    """The database cannot be backed up; the text is a whole sentence."""


@dataclass(frozen=True)
class Source:
    """A database, the container it lives in, and who asks it."""

    docker: Engine
    container: Container
    user: str
    database: str
    password: str = ""
    # What is done to it, for what is said of errors.
    verb: str = "backed up"

    def environment(self, operation: str = "") -> dict[str, str]:
        """Return what its tools find in their environment, and nobody in a command line."""
        found = {"PGPASSWORD": self.password} if self.password else {}
        if operation:
            found["PGAPPNAME"] = _operation.application_name(operation)
        return found

    @property
    def connection(self) -> dict[str, str]:
        """Where the tools in its container connect to: nothing for the server that is in there."""
        known = self.container.environment if self.elsewhere else {}
        return {name: known[name] for name in _CONNECTION if known.get(name)}

    @property
    def elsewhere(self) -> str:
        """The server that its container has the tools for; empty for the one that is in there."""
        return self.container.tools_for

    @property
    def place(self) -> str:
        where = f"{self.elsewhere}, asked from " if self.elsewhere else ""
        return f"{self.database} in {where}{self.container.name}"


def source(engine: Engine, project: str, service: str, database: str, user: str = "") -> Source:
    """Return the database of a service.

    :raises DatabaseError: its container is not there or does not run.
    """
    found = [one for one in engine.services(project) if one.service == service]
    running = [one for one in found if one.running]
    if not running:
        state = found[0].state.get("Status", "not running") if found else "not there"
        raise DatabaseError(
            f"The container of {service} is {state}: there is no database to work with. Start it "
            "first; see playbooks/health.yml. Nothing was changed."
        )
    container = running[0]
    environment = container.environment
    password = environment.get("POSTGRES_PASSWORD", "")
    file = environment.get("POSTGRES_PASSWORD_FILE", "")
    if not password and file:
        password = engine.read_file(container.id, file).strip()
    name = user or environment.get("POSTGRES_USER") or "postgres"
    return Source(engine, container, name, database, password)


class Session:
    """A session of psql that is asked one thing after the other.

    :param operation: the operation that it is known by.
    :param guards: it ends the other sessions of that operation when its input ends.
    """

    def __init__(
        self, source: Source, operation: str = "", database: str = "", *, guards: bool = False
    ) -> None:
        self._source = source
        self._mark = f"end-{uuid.uuid4().hex}"
        argv = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", source.user, "-f", "-"]
        if guards:
            argv += ["-c", _LAST.format(_operation.application_name(operation))]
        self._stream = _exec_stream.Stream(
            source.docker,
            source.container.id,
            [*argv, "-d", database or source.database],
            source.environment(operation),
        )
        self._output = self._stream.output()
        self._rest = b""

    def ask(self, statements: str) -> list[Any]:
        """Run statements; return the JSON documents that they print, one a line.

        :raises DatabaseError: one of them failed, or there is no session.
        """
        self.send(statements)
        return self.answers()

    def send(self, statements: str) -> None:
        """Have statements run, and do not wait for them."""
        self._stream.send(f"{statements}\n\\echo {self._mark}\n".encode())

    def answers(self) -> list[Any]:
        """Wait for what was sent; return the JSON documents that it printed, one a line.

        :raises DatabaseError: one of the statements failed, or there is no session.
        """
        end = f"{self._mark}\n".encode()
        found = bytearray(self._rest)
        while end not in found:
            piece = next(self._output, None)
            if piece is None:
                raise DatabaseError(explain(self._stream.errors, self._source))
            found += piece
        text, _end, self._rest = bytes(found).partition(end)
        return [json.loads(line) for line in text.decode().splitlines() if line.strip()]

    def close(self) -> None:
        """End it."""
        self._stream.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def begin(self, lock_timeout: int) -> str:
        """Begin to look at the database as it is at this moment; return the snapshot's name."""
        (answer,) = self.ask(_BEGIN.format(lock_timeout=lock_timeout))
        return str(answer["snapshot"])

    def facts(self) -> dict[str, Any]:
        """Return what a manifest says of the database."""
        (found,) = self.ask(_FACTS)
        applied = self._applied() if found.pop("has_migrations") else ()
        return {**found, "migrations_head": applied[-1] if applied else ""}

    def migrations(self) -> tuple[str, ...] | None:
        """Return the migrations that were applied, oldest first; nothing without their table."""
        return self._applied() if self.ask(_HAS_MIGRATIONS) == [True] else None

    def _applied(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.ask(_MIGRATIONS))

    def count(self) -> dict[str, int]:
        """Return the rows of each table as they are now."""
        self.send(_ROWS + _TABLES)
        return self.counted()

    def begin_to_count(self, snapshot: str, lock_timeout: int) -> None:
        """Have the rows of each table of a snapshot counted, and do not wait for it."""
        self.send(_JOIN.format(snapshot=snapshot, lock_timeout=lock_timeout) + _COUNT)

    def counted(self) -> dict[str, int]:
        """Wait for the rows of each table."""
        return {str(name): int(rows) for name, rows in self.answers()}


def orphans(source: Source, alive: Callable[[], Sequence[str]]) -> list[str]:
    """End sessions of operations that hold no lock any more; return whose they were.

    :param alive: asked after the sessions were listed: who came later has a lock.
    """
    ended = set()
    with Session(source, database="postgres") as session:
        listed = [(str(name).partition(" ")[2], int(pid)) for name, pid in session.ask(_ORPHANS)]
        living = alive() if listed else ()
        for operation, pid in listed:
            if _operation_rules.kind_of(operation) and operation not in living:
                session.ask(f"SELECT to_json(pg_terminate_backend({pid}));")
                ended.add(operation)
    return sorted(ended)


_CAUSES = [
    (
        r'database "(?P<what>[^"]*)" does not exist',
        "there is no database {what}; check carrental_database",
    ),
    (
        r'role "(?P<what>[^"]*)" does not exist',
        "there is no role {what}; check POSTGRES_USER of the container",
    ),
    (
        r"password authentication failed",
        "{container} refuses the password of {user}; the role's password and the one in the "
        "container's environment differ",
    ),
    (
        r"server version: (?P<server>[^\s;]+).*pg_dump version: (?P<dump>[^\s;]+)",
        "pg_dump of {container} is {dump} and the server is {server}; dump with the server's own "
        "version",
    ),
    (
        # pg_dump waits for its locks with a limit of the statement.
        r"could not obtain lock|lock timeout|statement timeout.*LOCK TABLE",
        "a table of {database} is locked by another session; try again when it has ended, a "
        "migration for example (backup_lock_timeout)",
    ),
    (
        r"permission denied for (?P<what>.*)",
        "{user} may not read {what} of {database}; back up as the superuser of the container",
    ),
    (r"No space left on device", "the disk is full"),
    (r"not currently accepting connections", "{database} takes no connections"),
    (r"the database system is (?P<what>starting up|shutting down)", "{container} is {what}"),
    (r"terminating connection", "its session was ended by somebody"),
]


def explain(message: str, source: Source) -> str:
    """Return the cause in what a tool of PostgreSQL said, as a sentence."""
    text = " ".join(message.split())
    for pattern, sentence in _CAUSES:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            known = {
                "container": source.container.name,
                "database": source.database,
                "user": source.user,
            }
            cause = sentence.format(**{**known, **match.groupdict()})
            return f"{source.place} cannot be {source.verb}: {cause}."
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reason = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
    return f"{source.place} cannot be {source.verb}: {reason.rstrip('.') or 'it gave no reason'}."
