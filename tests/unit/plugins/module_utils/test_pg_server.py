# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real PostgreSQL answers to the questions of the tuning and of the diagnosis."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _pg_diagnosis_look,
    _pg_server,
    _pg_settings,
    _tuning_plan,
)
from ansible_collections.carrental.ops.plugins.module_utils._memory_budget import Server
from ansible_collections.carrental.ops.plugins.module_utils._pg_diagnosis import Limits
from ansible_collections.carrental.ops.plugins.module_utils._postgres import Login

pytest.importorskip("psycopg2")
LIMITS = Limits(lines=5, calls=1, table_mb=1)


def execute(login: Login, statement: str) -> None:
    with _pg_server.session(login, "test") as session:
        session.run(statement)


def test_settings_say_what_governs_them(server: Login) -> None:
    with _pg_server.session(server, "test") as session:
        rows, entries, facts = session.settings(), session.entries(), session.facts()
    assert rows["max_connections"].governed_by.startswith("on the command line")
    assert rows["work_mem"].governed_by == "nothing: PostgreSQL's own default"
    assert _pg_settings.last(entries, "shared_buffers") is not None
    assert facts["superuser"] is True
    for row in rows.values():
        # What the server shows is a value that it takes.
        if row.vartype in ("integer", "bool", "real", "enum") and row.context != "internal":
            assert _pg_settings.equal(row, row.setting, _pg_settings.normal(row, row.setting)), row


def test_a_plan_for_a_real_server(server: Login) -> None:
    with _pg_server.session(server, "test") as session:
        rows, entries = session.settings(), session.entries()
    found = _tuning_plan.build(rows, entries, Server(2048, 2, 12), _tuning_plan.Wish())
    assert "work_mem" in {step.name for step in found.steps}
    with pytest.raises(_tuning_plan.PlanError, match="max_connections: 12 is fixed on the command"):
        _tuning_plan.build(
            rows, entries, Server(2048, 2, 12), _tuning_plan.Wish({"max_connections": "50"})
        )


def test_what_alter_system_writes_is_read(server: Login) -> None:
    execute(server, "ALTER SYSTEM SET work_mem = '7MB'")
    try:
        with _pg_server.session(server, "test") as session:
            written = _pg_settings.last(session.entries(), "work_mem", automatic=True)
    finally:
        execute(server, "ALTER SYSTEM RESET work_mem")
    assert written is not None
    assert written.setting == "7MB"


def test_every_question_of_the_diagnosis_is_answered(server: Login) -> None:
    for statement in (
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int, p int REFERENCES parent, q int REFERENCES parent)",
        "ALTER TABLE child ADD COLUMN filler text",
        "CREATE INDEX child_q ON child (q, p)",
        "CREATE INDEX child_filler ON child (filler)",
        "ALTER TABLE child SET (autovacuum_enabled = off)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child SELECT n, 1, 1, repeat('x', 600) FROM generate_series(1, 5000) n",
        "ANALYZE child",
        "DELETE FROM child WHERE id % 2 = 0",
    ):
        execute(server, statement)
    for _round in range(12):
        execute(server, "SELECT count(*) FROM child WHERE filler = 'y' OR id = 7")
    with _pg_server.session(server, "test") as session:
        found = _pg_diagnosis_look.look(session, LIMITS)
    by_kind = {one.kind: one.what for one in found.findings}
    assert by_kind["foreign_key"] == "child (p)"
    assert by_kind["dead"] == "public.child"
    assert by_kind["missing_index"] == "public.child"
    # Nothing else went unanswered.
    assert len(found.notes) == 1
    assert "pg_stat_statements is not in this database" in found.notes[0]


def test_a_locked_table_does_not_hold_the_diagnosis_up(server: Login) -> None:
    execute(server, "CREATE TABLE IF NOT EXISTS locked (id int)")
    locked = threading.Event()
    with _pg_server.session(server, "blocker") as blocker:
        blocker.run("BEGIN")
        blocker.run("LOCK TABLE locked")
        locked.set()
        waiting = threading.Thread(target=_wait, args=(server,))
        waiting.start()
        try:
            with _pg_server.session(server, "test") as session:
                for _attempt in range(100):
                    found = _pg_diagnosis_look.look(session, LIMITS)
                    blocking = [one for one in found.findings if one.kind == "blocking"]
                    if blocking:
                        break
        finally:
            blocker.run("ROLLBACK")
            waiting.join()
    assert "blocker" in blocking[0].detail
    assert "blocks 1 sessions" in blocking[0].detail


def _wait(login: Login) -> None:
    with _pg_server.session(login, "victim") as session:
        session.rows("SELECT * FROM locked")
