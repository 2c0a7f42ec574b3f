# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a PostgreSQL slow, judged from its own counters."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _pg_diagnosis as diagnosis

LIMITS = diagnosis.Limits(lines=3, calls=20, table_mb=10)


def statement(query: str, calls: int, total: float, **more: int) -> dict[str, Any]:
    row = {"queryid": query, "calls": calls, "total_ms": total, "mean_ms": total / calls}
    return {**row, "rows": calls, "hit": 10, "read": 0, "temp": 0, "query": query, **more}


def session(pid: int, *blocked_by: int, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"pid": pid, "usename": "app", "application_name": "", "state": "active"}
    row |= {"query": "UPDATE cars SET name = 'Ada' WHERE id = 7", "transaction_s": 30.0}
    return {**row, "state_s": 20.0, "query_s": 20.0, "blocked_by": list(blocked_by) or None, **more}


def table(name: str, **more: Any) -> dict[str, Any]:
    row = {"name": name, "mb": 100, "seq_scan": 500, "seq_tup_read": 500 * 90_000, "idx_scan": 3}
    return {**row, "live": 90_000, "dead": 0, "cleaned": None, "needed_mb": 90.0, **more}


def whats(found: list[diagnosis.Finding], kind: str = "") -> list[str]:
    return [one.what for one in found if kind in ("", one.kind)]


def test_one_slow_call_is_not_slow_by_its_mean() -> None:
    rows = [statement("select nightly", 1, 60_000), statement("select often", 5000, 50_000)]
    found = diagnosis.statements(rows, 110_000, LIMITS)
    assert whats(found, "slow_total") == ["select nightly", "select often"]
    assert whats(found, "slow_mean") == ["select often"]
    assert "55% of all time" in found[0].detail


def test_a_statement_that_spills_to_disk_is_told_what_helps() -> None:
    found = diagnosis.statements([statement("select x", 50, 100, temp=2560)], 100, LIMITS)
    assert "20 MB of temporary files" in found[0].detail
    assert "work_mem" in found[0].advice


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT  *\n FROM t WHERE a = 'it''s' AND b=12.5", "SELECT * FROM t WHERE a = ? AND b=?"),
        ("SELECT $1, $body$ secret $body$", "SELECT $1, ?"),
        ("SELECT E'x' FROM t2", "SELECT ? FROM t2"),
    ],
)
def test_data_of_customers_is_not_shown(query: str, shown: str) -> None:
    assert diagnosis.shape(query) == shown


def test_small_tables_are_read_whole_rightly() -> None:
    rows = [
        table("small", mb=1),
        table("large"),
        table("larger", seq_tup_read=500 * 200_000),
        table("by_index", seq_tup_read=500 * 3),
        table("once", seq_scan=1),
    ]
    assert whats(diagnosis.missing_indexes(rows, LIMITS)) == ["larger", "large"]


def test_the_root_of_a_tree_of_blockers_is_found() -> None:
    rows = [session(1, state="idle in transaction"), session(2, 1), session(3, 2), session(4, 1)]
    found = diagnosis.blocking(rows, LIMITS)
    assert whats(found) == ["pid 1"]
    assert found[0].facts["victims"] == [2, 4, 3]
    assert "2 < [3], 4" in found[0].detail
    assert "Ada" not in found[0].detail


def test_two_that_block_each_other_do_not_hang_the_look() -> None:
    assert diagnosis.blocking([session(1, 2), session(2, 1)], LIMITS) == []


def test_a_session_that_forgot_its_transaction() -> None:
    rows = [
        session(1, state="idle in transaction", state_s=600.0),
        session(2, state="idle in transaction", state_s=5.0),
        session(3, state="idle", state_s=9000.0),
    ]
    assert whats(diagnosis.idle(rows, LIMITS)) == ["pid 1"]


def test_connections_are_named_when_they_run_out() -> None:
    rows = [session(pid, state="idle", application_name="pool") for pid in range(85)]
    assert whats(diagnosis.connections(rows, 100)) == ["85 of 100"]
    assert diagnosis.connections(rows, 200) == []
    assert diagnosis.states(rows) == {"idle": 85}


@pytest.mark.parametrize(
    ("dead", "live", "found"), [(500, 100, 0), (2000, 90_000, 0), (40_000, 90_000, 1)]
)
def test_dead_rows_count_by_their_share(dead: int, live: int, found: int) -> None:
    assert len(diagnosis.dead_rows([table("t", dead=dead, live=live)], LIMITS)) == found


def test_space_that_rows_do_not_need() -> None:
    rows = [table("full"), table("empty", needed_mb=10.0), table("unknown", needed_mb=None)]
    assert whats(diagnosis.bloat(rows, LIMITS)) == ["empty"]


def test_the_cache_is_judged_when_it_was_used_enough() -> None:
    row = {"hit": 50, "read": 50, "temp_files": 0, "temp_mb": 0, "since": "yesterday"}
    assert diagnosis.database(row) == []
    found = diagnosis.database({**row, "hit": 50_000, "read": 50_000, "temp_files": 2})
    assert [one.kind for one in found] == ["cache", "temporary"]


def test_as_a_table_and_as_a_ticket() -> None:
    found = diagnosis.missing_indexes([table("public.bookings")], LIMITS)
    lines = diagnosis.table(found, ["seen"])
    assert lines[0] == "Tables that are read whole:"
    assert lines[-1] == "seen"
    text = diagnosis.ticket(found, [], {"version": "16.14", "database": "carrental", "at": "now"})
    assert "## Tables that are read whole" in text
    assert "- `public.bookings`:" in text
    assert diagnosis.table([]) == ["Nothing that makes it slow was found."]
    assert "Nothing that makes it slow" in diagnosis.ticket([], [], {})
