# SPDX-License-Identifier: GPL-3.0-or-later
"""backup.yml: what it makes can be restored by hand, and what fails leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import Started, eventually, on_server, playbook, release, sql, stop_at, tree
from support import wait_stopped as stopped
from tiers import proof

BACKUPS = "/opt/carrental/backups"
SCRATCH = "restored_by_hand"
COUNT = "SELECT count(*) FROM {}"


def files() -> list[str]:
    return sorted(on_server("ls", "-A", BACKUPS).split())


def manifests() -> dict[str, dict[str, Any]]:
    """The manifests of the server, by the id of the backup."""
    found = {}
    for name in files():
        if name.startswith("car_rental_backup_") and name.endswith(".json"):
            one = json.loads(on_server("cat", f"{BACKUPS}/{name}"))
            found[str(one["id"])] = one
    return found


def counted(database: str) -> dict[str, int]:
    """Rows of each table, asked one table at a time."""
    tables = sql(
        "SELECT schemaname || '.' || relname FROM pg_stat_user_tables ORDER BY 1", database
    ).split()
    return {one: int(sql(COUNT.format(one), database)) for one in tables}


def dumps_at_work() -> str:
    """pg_dump in any container, and the sessions of our operations in the server."""
    listed = on_server("ps", "-eo", "pid,args")
    sessions = sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'carrental-ops %'", "postgres"
    )
    return "\n".join([line for line in listed.splitlines() if "pg_dump" in line] + [sessions])


@contextmanager
def held(statement: str) -> Iterator[None]:
    """A session that holds something in an open transaction, as a migration does."""
    on_server(
        *("docker", "exec", "-d", "postgres", "psql", "-U", "carrental", "-d", "carrental", "-c"),
        f"BEGIN; {statement}; SELECT pg_sleep(300) /* holds it */",
    )
    eventually(
        lambda: sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'") != "0",
        "it is locked",
    )
    try:
        yield
    finally:
        sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE '%holds it%' AND pid <> pg_backend_pid()"
        )


@contextmanager
def pg_dump_that_waits() -> Iterator[None]:
    """The tables are locked before pg_dump begins, so what it waits for is a sequence."""
    sql("CREATE SEQUENCE IF NOT EXISTS waited_for")
    try:
        with held("DROP SEQUENCE waited_for"):
            yield
    finally:
        eventually(lambda: sql("DROP SEQUENCE IF EXISTS waited_for") == "", "it is gone", 10)


def beside() -> str:
    """Containers in which a dump is made beside the server's."""
    return on_server("docker", "ps", "-aq", "-f", "label=carrental.ops.dump")


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest) -> Iterator[str]:
    """A small database is dumped in its own container, a large one beside it."""
    before = files()
    if request.param == "large":
        sql(
            "CREATE TABLE large AS SELECT g, repeat(md5(g::text), 4) AS text "
            "FROM generate_series(1, 800000) g"
        )
        assert int(sql("SELECT pg_database_size('carrental')")) > 100_000_000
    try:
        yield request.param
    finally:
        sql("DROP TABLE IF EXISTS large")
        if request.param == "large":
            # A database that shrinks that much is not trusted.
            made = [f"{BACKUPS}/{one}" for one in files() if one not in before]
            on_server("rm", "-f", *made)


@contextmanager
def scratch_database() -> Iterator[str]:
    sql(f"DROP DATABASE IF EXISTS {SCRATCH}", "postgres")
    sql(f"CREATE DATABASE {SCRATCH} TEMPLATE template0", "postgres")
    try:
        yield SCRATCH
    finally:
        sql(f"DROP DATABASE {SCRATCH}", "postgres")


RESTORE = {
    "dump.zst": "zstd -dc {file} | docker exec -i postgres pg_restore --exit-on-error",
    "dump": "cat {file} | docker exec -i postgres pg_restore --exit-on-error",
    "sql.gz": "gunzip -c {file} | docker exec -i postgres psql -q -v ON_ERROR_STOP=1",
}


