# SPDX-License-Identifier: GPL-3.0-or-later
"""The role backup waits for what takes longer than one look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
PLAY = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {
            "ansible_async_dir": "{{ playbook_dir }}/jobs",
            "ansible_python_interpreter": sys.executable,
        },
        "tasks": [
            {
                "ansible.builtin.command": "sleep 3",
                "async": 60,
                "poll": 0,
                "register": "__backup_made",
            },
            {"ansible.builtin.set_fact": {"__backup_look": 0}},
            {
                "ansible.builtin.include_role": {
                    "name": "carrental.ops.backup",
                    "tasks_from": "wait.yml",
                },
                "vars": {"backup_job": "{{ __backup_made.ansible_job_id }}"},
            },
            {
                "ansible.builtin.assert": {
                    "that": ["__backup_made.finished | bool", "__backup_look | int > 0"]
                }
            },
        ],
    }
]


def test_it_looks_again_until_the_backup_is_made(tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    play.write_text(json.dumps(PLAY))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", str(play)],
        env={**os.environ, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")},
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
