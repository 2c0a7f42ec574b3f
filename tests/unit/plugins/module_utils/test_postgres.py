# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL: what its answers mean, and a real server where there is one."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _postgres
from ansible_collections.carrental.ops.plugins.module_utils import _postgres_findings as findings
from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    Check,
    Subject,
    Thresholds,
)
from ansible_collections.carrental.ops.plugins.module_utils._postgres import Login, Options

POSTGRES = Subject("postgres", "PostgreSQL", "P1", "PostgreSQL is ready", "PostgreSQL is not ready")
LOGIN = Login("10.0.0.3", 5432, "carrental", "s3cret", "rental")
LIMITS = Thresholds()
SIZE = {"max_connections": 100, "reserved": 3, "size_bytes": 1}
HEAD = 'connection to server at "10.0.0.3", port 5432 failed: '


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            'FATAL:  password authentication failed for user "carrental"',
            "wrong password: 10.0.0.3:5432 refuses user carrental; the role's password and the one "
            "in the container's environment differ, set one to the other with ALTER ROLE",
        ),
        (
            "fe_sendauth: no password supplied",
            "10.0.0.3:5432 wants a password for user carrental, and none is known",
        ),
        (
            'FATAL:  database "rental" does not exist',
            "database rental does not exist on 10.0.0.3:5432; check the name, or restore a backup",
        ),
        (
            'FATAL:  role "carrental" does not exist',
            "role carrental does not exist on 10.0.0.3:5432",
        ),
        (
            "FATAL:  sorry, too many clients already",
            "all connection slots of 10.0.0.3:5432 are in use (sorry, too many clients already); "
            "find who holds them, or restart the service that leaks connections",
        ),
        (
            "FATAL:  remaining connection slots are reserved for roles with SUPERUSER",
            "all connection slots of 10.0.0.3:5432 are in use (remaining connection slots are "
            "reserved for roles with SUPERUSER); find who holds them, or restart the service that "
            "leaks connections",
        ),
        (
            "FATAL:  the database system is starting up",
            "10.0.0.3:5432 is starting up; wait, and look at its log if it lasts",
        ),
        (
            "FATAL:  the database system is in recovery mode",
            "10.0.0.3:5432 recovers after a crash; wait, and look at its log for the cause",
        ),
        (
            "FATAL:  the database system is shutting down",
            "10.0.0.3:5432 is shutting down; find out who stops it",
        ),
        (
            "Connection refused\n\tIs the server running on that host?",
            "connection refused at 10.0.0.3:5432: no process listens there",
        ),
        (
            "timeout expired",
            "10.0.0.3:5432 gave no answer within 2 s; the server hangs or is paused",
        ),
        ("FATAL:  something new\nmore", "10.0.0.3:5432: something new"),
    ],
)
def test_causes(message: str, cause: str) -> None:
    assert _postgres.explain(HEAD + message, LOGIN) == cause


def test_a_password_is_never_shown() -> None:
    assert "s3cret" not in repr(LOGIN)


def row(pid: int, **changes: Any) -> dict[str, Any]:
    return {
        "pid": pid,
        "usename": "carrental",
        "datname": "rental",
        "application_name": "api",
        "state": "idle",
        "transaction_s": None,
        "state_s": 1.0,
        "query_s": 1.0,
        "blocked_by": None,
        **changes,
    }


@pytest.mark.parametrize(
    ("used", "status"),
    [(0, "ok"), (77, "ok"), (79, "warn"), (92, "warn"), (93, "fail"), (98, "fail")],
)
def test_connections(used: int, status: str) -> None:
    rows = [row(pid) for pid in range(used)]
    assert findings.connections(POSTGRES, SIZE, rows, LIMITS).status == status


def test_who_holds_the_connections_is_named() -> None:
    rows = [row(pid, state="idle in transaction") for pid in range(95)] + [row(99, state=None)]
    check = findings.connections(POSTGRES, SIZE, rows, LIMITS)
    assert check.line == (
        "[FAIL] PostgreSQL is not ready: 96 of 97 connection slots are in use (95 idle in "
        "transaction, 1 not visible; held by api 96); find who does not give them back, or raise "
        "max_connections"
    )