def restore_by_hand(file: str, database: str) -> None:
    """As somebody does who has the server, the file and the README, and nothing of ours."""
    kind = file.split(".", 1)[1]
    on_server(
        *("bash", "-o", "pipefail", "-c"),
        RESTORE[kind].format(file=f"{BACKUPS}/{file}") + f" -U carrental -d {database} >/dev/null",
    )


@pytest.mark.parametrize("form", ["dump", pytest.param("sql.gz", marks=proof)])
def test_backup_is_restored_by_hand_with_every_row(form: str) -> None:
    before = set(files())
    run = playbook("backup", backup_format=form)
    assert (run.code, run.result["verdict"]) == (0, "ok"), run.output
    new = sorted(set(files()) - before)
    (file,) = [one for one in new if not one.endswith((".json", ".sha256"))]
    assert file.startswith(run.result["backup"])
    # Converge.yml has made one in the form "dump", which the nightly backup follows.
    followed = [] if form == "dump" else ["install the nightly backup"]
    assert run.result["changed"] == [f"back up carrental to {file}", *followed]
    assert new == [file, f"{file}.json", f"{file}.sha256"]
    on_server("sh", "-c", f"cd {BACKUPS} && sha256sum -c --strict {file}.sha256")
    manifest = manifests()[run.result["backup"]]
    with scratch_database() as database:
        restore_by_hand(file, database)
        rows = counted(database)
    assert rows == manifest["tables"] == counted("carrental")
    assert sum(rows.values()) > 100
    assert manifest["database"]["owner"] == "carrental"
    assert manifest["migrations_head"] == sql(
        "SELECT max(migration_name) FROM _prisma_migrations WHERE finished_at IS NOT NULL"
    )


def test_only_the_deploy_user_can_read_backups() -> None:
    modes = on_server("find", BACKUPS, "-printf", "%y %m %u\n").splitlines()
    assert {line for line in modes if line.startswith("d")} == {"d 700 deploy"}
    assert {line for line in modes if line.startswith("f")} == {"f 600 deploy"}


def test_check_mode_looks_and_leaves_no_trace() -> None:
    before = tree(reports=False)
    run = playbook("backup", "--check", "--diff")
    assert (run.code, run.result["verdict"]) == (0, "no_change"), run.output
    assert "can be backed up" in run.result["headline"]
    assert tree(reports=False) == before


@proof
def test_killed_pg_dump_is_no_backup(size: str) -> None:
    before = files()
    with pg_dump_that_waits():
        controller = Started("backup")
        eventually(lambda: "pg_dump" in dumps_at_work(), "pg_dump waits")
        assert bool(beside()) == (size == "large")
        # By its number on the server: images have no pgrep.
        on_server("pkill", "-KILL", "-x", "pg_dump")
        run = controller.wait()
    assert (run.code, run.result["verdict"]) == (2, "failed"), run.output
    assert "cannot be backed up: pg_dump ended with 137" in run.result["headline"]
    assert files() == before
    eventually(lambda: not dumps_at_work().strip(), "nothing is left at work", 10)
    assert beside() == ""


@proof
@pytest.mark.parametrize("size", ["large"], indirect=True)
@pytest.mark.usefixtures("size")
def test_a_server_that_lets_no_container_in_is_dumped_in_its_own() -> None:
    hba = "/var/lib/postgresql/data/pg_hba.conf"
    reject = f"sed -i '1i host all all 127.0.0.1/32 reject' {hba}"
    rows = sql(COUNT.format("large"))
    on_server("docker", "exec", "postgres", "sh", "-c", reject)
    sql("SELECT pg_reload_conf()")
    try:
        run = playbook("backup")
    finally:
        on_server("docker", "exec", "postgres", "sed", "-i", "1d", hba)
        sql("SELECT pg_reload_conf()")
    assert run.result["verdict"] == "ok", run.output
    assert manifests()[max(manifests())]["tables"]["public.large"] == int(rows)
    assert beside() == ""


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"carrental_database": "carental"}, "there is no database carental"),
        pytest.param({"carrental_database": "postgres"}, "has no table", marks=proof),
        pytest.param(
            {"backup_reserve_mb": 100_000_000}, "MB free, and a backup needs", marks=proof
        ),
    ],
)
def test_what_cannot_be_backed_up_is_refused_in_a_sentence(
    extra: dict[str, Any], says: str
) -> None:
    before = files()
    run = playbook("backup", **extra)
    assert (run.code, run.result["verdict"]) == (2, "refused"), run.output
    assert says in run.result["headline"]
    assert files() == before


