# SPDX-License-Identifier: GPL-3.0-or-later
"""The runbook's backup and ours, in turns, on the server itself: without ssh and Ansible."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from support import on_server

ROUNDS = 3
FORMATS = ("dump", "sql.gz")
_DIRECTORY = "/tmp/bench-backups"
_PROGRAM = "/opt/carrental/.ops/bin/carrental-backup"


@dataclass(frozen=True)
class Runbook:
    """``docker exec postgres pg_dump | gzip``, as its script does it."""

    seconds: float
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Ours:
    """One backup by the program of the nightly backup: the very engine of the module."""

    format: str
    bytes: int
    dump_s: float
    verify_s: float
    total_s: float
    peak_mib: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure() -> tuple[list[Runbook], list[Ours]]:
    """Measure both in turns, so that what else the machine does hits both."""
    on_server("rm", "-rf", _DIRECTORY)
    on_server("install", "-d", "-m", "0700", "-o", "deploy", _DIRECTORY)
    runbook, ours = [], []
    try:
        for number in range(ROUNDS):
            print(f"  round {number + 1} of {ROUNDS} ...", flush=True)
            runbook.append(_runbook())
            ours += [_ours(form) for form in FORMATS]
    finally:
        on_server("rm", "-rf", _DIRECTORY)
    return runbook, ours


def _runbook() -> Runbook:
    path = f"{_DIRECTORY}/runbook.sql.gz"
    began = time.monotonic()
    on_server(
        *("su", "deploy", "-c"),
        f"docker exec postgres pg_dump -U carrental carrental | gzip > {path} && sync {path}",
    )
    seconds = time.monotonic() - began
    return Runbook(seconds, int(on_server("stat", "-c", "%s", path)))


def _ours(form: str) -> Ours:
    said = on_server("su", "deploy", "-c", f"python3 - {_DIRECTORY} {form}", stdin=_RUN)
    return Ours(format=form, **json.loads(said))


# Samples the memory of its own process tree while it works, and counts twice what two share.
_RUN = (
    f"""
import json, os, sys, threading
sys.path.insert(0, {_PROGRAM!r})
from carrental_ops import _backup_database, _backup_run, _engine
from carrental_ops._operation_work import Operation
"""
    + r"""
def tree(pid):
    yield pid
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as stream:
            for child in stream.read().split():
                yield from tree(int(child))

peak, over = 0, threading.Event()

def sample():
    global peak
    while not over.wait(0.05):
        total = 0
        for pid in tree(os.getpid()):
            try:
                with open(f"/proc/{pid}/smaps_rollup") as stream:
                    total += next(int(l.split()[1]) for l in stream if l.startswith("Rss:"))
            except (OSError, StopIteration):
                continue
        peak = max(peak, total)

def sampled():
    try:
        sample()
    except OSError:
        sampled()

threading.Thread(target=sampled, daemon=True).start()
source = _backup_database.source(_engine.Engine(), "carrental", "postgres", "carrental")
wish = _backup_run.Wish(sys.argv[1], format=sys.argv[2], min_ratio=0)
outcome = _backup_run.make(source, wish, Operation())
over.set()
numbers = outcome.numbers
print(json.dumps({"bytes": outcome.backup.bytes, "dump_s": numbers["dump_s"],
                  "verify_s": numbers["verify_s"], "total_s": numbers["total_s"],
                  "peak_mib": peak / 1024}))
"""
)
