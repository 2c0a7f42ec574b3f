# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server does by itself: when, and with nothing but Python."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _scheduled

PACKAGE = "ansible_collections.carrental.ops.plugins.module_utils"
REPO = Path(__file__).resolve().parents[4]
# What the module does: nothing is loaded but what the program needs.
WRITE = """
import sys
from {package} import {module}, _entry_point
sys.stdout.buffer.write(_entry_point.program({module}))
"""


@pytest.mark.parametrize(
    ("at", "due"),
    [("2026-11-29T03:30", True), ("2026-11-29T04:30", False), ("2026-11-28T03:30", False)],
)
def test_it_is_due_once_a_week_by_its_own_clock(at: str, due: bool) -> None:
    settings = {"day": "sun", "time": "04:30", "timezone": "Europe/Paris"}
    now = datetime.fromisoformat(at).replace(tzinfo=timezone.utc)
    assert _scheduled.is_due(settings, now) is due


@pytest.mark.parametrize("module", ["_drill_scheduled", "_backup_scheduled"])
def test_the_program_needs_nothing_but_python(tmp_path: Path, module: str) -> None:
    made = subprocess.run(
        [sys.executable, "-c", WRITE.format(package=PACKAGE, module=module)],
        env={"PYTHONPATH": str(REPO / "collections")},
        capture_output=True,
        check=True,
    )
    program, settings = tmp_path / "program", tmp_path / "settings.json"
    program.write_bytes(made.stdout)
    today = datetime.now(timezone.utc).weekday()
    other = _scheduled.DAYS[(today + 3) % 7]
    settings.write_text(json.dumps({"day": other, "time": "04:00", "timezone": "UTC"}))
    # Neither Ansible nor anything else that was installed.
    argv = [sys.executable, "-I", "-S", str(program), "--hourly", str(settings)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
