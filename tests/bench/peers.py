# SPDX-License-Identifier: GPL-3.0-or-later
"""Who notices what: faults of the stack, and three ways to ask how it is.

The runbook's script (section 2.2), the modules that the package ansible has for such questions
(peers.yml), and playbooks/health.yml, one after the other under the same fault, on the server of
the tests. What a way complains of when nothing is broken does not count as noticed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import results
import state
from faults import (
    Fault,
    bucket_gone,
    container,
    disk_full,
    expired_certificate,
    full_connection_slots,
    is_well,
    read_only_database,
    redis_other_password,
    wrong_role_password,
)
from health import RUNBOOK
from support import INVENTORY, eventually, on_server, playbook

FAULTS: list[tuple[str, str, Fault]] = [
    ("api", "the API was stopped", container("stop", "start", "api", "exited")),
    ("api", "the API is paused", container("pause", "unpause", "api", "paused")),
    ("web", "the web is paused", container("pause", "unpause", "web", "paused")),
    ("postgres", "PostgreSQL is paused", container("pause", "unpause", "postgres", "paused")),
    ("postgres", "its role has another password", wrong_role_password),
    ("postgres", "it is read-only", read_only_database),
    ("postgres", "no connection is left", full_connection_slots),
    ("redis", "Redis was stopped", container("stop", "start", "redis", "exited")),
    ("redis", "it wants another password", redis_other_password),
    ("minio", "MinIO was killed", container("kill", "start", "minio", "exited")),
    ("minio", "the bucket is gone", bucket_gone),
    ("host", "the disk of the backups is full", disk_full),
    ("nginx", "the certificate has expired", expired_certificate),
]


def by_script() -> set[str]:
    told = on_server("bash", "-s", stdin=RUNBOOK)
    names = {line.rpartition(" ")[2] for line in told.splitlines() if line.startswith("NOT OK")}
    return {"host" if name == "disk" else name for name in names}


def by_modules() -> set[str]:
    with TemporaryDirectory() as folder:
        answers = Path(folder, "answers")
        argv = ("ansible-playbook", "-i", INVENTORY, "tests/bench/peers.yml")
        done = subprocess.run(
            [*argv, "-e", f"answers={answers}"],
            cwd=results.REPO,
            text=True,
            capture_output=True,
            check=False,
        )
        if not answers.exists():
            sys.exit(f"bench: peers.yml ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return set(json.loads(answers.read_text().replace("'", '"')))


def by_playbook() -> set[str]:
    checks = playbook("health").result["checks"]
    return {one["name"].partition(".")[0] for one in checks if one["status"] in ("warn", "fail")}


WAYS = {
    "runbook": by_script,
    "modules": by_modules,
    "health.yml": by_playbook,
}


def asked() -> dict[str, tuple[set[str], float]]:
    found = {}
    for way, ask in WAYS.items():
        began = time.monotonic()
        found[way] = (ask(), time.monotonic() - began)
    return found


def main() -> None:
    state.ensure("v1")
    eventually(is_well, "the stack is well", 90)
    well = asked()
    measured: dict[str, Any] = {}
    rows = [["nothing", *(f"{seconds:.1f} s" for _said, seconds in well.values())]]
    for service, what, fault in FAULTS:
        with fault():
            found = asked()
        eventually(is_well, "the stack is well again", 90)
        noticed = {way: service in said - well[way][0] for way, (said, _seconds) in found.items()}
        row = [
            f"{'yes' if noticed[way] else 'NO'} {seconds:.1f} s"
            for way, (_said, seconds) in found.items()
        ]
        rows.append([what, *row])
        measured[what] = {
            way: {"says": sorted(said), "noticed": noticed[way], "seconds": round(seconds, 1)}
            for way, (said, seconds) in found.items()
        }
        print(f"  {what}: {', '.join(row)}", flush=True)
    lines = ["who notices what is broken, and how long the question takes"]
    lines += results.table(["broken", *WAYS], rows)
    lines += [
        f"{way} says of a stack that is well that it is not: {', '.join(sorted(said))}"
        for way, (said, _seconds) in well.items()
        if said
    ]
    results.keep("peers", lines, {"faults": measured})


if __name__ == "__main__":
    main()
