# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores to a moment: the log is received, bases are made, and what goes wrong with them.

What arrived is looked at by its files, by SQL and by ``docker inspect``; the moments by rows that
were inserted before and after them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support import (
    Run,
    Started,
    eventually,
    inspect,
    on_server,
    playbook,
    sql,
    stop_at,
    tree,
    wait_stopped,
)
from tiers import proof

pytestmark = proof

BACKUPS = "/opt/carrental/backups"
STATE = "/opt/carrental/.ops"
METRICS = f"{STATE}/metrics/carrental_wal.prom"
UNIT = "carrental-wal"
RECEIVERS = ("docker", "ps", "-q", "--filter", "label=carrental.ops.wal")
RECOVERIES = ("docker", "ps", "-aq", "--filter", "label=carrental.ops.drill")
SLOT = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'carrental_ops'"
SETTINGS: dict[str, Any] = {
    "backup_point_in_time": True,
    "backup_objects": False,
    "backup_wal_slot_max_mb": 32,
}
MB = 2**20


def backup(*argv: str, **extra: Any) -> Run:
    return playbook("backup", *argv, **{**SETTINGS, **extra})


def restore(moment: str, *argv: str, **extra: Any) -> Run:
    wanted: dict[str, Any] = {
        "restore_to_time": moment,
        "restore_confirm": "carrental",
        "restore_without_backup": "a test",
        "restore_verify_timeout": 30,
    }
    return playbook("restore", *argv, **{**wanted, **extra})


def store() -> str:
    """Where the log of this server lies, by the identifier that the server itself has."""
    system = sql("SELECT system_identifier FROM pg_control_system()", "postgres")
    return f"{BACKUPS}/wal/{system}"


def files(folder: str) -> list[str]:
    return on_server("ls", "-A", f"{store()}/{folder}", check=False).split()


def status() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(on_server("cat", f"{STATE}/wal/status.json"))
    return found


def metric(name: str) -> float:
    lines = on_server("cat", METRICS).splitlines()
    return float(next(one.split()[1] for one in lines if one.startswith(f"{name} ")))


def receives() -> bool:
    """Whether the server streams to our receiver, by what the server says."""
    return (
        sql("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pg_receivewal'")
        == "1"
    )


def now() -> str:
    """The moment, by the clock of the server; what comes next is later."""
    time.sleep(1.1)
    at = sql("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
    time.sleep(1.1)
    return at


def insert(word: str) -> None:
    sql(f"INSERT INTO moments VALUES ('{word}')")  # noqa: S608


def words() -> list[str]:
    return sql("SELECT word FROM moments ORDER BY at, word").splitlines()


def untouched() -> list[str]:
    """What ``tree`` tells, but for what the receiver writes all the time."""
    own = ("/.ops/wal", "/.ops/metrics", "/receiving", "/archive")
    return [one for one in tree(reports=False).splitlines() if not any(two in one for two in own)]


def write(segments: int) -> None:
    """Have the server write whole segments of its log."""
    for _segment in range(segments):
        sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000))", "postgres")
        sql("SELECT pg_switch_wal()", "postgres")
        sql("CHECKPOINT", "postgres")


def service(verb: str) -> None:
    """Start or stop the receiver, and what would start it again at once."""
    on_server("systemctl", verb, f"{UNIT}.path", f"{UNIT}.service")


@pytest.fixture(scope="module", autouse=True)
def switched_on() -> Iterator[None]:
    """Have the log received, and a base; in the end neither."""
    sql("CREATE TABLE moments (word text, at timestamptz DEFAULT clock_timestamp())")
    run = backup()
    assert run.code == 0, run.output
    yield
    service("start")
    run = playbook("backup", backup_objects=False)
    assert run.code == 0, run.output
    on_server("rm", "-rf", f"{BACKUPS}/wal")
    sql("DROP TABLE IF EXISTS moments, sessions")


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    """Leave no database that a restore kept."""
    yield
    kept = sql(
        "SELECT datname FROM pg_database WHERE datname ~ '^carrental_(before|failed|restore)_'",
        "postgres",
    )
    for name in kept.split():
        sql(f'DROP DATABASE "{name}" WITH (FORCE)', "postgres")