@proof
def test_deploy_has_a_backup_from_before_its_migrations() -> None:
    before = set(manifests())
    run = playbook("deploy", deploy_version=release("v2"), deploy_watch=False)
    assert run.result["verdict"] == "ok", run.output
    (new,) = set(manifests()) - before
    assert manifests()[new]["reason"] == "deploy"
    record = json.loads(
        on_server("cat", f"/opt/carrental/.ops/releases/{run.result['release']}.json")
    )
    assert record["backup_id"] == new
    # The one that was made before the migration does not know it.
    assert manifests()[new]["migrations_head"] != record["migrations"]["head"]
    again = playbook("deploy", deploy_version=release("v2"), deploy_watch=False)
    assert again.result["verdict"] == "no_change", again.output
    assert set(manifests()) == before | {new}


@proof
def test_a_young_backup_that_was_damaged_is_not_taken() -> None:
    first = playbook("backup").result["backup"]
    file = f"{BACKUPS}/{manifests()[first]['file']}"
    on_server("sh", "-c", f"printf XXXX | dd of={file} bs=1 seek=400 conv=notrunc")
    try:
        run = playbook("backup", backup_max_age=3600)
        assert (run.code, run.result["verdict"]) == (0, "ok"), run.output
        assert run.result["backup"] != first
        assert "is damaged: its sha256 is" in manifests()[first]["damage"]
        assert manifests()[first]["verified"] == {}
        # What is whole is taken.
        again = playbook("backup", backup_max_age=3600)
        assert again.result["backup"] == run.result["backup"], again.output
    finally:
        on_server("sh", "-c", f"rm -f {file} {file}.json {file}.sha256")


@proof
def test_table_that_stays_locked_is_told() -> None:
    before = files()
    with held("LOCK TABLE bookings"):
        run = playbook("backup", backup_lock_timeout=2)
    assert run.result["verdict"] == "failed"
    assert "a table of carrental is locked by another session" in run.result["headline"]
    assert files() == before


@proof
@pytest.mark.parametrize(
    "step", ["look at the database", "dump the database", "read the backup", "keep the backup"]
)
@pytest.mark.parametrize("size", ["large"], indirect=True)
@pytest.mark.usefixtures("size")
def test_killed_module_leaves_nothing_that_looks_like_a_backup(step: str) -> None:
    before = manifests()
    with stop_at(step):
        # Nobody returns its lock; what comes next takes it over when it is silent for that long.
        controller = Started("backup", operation_ttl=5)
        pid = stopped(step, controller)
        on_server("kill", "-KILL", str(pid))
        controller.kill()
    assert manifests() == before
    eventually(lambda: not dumps_at_work().strip(), "pg_dump ends with the module", 10)
    run = playbook("backup", operation_wait=60)
    assert run.result["verdict"] == "ok", run.output
    assert [one for one in files() if ".partial" in one] == []
    assert beside() == ""


@proof
def test_pg_dump_ends_with_the_module_that_reads_from_it(size: str) -> None:
    with pg_dump_that_waits():
        controller = Started("backup", operation_ttl=5)
        eventually(lambda: "pg_dump" in dumps_at_work(), "pg_dump waits")
        assert bool(beside()) == (size == "large")
        on_server("pkill", "-KILL", "-f", "AnsiballZ_pg_backup")
        controller.kill()
        # It still waits, so nothing but us can have ended it.
        eventually(lambda: not dumps_at_work().strip(), "pg_dump is gone", 15)
    sql("SELECT pg_sleep(0)")  # the server itself was not hurt
    log = on_server("docker", "logs", "--since", "30s", "postgres")
    assert "was terminated by signal" not in log
    # Its lock was not returned.
    assert playbook("backup", operation_wait=60).result["verdict"] == "ok"
    assert beside() == ""


