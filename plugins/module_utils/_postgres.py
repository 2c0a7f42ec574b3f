# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Look at a PostgreSQL server as its application does, and name what is wrong.

The library is imported when a server is talked to: in the process of the
probe, and only there.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.carrental.ops.plugins.module_utils import _postgres_findings as findings
from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    Check,
    Subject,
    Thresholds,
)

if TYPE_CHECKING:
    import psycopg2

LIBRARY, PACKAGE = "psycopg2", "python3-psycopg2"
# Statements of a health check must not pile up in a server that hangs.
_STATEMENT_TIMEOUT_MS = 2500

_SERVER = """
SELECT current_setting('server_version') AS version,
       pg_is_in_recovery() AS in_recovery,
       current_setting('transaction_read_only') = 'on' AS read_only,
       (SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only') AS source
"""
_SIZE = """
SELECT pg_database_size(current_database()) AS size_bytes,
       current_setting('max_connections')::int AS max_connections,
       current_setting('superuser_reserved_connections')::int
         + coalesce(nullif(current_setting('reserved_connections', true), '')::int, 0) AS reserved
"""
_SESSIONS = """
SELECT pid, usename::text AS usename, datname::text AS datname, application_name, state,
       extract(epoch FROM clock_timestamp() - xact_start)::float AS transaction_s,
       extract(epoch FROM clock_timestamp() - state_change)::float AS state_s,
       extract(epoch FROM clock_timestamp() - query_start)::float AS query_s,
       CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) END AS blocked_by
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
 LIMIT 5000
"""
_WRAPAROUND = """
SELECT datname::text AS datname,
       greatest(age(datfrozenxid), mxid_age(datminmxid)) AS age
  FROM pg_database ORDER BY 2 DESC LIMIT 1
"""
_STANDBYS = """
SELECT coalesce(nullif(application_name, ''), client_addr::text, 'a standby') AS name, state,
       pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint AS lag_bytes
  FROM pg_stat_replication
"""
_SLOTS = """
SELECT slot_name::text AS name, active,
       pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS retained_bytes
  FROM pg_replication_slots
"""
# A record in the write-ahead log: the whole way of a write, and no table is touched.
_WRITE = "SELECT pg_logical_emit_message(true, 'carrental.ops', 'health')::text AS lsn"


