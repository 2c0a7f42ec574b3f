# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores of the database, and what goes wrong with them.

A restore is judged by SQL in the server's own container and by requests through the proxy.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bucket import ELSEWHERE, bucket, elsewhere, login
from support import (
    SERVER,
    STATE,
    Run,
    Started,
    eventually,
    fetch,
    on_server,
    playbook,
    release,
    sql,
    stop_at,
    tree,
    wait_stopped,
)
from tiers import proof

HOME = "/home/deploy"
HEALTH = "/api/v1/health"
COUNTS = [f"SELECT count(*) FROM {name}" for name in ("bookings", "cars", "customers")]  # noqa: S608


def databases() -> list[str]:
    """Return all databases of the server but its templates."""
    return sql(
        "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1", "postgres"
    ).splitlines()


def oid() -> str:
    return sql("SELECT oid FROM pg_database WHERE datname = 'carrental'", "postgres")


def rows() -> list[int]:
    return [int(sql(one)) for one in COUNTS]


def dumped(name: str, *options: str) -> str:
    """Dump the database as anybody could, and return where the dump lies."""
    path = f"{HOME}/{name}"
    command = f"docker exec postgres pg_dump -U carrental {' '.join(options)} carrental"
    pack = "| gzip" if name.endswith(".gz") else ""
    on_server("sh", "-c", f"{command} {pack} > {path} && chown deploy: {path}")
    return path


def text_of(path: str) -> str:
    return on_server("sh", "-c", f"gunzip -c {path}")