def test_the_log_arrives_and_is_nobody_elses() -> None:
    assert sql(SLOT) == "reserved"
    assert sql("SHOW max_slot_wal_keep_size") == "32MB"
    assert receives()
    (container,) = on_server(*RECEIVERS).split()
    database = inspect("postgres", "{{ .Id }}")
    assert inspect(container, "{{ .HostConfig.NetworkMode }}") == f"container:{database}"
    assert inspect(container, "{{ .Image }}") == inspect("postgres", "{{ .Image }}")
    password = on_server("docker", "exec", "postgres", "printenv", "POSTGRES_PASSWORD")
    assert password not in inspect(container, "{{ .Config.Cmd }} {{ .Config.Entrypoint }}")
    modes = on_server("find", f"{BACKUPS}/wal", "-printf", "%y %m %u\n").splitlines()
    assert set(modes) == {"d 700 deploy", "f 600 deploy"}
    # What is kept is what the server wrote, byte by byte.
    last = sql("SELECT pg_walfile_name(pg_switch_wal() - 1)", "postgres")
    eventually(lambda: f"{last}.gz" in files("archive"), f"{last} is kept")
    kept = on_server("sh", "-c", f"gunzip -c {store()}/archive/{last}.gz | sha256sum").split()[0]
    own = on_server("docker", "exec", "postgres", "sh", "-c", f"sha256sum $PGDATA/pg_wal/{last}")
    assert own.split()[0] == kept
    assert metric("carrental_wal_receiving") == 1
    eventually(lambda: metric("carrental_wal_unbroken") == 1, "the base is measured")


def test_a_second_run_installs_nothing_and_makes_no_base() -> None:
    bases = files("base")
    run = backup()
    assert run.code == 0, run.output
    assert files("base") == bases
    assert not any("receiver" in one or "base" in one for one in run.result["changed"])
    assert any("point in time: any moment from" in one for one in run.result["lines"])


def test_a_restore_brings_the_moment_back() -> None:
    insert("before")
    sql("CREATE UNLOGGED TABLE sessions AS SELECT 1 AS token")
    moment = now()
    insert("after")
    assert words()[-2:] == ["before", "after"]
    before, volumes = untouched(), on_server("docker", "volume", "ls", "-q")

    run = restore(moment, "--check")
    assert run.code == 0, run.output
    assert f"can be restored to {moment}; nothing was changed" in run.result["headline"]
    assert any(one.startswith("base ") for one in run.result["lines"])
    assert any("MB are free" in one for one in run.result["lines"])
    assert any("unlogged" in one and "public.sessions" in one for one in run.result["lines"])
    assert untouched() == before
    assert on_server(*RECOVERIES) == ""

    run = restore(moment)
    assert run.code == 0, run.output
    assert run.result["verdict"] == "ok"
    assert "after" not in words()
    assert words()[-1] == "before"
    assert "empty in it, for unlogged tables are not in the log: public.sessions" in " ".join(
        run.result["lines"]
    )
    assert sql("SELECT count(*) FROM sessions") == "0"
    # The one that was live stays, and nothing of the recovery does.
    assert run.result["previous"].startswith("carrental_before_")
    assert on_server(*RECOVERIES) == ""
    assert on_server("docker", "volume", "ls", "-q") == volumes
    text = on_server("sh", "-c", f"cat {BACKUPS}/{run.result['backup']}.*.json")
    manifest = json.loads(text)
    assert manifest["reason"] == "point_in_time"
    assert manifest["point_in_time"] == moment
    assert receives()


def test_the_backup_of_a_moment_is_as_old_as_the_moment() -> None:
    # "latest" is the newest data, not what was recovered last.
    moment = now()
    run = backup()
    newest = run.result["backup"]
    assert restore(moment).code == 0
    run = playbook("restore", "--check")
    assert run.code == 0, run.output
    assert run.result["backup"] == newest


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("2020-01-01T00:00:00Z", "what can be reached is 20"),
        ("2099-01-01T00:00:00Z", "that is later than now"),
        ("yesterday", "'yesterday' is no time"),
        ("2026-11-26T03:12:00.900Z", "a moment is given in whole seconds"),
        ("2026-11-26", "it has no time of day"),
    ],
)
def test_a_moment_that_cannot_be_reached_is_refused(moment: str, said: str) -> None:
    before, oid = untouched(), sql("SELECT oid FROM pg_database WHERE datname='carrental'")
    run = restore(moment)
    assert run.code != 0
    assert run.result["verdict"] == "refused"
    assert said in run.result["headline"]
    assert run.result["headline"].endswith("Nothing was changed.")
    assert untouched() == before
    assert sql("SELECT oid FROM pg_database WHERE datname='carrental'") == oid


