# SPDX-License-Identifier: GPL-3.0-or-later
"""The load of a restore beside the runbook's, and how long the database is away at two sizes."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import data_fill
from support import on_server, playbook

ROUNDS = 3
SMALL_MB = 50
_DIRECTORY = "/tmp/bench-restores"
_BACKUP = "/opt/carrental/.ops/bin/carrental-backup"
_DRILL = "/opt/carrental/.ops/bin/carrental-drill"


@dataclass(frozen=True)
class Loads:
    """One load each way: seconds from an empty database to the last row counted."""

    runbook_s: float
    ours_s: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Whole:
    """One run of the playbook."""

    database_bytes: int
    interruption_s: float
    customers_s: float
    total_s: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def loads() -> list[Loads]:
    """Load in turns: plain SQL by gunzip and psql, an archive by the engine of the module."""
    on_server("rm", "-rf", _DIRECTORY)
    on_server("install", "-d", "-m", "0700", "-o", "deploy", _DIRECTORY)
    try:
        for form in ("sql.gz", "dump"):
            on_server("su", "deploy", "-c", f"python3 - {_DIRECTORY} {form}", stdin=_MAKE)
        return [Loads(_runbook(), _ours()) for _round in range(ROUNDS)]
    finally:
        on_server("rm", "-rf", _DIRECTORY)


def _runbook() -> float:
    on_server("docker", "exec", "postgres", "createdb", "-U", "carrental", "bench_load")
    try:
        began = time.monotonic()
        on_server(
            *("su", "deploy", "-c"),
            f"gunzip -c {_DIRECTORY}/*.sql.gz"
            " | docker exec -i postgres psql -q -U carrental -d bench_load -o /dev/null",
        )
        return time.monotonic() - began
    finally:
        on_server("docker", "exec", "postgres", "dropdb", "-f", "-U", "carrental", "bench_load")


def _ours() -> float:
    said = on_server("su", "deploy", "-c", f"python3 - {_DIRECTORY}", stdin=_LOAD)
    return float(json.loads(said)["load_s"])


def whole(megabytes: int) -> Whole:
    """Restore the live database with the playbook, as an operator does."""
    size = data_fill.fill(megabytes)
    # The database of before may have been far larger, and a backup would not be trusted.
    made = playbook("backup", backup_min_ratio=0)
    assert made.code == 0, made.output
    run = playbook(
        "restore",
        restore_from=made.result["backup"],
        restore_confirm="carrental",
        restore_without_backup="the benchmark has just made one",
    )
    assert run.code == 0, run.output
    dropped = playbook("restore", restore_drop_previous="all", restore_confirm="carrental")
    assert dropped.code == 0, dropped.output
    numbers = run.result["numbers"]
    return Whole(
        size,
        float(numbers["database away"].split()[0]),
        float(numbers["customers waited"].split()[0]),
        run.seconds,
    )


_MAKE = f"""
import sys
sys.path.insert(0, {_BACKUP!r})
from carrental_ops import _backup_database, _backup_run, _engine
from carrental_ops._operation_work import Operation
source = _backup_database.source(_engine.Engine(), "carrental", "postgres", "carrental")
wish = _backup_run.Wish(sys.argv[1], format=sys.argv[2], min_ratio=0)
_backup_run.make(source, wish, Operation())
"""
_LOAD = f"""
import json, os, sys, time
sys.path.insert(0, {_DRILL!r})
from carrental_ops import _backup_database, _engine, _restore, _restore_source, _restore_swap
from carrental_ops._operation_work import Operation
engine = _engine.Engine()
source = _backup_database.source(engine, "carrental", "postgres", "carrental")
file = next(one for one in os.listdir(sys.argv[1]) if one.endswith((".dump", ".dump.zst")))
path = os.path.join(sys.argv[1], file)
wish = _restore.Wish("carrental", sys.argv[1], path, project="carrental")
server = _restore_swap.Server(source)
restore = _restore.Restore(engine, server, wish, Operation())
backup = _restore_source.pick(sys.argv[1], path)
proof = restore.read(backup)
began = time.monotonic()
name, _mark = restore.load(backup, backup, proof, {{"database": {{}}}}, proof.sha256)
seconds = time.monotonic() - began
server.drop(name)
print(json.dumps({{"load_s": seconds}}))
"""