def written(name: str, text: str) -> str:
    """Put SQL on the server, compressed, and return where it lies."""
    path = f"{HOME}/{name}"
    done = subprocess.run(
        ["docker", "exec", "-i", SERVER, "tee", path],
        input=gzip.compress(text.encode()),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    assert done.returncode == 0
    on_server("chown", "deploy:", path)
    return path


def restore(source: str, *argv: str, **extra: Any) -> Run:
    wanted: dict[str, Any] = {
        "restore_from": source,
        "restore_confirm": "carrental",
        "restore_without_backup": "a test",
        "restore_verify_timeout": 30,
    }
    return playbook("restore", *argv, **{**wanted, **extra})


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    """Leave the server as it was found: one database, settings of none."""
    yield
    sql("ALTER DATABASE carrental WITH ALLOW_CONNECTIONS true", "postgres")
    for name in databases():
        if name not in ("carrental", "postgres"):
            sql(f'DROP DATABASE "{name}" WITH (FORCE)', "postgres")
    sql("ALTER DATABASE carrental RESET ALL", "postgres")
    sql("COMMENT ON DATABASE carrental IS NULL", "postgres")
    on_server("sh", "-c", f"rm -f {HOME}/*.dump {HOME}/*.gz")


@pytest.fixture
def connected() -> Iterator[subprocess.Popen[str]]:
    """A psql that stays connected to the live database."""
    process = subprocess.Popen(
        [
            *("docker", "exec", "-i", SERVER, "docker", "exec", "-i", "postgres"),
            *("psql", "-XAtq", "-U", "carrental", "-d", "carrental"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write("SET application_name = 'a colleague'; SELECT 'here';\n")
    process.stdin.flush()
    assert process.stdout.readline().strip() == "here"
    yield process
    process.kill()
    process.wait()


def colleagues() -> int:
    return int(sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'a colleague'"))


def test_check_tells_the_plan_and_leaves_no_trace() -> None:
    path = dumped("plan.dump", "-Fc")
    sql("CREATE TABLE newer AS SELECT 1 AS one")
    try:
        before, live = tree(reports=False), databases()
        run = restore(path, "--check", "--diff", restore_confirm="")
        assert run.code == 0, run.output
        assert run.result["verdict"] == "ok"
        assert tree(reports=False) == before
        assert databases() == live
        held = 1 + sum(rows()) + int(sql("SELECT count(*) FROM _prisma_migrations"))
        assert f"{held} rows; it stays as" in run.output
        assert "nothing was changed" in run.result["headline"]
        # The difference that --diff shows is that of the rows.
        assert any("public.newer" in line for line in run.output.splitlines() if line[:1] == "-")
    finally:
        sql("DROP TABLE newer")


def test_restore_swaps_under_connected_clients(connected: subprocess.Popen[str]) -> None:
    sql("ALTER DATABASE carrental SET statement_timeout = '7s'", "postgres")
    sql("ALTER ROLE carrental IN DATABASE carrental SET work_mem = '5MB'", "postgres")
    sql("REVOKE CONNECT ON DATABASE carrental FROM PUBLIC", "postgres")
    acl = sql("SELECT datacl FROM pg_database WHERE datname = 'carrental'", "postgres")
    wanted, before = rows(), oid()
    path = dumped("whole.dump", "-Fc")
    sql("DELETE FROM bookings")
    sql("CREATE TABLE newer AS SELECT 1 AS one")
    assert colleagues() == 1
    run = restore(path)
    assert run.code == 0, run.output
    assert run.result["verdict"] == "ok"
    assert rows() == wanted
    assert oid() != before
    # What was newer is not lost: the database from before is there, whole.
    previous = run.result["previous"]
    assert previous in databases()
    assert sql("SELECT count(*) FROM newer", previous) == "1"
    assert sql("SELECT oid FROM pg_database WHERE datname = current_database()", previous) == before
    # What stands outside of a dump.
    assert sql("SHOW statement_timeout") == "7s"
    assert sql("SHOW work_mem") == "5MB"
    found = sql("SELECT datacl FROM pg_database WHERE datname = 'carrental'", "postgres")
    assert sorted(found.strip("{}").split(",")) == sorted(acl.strip("{}").split(","))
    assert sql("SELECT count(*) FROM pg_stats WHERE schemaname = 'public'") != "0"
    # Who was connected is connected to nothing any more; whoever asks now is answered.
    assert colleagues() == 0
    status, body = fetch(HEALTH)
    assert (status, json.loads(body)["status"]) == (200, "ok")
    assert float(run.result["numbers"]["database away"].split()[0]) < 5
    sql("ALTER ROLE carrental IN DATABASE carrental RESET ALL", "postgres")
    sql("GRANT CONNECT ON DATABASE carrental TO PUBLIC", "postgres")


@proof
def test_plain_sql_again_and_then_what_is_kept_is_dropped() -> None:
    wanted = rows()
    path = dumped("plain.sql.gz")
    sql("DELETE FROM bookings")
    first, second = restore(path), restore(path)
    assert (first.code, second.code) == (0, 0), first.output + second.output
    assert rows() == wanted
    kept = {first.result["previous"], second.result["previous"]}
    assert len(kept) == 2
    assert kept < set(databases())
    dropped = restore(path, restore_drop_previous="all")
    assert dropped.code == 0, dropped.output
    assert databases() == ["carrental", "postgres"]


def test_it_has_to_be_typed() -> None:
    before = oid()
    run = restore(dumped("typed.dump", "-Fc"), restore_confirm="yes")
    assert (run.code != 0, run.result["verdict"]) == (True, "refused")
    assert "restore_confirm=carrental" in run.result["headline"]
    assert oid() == before


def refused(source: str, *said: str) -> None:
    """Demand that a restore says why it does not come about, and that nothing came about."""
    before, live, content = oid(), databases(), rows()
    run = restore(source)
    assert run.code != 0, run.output
    assert run.result["verdict"] == "refused", run.result
    for one in said:
        assert one in run.result["headline"], run.result["headline"]
    assert (oid(), databases(), rows()) == (before, live, content)


def test_a_dump_cut_in_the_middle_of_its_rows_is_refused() -> None:
    text = text_of(dumped("source.sql.gz"))
    begin = text.index("COPY public.bookings")
    cut = text.index("\n", begin + 400) + 1
    refused(written("cut.sql.gz", text[:cut]), "in the middle of the rows of public.bookings")


@pytest.mark.parametrize("step", [pytest.param("load", marks=proof), "between the renames"])
def test_a_run_that_is_killed_is_taken_up(step: str) -> None:
    killed_at(step)


@proof
@pytest.mark.parametrize(
    "step",
    [
        *("look", "read the backup", "create the database", "analyze", "count"),
        *("privileges and settings", "swap", "verify", "finish"),
    ],
)
def test_a_run_that_is_killed_anywhere_is_taken_up(step: str) -> None:
    killed_at(step)


def killed_at(step: str) -> None:
    wanted = rows()
    path = dumped("killed.dump", "-Fc")
    sql("DELETE FROM bookings")
    with stop_at(step):
        started = Started(
            "restore",
            restore_from=path,
            restore_confirm="carrental",
            restore_without_backup="a test",
        )
        pid = wait_stopped(step, started)
        on_server("kill", "-9", str(pid))
        assert started.wait(120).code != 0
    if step not in ("verify", "finish"):
        eventually(lambda: sql("SELECT 1") == "1", "the live database answers", 20)
        assert rows()[0] == 0, "the live database was not touched"
    run = restore(path)
    assert run.code == 0, run.output
    assert rows() == wanted
    assert fetch(HEALTH)[0] == 200
    assert (
        sql(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = 'carrental'",
            "postgres",
        )
        == ""
    )
    assert not [name for name in databases() if "_restore_" in name]


@proof
def test_what_others_left_half_done_is_put_right() -> None:
    path = dumped("half.dump", "-Fc")
    sql("ALTER DATABASE carrental WITH ALLOW_CONNECTIONS false", "postgres")
    run = restore(path)
    assert run.code == 0, run.output
    assert "takes them again" in run.output
    live = sql("SELECT datallowconn FROM pg_database WHERE datname = 'carrental'", "postgres")
    assert live == "t"
    # And between two renames that were not one transaction.
    end = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'carrental'"
    )
    sql(
        f"ALTER DATABASE carrental WITH ALLOW_CONNECTIONS false; {end}",
        "postgres",
    )
    time.sleep(1)
    sql("ALTER DATABASE carrental RENAME TO carrental_before_20991231_235959", "postgres")
    run = restore(path)
    assert run.code == 0, run.output
    assert rows()[1] > 0


@proof
def test_a_load_ends_with_the_module() -> None:
    sql("CREATE TABLE slow AS SELECT g, md5(g::text) FROM generate_series(1, 1000000) g")
    sql("CREATE INDEX ON slow (md5); CREATE INDEX ON slow (g, md5)")
    path = dumped("slow.dump", "-Fc")
    sql("DROP TABLE slow")
    started = Started(
        "restore", restore_from=path, restore_confirm="carrental", restore_without_backup="a test"
    )
    loading = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'carrental_restore_%'"
    eventually(lambda: int(sql(loading, "postgres")) > 1, "it loads", 120)
    containers = ("docker", "ps", "-aq", "--filter", "label=carrental.ops.restore")
    assert on_server(*containers)
    # The module alone: its child, which looks after the container, is of the same name.
    on_server("kill", "-9", str(json.loads(on_server("cat", f"{STATE}/lock"))["pid"]))
    eventually(lambda: sql(loading, "postgres") == "0", "nothing loads any more", 20)
    eventually(lambda: on_server(*containers) == "", "the container is gone", 20)
    assert started.wait(180).code != 0


@proof
def test_a_backup_says_who_it_is() -> None:
    """Settings come back from the manifest; another database or server has to be meant."""
    sql("ALTER DATABASE carrental SET statement_timeout = '8s'", "postgres")
    made = playbook("backup")
    assert made.code == 0, made.output
    backup, wanted = str(made.result["backup"]), rows()
    sql("ALTER DATABASE carrental RESET ALL", "postgres")
    sql("DELETE FROM bookings")
    run = restore(backup, restore_without_backup="")
    assert run.code == 0, run.output
    assert rows() == wanted
    assert sql("SHOW statement_timeout") == "8s"
    safety = on_server("sh", "-c", 'grep -l \'"reason": "safety"\' /opt/carrental/backups/*.json')
    assert safety
    # What it put aside is never what "latest" means.
    plan = restore("latest", "--check")
    assert plan.result["backup"] == backup
    file = on_server("sh", "-c", f"ls /opt/carrental/backups/{backup}.*.json")
    whole = on_server("cat", file)
    try:
        for change, said in (
            ({"system_identifier": "1"}, "restore_other_server=true"),
            ({"roles": ["ghost"]}, "the role ghost"),
            ({"extensions": {"postgis": "3"}}, "the extension postgis"),
            ({"server_version": "17.1"}, "PostgreSQL 17.1"),
        ):
            on_server("tee", file, stdin=json.dumps({**json.loads(whole), **change}))
            refused(backup, said)
        other = json.loads(whole)
        other["database"]["name"] = "other"
        on_server("tee", file, stdin=json.dumps(other))
        refused(backup, "restore_other_database=true")
    finally:
        on_server("tee", file, stdin=whole)


@proof
def test_the_database_comes_back_when_the_application_says_no() -> None:
    sql("ALTER DATABASE carrental SET default_transaction_read_only = on", "postgres")
    made = playbook("backup")
    assert made.code == 0, made.output
    sql("ALTER DATABASE carrental RESET ALL", "postgres")
    before = oid()
    run = restore(str(made.result["backup"]), restore_verify_timeout=5)
    assert run.code != 0
    assert run.result["verdict"] == "rolled_back", run.result
    assert oid() == before
    assert fetch(HEALTH)[0] == 200
    assert [name for name in databases() if "_failed_" in name]
    # The same command would end the same way.
    assert "the same command" not in run.result["next"]


@pytest.fixture
def behind() -> Iterator[tuple[str, str]]:
    """A backup from before the last migration, as far as the table of migrations tells."""
    sql("CREATE TABLE aside AS SELECT * FROM _prisma_migrations ORDER BY started_at DESC LIMIT 1")
    back = "INSERT INTO _prisma_migrations SELECT * FROM aside ON CONFLICT DO NOTHING"
    last = sql("SELECT migration_name FROM aside")
    sql("DELETE FROM _prisma_migrations m USING aside a WHERE m.id = a.id")
    try:
        made = playbook("backup")
        sql(back)
        assert made.code == 0, made.output
        yield str(made.result["backup"]), last
    finally:
        # The backup has the table that it is put back from.
        sql(back)
        sql("DROP TABLE aside")


@proof
def test_a_backup_from_before_a_migration_says_what_it_lacks(behind: tuple[str, str]) -> None:
    backup, last = behind
    plan = restore(backup, "--check")
    assert plan.code == 0, plan.output
    assert any(f"it lacks the migration {last}" in line for line in plan.result["lines"])
    run = restore(backup)
    assert run.code == 0, run.output
    assert f"the application lacks {last}" in run.result["headline"]
    assert any(f"it lacks the migration {last}" in line for line in run.result["lines"])
    version = release("v1")
    assert run.result["next"].startswith(f"playbooks/deploy.yml -e deploy_version={version};")


@proof
def test_a_restore_that_was_taken_back_says_what_the_schema_lacked(behind: tuple[str, str]) -> None:
    _backup, last = behind
    sql(f"DELETE FROM _prisma_migrations WHERE migration_name = '{last}'")  # noqa: S608
    sql("ALTER DATABASE carrental SET default_transaction_read_only = on", "postgres")
    made = playbook("backup")
    assert made.code == 0, made.output
    sql("ALTER DATABASE carrental RESET ALL", "postgres")
    sql("INSERT INTO _prisma_migrations SELECT * FROM aside ON CONFLICT DO NOTHING")
    run = restore(str(made.result["backup"]), restore_verify_timeout=5)
    assert run.result["verdict"] == "rolled_back", run.result
    assert f"As for its schema, it lacks the migration {last} of" in run.result["headline"]


@proof
def test_a_damaged_backup_is_marked_and_another_one_is_named() -> None:
    good, bad = (str(playbook("backup").result["backup"]) for _time in range(2))
    folder = "/opt/carrental/backups"
    name = on_server("sh", "-c", f"cd {folder} && ls {bad}.* | grep -v -e json -e sha256").strip()
    file = f"{folder}/{name}"
    on_server("sh", "-c", f"cp -p {file} /root/whole && cp -p {file}.json /root/whole.json")
    try:
        on_server("sh", "-c", f"printf XXXX | dd of={file} bs=1 seek=400 conv=notrunc")
        following = f"playbooks/restore.yml -e restore_from={good} -e restore_confirm=carrental"
        plan = restore("latest", "--check")
        assert (plan.result["verdict"], plan.result["next"]) == ("refused", following), plan.output
        # Check mode leaves no trace.
        assert json.loads(on_server("cat", f"{file}.json"))["damage"] == ""
        run = restore("latest")
        assert (run.result["verdict"], run.result["next"]) == ("refused", following), run.output
        assert "is damaged: its sha256 is" in json.loads(on_server("cat", f"{file}.json"))["damage"]
        assert restore("latest", "--check").result["backup"] == good
    finally:
        on_server("sh", "-c", f"mv /root/whole {file} && mv /root/whole.json {file}.json")


@proof
@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("empty", lambda text: "", "is empty"),
        ("no end", lambda text: text.replace("database dump complete", "half"), "last line"),
        (
            "newer",
            lambda text: text.replace("pg_dump version 16", "pg_dump version 17"),
            "pg_dump 17",
        ),
        (
            "setting",
            lambda text: text.replace(
                "SET lock_timeout = 0;", "SET lock_timeout = 0;\nSET transaction_timeout = 0;"
            ),
            "transaction_timeout",
        ),
        (
            "role",
            lambda text: text.replace("OWNER TO carrental", "OWNER TO ghost", 1),
            "no role ghost",
        ),
        (
            "extension",
            lambda text: text.replace(
                "SET lock_timeout = 0;", "SET lock_timeout = 0;\nCREATE EXTENSION postgis;"
            ),
            "postgis",
        ),
        ("elsewhere", lambda text: "\\connect carrental\n" + text, "connect"),
    ],
)
def test_what_cannot_come_to_a_good_end_is_refused(
    name: str, change: Callable[[str], str], said: str
) -> None:
    text = text_of(dumped("good.sql.gz"))
    refused(written(f"{name.replace(' ', '-')}.sql.gz", change(text)), said)


@proof
def test_a_backup_that_is_only_elsewhere_is_fetched_and_a_damaged_one_is_not_taken(
    tmp_path: Path,
) -> None:
    with elsewhere("copies"):
        endpoint, access, secret = login(ELSEWHERE)
        keys = tmp_path / "keys.json"
        keys.write_text(json.dumps({"access_key": access, "secret_key": secret}))
        offsite = {
            "backup_offsite_bucket": "copies",
            "backup_offsite_endpoint": endpoint,
            "backup_offsite_credentials": str(keys),
        }
        run = playbook("backup", **offsite)
        assert run.code == 0, run.output
        made, wanted = run.result["backup"], rows()
        on_server("sh", "-c", f"rm /opt/carrental/backups/{made}.*")
        sql("DELETE FROM bookings")

        plan = restore("latest", "--check", restore_offsite=True, **offsite)
        assert plan.result["verdict"] == "refused", plan.output
        assert "--check brings nothing to the server" in plan.result["headline"]
        run = restore("latest", restore_offsite=True, **offsite)
        assert run.code == 0, run.output
        assert run.result["backup"] == made
        assert rows() == wanted

        (key,) = [
            key
            for key in bucket("list", "copies", container=ELSEWHERE)
            if key.startswith(f"test/{made}.") and not key.endswith((".json", ".sha256"))
        ]
        bucket("damage", "copies", key, container=ELSEWHERE)
        on_server("sh", "-c", f"rm /opt/carrental/backups/{made}.*")
        run = restore(made, restore_offsite=True, **offsite)
        assert run.result["verdict"] == "refused", run.output
        assert "is damaged: its sha256 is not that of its manifest" in run.result["headline"]
        assert on_server("sh", "-c", f"ls /opt/carrental/backups | grep {made} || true") == ""
        assert rows() == wanted


@proof
@pytest.mark.parametrize("name", ["flips.dump", "flips.sql.gz"])
def test_no_flipped_bit_loses_a_row(name: str) -> None:
    """100 flips each of dumps without a manifest, up to where they would be swapped."""
    playbook("drill", drill_now=False)  # its program has the engine of restores
    path = dumped(name, *(["-Fc"] if name.endswith(".dump") else []))
    before, live = rows(), oid()
    said = on_server(*("su", "deploy", "-c", f"python3 - {path}"), stdin=FLIPS, seconds=280)
    found = json.loads(said)
    assert found["tried"] == 100
    assert found["lost"] == []
    # What passes changes no row: a time, a comment, a definition. A small dump is mostly that, and
    # only a manifest has its checksum.
    assert found["refused"] > 50, found
    assert (rows(), oid()) == (before, live)
    assert databases() == ["carrental", "postgres"]


FLIPS = """
import json, os, random, sys
sys.path.insert(0, "/opt/carrental/.ops/bin/carrental-drill")
from carrental_ops import _backup_database, _backups, _docker, _engine, _operation_work
from carrental_ops import _restore, _restore_swap
path = sys.argv[1]
chance = random.Random(path)
good = open(path, "rb").read()
engine = _engine.Engine()
source = _restore_swap.for_restore(
    _backup_database.source(engine, "carrental", "postgres", "carrental"))
server = _restore_swap.Server(source, "")
SUMS = '''SELECT json_build_object('sum', (SELECT string_agg(one, ',') FROM (
  SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) AS one FROM bookings t UNION ALL
  SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM cars t UNION ALL
  SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM customers t) found));'''
wanted = server.ask(SUMS, "carrental")
damaged = os.path.join(os.path.dirname(path), "flipped." + path.split(".", 1)[1])
refused, lost, reasons = 0, [], {}
for number in range(100):
    content = bytearray(good)
    at, bit = chance.randrange(len(content)), chance.randrange(8)
    content[at] ^= 1 << bit
    open(damaged, "wb").write(content)
    wish = _restore.Wish("carrental", "/opt/carrental/backups", damaged, project="carrental")
    run = _restore.Restore(engine, server, wish, _operation_work.Operation())
    try:
        run.run(swap=False)
    except (_backups.BackupError, _docker.DockerError) as error:
        refused += 1
        continue
    for one in server.find("carrental").made:
        try:
            same = server.ask(SUMS, one.name) == wanted
        except _backups.BackupError:
            same = False
        if not same:
            lost.append([at, bit])
        server.drop(one.name)
os.unlink(damaged)
print(json.dumps({"tried": 100, "refused": refused, "lost": lost}))
"""
