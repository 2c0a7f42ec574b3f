# SPDX-License-Identifier: GPL-3.0-or-later
"""The role restore says what comes next, whatever became of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from local_play import REPO, ansible_playbook

TASKS = REPO / "roles/restore/tasks"
NONE: dict[str, Any] = {"release": "", "version": "", "lacking": [], "gone": [], "unknown": []}
LACKS = {**NONE, "release": "20261126T120000Z-v3", "version": "v3", "lacking": ["m3"]}
DROPS = (
    "playbooks/restore.yml -e restore_drop_previous=carrental_before -e restore_confirm=carrental"
)


def outcome(folder: Path, tasks: list[dict[str, Any]], **known: Any) -> dict[str, Any]:
    """Run tasks of the role on this machine; return the outcome that they leave."""
    written = folder / "outcome.json"
    play = folder / "play.yml"
    content = {"content": "{{ carrental_outcome | to_json }}", "dest": str(written)}
    given = {
        "ansible_python_interpreter": sys.executable,
        "carrental_database": "carrental",
        "restore_to_time": "",
        "restore_without_backup": "",
        **known,
    }
    tasks = [*tasks, {"ansible.builtin.copy": content, "check_mode": False}]
    play.write_text(
        json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": tasks}])
    )
    done = ansible_playbook("-i", "localhost,", "-c", "local", str(play))
    assert done.returncode == 0, done.stdout
    found: dict[str, Any] = json.loads(written.read_text())
    return found


@pytest.mark.parametrize(
    ("migrations", "said", "mends"),
    [
        (NONE, "it was away for 0.5 s.", "playbooks/health.yml"),
        (
            LACKS,
            "Until the deploy below the application lacks m3.",
            "playbooks/deploy.yml -e deploy_version=v3",
        ),
    ],
)
def test_what_lacks_migrations_is_made_whole_by_a_deploy(
    tmp_path: Path, migrations: dict[str, Any], said: str, mends: str
) -> None:
    done = {
        "backup": {"id": "b1"},
        "rows": 7,
        "previous": "carrental_before",
        "actions": [],
        "lines": ["it says so"],
        "kept": [],
        "read_s": 1.0,
        "load_s": 1.0,
        "interruption_s": 0.5,
        "outages": {},
        "migrations": migrations,
    }
    found = outcome(
        tmp_path,
        [{"ansible.builtin.include_tasks": str(TASKS / "summary.yml")}],
        __restore_began="0",
        __restore_point={},
        __restore_source="latest",
        __restore_plan={"backup": {"id": "b1"}},
        __restore_done=done,
        __backup_made={},
    )
    assert found["headline"].endswith(said)
    assert found["next"] == f"{mends}; when all is well, {DROPS}"
    assert found["lines"] == ["it says so"]


@pytest.mark.parametrize(
    ("instead", "following"),
    [
        ("b0", "playbooks/restore.yml -e restore_from=b0 -e restore_confirm=carrental"),
        ("", "mend what it says, then the same command again"),
    ],
)
def test_instead_of_a_damaged_backup_the_newest_good_one_comes_next(
    tmp_path: Path, instead: str, following: str
) -> None:
    failed = {"msg": "b1 is damaged. Nothing was changed.", "damaged": "b1", "instead": instead}
    found = outcome(
        tmp_path,
        [
            {
                "block": [{"ansible.builtin.include_tasks": str(TASKS / "explain.yml")}],
                "rescue": [{"ansible.builtin.meta": "noop"}],
            }
        ],
        ansible_failed_result=failed,
    )
    assert (found["verdict"], found["next"]) == ("refused", following)
    assert found["lines"] == ["b1 counts as damaged from now on: nothing relies on it"]
