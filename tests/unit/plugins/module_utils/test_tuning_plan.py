# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tune would do, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _pg_settings as settings
from ansible_collections.carrental.ops.plugins.module_utils import _tuning_plan as plan
from ansible_collections.carrental.ops.plugins.module_utils._memory_budget import Server
from ansible_collections.carrental.ops.plugins.module_utils._pg_settings import Entry, Row

AUTO = "/data/postgresql.auto.conf"
RUNBOOK = {
    "shared_buffers": "512MB",
    "effective_cache_size": "1536MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
}


def row(name: str, setting: str, unit: str = "", context: str = "user", **more: object) -> Row:
    kind = more.pop("vartype", "integer")
    return Row(name, setting, unit, context, str(kind), "default", boot_val=setting, **more)  # type: ignore[arg-type]


# A server of PostgreSQL 16 that nobody has tuned.
ROWS: Mapping[str, Row] = {
    one.name: one
    for one in (
        row("shared_buffers", "16384", "8kB", "postmaster"),
        row("effective_cache_size", "524288", "8kB"),
        row("work_mem", "4096", "kB"),
        row("maintenance_work_mem", "65536", "kB"),
        row("autovacuum_work_mem", "-1", "kB", "sighup"),
        row("autovacuum_max_workers", "3", "", "postmaster"),
        row("max_connections", "100", "", "postmaster", min_val="1", max_val="262143"),
        row("max_wal_size", "1024", "MB", "sighup"),
        row("min_wal_size", "80", "MB", "sighup"),
        row("random_page_cost", "4", vartype="real"),
        row("effective_io_concurrency", "1"),
        row("jit", "on", vartype="bool"),
        row("shared_preload_libraries", "", "", "postmaster", vartype="string"),
    )
}
SERVER = Server(2048, 2, 50)


def changed(found: plan.Plan) -> dict[str, str]:
    return {step.name: step.action for step in found.steps}


def test_without_a_restart_only_what_needs_none_is_changed() -> None:
    found = plan.build(ROWS, [], SERVER, plan.Wish())
    assert settings.RESTART not in changed(found).values()
    assert {step.name for step in found.left} == {
        "shared_buffers",
        "max_connections",
        "shared_preload_libraries",
    }
    assert not found.restarts
    assert any("tuning_restart=never forbids" in line for line in plan.lines(found))


def test_a_second_time_there_is_nothing_to_do() -> None:
    first = plan.build(ROWS, [], SERVER, plan.Wish(restart=True))
    rows = dict(ROWS)
    entries = []
    for step in first.steps:
        assert step.wanted is not None
        one = ROWS[step.name]
        rows[step.name] = replace(
            one, setting=settings.normal(one, step.wanted), source="configuration file"
        )
        entries.append(Entry(step.name, step.wanted, AUTO))
    again = plan.build(rows, entries, SERVER, plan.Wish(restart=True))
    assert (again.steps, again.left) == ((), ())


def test_the_runbooks_values_are_judged_and_refused_in_its_own_container() -> None:
    wish = plan.Wish(settings=RUNBOOK, compute=False, statements=False, restart=True)
    with pytest.raises(plan.PlanError, match="680 MB more at worst") as refused:
        plan.build(ROWS, [], replace(SERVER, connections=100), wish)
    assert "work_mem of 9420 kB would fit 100 connections" in str(refused.value)
    told = plan.build(ROWS, [], SERVER, replace(wish, tolerate=True))
    assert "as accepted" in told.notes[0]
    assert len(told.steps) == 4


def test_the_runbooks_values_fit_with_few_connections() -> None:
    given = {**RUNBOOK, "max_connections": "50"}
    wish = plan.Wish(settings=given, compute=False, statements=False, restart=True)
    found = plan.build(ROWS, [], SERVER, wish)
    assert found.after is not None
    assert found.after.short == 0


@pytest.mark.parametrize("tolerate", [False, True])
def test_buffers_above_the_limit_are_never_accepted(tolerate: bool) -> None:
    wish = plan.Wish(
        settings={"shared_buffers": "3GB"}, compute=False, restart=True, tolerate=tolerate
    )
    with pytest.raises(plan.PlanError, match="do not fit into the container"):
        plan.build(ROWS, [], SERVER, wish)


def test_what_is_better_than_before_is_not_refused() -> None:
    found = plan.build(ROWS, [], Server(512, 1, 50), plan.Wish())
    assert found.after is not None
    assert found.before is not None
    assert 0 < found.after.short < found.before.short
    assert "still needs more" in found.notes[0]


def test_a_given_setting_that_is_fixed_elsewhere_is_refused() -> None:
    rows = {**ROWS, "work_mem": replace(ROWS["work_mem"], source="command line")}
    with pytest.raises(plan.PlanError, match=r"work_mem: 4MB is fixed on the command line"):
        plan.build(rows, [], SERVER, plan.Wish(settings={"work_mem": "8MB"}))


def test_a_computed_setting_that_is_fixed_elsewhere_is_left_alone() -> None:
    rows = {**ROWS, "jit": replace(ROWS["jit"], source="command line")}
    found = plan.build(rows, [], SERVER, plan.Wish())
    assert [step.name for step in found.fixed] == ["jit"]
    assert "jit" not in changed(found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shared_bufers": "1GB"}, "no setting shared_bufers; did you mean shared_buffers?"),
        ({"work_mem": "16mb"}, "their case counts"),
        ({"port": "5433"}, "no matter of tuning"),
        ({"primary_conninfo": "host=x"}, "can hold a password"),
        ({"max_connections": "0"}, "lies between 1 and"),
    ],
)
def test_what_the_server_would_not_take_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(plan.PlanError, match=said.replace("?", r"\?")):
        plan.build(ROWS, [], SERVER, plan.Wish(settings=given))


def test_without_a_limit_nothing_is_computed() -> None:
    server = replace(SERVER, limit=0)
    with pytest.raises(plan.PlanError, match="has no memory limit"):
        plan.build(ROWS, [], server, plan.Wish())
    wish = plan.Wish(settings={"work_mem": "8MB"}, compute=False, statements=False)
    assert changed(plan.build(ROWS, [], server, wish)) == {"work_mem": settings.RELOAD}


def test_libraries_that_are_given_are_kept() -> None:
    wish = plan.Wish(settings={"shared_preload_libraries": "auto_explain"}, restart=True)
    found = plan.build(ROWS, [], SERVER, wish)
    wanted = {step.name: step.wanted for step in found.steps}
    assert wanted["shared_preload_libraries"] == "auto_explain, pg_stat_statements"


def test_the_way_back_takes_out_what_was_not_there() -> None:
    rows = {**ROWS, "work_mem": replace(ROWS["work_mem"], setting="8192")}
    entries = [Entry("work_mem", "8MB", AUTO)]
    found = plan.build_undo(rows, entries, SERVER, {"work_mem": None}, restart=False)
    assert [(step.name, step.wanted, step.action) for step in found.steps] == [
        ("work_mem", None, settings.RELOAD)
    ]


def test_the_peers_stand_beside_ours() -> None:
    found = plan.build(ROWS, [], SERVER, plan.Wish())
    assert found.peers["work_mem"] == {
        "now": "4MB",
        "ours": "9039kB",
        "pgtune": "9039kB",
        "timescaledb_tune": "16MB",
    }
    assert any("pgtune 9039kB, timescaledb-tune 16MB" in line for line in plan.lines(found))