@proof
def test_disk_that_fills_up_leaves_nothing(size: str) -> None:
    on_server("mount", "-t", "tmpfs", "-o", "size=300m,mode=0700,uid=deploy", "tmpfs", BACKUPS)
    try:
        with stop_at("dump the database"):
            controller = Started("backup", backup_reserve_mb=1)
            stopped("dump the database", controller)
            on_server("sh", "-c", f"dd if=/dev/zero of={BACKUPS}/full bs=1M count=400; true")
            on_server("rm", "-f", "/opt/carrental/.ops/stopped-at")
            run = controller.wait()
        assert run.result["verdict"] == "failed", run.output
        assert "No space left on device" in run.result["headline"]
        assert files() == ["full"]
        assert beside() == "", size
    finally:
        on_server("umount", BACKUPS)


@proof
def test_backup_of_an_emptied_database_is_kept_and_not_trusted() -> None:
    newest = max(manifests())
    file = manifests()[newest]["file"]
    path = f"{BACKUPS}/{file}.json"
    text = on_server("cat", path)
    grown = json.loads(text)
    grown["tables"]["public.bookings"] = 10_000_000
    on_server("su", "deploy", "-c", f"cat > {path}", stdin=json.dumps(grown))
    try:
        run = playbook("backup")
        assert run.result["verdict"] == "failed"
        assert "is not trusted: carrental has" in run.result["headline"]
        assert manifests()[max(manifests())]["verified"] == {}
        assert playbook("backup", backup_min_ratio=0).result["verdict"] == "ok"
    finally:
        on_server("su", "deploy", "-c", f"cat > {path}", stdin=text)


@proof
def test_no_damage_of_a_backup_passes() -> None:
    """200 flipped bits and 50 cuts, at random places, of an archive and of SQL."""
    playbook("backup")
    playbook("backup", backup_format="sql.gz")
    for kind in (".dump.zst", ".sql.gz"):
        file = next(one for one in reversed(files()) if one.endswith(kind))
        said = on_server("python3", "-", BACKUPS, file, stdin=DAMAGE)
        assert json.loads(said) == {"tried": 125, "passed": 0}


DAMAGE = """
import json, os, random, shutil, subprocess, sys, tempfile
sys.path.insert(0, "/opt/carrental/.ops/bin/carrental-backup")
from carrental_ops import _backup_verify, _backups
directory, file = sys.argv[1:]
chance = random.Random(file)
good = open(os.path.join(directory, file), "rb").read()
scratch = tempfile.mkdtemp()
path = os.path.join(scratch, file)
passed = 0
for number in range(125):
    content = bytearray(good)
    if number < 100:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    else:
        del content[chance.randrange(len(content)) :]
    open(path, "wb").write(content)
    whole = _backup_verify.verify(_backups.load(os.path.join(directory, file)),
                                  ["docker", "exec", "-i", "postgres", "pg_restore"])
    try:
        # Without a manifest: nothing but the content itself can tell.
        proof = _backup_verify.verify(_backups.load(path),
                                      ["docker", "exec", "-i", "postgres", "pg_restore"])
        # A bit of the time in gzip's header is no part of what was dumped.
        passed += proof.tables != whole.tables or proof.text_bytes != whole.text_bytes
    except _backups.BackupError:
        continue
shutil.rmtree(scratch)
print(json.dumps({"tried": 125, "passed": passed}))
"""


@proof
def test_dump_of_the_runbook_counts_once_it_was_read() -> None:
    name = "car_rental_backup_20260101_020000"
    path = f"{BACKUPS}/{name}.sql.gz"
    on_server(
        *("su", "deploy", "-c"),
        f"docker exec postgres pg_dump -U carrental carrental | gzip > {path}",
    )
    run = playbook("backup", "--check", "--diff")
    # Older than 30 days, and nothing stands for it but verified ones.
    assert f"-{name}" in run.output
    proved = playbook("backup", backup_verify=name)
    assert "is whole" in proved.result["headline"], proved.output
    assert manifests()[name]["foreign"] is True
    on_server("truncate", "-s", "-100", path)
    damaged = playbook("backup", backup_verify=name)
    assert damaged.result["verdict"] == "failed"
    assert "is damaged" in damaged.result["headline"]
    assert f"remove {name}" in playbook("backup").result["changed"]
