# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks in AWX: what is made there, and a job as AWX lays it out and runs it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from awx_api import Store, awx
from support import INVENTORY, REPO
from tiers import proof

CREDENTIALS = ["carrental key", "carrental vault"]
HOOK = "https://hooks.example.com/a-secret-path"
SETTINGS = {
    "awx_project_url": "https://git.example.com/ops.git",
    "awx_credentials": CREDENTIALS,
    "awx_notifications": [
        {
            "name": "ops",
            "notification_type": "webhook",
            "notification_configuration": {"url": HOOK, "headers": {}, "http_method": "POST"},
        }
    ],
}


def setup(url: str, *argv: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("ansible-playbook", "playbooks/awx_setup.yml"),
            *("-e", json.dumps({**SETTINGS, "awx_host": url, **settings}), *argv),
        ],
        cwd=REPO,
        env={
            **os.environ,
            # The variable goes before what the environment names.
            "CONTROLLER_HOST": "http://127.0.0.1:9",
            "CONTROLLER_OAUTH_TOKEN": "token",
            "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
        },
        stdin=subprocess.DEVNULL,
        text=True,
        capture_output=True,
        check=False,
    )


def named(store: Store, kind: str) -> dict[str, Any]:
    return {one.get("name") or one["identifier"]: one for one in store.things[kind].values()}


@proof
def test_awx_has_everything_and_a_second_run_changes_nothing() -> None:
    with awx() as (url, store):
        for name in CREDENTIALS:
            store.add("credentials", {"name": name})
        first = setup(url, "-vvv")
        assert first.returncode == 0, first.stdout
        assert HOOK not in first.stdout

        made = named(store, "job_templates")
        playbooks = {one["playbook"] for one in made.values()}
        assert {"playbooks/deploy.yml", "playbooks/health.yml"} <= playbooks
        assert all((REPO / one).is_file() for one in playbooks)
        assert len(made) == 2 * len(playbooks)
        for name, one in made.items():
            assert one["job_type"] == ("check" if name.endswith("(check)") else "run")
            linked = store.links[("job_templates", one["id"], "credentials")]
            assert len(linked) == len(CREDENTIALS)
            told = store.links[("job_templates", one["id"], "notification_templates_error")]
            assert told == [named(store, "notification_templates")["ops"]["id"]]
        asked = {one["variable"] for one in made["carrental deploy"]["_survey"]["spec"]}
        assert {"target", "deploy_version"} <= asked

        nodes = named(store, "workflow_job_template_nodes")

        def follows(name: str) -> list[int]:
            return store.links[("workflow_job_template_nodes", nodes[name]["id"], "success_nodes")]

        course = ["preflight", "approval", "deploy", "watch"]
        for before, after in itertools.pairwise(course):
            assert follows(before) == [nodes[after]["id"]]
        assert follows("watch") == []
        preflight = nodes["preflight"]["unified_job_template"]
        assert preflight == made["carrental deploy (check)"]["id"]

        writes = store.writes
        second = setup(url)
        assert second.returncode == 0, second.stdout
        assert store.writes == writes
        assert "awx_setup no_change" in second.stdout


@proof
def test_a_setting_that_was_changed_by_hand_is_put_back() -> None:
    with awx() as (url, store):
        skipped = {"awx_job_templates_skip": [], "awx_workflow": False, "awx_schedules": []}
        plain = {**skipped, "awx_credentials": [], "awx_notifications": []}
        assert setup(url, **plain).returncode == 0
        made = named(store, "job_templates")["carrental deploy"]
        made["allow_simultaneous"] = True
        done = setup(url, **plain)
        assert "changed: carrental deploy" in done.stdout
        assert made["allow_simultaneous"] is False


def test_a_name_that_no_playbook_has_is_refused() -> None:
    with awx() as (url, store):
        done = setup(url, awx_job_templates_skip=["carrental deplooy"])
        assert done.returncode != 0
        assert "carrental deplooy, which no playbook has" in " ".join(done.stdout.split())
        assert store.writes == 0


def lay_out(folder: Path) -> Path:
    """A project and its collections as an AWX job finds them, without a clone's own paths."""
    project = folder / "project"
    project.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=REPO,
        capture_output=True,
        check=True,
    ).stdout
    subprocess.run(
        ["xargs", "-0", "cp", "--parents", "-Pt", str(project)], cwd=REPO, input=listed, check=True
    )
    # What the project update of AWX runs; community.general is in the package ansible here.
    subprocess.run(
        [
            *("ansible-galaxy", "collection", "install", "--no-deps", "--force", "."),
            *("-p", str(folder / "requirements_collections")),
        ],
        cwd=project,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(folder / "requirements_collections")},
        capture_output=True,
        check=True,
    )
    return project


def job(folder: Path, playbook: str, **extra: Any) -> tuple[int, dict[str, Any], str]:
    """Run a job; its code, the artifacts that AWX hands on, and what it printed."""
    (folder / "env").mkdir(exist_ok=True)
    (folder / "env" / "extravars").write_text(json.dumps({"awx_job_id": 4711, **extra}))
    (folder / "env" / "envvars").write_text(
        json.dumps(
            {
                "ANSIBLE_COLLECTIONS_PATH": str(folder / "requirements_collections"),
                "ANSIBLE_CONFIG": "",
            }
        )
    )
    environment = {key: value for key, value in os.environ.items() if key != "ANSIBLE_CONFIG"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ansible_runner", "run", str(folder), "-p", playbook),
            *("--inventory", str((REPO / INVENTORY).resolve()), "--ident", "job"),
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
        text=True,
        capture_output=True,
        check=False,
    )
    events = sorted((folder / "artifacts" / "job" / "job_events").glob("*.json"))
    artifacts: dict[str, Any] = {}
    for path in events:
        event = json.loads(path.read_text())
        artifacts.update((event.get("event_data") or {}).get("artifact_data") or {})
    return done.returncode, artifacts, done.stdout + done.stderr


@proof
def test_a_job_as_awx_runs_it_hands_on_the_verdict(tmp_path: Path) -> None:
    project = lay_out(tmp_path)
    code, artifacts, output = job(tmp_path, "playbooks/health.yml", health_depth="quick")
    assert code == 0, output
    assert list(artifacts) == ["carrental_result"]
    assert artifacts["carrental_result"]["verdict"] == "ok"
    assert (project / "playbooks/health.yml").is_file()


@proof
def test_a_job_that_is_refused_fails_and_says_so_in_its_artifacts(tmp_path: Path) -> None:
    lay_out(tmp_path)
    code, artifacts, output = job(tmp_path, "playbooks/deploy.yml")
    assert code != 0
    assert artifacts["carrental_result"]["verdict"] == "refused", output


@proof
def test_the_next_job_of_a_workflow_does_its_own_work(tmp_path: Path) -> None:
    lay_out(tmp_path)
    code, handed, output = job(tmp_path, "playbooks/status.yml")
    assert code == 0, output
    # AWX gives the next job of a workflow what the one before it handed on, as extra variables.
    code, artifacts, output = job(tmp_path, "playbooks/deploy.yml", **handed)
    assert code != 0, output
    assert artifacts["carrental_result"]["operation"] == "deploy"
    assert artifacts["carrental_result"]["verdict"] == "refused", output