def test_two_answers_to_what_is_restored_are_refused() -> None:
    run = restore(now(), restore_from="before=2026-01-01T00:00:00Z")
    assert run.result["verdict"] == "refused"
    assert "give one of them" in run.result["headline"]


def test_the_receiver_outlives_the_container_of_the_database() -> None:
    old = inspect("postgres", "{{ .Id }}")
    compose = "cd /opt/carrental && docker compose -p carrental -f docker-compose.prod.yml"
    on_server("sh", "-c", f"{compose} up -d --force-recreate --no-deps postgres", seconds=300)
    assert inspect("postgres", "{{ .Id }}") != old
    eventually(receives, "the log of the new container is received", 90)
    insert("recreated")
    moment = now()
    insert("later")
    run = restore(moment)
    assert run.code == 0, run.output
    assert words()[-1] == "recreated"


def test_a_recovery_that_is_killed_leaves_nothing() -> None:
    volumes = on_server("docker", "volume", "ls", "-q")
    moment = now()
    with stop_at("play the log back"):
        started = Started(
            "restore",
            restore_to_time=moment,
            restore_confirm="carrental",
            restore_without_backup="x",
        )
        pid = wait_stopped("play the log back", started)
        (container,) = on_server(*RECOVERIES).split()
        assert inspect(container, "{{ .HostConfig.NetworkMode }}") == "none"
        assert inspect(container, "{{ .HostConfig.Memory }}") == str(512 * MB)
        on_server("kill", "-9", str(pid))
        started.wait()
    eventually(lambda: on_server(*RECOVERIES) == "", "its container is removed", 30)
    assert on_server("docker", "volume", "ls", "-q") == volumes
    assert restore(moment).code == 0


def test_a_base_that_is_killed_leaves_nothing_that_looks_like_one() -> None:
    bases = files("base")
    with stop_at("wait for the log of the base"):
        started = Started("backup", **SETTINGS, backup_base_hours=0)
        pid = wait_stopped("wait for the log of the base", started)
        (partial,) = set(files("base")) - set(bases)
        on_server("kill", "-9", str(pid))
        assert started.wait().code != 0
    assert partial.endswith(".partial")
    assert files(f"base/{partial}") == ["base.tar.zst"]
    run = backup()
    assert run.code == 0, run.output
    assert files("base") == bases
    assert f"remove {partial}, which a killed run left" in run.result["changed"]


def test_a_dead_receiver_fills_no_disk_and_leaves_a_gap() -> None:
    service("stop")
    assert on_server(*RECEIVERS) == ""
    lost = now()
    write(12)
    size = int(sql("SELECT sum(size) FROM pg_ls_waldir()", "postgres"))
    bound = int(sql("SELECT pg_size_bytes(current_setting('max_slot_wal_keep_size'))"))
    keeps = sql(
        "SELECT safe_wal_size IS NULL FROM pg_replication_slots WHERE slot_name = 'carrental_ops'"
    )
    assert sql(SLOT) == "lost"
    assert keeps == "t"
    # What the server keeps besides is its own: min_wal_size, recycled for what comes.
    assert (
        size <= bound + int(sql("SELECT pg_size_bytes(current_setting('min_wal_size'))")) + 48 * MB
    )
    in_gap = now()
    service("start")
    eventually(receives, "the log is received again", 60)
    assert sql(SLOT) == "reserved"
    write(1)
    eventually(lambda: metric("carrental_wal_unbroken") == 0, "the gap is measured", 60)
    run = playbook("status")
    assert "has a gap" in run.line("point in time:")

    run = restore(in_gap)
    assert run.result["verdict"] == "refused"
    assert f"cannot be restored to {in_gap}: what can be reached is" in run.result["headline"]

    # A backup makes a base, though the last one is young; both sides of the gap can be reached.
    bases = files("base")
    run = backup()
    assert run.code == 0, run.output
    assert len(files("base")) == len(bases) + 1
    insert("after the gap")
    moment = now()
    insert("too late")
    assert restore(moment).code == 0
    assert words()[-1] == "after the gap"
    run = restore(in_gap)
    assert "Z, and 20" in run.result["headline"], run.result["headline"]
    assert lost < in_gap


