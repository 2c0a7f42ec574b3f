# SPDX-License-Identifier: GPL-3.0-or-later
"""From facts to the cause: one case a code, and what must not be taken for another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _climb,
    _diagnosis,
    _diagnosis_services,
    _incidents,
    _pg_titles,
    _remedies,
)
from ansible_collections.carrental.ops.plugins.module_utils._facts import (
    Disk,
    Facts,
    Release,
    Seen,
    Space,
)

SETTINGS = _diagnosis_services.Settings()
ROLES = {
    "api": "stateless",
    "web": "stateless",
    "postgres": "database",
    "redis": "cache",
    "minio": "object_store",
    "nginx": "proxy",
}
TABLE = {name: {"role": role} for name, role in ROLES.items()}


def seen(service: str, **other: Any) -> Seen:
    """A container that runs."""
    known = Seen(
        *(service, service),
        compose_service=service,
        role=ROLES[service],
        status="running",
        running=True,
        policy="unless-stopped",
        image_id="new",
        limit_mb=256,
        address="10.0.0.2",
    )
    return replace(known, **other)


def gone(service: str, **other: Any) -> Seen:
    return seen(service, **{"status": "exited", "running": False, "says": "it ended", **other})


def down(service: str, check: str = "http", detail: str = "it does not answer") -> dict[str, Any]:
    """A check that says that a service does not do its work."""
    return {
        "name": f"{service}.{check}",
        "service": service,
        "status": "fail",
        "down": True,
        "detail": detail,
        "summary": f"{service} is down",
        "evidence": {},
    }


def facts(incident: str, *containers: Seen, **other: Any) -> Facts:
    """Everything runs, but for what is given."""
    focus = _incidents.focus(incident, TABLE)
    given = {one.service for one in containers}
    rest = [seen(name) for name in ROLES if name not in given]
    known = Facts(incident, focus, _incidents.behind(incident, TABLE, focus))
    known.containers = [*containers, *rest]
    for name, value in other.items():
        setattr(known, name, value)
    return known


def codes(known: Facts) -> list[str]:
    return [one.code for one in _diagnosis.diagnose(known, SETTINGS)]


YOUNG = Release("20261126T054314Z-new", "new", 300, {"api": "new"}, ("api",), "20261125-old")


@pytest.mark.parametrize(
    ("container", "code"),
    [
        (seen("api", out_of_memory=True), "container_out_of_memory"),
        (
            gone("api", status="restarting", deaths=4, out_of_memory=True, exit_code=137),
            "container_out_of_memory",
        ),
        (gone("api", by_hand="stopped"), "container_stopped"),
        (gone("api", by_hand="killed", exit_code=137), "container_stopped"),
        (gone("api", exit_code=137), "container_stopped"),
        (gone("api", policy="no", exit_code=1), "container_died"),
        (seen("api", running=False, status="paused"), "container_paused"),
        (gone("api", status="created"), "container_cannot_start"),
        (gone("api", start_error="port is already allocated"), "container_cannot_start"),
        (gone("api", start_error='exec: "node": executable file not found'), "image_damaged"),
        (gone("api", status="restarting", deaths=5, exit_code=1), "container_crash_loop"),
        (seen("api", health="unhealthy", health_says="timeout"), "container_unhealthy"),
    ],
)
def test_what_the_engine_tells_is_the_cause(container: Seen, code: str) -> None:
    assert codes(facts("api_down", container))[0] == code


def test_a_crash_loop_right_after_a_release_is_the_release() -> None:
    loop = gone("api", status="restarting", deaths=5, exit_code=1)
    assert codes(facts("api_down", loop, release=YOUNG))[0] == "release_broken"
    old = replace(YOUNG, age_s=90_000)
    assert codes(facts("api_down", loop, release=old))[0] == "container_crash_loop"
    other_image = replace(loop, image_id="somebody's")
    assert codes(facts("api_down", other_image, release=YOUNG))[0] == "container_crash_loop"


def test_a_crash_loop_is_told_with_its_last_words() -> None:
    loop = gone("api", status="restarting", deaths=5, exit_code=1)
    known = facts("api_down", loop)
    known.logs[loop.name] = ["starting", "[emerg] unknown directive in nginx.conf:47", ""]
    cause = _diagnosis.diagnose(known, SETTINGS)[0]
    assert cause.detail.endswith("its log ends with: [emerg] unknown directive in nginx.conf:47")


def test_a_release_that_leaks_is_found_as_killed_and_a_rollback_is_offered() -> None:
    killed = seen("api", out_of_memory=True)
    causes = _diagnosis.diagnose(facts("api_down", killed, release=YOUNG), SETTINGS)
    assert causes[0].code == "container_out_of_memory"
    ladder = _remedies.ladder(causes, [], ROLES)
    assert [one.remedy.name for one in ladder][:2] == ["raise_memory", "rollback_release"]
    assert [one.confirmed for one in ladder][:2] == [True, False]


def test_without_its_database_the_api_is_not_to_blame() -> None:
    known = facts("api_down", gone("postgres", by_hand="stopped"), checks=[down("api")])
    assert codes(known) == ["container_stopped", "dependency_down"]
    assert _diagnosis.diagnose(known, SETTINGS)[0].service == "postgres"


def test_a_cache_that_is_down_is_told_beside_it() -> None:
    known = facts("api_down", gone("redis", by_hand="stopped"), gone("api", by_hand="stopped"))
    first, second = _diagnosis.diagnose(known, SETTINGS)
    assert (first.service, second.service) == ("api", "redis")


def test_nobody_reaches_it_through_the_proxy_alone() -> None:
    assert codes(facts("api_down", checks=[down("api", "proxy")])) == ["proxy_stale"]


def test_an_image_that_lost_files_is_told_from_a_crash() -> None:
    loop = gone("api", status="restarting", deaths=3, exit_code=1)
    known = facts("api_down", loop, logs={"api": ["Error: Cannot find module '/app/server.js'"]})
    assert codes(known)[0] == "image_damaged"


def test_redis_that_cannot_read_its_files() -> None:
    loop = gone("redis", status="restarting", deaths=3, exit_code=1)
    log = ["# Bad file format reading the append only file appendonly.aof.1.incr.aof"]
    assert codes(facts("redis_down", loop, logs={"redis": log})) == ["redis_data_damaged"]
    # Repaired since, and stopped by somebody: the log still has the old line.
    stopped = gone("redis", by_hand="stopped")
    assert codes(facts("redis_down", stopped, logs={"redis": log})) == ["container_stopped"]


def test_a_missing_container_is_told() -> None:
    known = facts("redis_down", checks=[down("redis", "container", "there is no container")])
    known.containers = [one for one in known.containers if one.service != "redis"]
    assert codes(known) == ["container_missing"]


@pytest.mark.parametrize(
    "marked",
    [
        {"silenced": {"redis": "a silence of alice: moved"}},
        {"freeze": "summer sale (until later)"},
        {"holders": ["restore 2026 has the lock"]},
    ],
)
def test_what_is_down_on_purpose_is_left_alone(marked: dict[str, Any]) -> None:
    known = facts("redis_down", gone("redis", by_hand="stopped"), **marked)
    causes = _diagnosis.diagnose(known, SETTINGS)
    assert causes[0].code == "planned"
    assert _remedies.ladder(causes, list(_remedies.REMEDIES), ROLES) == []


def test_a_crash_during_a_freeze_is_no_plan() -> None:
    known = facts("api_down", seen("api", out_of_memory=True), freeze="summer sale")
    assert codes(known)[0] == "container_out_of_memory"


def session(
    pid: int, state: str, seconds: float, name: str = "api", **other: Any
) -> dict[str, Any]:
    return {
        "pid": pid,
        "state": state,
        "state_s": seconds,
        "application_name": name,
        "usename": "carrental",
        "query": "SELECT 1",
        "blocked_by": None,
        **other,
    }


def test_forgotten_transactions_are_found_by_their_age_and_never_ours() -> None:
    rows = [
        session(1, "idle in transaction", 400),
        session(2, "idle in transaction", 10),
        session(3, "idle in transaction", 900, "carrental-ops 2026"),
        session(4, "idle in transaction", 900, "pg_dump"),
        session(5, "idle", 9000),
    ]
    known = facts("database_connections", sessions=rows, max_connections=100)
    (cause,) = _diagnosis.diagnose(known, SETTINGS)
    assert (cause.code, cause.facts["pids"]) == ("connections_idle_in_transaction", [1])


def test_the_root_of_a_queue_is_named() -> None:
    rows = [
        session(1, "idle in transaction", 20),
        session(2, "active", 15, blocked_by=[1]),
        session(3, "active", 10, blocked_by=[2]),
    ]
    known = facts("database_connections", sessions=rows, max_connections=100)
    (cause,) = _diagnosis.diagnose(known, SETTINGS)
    assert (cause.code, cause.facts["pid"]) == ("connections_blocked", 1)


def test_pools_that_do_not_fit_are_judged() -> None:
    pools = [{"service": "api", "size": 60, "replicas": 2, "known": True}]
    known = facts("database_connections", pools=pools, exporters=1, max_connections=100)
    (cause,) = _diagnosis.diagnose(known, SETTINGS)
    assert cause.code == "connections_pool_too_large"
    assert "has to be 47 or less" in cause.detail


def test_all_connections_at_work() -> None:
    rows = [session(pid, "active", 1) for pid in range(90)]
    assert codes(facts("database_connections", sessions=rows, max_connections=100)) == [
        "connections_busy"
    ]


def test_the_disk_names_who_takes_most() -> None:
    space = Space(
        *("/", "/"),
        images=2**30,
        logs={"api": 5 * 2**30},
        backups=3 * 2**30,
        volumes={"postgres_data": 10},
    )
    known = facts("disk_space", disks=[Disk("/", 96, 2**30, status="fail")], space=space)
    assert codes(known) == ["disk_logs", "disk_backups", "disk_images"]
    ladder = _remedies.ladder(_diagnosis.diagnose(known, SETTINGS), [], ROLES)
    assert "prune_images" in [one.remedy.name for one in ladder]
    assert not [one for one in ladder if "backup" in one.remedy.name]


def test_inodes_and_strangers_on_the_disk() -> None:
    assert codes(facts("disk_space", disks=[Disk("/", 40, 1, 99)])) == ["disk_inodes"]
    assert codes(facts("disk_space", disks=[Disk("/", 96, 1)])) == ["disk_other"]
    assert codes(facts("disk_space", disks=[Disk("/", 40, 1)])) == ["nothing_wrong"]


def test_memory_near_the_limit_and_a_heap_as_large_as_it() -> None:
    api = seen("api", memory_mb=250, heap_mb=256)
    assert codes(facts("high_memory", api)) == ["memory_near_limit", "memory_heap"]


def test_errors_of_one_endpoint() -> None:
    lines = ['{"status": 500, "path": "/bookings"}'] * 9 + ['{"status": 500, "path": "/cars"}']
    assert codes(facts("high_error_rate", logs={"api": lines})) == ["errors_at_one_place"]


def test_a_service_of_an_alert_is_the_focus() -> None:
    assert _incidents.focus("api_down", TABLE) == ["api"]
    assert _incidents.focus("web_down", TABLE) == ["web"]
    assert _incidents.focus("high_memory", TABLE, "redis") == ["redis"]
    assert _incidents.resolve("db_connections") == "database_connections"
    assert _incidents.resolve("no_such_thing") == ""


def test_the_list_of_causes_is_closed() -> None:
    with pytest.raises(ValueError, match="is no cause"):
        _incidents.Cause("gremlins", "api", "")
    assert set(_remedies.LADDERS) <= set(_incidents.CAUSES)


def test_every_remedy_has_an_action_or_is_left_to_people_or_a_role() -> None:
    done = {one.name for one in _remedies.REMEDIES.values() if not (one.by_hand or one.by_role)}
    assert done == set(_climb.ACTIONS)
    for one in _remedies.REMEDIES.values():
        assert one.precondition and one.check and one.blast


def test_what_cannot_be_taken_back_needs_its_own_confirmation() -> None:
    assert {one.name for one in _remedies.REMEDIES.values() if not one.reversible} == {
        *("rollback_release", "restart_database", "end_idle_transactions", "end_blocker"),
        *("reset_statistics", "empty_redis", "flush_prefix", "prune_build_cache"),
        *("prune_images", "grow_filesystem"),
    }


def test_errors_after_a_release_need_errors() -> None:
    assert codes(facts("high_error_rate", release=YOUNG)) == ["nothing_wrong"]
    lines = ['{"status": 500, "path": "/bookings"}'] * 9
    known = facts("high_error_rate", release=YOUNG, logs={"api": lines})
    assert codes(known) == ["errors_after_release", "errors_at_one_place"]


def test_a_proxy_that_was_stopped_is_the_cause_and_not_its_configuration() -> None:
    known = facts("api_down", gone("nginx", by_hand="stopped"), checks=[down("api", "proxy")])
    assert codes(known)[0] == "container_stopped"


def test_sessions_are_known_by_their_titles_where_nobody_gets_in() -> None:
    text = (
        "up|1000.00|\n"
        "1|100|postgres \n"
        "40|50000|postgres: checkpointer \n"
        "71|60000|postgres: carrental carrental 172.20.0.5(53742) idle in transaction\n"
        "72|90000|postgres: carrental carrental [local] idle\n"
        "73|99900|postgres: main: carrental carrental ::1(5) SELECT waiting\n"
        "cut|"
    )
    rows = _pg_titles.parse(text)
    assert [(row["pid"], row["state"], row["state_s"]) for row in rows] == [
        (71, "idle in transaction", 400.0),
        (72, "idle", 100.0),
        (73, "active", 1.0),
    ]
    known = facts("api_down", sessions=rows, max_connections=3, checks=[down("api")])
    assert codes(known)[0] == "connections_idle_in_transaction"


def finding(service: str, check: str, status: str = "warn") -> dict[str, Any]:
    return {**down(service, check, "see there"), "status": status, "down": False}


@pytest.mark.parametrize(
    ("known", "service", "code"),
    [
        (facts("certificate"), "nginx", "nothing_wrong"),
        (
            facts("certificate", checks=[finding("nginx", "certificate")]),
            *("nginx", "certificate_expires"),
        ),
        (
            facts("certificate", checks=[down("nginx", "certificate")]),
            *("nginx", "certificate_expires"),
        ),
        (facts("backup_missing"), "host", "nothing_wrong"),
        (facts("backup_missing", checks=[finding("host", "backup")]), "host", "backup_missing"),
        (facts("drill_missing"), "host", "nothing_wrong"),
        (facts("drill_missing", drill="none was restored"), "host", "drill_missing"),
    ],
)
def test_what_an_alert_says_is_looked_at_and_not_believed(
    known: Facts, service: str, code: str
) -> None:
    likely = _diagnosis.diagnose(known, SETTINGS)[0]
    assert (likely.service, likely.code) == (service, code)


def test_an_alert_that_fires_is_a_reason_by_itself() -> None:
    alert = {
        "alert": "BackupFailed",
        "summary": "The copy elsewhere is old.",
        "response": "backup_missing",
        "state": "active",
    }
    found = _diagnosis.diagnose(facts("backup_missing", alerts=[alert]), SETTINGS)
    assert [one.code for one in found] == ["backup_missing"]
    assert found[0].detail == "BackupFailed fires: The copy elsewhere is old."
    quiet = facts("backup_missing", alerts=[{**alert, "state": "suppressed"}])
    assert codes(quiet) == ["nothing_wrong"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("wrong password: postgres:5432 refuses user carrental; set one", "database_password"),
        ("database carrental does not exist on postgres:5432; check", "database_missing"),
        ("it is read-only: default_transaction_read_only is on", "database_read_only"),
        ("postgres:5432 recovers after a crash; wait", "database_recovering"),
        ("no answer within 3 s", "container_unhealthy"),
    ],
)
def test_a_database_is_not_restarted_for_what_it_says_itself(said: str, code: str) -> None:
    for health in ("healthy", "unhealthy"):
        container = seen("postgres", health=health)
        known = facts("database_down", container, checks=[down("postgres", "connect", said)])
        assert _diagnosis.diagnose(known, SETTINGS)[0].code == code
    offered = "restart_database" in _remedies.LADDERS.get(code, ())
    assert offered == (code == "container_unhealthy")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("wrong password: redis:6379 refuses the configured one", "redis_password"),
        ("redis:6379 takes no writes because it cannot save (MISCONF)", "redis_cannot_save"),
        ("redis:6379 is loading its data into memory (LOADING); wait", "redis_loading"),
        ("redis:6379 gave no answer within 3 s", "container_unhealthy"),
    ],
)
def test_a_cache_is_not_restarted_for_what_it_says_itself(said: str, code: str) -> None:
    container = seen("redis", health="unhealthy")
    known = facts("redis_down", container, checks=[down("redis", "ping", said)])
    assert codes(known)[0] == code
    offered = "restart_container" in _remedies.LADDERS.get(code, ())
    assert offered == (code == "container_unhealthy")


def test_errors_of_an_earlier_incident_hide_no_endpoint() -> None:
    lines = [f'{{"status": 503, "path": "/old/{number}"}}' for number in range(40)]
    lines += ['{"status": 500, "path": "/bookings"}'] * 8
    assert codes(facts("high_error_rate", logs={"api": lines})) == ["errors_at_one_place"]