def test_root_blockers_are_found_through_a_chain() -> None:
    rows = [row(1), row(2, blocked_by=[1]), row(3, blocked_by=[2]), row(4, blocked_by=[9])]
    assert findings.root_blockers(rows) == {1: [2, 3], 9: [4]}


def test_a_circle_has_no_root() -> None:
    assert findings.root_blockers([row(1, blocked_by=[2]), row(2, blocked_by=[1])]) == {}


def test_blocked() -> None:
    rows = [
        row(7, state="idle in transaction", application_name="psql"),
        row(8, state="active", blocked_by=[7], query_s=45.0),
        row(9, state="active", blocked_by=[7], query_s=5.0),
    ]
    check = findings.sessions(POSTGRES, rows, LIMITS)[0]
    assert check.line == (
        "[WARN] PostgreSQL is ready: 2 sessions wait for a lock, the longest for 45 s: pid 7 "
        "(application psql, idle in transaction) holds up 2; end the blocker with "
        "pg_terminate_backend if it is forgotten"
    )
    assert findings.sessions(POSTGRES, rows, replace(LIMITS, blocked_s=60))[0].status == "ok"


def test_idle_in_transaction() -> None:
    rows = [row(77, state="idle in transaction (aborted)", state_s=412.4), row(78, state_s=9999.0)]
    check = findings.sessions(POSTGRES, rows, LIMITS)[1]
    assert check.line == (
        "[WARN] PostgreSQL is ready: 1 session idle in transaction for 412 s (pid 77, application "
        "api); it holds locks and keeps vacuum from cleaning: end it with pg_terminate_backend"
    )


def test_long_transactions_but_for_dumps() -> None:
    rows = [
        row(5, state="active", transaction_s=2000.0, application_name="pg_dump"),
        row(6, state="active", transaction_s=1000.0, application_name="", usename="report"),
    ]
    check = findings.sessions(POSTGRES, rows, LIMITS)[2]
    assert check.detail == (
        "1 transaction runs for 1000 s (pid 6, application report); "
        "look at its query in pg_stat_activity"
    )


@pytest.mark.parametrize(
    ("age", "status"), [(200_000_000, "ok"), (600_000_000, "warn"), (1_600_000_000, "fail")]
)
def test_wraparound(age: int, status: str) -> None:
    check = findings.wraparound(POSTGRES, {"age": age, "datname": "rental"}, LIMITS)
    assert check.status == status


def test_replication() -> None:
    standbys = [{"name": "b", "state": "streaming", "lag_bytes": 300 * 1024**2}]
    slots = [
        {"name": "old", "active": False, "retained_bytes": 2 * 1024**3},
        {"name": "used", "active": True, "retained_bytes": 2 * 1024**3},
    ]
    assert findings.replication(POSTGRES, [], [], LIMITS).status == "ok"
    assert findings.replication(POSTGRES, standbys, slots, LIMITS).detail == (
        "standby b lags 300 MiB behind, nobody reads replication slot old, which retains 2048 MiB "
        "of write-ahead log: drop it if it is forgotten"
    )


@pytest.mark.parametrize(
    ("recovery", "read_only", "source", "reason"),
    [
        (False, False, "default", ""),
        (
            True,
            True,
            "default",
            "it is read-only: it is in recovery, a standby or not promoted after a restore",
        ),
        (
            False,
            True,
            "user",
            "it is read-only: default_transaction_read_only is on, set on the role, undo it with "
            "ALTER ROLE … RESET default_transaction_read_only",
        ),
        (
            False,
            True,
            "command line",
            "it is read-only: default_transaction_read_only is on, set by command line",
        ),
    ],
)
def test_read_only_reason(recovery: bool, read_only: bool, source: str, reason: str) -> None:
    server = {"in_recovery": recovery, "read_only": read_only, "source": source}
    assert findings.read_only_reason(server) == reason


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (check,) = _postgres.check(POSTGRES, replace(LOGIN, host="127.0.0.1", port=port), Options())
    assert check.detail == f"connection refused at 127.0.0.1:{port}: no process listens there"


