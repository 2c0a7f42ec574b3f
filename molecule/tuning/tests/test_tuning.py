# SPDX-License-Identifier: GPL-3.0-or-later
"""tune.yml: settings for the container, in force or as before, and never in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import (
    STATE,
    Run,
    Started,
    eventually,
    fetch,
    go_on,
    inspect,
    on_server,
    playbook,
    sql,
    stop_at,
    tree,
    wait_stopped,
)
from tiers import proof

DATA = "/var/lib/postgresql/data"
# Of what has 512 MB, one core, and an api with a pool of 20.
COMPUTED = {
    "shared_buffers": "128MB",
    "effective_cache_size": "384MB",
    "maintenance_work_mem": "16MB",
    "work_mem": "4MB",
    "max_connections": "60",
    "random_page_cost": "1.1",
    "jit": "off",
    "shared_preload_libraries": "pg_stat_statements",
}


def setting(name: str) -> str:
    return sql(f"SELECT current_setting('{name}')")


def started() -> str:
    return inspect("postgres", "{{.Id}} {{.State.StartedAt}}")


def auto_conf() -> str:
    return on_server("docker", "exec", "postgres", "cat", f"{DATA}/postgresql.auto.conf")


def tune(*argv: str, **extra: Any) -> Run:
    extra = {"tuning_restart": "if_needed", "tuning_diagnose": False, **extra}
    return playbook("tune", *argv, **extra)


def only(**settings: str) -> dict[str, Any]:
    """Nothing but these settings."""
    return {"tuning_compute": False, "tuning_statements": False, "tuning_settings": settings}


def tuned() -> None:
    """Be as converge leaves the server, whatever a test before left."""
    if setting("jit") != "off" or setting("shared_preload_libraries") != "pg_stat_statements":
        run = tune()
        assert run.code == 0, run.output


def nothing_left() -> None:
    """No copy beside the file, no memory of an unfinished tune, nothing waits for a restart."""
    listed = on_server("docker", "exec", "postgres", "ls", DATA)
    assert "carrental-ops" not in listed
    assert on_server("ls", f"{STATE}/tuning", check=False).split() in ([], ["last.json"])
    assert sql("SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"
    assert on_server("docker", "ps", "-aq", "--filter", "label=carrental.ops.one-off") == ""


def serves() -> None:
    code, body = fetch("/api/v1/health")
    assert (code, json.loads(body)["status"]) == (200, "ok")


@pytest.mark.parametrize(("name", "value"), COMPUTED.items())
def test_what_was_computed_is_in_force(name: str, value: str) -> None:
    tuned()
    assert setting(name) == value


def test_statements_are_counted() -> None:
    tuned()
    assert int(sql("SELECT count(*) FROM pg_stat_statements")) > 0
    nothing_left()
    eventually(lambda: fetch("/api/v1/health")[0] == 200, "the api finds the database again")
    serves()


def test_a_second_run_changes_and_restarts_nothing() -> None:
    tuned()
    before = started(), auto_conf()
    run = tune()
    assert run.code == 0, run.output
    assert run.result["verdict"] == "no_change"
    assert run.changed == 0
    assert (started(), auto_conf()) == before


def test_a_plan_leaves_no_trace() -> None:
    tuned()
    before = tree(), auto_conf(), started()
    run = tune("--check", "--diff", **only(jit="on", work_mem="3MB", shared_buffers="64MB"))
    assert run.code == 0, run.output
    assert "-work_mem = 4MB" in run.output
    assert "+work_mem = 3MB" in run.output
    assert "PostgreSQL's own default" in run.line("work_mem: 4MB -> 3MB, reload")
    assert "postgresql.auto.conf line" in run.line("jit: off -> on, reload")
    assert any("restart postgres" in line for line in run.result["changed"])
    assert (tree(), auto_conf(), started()) == before


def test_a_library_that_is_not_there_is_refused_before_the_restart() -> None:
    tuned()
    before = auto_conf(), started()
    run = tune(**only(shared_preload_libraries="pg_stat_statments"))
    assert run.code != 0
    assert run.result["verdict"] == "refused", run.output
    assert 'could not access file "pg_stat_statments"' in run.result["headline"]
    assert (auto_conf(), started()) == before
    nothing_left()


@proof
def test_what_only_the_next_start_would_fail_on_is_refused() -> None:
    """The stock image has no certificate: a reload takes ssl, and no start."""
    before = tree(reports=False)
    run = playbook("tune", tuning_compute=False, tuning_settings={"ssl": "on"})
    assert run.result["verdict"] == "refused", run.output
    assert "would not start with these settings" in run.result["headline"]
    assert sql("SHOW ssl") == "off"
    assert tree(reports=False) == before


@proof
def test_what_breaks_every_session_is_taken_back_without_a_restart() -> None:
    started = sql("SELECT pg_postmaster_start_time()")
    run = playbook(
        "tune", tuning_compute=False, tuning_settings={"session_preload_libraries": "nosuch"}
    )
    assert run.result["verdict"] == "rolled_back", run.output
    assert sql("SHOW session_preload_libraries") == ""
    assert sql("SELECT pg_postmaster_start_time()") == started


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_connections": "10"}, "less than the services open"),
        ({"synchronous_standby_names": "elsewhere"}, "can stop every write"),
        ({"default_transaction_read_only": "on"}, "can stop every write"),
    ],
)
@proof
def test_what_would_turn_customers_away_is_refused(settings: dict[str, str], said: str) -> None:
    run = playbook(
        "tune", tuning_compute=False, tuning_restart="if_needed", tuning_settings=settings
    )
    assert run.result["verdict"] == "refused", run.output
    assert said in run.result["headline"]


def test_a_server_that_does_not_return_has_its_settings_put_back() -> None:
    tuned()
    before = auto_conf(), setting("work_mem")
    # The kernel has no huge pages: the program reads the setting, and the server does not start.
    assert on_server("cat", "/proc/sys/vm/nr_hugepages") == "0"
    run = tune(**only(huge_pages="on", work_mem="3MB"))
    assert run.code != 0
    assert run.result["verdict"] == "rolled_back", run.output
    assert "could not map anonymous shared memory" in run.result["headline"]
    assert "answers with the settings from before" in run.result["headline"]
    assert (auto_conf(), setting("work_mem")) == before
    assert setting("huge_pages") == "try"
    # Two starts, and nobody waited for a time to run out.
    assert run.result["measured"]["longest_s"] < 30
    nothing_left()
    eventually(lambda: fetch("/api/v1/health")[0] == 200, "the api finds the database again")
    serves()


@proof
def test_what_needs_a_restart_waits_for_leave() -> None:
    tuned()
    before = started()
    run = tune(tuning_restart="never", **only(work_mem="3MB", shared_buffers="96MB"))
    assert run.code == 0, run.output
    assert run.result["pending"] == ["shared_buffers"]
    assert "tuning_restart=if_needed" in run.result["next"]
    assert (setting("work_mem"), setting("shared_buffers")) == ("3MB", "128MB")
    assert "shared_buffers = '96MB'" not in auto_conf()
    assert started() == before
    back = tune(tuning_undo=True)
    assert back.code == 0, back.output
    assert (setting("work_mem"), started()) == ("4MB", before)
    nothing_left()


@proof
def test_the_runbooks_four_values_are_judged() -> None:
    tuned()
    before = auto_conf(), started()
    four = {
        "shared_buffers": "512MB",
        "effective_cache_size": "1536MB",
        "work_mem": "16MB",
        "maintenance_work_mem": "128MB",
    }
    run = tune(**only(**four))
    assert run.result["verdict"] == "refused", run.output
    assert "do not fit into the container" in run.result["headline"]
    # 2 GB, as the runbook means it: the sessions alone would take more than is left.
    run = tune(tuning_memory_mb=2048, **only(max_connections="100", **four))
    assert "680 MB more at worst" in run.result["headline"], run.output
    assert (auto_conf(), started()) == before


@proof
def test_undo_takes_everything_back_and_has_an_end() -> None:
    tuned()
    run = tune(**only(work_mem="3MB", max_connections="70", random_page_cost="2"))
    assert run.code == 0, run.output
    assert setting("max_connections") == "70"
    run = tune(tuning_undo=True)
    assert run.code == 0, run.output
    values = setting("work_mem"), setting("max_connections"), setting("random_page_cost")
    assert values == tuple(
        COMPUTED[one] for one in ("work_mem", "max_connections", "random_page_cost")
    )
    nothing_left()
    run = tune(tuning_undo=True)
    assert run.result["verdict"] == "no_change", run.output


@contextmanager
def on_the_command_line(argument: str) -> Iterator[None]:
    """A postgres that was started with an option."""
    compose = ["docker", "compose", "--project-name", "carrental"]
    compose += ["--project-directory", "/opt/carrental"]
    for name in ("docker-compose.prod.yml", "docker-compose.monitoring.yml", "compose.release.yml"):
        compose += ["-f", f"/opt/carrental/{name}"]
    up = ["up", "-d", "--no-deps", "--wait", "postgres"]
    extra = "/opt/carrental/command.yml"
    text = f"services: {{postgres: {{command: [postgres, -c, {argument}]}}}}"
    on_server("tee", extra, stdin=text)
    try:
        on_server(*compose, "-f", extra, *up)
        yield
    finally:
        on_server("rm", extra)
        on_server(*compose, *up)


@proof
def test_what_is_fixed_on_the_command_line_is_said() -> None:
    tuned()
    with on_the_command_line("work_mem=5MB"):
        before = auto_conf(), started()
        assert setting("work_mem") == "5MB"
        run = tune(**only(work_mem="8MB"))
        assert run.result["verdict"] == "refused", run.output
        assert "5MB is fixed on the command line" in run.result["headline"]
        assert (auto_conf(), started()) == before
        # The budget's own wishes give way.
        run = tune("--check")
        assert run.code == 0, run.output
    nothing_left()


STEPS = [
    "keep the settings from before",
    "alter work_mem",
    "alter max_connections",
    "reload the settings",
    "restart the server",
    "verify the settings",
    "remember the way back",
]


@pytest.mark.parametrize("step", STEPS)
@proof
def test_killed_at_a_step_the_next_run_ends_it(step: str) -> None:
    tuned()
    wanted = only(work_mem="3MB", max_connections="70")
    with stop_at(step):
        how: dict[str, Any] = {"tuning_restart": "if_needed", "tuning_diagnose": False}
        controller = Started("tune", operation_ttl=5, **how, **wanted)
        pid = wait_stopped(step, controller)
        on_server("kill", "-9", str(pid))
        controller.kill()
    go_on()
    assert setting("jit")  # it answers whatever was killed
    run = tune(operation_wait=60, **wanted)
    assert run.code == 0, run.output
    assert (setting("work_mem"), setting("max_connections")) == ("3MB", "70")
    nothing_left()
    back = tune(tuning_undo=True)
    assert back.code == 0, back.output
    assert setting("work_mem") == "4MB"


@contextmanager
def full_disk() -> Iterator[None]:
    """The data directory on a small file system of its own, which is full."""
    source = inspect("postgres", "{{range .Mounts}}{{.Source}}{{end}}")
    on_server("docker", "stop", "-t", "60", "postgres")
    on_server(
        "sh", "-c", f"cp -a {source} /root/data && mount -t tmpfs -o size=400m tmpfs {source}"
    )
    on_server("sh", "-c", f"cp -a /root/data/. {source}/ && chown 999:999 {source}")
    on_server("docker", "start", "postgres")
    try:
        eventually(lambda: sql("SELECT 1") == "1", "it starts")
        on_server("sh", "-c", f"cat /dev/zero > {source}/filler || true")
        yield
    finally:
        on_server("docker", "stop", "-t", "60", "postgres")
        on_server("umount", source)
        on_server("rm", "-r", "/root/data")
        on_server("docker", "start", "postgres")
        eventually(lambda: sql("SELECT 1") == "1", "it starts")


@proof
def test_a_full_disk_changes_nothing() -> None:
    tuned()
    with full_disk():
        before = auto_conf(), started()
        run = tune(**only(work_mem="3MB"))
        assert run.code != 0
        assert run.result["verdict"] in ("refused", "rolled_back"), run.output
        assert (auto_conf(), started()) == before
        assert setting("work_mem") == "4MB"
