# SPDX-License-Identifier: GPL-3.0-or-later
"""The role scaling says what comes next: after a plan, that what was planned is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from local_play import ansible_playbook

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
    run = ansible_playbook(
        *("-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")),
        *("-e", json.dumps(given), *argv),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"next is {told}" in run.stdout
