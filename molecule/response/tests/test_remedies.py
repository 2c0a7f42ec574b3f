# SPDX-License-Identifier: GPL-3.0-or-later
"""Remedies that cannot be taken back: each on the server, asked for by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from answers import AGAIN, attempts, cause, respond
from support import eventually, fetch, inspect, on_server, sql
from tiers import proof

pytestmark = proof

REDIS = "REDISCLI_AUTH=$REDIS_PASSWORD redis-cli"


def redis(command: str) -> str:
    return on_server("docker", "exec", "redis", "sh", "-c", f"{REDIS} {command}")


def volume() -> str:
    """Return where the server keeps the files of Redis."""
    mounted = '{{range .Mounts}}{{if eq .Destination "/data"}}{{.Source}}{{end}}{{end}}'
    return inspect("redis", mounted)


@contextmanager
def in_the_background(name: str, statements: str) -> Iterator[None]:
    """A session of PostgreSQL that goes on while something is looked at."""
    argv = f'psql -U carrental -d carrental -c "{statements}"'
    on_server("docker", "exec", "-d", "-e", f"PGAPPNAME={name}", "postgres", "sh", "-c", argv)
    eventually(lambda: sessions(name) == 1, f"the session {name} is there")
    try:
        yield
    finally:
        sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name IN ('holder', 'waiter')"
        )


def sessions(name: str) -> int:
    return sql("SELECT application_name FROM pg_stat_activity").split().count(name)


def waiting() -> int:
    return int(sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def test_one_session_that_keeps_others_waiting_is_ended() -> None:
    holds = "BEGIN; LOCK TABLE bookings IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)"
    with (
        in_the_background("holder", holds),
        in_the_background("waiter", "SELECT count(*), pg_sleep(600) FROM bookings"),
    ):
        eventually(lambda: waiting() > 0, "a session waits for the lock")
        asked = respond("db_connections", **AGAIN)
        assert (asked.code, asked.result["verdict"]) == (2, "refused"), asked.output
        assert cause(asked) == ("postgres", "connections_blocked")
        assert (sessions("holder"), sessions("waiter")) == (1, 1)
        assert "end_blocker" in asked.result["next"]

        done = respond("db_connections", response_confirm=["end_blocker"], **AGAIN)
        assert done.code == 0, done.output
        assert attempts(done) == [("end_blocker", "fixed")]
        assert (sessions("holder"), sessions("waiter")) == (0, 1)
        assert waiting() == 0


@contextmanager
def statistics() -> Iterator[None]:
    """PostgreSQL counts statements, and there is a table full of dead rows to complain of."""
    sql("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    restart("postgres")
    sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    sql(
        "CREATE TABLE full_of_dead (n int) WITH (autovacuum_enabled = false);"
        "INSERT INTO full_of_dead SELECT generate_series(1, 300000);"
        "DELETE FROM full_of_dead WHERE n % 3 > 0; ANALYZE full_of_dead"
    )
    try:
        yield
    finally:
        sql("DROP TABLE full_of_dead; DROP EXTENSION pg_stat_statements")
        sql("ALTER SYSTEM RESET shared_preload_libraries")
        restart("postgres")


def restart(container: str) -> None:
    on_server("docker", "restart", container)
    healthy = "{{.State.Health.Status}}"
    eventually(lambda: inspect(container, healthy) == "healthy", f"{container} is healthy", 60)


def test_statistics_are_saved_before_they_begin_anew() -> None:
    with statistics():
        # By its table, for statements that differ in constants and names alone count as one.
        sql("SELECT count(*) FROM full_of_dead AS marked_by_this_test")
        marked = "SELECT count(*) FROM pg_stat_statements WHERE query ~ 'marked_by_this_test$'"
        assert sql(marked) == "1"
        looked = respond("slow_queries", **AGAIN)
        assert cause(looked) == ("postgres", "slow_statements"), looked.output
        assert sql(marked) == "1"
        run = respond("slow_queries", response_confirm=["reset_statistics"], **AGAIN)
        assert ("reset_statistics", "fixed") in attempts(run), run.output
        assert sql(marked) == "0"
        path = f"{run.result['incidents'][0]['evidence']}/pg_stat_statements.json"
        saved = json.loads(on_server("cat", path))
        assert [row for row in saved if "marked_by_this_test" in row["query"]]
        assert on_server("stat", "--format=%a", path) == "600"


def test_a_database_that_hangs_is_restarted_when_confirmed() -> None:
    pid, began = inspect("postgres", "{{.State.Pid}}"), inspect("postgres", "{{.State.StartedAt}}")
    # Its processes stand still: it takes connections and answers none.
    on_server("sh", "-c", f"kill -STOP {pid} $(pgrep -P {pid})")
    unhealthy = "{{.State.Health.Status}}"
    eventually(lambda: inspect("postgres", unhealthy) == "unhealthy", "Docker sees it", 120)
    asked = respond("database_down", **AGAIN)
    assert (asked.code, asked.result["verdict"]) == (2, "refused"), asked.output
    assert cause(asked) == ("postgres", "container_unhealthy")
    assert inspect("postgres", "{{.State.StartedAt}}") == began
    done = respond("database_down", response_confirm=["restart_database"], **AGAIN)
    assert done.code == 0, done.output
    assert attempts(done) == [("restart_database", "fixed")]
    assert inspect("postgres", "{{.State.StartedAt}}") != began
    assert sql("SELECT 1") == "1"


@contextmanager
def address_taken() -> Iterator[tuple[str, str]]:
    """The API stopped, and its address given to another container."""
    networks = json.loads(inspect("api", "{{json .NetworkSettings.Networks}}"))
    shared = json.loads(inspect("nginx", "{{json .NetworkSettings.Networks}}"))
    (network,) = set(networks) & set(shared)
    image, old = inspect("api", "{{.Image}}"), networks[network]["IPAddress"]
    on_server("docker", "stop", "api")
    on_server(
        *("docker", "run", "-d", "--name", "squatter", "--network", network, "--ip", old),
        *("--entrypoint", "sleep", image, "600"),
        check=False,
    )
    now = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
    try:
        assert inspect("squatter", now) == old
        yield old, now
    finally:
        on_server("docker", "rm", "-f", "squatter")


def test_a_proxy_that_knows_an_old_address_is_reloaded() -> None:
    with address_taken() as (old, now):
        on_server("docker", "start", "api")
        assert inspect("api", now) != old
        eventually(lambda: inspect("api", "{{.State.Health.Status}}") == "healthy", "it is up", 90)
        assert fetch("/api/v1/health")[0] == 502
        began = inspect("nginx", "{{.State.StartedAt}}")
        run = respond("api_down", **AGAIN)
        assert run.code == 0, run.output
        assert cause(run) == ("api", "proxy_stale")
        assert attempts(run) == [("reload_proxy", "fixed")]
        assert fetch("/api/v1/health")[0] == 200
        assert inspect("nginx", "{{.State.StartedAt}}") == began


def test_what_is_started_at_another_address_is_reached_by_customers() -> None:
    with address_taken() as (old, now):
        run = respond("api_down", **AGAIN)
        assert run.code == 0, run.output
        assert attempts(run) == [("start_container", "fixed")]
        assert inspect("api", now) != old
        assert fetch("/api/v1/health")[0] == 200


def test_a_full_cache_loses_the_named_keys_alone() -> None:
    filled = " ".join(
        [
            "for i = 1, 4000 do",
            "redis.call('SET', 'cache:' .. i, string.rep('x', 1000))",
            "end",
        ]
    )
    redis("set session:anna kept")
    redis(f'eval "{filled}" 0')
    used = int(redis("info memory").partition("used_memory:")[2].split()[0])
    redis("config set maxmemory-policy noeviction")
    redis(f"config set maxmemory {used - 1000}")
    try:
        asked = respond("redis_down", response_confirm=["flush_prefix"], **AGAIN)
        assert cause(asked) == ("redis", "redis_memory_full"), asked.output
        assert "response_flush_prefix is empty" in asked.output
        assert redis("dbsize") != "0"
        run = respond(
            "redis_down",
            response_confirm=["flush_prefix"],
            response_flush_prefix="cache:",
            **AGAIN,
        )
        assert run.code == 0, run.output
        assert attempts(run) == [("flush_prefix", "fixed")]
        assert redis("--scan --pattern 'cache:*'") == ""
        assert redis("get session:anna") == "kept"
    finally:
        restart_redis()


def restart_redis() -> None:
    """Its configuration is that of its command line again."""
    on_server("docker", "restart", "redis")
    eventually(lambda: redis("ping") == "PONG", "Redis answers", 30)


def test_redis_that_cannot_be_repaired_begins_empty_and_keeps_its_files() -> None:
    redis("set lost yes")
    redis("bgrewriteaof")
    rewritten = "info persistence | grep -c aof_rewrite_in_progress:0"
    eventually(lambda: redis(rewritten) == "1", "its base is written")
    on_server("docker", "stop", "redis")
    base = on_server("sh", "-c", f"ls {volume()}/appendonlydir/*.base.rdb")
    on_server("sh", "-c", f"printf 'no base of anything' > {base}")
    on_server("docker", "start", "redis")
    eventually(lambda: inspect("redis", "{{.State.Restarting}}") == "true", "Redis dies again", 30)
    run: Any = respond("redis_down", response_confirm=["empty_redis"], **AGAIN)
    assert run.code == 0, run.output
    assert cause(run) == ("redis", "redis_data_damaged")
    assert attempts(run) == [("repair_redis", "failed"), ("empty_redis", "fixed")]
    assert redis("get lost") == ""
    aside = on_server("sh", "-c", f"cat {volume()}/damaged-*/appendonlydir/*.base.rdb")
    assert aside == "no base of anything"
    copy = f"{run.result['incidents'][0]['evidence']}/redis-data.tar"
    listed = on_server("tar", "-tf", copy)
    assert "base.rdb" in listed
    on_server("sh", "-c", f"rm -r {volume()}/damaged-*")
