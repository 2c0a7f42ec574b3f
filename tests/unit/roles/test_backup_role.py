# SPDX-License-Identifier: GPL-3.0-or-later
"""The role backup waits for what takes longer than one look."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from local_play import ansible_playbook

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
                # Goes on once somebody has looked, however long that takes.
                "ansible.builtin.shell": "until [ -e looked ]; do sleep 0.1; done",
                "args": {"chdir": "{{ playbook_dir }}"},
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


CALLBACK = """
from pathlib import Path

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_NAME = "looked"

    def v2_playbook_on_task_start(self, task, is_conditional):
        if task.get_name().endswith("Count the looks"):
            (Path(__file__).parent / "looked").touch()
"""


def test_it_looks_again_until_the_backup_is_made(tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    play.write_text(json.dumps(PLAY))
    (tmp_path / "looked.py").write_text(CALLBACK)
    done = ansible_playbook(
        *("-i", "localhost,", "-c", "local", str(play)), ANSIBLE_CALLBACK_PLUGINS=str(tmp_path)
    )
    assert done.returncode == 0, done.stdout
