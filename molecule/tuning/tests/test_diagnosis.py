# SPDX-License-Identifier: GPL-3.0-or-later
"""The diagnosis: what was made slow on purpose is found, and nothing is changed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from support import SERVER, eventually, playbook, sql

SLOW = "slow_on_purpose"
MADE_SLOW = (
    "CREATE TABLE slow_on_purpose (id int, city text, filler text)",
    "ALTER TABLE slow_on_purpose SET (autovacuum_enabled = off)",
    "INSERT INTO slow_on_purpose"
    " SELECT n, 'c' || n % 500, repeat('x', 400) FROM generate_series(1, 50000) n",
    "CREATE INDEX nobody_reads ON slow_on_purpose (filler, id)",
    "ANALYZE slow_on_purpose",
    "DELETE FROM slow_on_purpose WHERE id % 2 = 0",
)
END = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE query LIKE '%slow_on_purpose%' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def found() -> Iterator[list[dict[str, Any]]]:
    """Findings of a database with a table that is read whole, dead rows, and a blocker."""
    if sql("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'") == "0":
        run = playbook("tune", tuning_restart="if_needed", tuning_diagnose=False)
        assert run.code == 0, run.output
    for statement in MADE_SLOW:
        sql(statement)
    for _ in range(12):
        sql("SELECT count(*) FROM slow_on_purpose WHERE city = 'c7'")
    blocker = session("BEGIN; LOCK TABLE slow_on_purpose; SELECT 'Ada Lovelace', pg_sleep(90)")
    victim = session("SELECT 'waits' FROM slow_on_purpose LIMIT 1")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    try:
        eventually(lambda: sql(waiting) != "0", "one waits for the other")
        run = playbook("tune", "--check", tuning_diagnose_min_table_mb=5)
        assert run.code == 0, run.output
        yield run.result["diagnosis"]
    finally:
        sql(END)
        for one in (blocker, victim):
            one.wait(30)
        sql("DROP TABLE slow_on_purpose")


def session(statement: str) -> subprocess.Popen[bytes]:
    """A session that goes on while the test does."""
    argv = ["docker", "exec", SERVER, "docker", "exec", "postgres", "psql", "-U", "carrental"]
    return subprocess.Popen([*argv, "-d", "carrental", "-c", statement], stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing_index", SLOW),
        ("unused_index", "nobody_reads"),
        ("dead", SLOW),
        ("slow_total", SLOW),
    ],
)
def test_what_was_made_slow_is_found(found: list[dict[str, Any]], kind: str, said: str) -> None:
    own = [one["what"] for one in found if one["kind"] == kind]
    assert any(said in what for what in own), found


def test_the_blocker_is_named_and_no_data_of_customers_is(found: list[dict[str, Any]]) -> None:
    own = [one for one in found if one["kind"] == "blocking"]
    assert len(own) == 1, found
    # The one of this test, and whatever exporter wants to see the table just then.
    assert re.search(r"blocks [1-9]\d* sessions", own[0]["detail"])
    assert "pg_terminate_backend" in own[0]["advice"]
    assert "Ada" not in str(found)