def test_what_was_committed_before_a_gap_is_not_guessed() -> None:
    # Recovery finds no commit to end before: one may be in what was never received.
    assert backup().code == 0
    insert("the last one")
    moment = now()
    sql("CHECKPOINT", "postgres")
    sql("SELECT pg_logical_emit_message(false, 'test', 'no commit')", "postgres")
    time.sleep(3)
    service("stop")
    write(12)
    service("start")
    eventually(receives, "the log is received again", 60)
    insert("after the gap")
    run = restore(moment)
    assert run.code != 0
    assert f"ends before {moment[:10]}" in run.result["headline"], run.result
    assert "Nothing was changed" in run.result["headline"]
    assert words()[-1] == "after the gap"


def test_a_damaged_segment_of_the_log_is_not_passed() -> None:
    assert backup().code == 0
    write(1)
    asked = "SELECT file_name, file_offset FROM pg_walfile_name_offset(pg_current_wal_insert_lsn())"
    segment, offset = sql(asked, "postgres").split("|")
    insert("in the segment")
    moment = now()
    insert("too late")
    write(2)
    named = (segment, f"{segment}.gz")
    eventually(lambda: not set(files("archive")).isdisjoint(named), "the segment arrived")
    name = next(one for one in files("archive") if one in named)
    path = f"{store()}/archive/{name}"
    size = int(on_server("stat", "-c", "%s", path))
    place = size // 2 if name.endswith(".gz") else int(offset) + 40
    on_server("cp", "-p", path, "/root/whole")
    spoil = ("dd", "if=/dev/urandom", f"of={path}", "bs=1", f"seek={place}")
    on_server(*spoil, "count=24", "conv=notrunc", "status=none")
    try:
        run = restore(moment)
        assert run.code != 0, run.output
        assert "Nothing was changed" in run.result["headline"], run.result
        assert words()[-2:] == ["in the segment", "too late"]
        assert on_server(*RECOVERIES) == ""
    finally:
        on_server("mv", "/root/whole", path)
    assert restore(moment).code == 0
    assert words()[-1] == "in the segment"


def test_a_disk_that_is_too_full_stops_the_receiver_and_frees_the_database() -> None:
    free = int(on_server("df", "--output=avail", "-BM", BACKUPS).split()[-1].rstrip("M"))
    run = backup(backup_wal_min_free_mb=free * 2)
    assert run.code != 0
    assert "MB are to stay free (backup_wal_min_free_mb)" in run.result["headline"]
    # The dump is there all the same, and the operator is told.
    assert run.result["headline"].startswith(f"{run.result['backup']} is made and proven.")
    assert on_server("sh", "-c", f"ls {BACKUPS}/{run.result['backup']}.dump*")
    assert run.result["verdict"] == "failed"
    assert sql(SLOT) == ""
    assert on_server(*RECEIVERS) == ""
    assert status()["state"] == "stopped"
    assert metric("carrental_wal_receiving") == 0
    assert "backup_wal_min_free_mb" in on_server("journalctl", "-u", UNIT, "-n", "5", "--no-pager")
    # With room it goes on by itself.
    run = backup()
    assert run.code == 0, run.output
    assert receives()
    assert sql(SLOT) == "reserved"


def test_switched_off_it_leaves_the_files_and_nothing_else() -> None:
    kept = files("archive")
    before = untouched()
    run = playbook("backup", "--check", backup_objects=False)
    assert run.code == 0, run.output
    assert "drop the replication slot carrental_ops" in run.result["changed"]
    assert untouched() == before

    run = playbook("backup", backup_objects=False)
    assert run.code == 0, run.output
    assert any("stays in /opt/carrental/backups/wal" in one for one in run.result["lines"])
    assert sql(SLOT) == ""
    assert sql("SHOW max_slot_wal_keep_size") == "-1"
    assert on_server(*RECEIVERS) == ""
    eventually(
        lambda: on_server("systemctl", "is-active", f"{UNIT}.service", check=False) == "inactive",
        "systemd does not start it again",
    )
    assert on_server("systemctl", "is-active", f"{UNIT}.path") == "active"
    assert on_server("ls", METRICS, check=False) == ""
    assert set(kept) <= set(files("archive"))
    run = playbook("backup", backup_objects=False)
    assert not any("receiver" in one or "slot" in one for one in run.result["changed"])


def test_without_the_path_of_systemd_it_is_refused() -> None:
    on_server("systemctl", "stop", f"{UNIT}.path")
    try:
        run = backup()
        assert run.code != 0
        assert (
            "carrental-wal.path of systemd is not at work on this server" in run.result["headline"]
        )
        assert sql(SLOT) == ""
    finally:
        on_server("systemctl", "start", f"{UNIT}.path")