def execute(login: Login, statement: str) -> None:
    import psycopg2

    connection = psycopg2.connect(**_postgres.parameters(login))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(statement)
    connection.close()


def statuses(checks: list[Check]) -> dict[str, str]:
    return {check.name.partition(".")[2]: check.status for check in checks}


def test_a_real_server(server: Login) -> None:
    checks = _postgres.check(POSTGRES, server, Options())
    names = ["login", "write", "connections", "blocked", "idle_in_transaction"]
    names += ["long_transactions", "wraparound", "replication"]
    assert statuses(checks) == dict.fromkeys(names, "ok")
    assert int(checks[0].evidence["version"].split(".")[0]) >= 13


def test_a_quick_look_at_a_real_server(server: Login) -> None:
    checks = _postgres.check(POSTGRES, server, Options(deep=False))
    assert statuses(checks) == {"login": "ok", "write": "not_run"}


def test_a_role_without_rights_sees_enough(server: Login) -> None:
    execute(server, "CREATE ROLE plain LOGIN PASSWORD 'plain'")
    checks = _postgres.check(POSTGRES, replace(server, user="plain", password="plain"), Options())
    assert statuses(checks)["write"] == "ok"
    assert "fail" not in statuses(checks).values()


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"password": "other"}, "wrong password: 127.0.0.1:"),
        ({"database": "nope"}, "database nope does not exist on 127.0.0.1:"),
        ({"user": "nobody"}, "wrong password: "),
    ],
)
def test_a_real_refusal(server: Login, changes: dict[str, str], start: str) -> None:
    (check,) = _postgres.check(POSTGRES, replace(server, **changes), Options())  # type: ignore[arg-type]
    assert check.detail.startswith(start)


@pytest.mark.parametrize(
    ("set_it", "reset", "words"),
    [
        ("ALTER ROLE carrental SET", "ALTER ROLE carrental RESET", "set on the role"),
        ("ALTER DATABASE postgres SET", "ALTER DATABASE postgres RESET", "set on the database"),
    ],
)
def test_a_real_server_that_is_read_only(
    server: Login, set_it: str, reset: str, words: str
) -> None:
    execute(server, f"{set_it} default_transaction_read_only = on")
    try:
        checks = _postgres.check(POSTGRES, server, Options())
    finally:
        execute(server, f"{reset} default_transaction_read_only")
    assert statuses(checks)["write"] == "fail"
    assert words in checks[1].detail


def test_a_real_server_without_free_slots(server: Login) -> None:
    import psycopg2

    held = []
    with pytest.raises(psycopg2.OperationalError):
        while True:
            held.append(psycopg2.connect(**_postgres.parameters(server)))
    try:
        (check,) = _postgres.check(POSTGRES, server, Options())
    finally:
        for connection in held:
            connection.close()
    assert check.detail.startswith(f"all connection slots of {server.place} are in use (sorry, ")


def test_a_real_blocker(server: Login) -> None:
    import psycopg2

    execute(server, "CREATE TABLE IF NOT EXISTS cars (id int)")
    blocker = psycopg2.connect(**_postgres.parameters(server))
    blocker.cursor().execute("LOCK TABLE cars")
    child = os.fork()
    if child == 0:
        try:
            execute(server, "SELECT * FROM cars")
        finally:
            os._exit(0)
    try:
        time.sleep(1)
        options = Options(thresholds=Thresholds(blocked_s=0, idle_in_transaction_s=0))
        checks = _postgres.check(POSTGRES, server, options)
    finally:
        blocker.close()
        os.waitpid(child, 0)
    assert statuses(checks)["blocked"] == "warn"
    assert statuses(checks)["idle_in_transaction"] == "warn"
