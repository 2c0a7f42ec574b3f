# SPDX-License-Identifier: GPL-3.0-or-later
"""pgbench before and after playbooks/tune.yml, in turns, on the limits of the sample stack.

Each round takes the tuning back, measures, tunes, and measures again, so that what else
the machine does meets both alike. The ratio of the medians means something on any
machine; the seconds only on this one. It ends with 1 when tuned is slower by more than
a twentieth.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
from typing import Any

import results
import state
from support import on_server, playbook, sql

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "10"))
SCALE = 20
FLOOR = 0.95
DATABASE = "carrental_ops_bench"
SHOWN = ("shared_buffers", "work_mem", "max_connections", "jit", "shared_preload_libraries")


def tune(**extra: Any) -> None:
    run = playbook("tune", tuning_restart="if_needed", tuning_diagnose=False, **extra)
    if run.code != 0:
        sys.exit(f"bench: tune.yml ended with {run.code}:\n{run.output}")


def pgbench(*argv: str) -> str:
    return on_server("docker", "exec", "postgres", "pgbench", "-U", "carrental", *argv, DATABASE)


def measure() -> float:
    """Transactions a second."""
    said = pgbench("-n", "-c", "8", "-j", "2", "-T", str(SECONDS))
    found = re.search(r"tps = ([\d.]+)", said)
    if not found:
        sys.exit(f"bench: pgbench said no number:\n{said}")
    return float(found[1])


def settings() -> dict[str, str]:
    return {name: sql(f"SELECT current_setting('{name}')") for name in SHOWN}


def main() -> None:
    state.ensure("v1")
    sql(f"CREATE DATABASE {DATABASE}")
    before: list[float] = []
    after: list[float] = []
    seen: dict[str, dict[str, str]] = {}
    try:
        pgbench("-i", "-q", "-s", str(SCALE))
        tune()
        for _ in range(ROUNDS):
            tune(tuning_undo=True)
            seen["before"] = settings()
            before.append(measure())
            tune()
            seen["after"] = settings()
            after.append(measure())
    finally:
        sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")
    old, new = statistics.median(before), statistics.median(after)
    ratio = new / old
    lines = [f"pgbench, scale {SCALE}, 8 clients, {ROUNDS} rounds of {SECONDS} s in turns"]
    lines += results.table(
        ["settings", "transactions/s", "ratio"],
        [["before", f"{old:.0f}", "1.00"], ["tuned", f"{new:.0f}", f"{ratio:.2f}"]],
    )
    lines += [
        f"{name}: {seen['before'][name] or '(empty)'} -> {seen['after'][name]}" for name in SHOWN
    ]
    measured = {"before": before, "after": after, "ratio": round(ratio, 3), "settings": seen}
    results.keep("tuning", lines, {"transactions_per_second": measured})
    if ratio < FLOOR:
        sys.exit(f"bench: tuned is slower by more than a twentieth: {ratio:.2f}")


if __name__ == "__main__":
    main()
