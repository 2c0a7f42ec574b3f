# SPDX-License-Identifier: GPL-3.0-or-later
"""The role scaling says what comes next: after a plan, that what was planned is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: carrental.ops.scaling
        tasks_from: summary.yml
    - ansible.builtin.debug:
        msg: "next is {{ carrental_outcome.next }}"
"""


@pytest.mark.parametrize(
    ("changed", "argv", "told"),
    [
        (True, ["--check"], "the same command without --check"),
        (False, ["--check"], "playbooks/health.yml"),
        (True, [], "playbooks/health.yml"),
    ],
)
def test_what_comes_next(tmp_path: Path, changed: bool, argv: list[str], told: str) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    empty: dict[str, list[str]] = {"actions": [], "notes": [], "pending": []}
    done = {**empty, "changed": changed, "sizes": {}, "measured": {}}
    given = {"__scaling_done": done, "__scaling_began": "0"}
    run = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local"),
            *(str(tmp_path / "play.yml"), "-e", json.dumps(given), *argv),
        ],
        cwd=REPO,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
        },
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"next is {told}" in run.stdout
