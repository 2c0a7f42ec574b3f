# SPDX-License-Identifier: GPL-3.0-or-later
"""What backups cost: the runbook's pg_dump | gzip, and ours, on the same database in one run.

On the server of the tests, reset and with its database filled to at least 750 MB first. Ratios mean
something on any machine; seconds only on this one. Ends with 1 when something that must hold
does not. The environment chooses:

    BENCH_MB      size of the database, 750 unless told
    BENCH_PARTS   of backup and restore: some of the parts, separated by commas
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import data_backup
import data_fill
import data_restore
import results
import state
from support import playbook

MEGABYTES = int(os.environ.get("BENCH_MB", "750"))
PARTS: dict[str, Callable[[], Part]]


@dataclass
class Part:
    """What one part measured, as a table, and what does not hold."""

    name: str
    lines: list[str]
    measured: dict[str, Any]
    wrong: list[str] = field(default_factory=list)


def backup() -> Part:
    """Back up, three times each way, and take the medians."""
    runbook, ours = data_backup.measure()
    seconds = statistics.median(one.seconds for one in runbook)
    size = runbook[-1].bytes
    rows: list[list[str]] = []
    wrong: list[str] = []
    rows.append(
        ["runbook: pg_dump | gzip", f"{seconds:.2f} s", "1.00", "-", f"{size / 1e6:.1f} MB"]
    )
    for form in data_backup.FORMATS:
        own = [one for one in ours if one.format == form]
        dump = statistics.median(one.dump_s for one in own)
        verify = statistics.median(one.verify_s for one in own)
        peak = max(one.peak_mib for one in own)
        rows.append(
            [
                f"pg_backup, {form}",
                f"{dump:.2f} s",
                f"{seconds / dump:.2f}",
                f"{verify:.2f} s ({verify / seconds:.0%})",
                f"{own[-1].bytes / 1e6:.1f} MB",
                f"{peak:.0f} MiB",
            ]
        )
        if peak > 128:
            wrong.append(f"{form}: its processes took {peak:.0f} MiB, and may take 128")
        if form != "dump":
            continue
        if seconds / dump < 2:
            wrong.append(f"{form}: {seconds / dump:.2f} times as fast, and has to be twice")
        if own[-1].bytes > size:
            wrong.append(f"{form}: {own[-1].bytes} bytes, and the runbook's has {size}")
        if verify / seconds > 0.25:
            wrong.append(f"{form}: verification takes {verify / seconds:.0%}, and may take 25 %")
    head = ["way", "dump", "times as fast", "verification", "size", "memory"]
    lines = results.table(head, [row + ["-"] * (len(head) - len(row)) for row in rows])
    measured = {
        "runbook": [one.as_dict() for one in runbook],
        "ours": [one.as_dict() for one in ours],
    }
    return Part("backup", lines, measured, wrong)


def restore() -> Part:
    """Load three times each way, and restore the live database at two sizes."""
    loads = data_restore.loads()
    runbook = statistics.median(one.runbook_s for one in loads)
    ours = statistics.median(one.ours_s for one in loads)
    rows = [
        ["runbook: gunzip | psql", f"{runbook:.2f} s", "1.00"],
        ["pg_restore: load, analyze, count", f"{ours:.2f} s", f"{runbook / ours:.2f}"],
    ]
    lines = results.table(["way", "load", "times as fast"], rows)
    whole = [data_restore.whole(MEGABYTES)]
    data_fill.empty()
    whole.append(data_restore.whole(data_restore.SMALL_MB))
    lines += [
        "",
        *results.table(
            ["restore.yml", "database away", "customers waited", "whole playbook"],
            [
                [
                    f"{one.database_bytes / 1e6:.0f} MB",
                    f"{one.interruption_s:.1f} s",
                    f"{one.customers_s:.1f} s",
                    f"{one.total_s:.0f} s",
                ]
                for one in whole
            ],
        ),
    ]
    wrong = []
    if runbook / ours < 2:
        wrong.append(f"the load is {runbook / ours:.2f} times as fast, and has to be twice")
    wrong += [
        f"{one.database_bytes} bytes: away for {one.interruption_s} s, and may be for 5"
        for one in whole
        if max(one.interruption_s, one.customers_s) >= 5
    ]
    measured = {
        "loads": [one.as_dict() for one in loads],
        "whole": [one.as_dict() for one in whole],
    }
    return Part("restore", lines, measured, wrong)


PARTS = {"backup": backup, "restore": restore}


def main() -> int:
    """Fill, measure, judge."""
    chosen = os.environ.get("BENCH_PARTS", ",".join(PARTS)).split(",")
    state.ensure("v1")
    # They bring the programs whose engine is measured without Ansible.
    for name in ("backup", "drill"):
        run = playbook(name)
        if run.code != 0:
            sys.exit(f"bench: {name}.yml ended with {run.code}:\n{run.output}")
    size = data_fill.fill(MEGABYTES)
    parts = [PARTS[name]() for name in chosen]
    lines = [f"database of {size / 1e6:.0f} MB"]
    for part in parts:
        lines += ["", *part.lines, *(f"WRONG: {one}" for one in part.wrong)]
    measured = {part.name: {**part.measured, "wrong": part.wrong} for part in parts}
    results.keep("data", lines, {"database_bytes": size, **measured})
    return 1 if any(part.wrong for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
