# SPDX-License-Identifier: GPL-3.0-or-later
"""Deep health beside the runbook's deep health script, on the same stack, in one run.

Three times: the script over ssh, the playbook over ssh, and the module's own time.
The ratios mean something on any machine; the seconds only on this one. The script
asks five questions and the module more than thirty, so the number of answers is
printed beside them, and what the script claims beside what is true.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import results
import state
from support import INSTANCE, INVENTORY

ROUNDS = 5

# The five probes of the runbook's section 2.2, as an operator on the server runs them.
RUNBOOK = """
cd /opt/carrental && POSTGRES_USER=$(sed -n 's/^POSTGRES_USER=//p' .env)
say() { if "${@:2}" >/dev/null 2>&1; then echo "OK $1"; else echo "NOT OK $1"; fi; }
say api curl -sf http://localhost:3000/api/v1/health
say postgres docker exec postgres pg_isready -U "$POSTGRES_USER"
say redis docker exec redis redis-cli ping
say minio curl -sf http://localhost:9000/minio/health/live
say disk test "$(df -h / | awk 'NR==2 {print $5}' | tr -d %)" -le 85
"""


def timed(argv: list[str], stdin: str | None = None) -> tuple[float, str]:
    """Seconds and output of one command; its failure ends the benchmark."""
    started = time.monotonic()
    done = subprocess.run(
        argv,
        cwd=results.REPO,
        input=stdin,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(argv)} ended with {done.returncode}:\n{done.stdout}")
    return time.monotonic() - started, done.stdout


def main() -> None:
    state.ensure("v1")
    script, playbook, module, answers, claims = [], [], [], 0, ""
    with TemporaryDirectory() as reports:
        for _ in range(ROUNDS):
            seconds, claims = timed(
                ["python3", "demo/demo.py", "--instance", INSTANCE, "ssh", "bash -s"], RUNBOOK
            )
            script.append(seconds)
            seconds, _ = timed(
                [
                    *("ansible-playbook", "-i", INVENTORY, "playbooks/health.yml"),
                    *("-e", f"carrental_report_dir={reports}"),
                ]
            )
            playbook.append(seconds)
            result = json.loads(next(Path(reports).glob("health-*.json")).read_text())
            module.append(result["numbers"]["duration_ms"] / 1000)
            answers = len(result["checks"])
    base, whole, own = (statistics.median(times) for times in (script, playbook, module))
    rows = [
        ("runbook's script over ssh", base, 5),
        ("playbooks/health.yml", whole, answers),
        ("the module itself", own, answers),
    ]
    lines = [f"deep health, median of {ROUNDS} rounds on instance {INSTANCE}"]
    lines += results.table(
        ["way", "seconds", "ratio", "answers"],
        [[way, f"{took:.2f}", f"{took / base:.2f}", str(said)] for way, took, said in rows],
    )
    lines += ["the stack is well; the script says: " + ", ".join(claims.split("\n")).strip(", ")]
    measured = {"script": script, "playbook": playbook, "module": module}
    results.keep("health", lines, {"seconds": measured, "answers": answers, "script_says": claims})


if __name__ == "__main__":
    main()
