# SPDX-License-Identifier: GPL-3.0-or-later
"""Where benchmarks leave what they measured: .build/bench, as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
FOLDER = REPO / ".build/bench"


def keep(name: str, lines: list[str], measured: dict[str, Any]) -> None:
    """Print the table and write both files; the newest run replaces the one before."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    (FOLDER / f"{name}.txt").write_text(text)
    told = json.dumps({"bench": name, **_circumstances(), **measured}, indent=2) + "\n"
    (FOLDER / f"{name}.json").write_text(told)
    print(text, end="")
    print(f"  written to {(FOLDER / name).relative_to(REPO)}.txt and .json")


def _circumstances() -> dict[str, Any]:
    """What else decides the numbers."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=REPO,
        text=True,
        capture_output=True,
        check=False,
    ).stdout.strip()
    return {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit,
        "cores": os.cpu_count(),
        # Seconds measured on a machine that does other things say little.
        "load_average": round(os.getloadavg()[1], 1),
        "kernel": platform.release(),
    }


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Columns as wide as their widest cell; the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *rows]
    ]