@dataclass(frozen=True)
class Login:
    """How to reach a server, and as whom."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    tls: bool = False
    ca_file: str = ""

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Options:
    """How much is looked at; ``canary`` False leaves out the write."""

    deep: bool = True
    canary: bool = True
    thresholds: Thresholds = field(default_factory=Thresholds)


def check(subject: Subject, login: Login, options: Options) -> list[Check]:
    """All checks of a server; the first is whether one can log in."""
    try:
        import psycopg2  # noqa: PLC0415  # in the process of the probe only
    except ImportError:
        return [subject.down("login", missing_library())]
    started = time.monotonic()
    try:
        connection = psycopg2.connect(**parameters(login))
    except psycopg2.Error as error:
        return [subject.down("login", explain(str(error), login), place=login.place)]
    try:
        server = _rows(connection, _SERVER)[0]
        latency = round((time.monotonic() - started) * 1000, 1)
        checks = [
            subject.passed(
                "login",
                place=login.place,
                database=login.database,
                user=login.user,
                version=server["version"],
                latency_ms=latency,
            )
        ]
        checks.append(_writable(subject, connection, server, options))
        if options.deep:
            checks += _deep(subject, connection, bool(server["in_recovery"]), options.thresholds)
    except psycopg2.Error as error:
        return [subject.down("login", explain(str(error), login), place=login.place)]
    finally:
        connection.close()
    return checks


def missing_library() -> str:
    """What to do when the library is not on the server."""
    return (
        f"it cannot be checked, the Python library {LIBRARY} is missing on the server; "
        f"run playbooks/bootstrap.yml, which installs {PACKAGE}"
    )


def parameters(login: Login) -> dict[str, Any]:
    """How the library is told a login."""
    found: dict[str, Any] = {
        "host": login.host,
        "port": login.port,
        "user": login.user,
        "password": login.password,
        "dbname": login.database,
        # libpq takes whole seconds, 2 or more. Less than the deadline of the
        # probe: our own sentence is better than being killed.
        "connect_timeout": 2,
        "application_name": "carrental.ops health",
    }
    if login.tls:
        found["sslmode"] = "verify-full" if login.ca_file else "require"
        if login.ca_file:
            found["sslrootcert"] = login.ca_file
    return found


def _rows(connection: psycopg2.extensions.connection, statement: str) -> list[dict[str, Any]]:
    """Run one statement in a transaction of its own.

    The timeout is set for the transaction, not for the session: behind a pooler
    the session belongs to somebody else afterwards.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {_STATEMENT_TIMEOUT_MS}")
            cursor.execute(statement)
            names = [column[0] for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        connection.commit()
    except Exception:
        connection.rollback()
        raise
    return rows


def _writable(
    subject: Subject,
    connection: psycopg2.extensions.connection,
    server: dict[str, Any],
    options: Options,
) -> Check:
    import psycopg2  # noqa: PLC0415  # in the process of the probe only

    reason = findings.read_only_reason(server)
    if reason:
        return subject.down("write", reason, in_recovery=server["in_recovery"])
    if not options.canary:
        return subject.skipped("write", "left out, as asked")
    if not options.deep:
        return subject.skipped("write", "a quick check does not write")
    started = time.monotonic()
    try:
        lsn = _rows(connection, _WRITE)[0]["lsn"]
    except psycopg2.Error as error:
        return subject.down("write", f"it answers, but refuses to write: {first_line(str(error))}")
    latency = round((time.monotonic() - started) * 1000, 1)
    return subject.passed("write", lsn=lsn, latency_ms=latency)


def _deep(
    subject: Subject,
    connection: psycopg2.extensions.connection,
    in_recovery: bool,
    thresholds: Thresholds,
) -> list[Check]:
    import psycopg2  # noqa: PLC0415  # in the process of the probe only

    # Each by itself: a role that may not see one thing still sees the others.
    def ask(name: str, statement: str) -> tuple[list[dict[str, Any]], list[Check]]:
        try:
            return _rows(connection, statement), []
        except psycopg2.Error as error:
            return [], [subject.skipped(name, f"not to be seen: {first_line(str(error))}")]

    size, checks = ask("connections", _SIZE)
    sessions, unseen = ask("sessions", _SESSIONS)
    checks += unseen
    if size and not unseen:
        checks.append(findings.connections(subject, size[0], sessions, thresholds))
    if not unseen:
        checks += findings.sessions(subject, sessions, thresholds)
    oldest, unseen = ask("wraparound", _WRAPAROUND)
    checks += unseen
    if oldest:
        checks.append(findings.wraparound(subject, oldest[0], thresholds))
    if not in_recovery:
        standbys, unseen = ask("replication", _STANDBYS)
        slots, unseen_slots = ask("slots", _SLOTS)
        checks += unseen + unseen_slots
        if not unseen and not unseen_slots:
            checks.append(findings.replication(subject, standbys, slots, thresholds))
    return checks


def first_line(text: str) -> str:
    """A message without its context and without libpq's prefixes."""
    line = next((line for line in text.splitlines() if line.strip()), "no reason given")
    return re.sub(r"^.*?(FATAL|ERROR|PANIC):\s*", "", line).strip()


_REFUSALS = [
    (
        r"password authentication failed",
        "wrong password: {place} refuses user {user}; the role's password and the one in the "
        "container's environment differ, set one to the other with ALTER ROLE",
    ),
    (r"no password supplied", "{place} wants a password for user {user}, and none is known"),
    (
        r"database .* does not exist",
        "database {database} does not exist on {place}; check the name, or restore a backup",
    ),
    (r"role .* does not exist", "role {user} does not exist on {place}"),
    (
        r"too many clients already|remaining connection slots are reserved"
        r"|too many connections for",
        "all connection slots of {place} are in use ({message}); find who holds them, or restart "
        "the service that leaks connections",
    ),
    (r"is starting up", "{place} is starting up; wait, and look at its log if it lasts"),
    (
        r"in recovery mode|not yet accepting connections",
        "{place} recovers after a crash; wait, and look at its log for the cause",
    ),
    (r"is shutting down", "{place} is shutting down; find out who stops it"),
    (r"not currently accepting connections", "database {database} on {place} takes no connections"),
    (r"no pg_hba.conf entry", "{place} lets nobody in from here: {message}"),
    (r"Connection refused", "connection refused at {place}: no process listens there"),
    (
        r"timeout expired|timed out",
        "{place} gave no answer within 2 s; the server hangs or is paused",
    ),
    (r"could not translate host name", "the name {host} cannot be resolved"),
    (r"server closed the connection", "{place} closed the connection: the server died or restarts"),
    (r"No space left on device", "the disk of {place} is full: {message}"),
]


def explain(message: str, login: Login) -> str:
    """The cause in a message of libpq, which gives no code when a login fails."""
    for pattern, sentence in _REFUSALS:
        if re.search(pattern, message, re.IGNORECASE):
            return sentence.format(
                place=login.place,
                host=login.host,
                user=login.user,
                database=login.database,
                message=first_line(message),
            )
    return f"{login.place}: {first_line(message)}"
