# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the tree itself: what a reader relies on is really so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (REPO / "roles").iterdir() if path.is_dir())
MODULES = sorted(path.stem for path in (REPO / "plugins/modules").glob("*.py"))
PLAYBOOKS = sorted((REPO / "playbooks").glob("*.yml"))


def load(path: str) -> Any:
    return yaml.safe_load((REPO / path).read_text())


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_name_the_same_variables(role: str) -> None:
    defaults = load(f"roles/{role}/defaults/main.yml") or {}
    options = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    optional = {name for name, spec in options.items() if spec.get("required")}
    assert set(options) - optional == set(defaults)


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_tell_the_defaults_that_are_in_force(role: str) -> None:
    defaults = load(f"roles/{role}/defaults/main.yml") or {}
    options = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    told = {name: spec["default"] for name, spec in options.items() if "default" in spec}
    assert told == {name: defaults[name] for name in told}


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_replace_no_key_of_another(role: str) -> None:
    """Ansible takes a key that stands in place of a merged one for a duplicate, and warns."""
    assert "<<:" not in (REPO / f"roles/{role}/meta/argument_specs.yml").read_text()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_is_not_the_stack_depends_on_it(role: str) -> None:
    dependencies = load(f"roles/{role}/meta/main.yml")["dependencies"]
    assert dependencies == ([] if role == "stack" else [{"role": "carrental.ops.stack"}])


@pytest.mark.parametrize("role", ROLES)
def test_tasks_main_is_a_table_of_contents(role: str) -> None:
    if role == "stack":  # two assertions and no procedure
        return
    for task in load(f"roles/{role}/tasks/main.yml"):
        assert task["name"]
        used = set(task) & {
            "ansible.builtin.include_tasks",
            "ansible.builtin.import_tasks",
            "ansible.builtin.include_role",
            "ansible.builtin.set_fact",
            "block",
        }
        assert used, f"{role}: {task['name']} is no line of a table of contents"


def test_action_group_lists_every_module() -> None:
    assert load("meta/runtime.yml")["action_groups"]["ops"] == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_module_is_in_the_readme(module: str) -> None:
    assert f"`{module}`" in (REPO / "README.md").read_text()


@pytest.mark.parametrize("role", ROLES)
def test_role_is_in_the_readme(role: str) -> None:
    assert f"`{role}`" in (REPO / "README.md").read_text()


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.name)
def test_playbook_says_when_it_is_safe_and_how_it_is_called(playbook: Path) -> None:
    text = playbook.read_text()
    for word in ("# When:", "# Downtime:", f"playbooks/{playbook.name}"):
        assert word in text, f"{playbook.name} does not say {word}"
    assert f"`{playbook.stem}`" in (REPO / "README.md").read_text()


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPO, text=True, capture_output=True, check=True
    )
    return [REPO / name for name in listed.stdout.split("\0") if name]


@pytest.mark.parametrize("suffix", [".py", ".sh", ".yml"])
def test_every_file_says_its_licence(suffix: str) -> None:
    silent = [
        str(path.relative_to(REPO))
        for path in tracked()
        if path.suffix == suffix
        and path.is_file()
        and not path.is_symlink()
        and "changelogs" not in path.parts
        and path.stat().st_size > 0
        and "SPDX-License-Identifier: GPL-3.0-or-later" not in path.read_text()[:400]
    ]
    assert silent == []


def test_no_secret_is_committed() -> None:
    """A vault is encrypted or absent; the demo's secrets are absent."""
    for path in tracked():
        if path.name in ("vault.yml", "secrets.yml"):
            assert re.match(r"\$ANSIBLE_VAULT;", path.read_text()), path


def test_quick_start_opens_the_vault_and_logs_in_as_it_says() -> None:
    quick = (REPO / "README.md").read_text().split("## Quick start")[1].split("## ")[0]
    # Without it every command after "ansible-vault create" ends with "no vault secrets found".
    assert quick.index("ANSIBLE_VAULT_PASSWORD_FILE") < quick.index("ansible-vault create")
    # The inventories set ansible_user, which is stronger than -u.
    told = [quick, *(playbook.read_text() for playbook in PLAYBOOKS)]
    assert not [text for text in told if re.search(r"ansible-playbook .* -u ", text)]


def test_nothing_reads_what_awx_hands_on_to_the_next_job() -> None:
    """An extra variable beats every fact: a job would take the result before for its own."""
    found = [
        str(path.relative_to(REPO))
        for folder in ("roles", "playbooks")
        for suffix in ("yml", "j2")
        for path in (REPO / folder).rglob(f"*.{suffix}")
        if "carrental_result" in path.read_text()
    ]
    assert found == ["roles/stack/tasks/hand_on.yml"]


def test_the_response_role_knows_every_alert_of_the_monitoring() -> None:
    """An alert by its name means the same as its label "response"."""
    told = load("roles/response/vars/main.yml")["_response_alerts"]
    rules = "".join(
        path.read_text() for path in sorted((REPO / "roles/monitoring/vars/main").glob("*.yml"))
    )
    found = re.findall(r"- alert: (\w+)\n(?:.*\n){1,3}?\s+response: (\w+)", rules)
    assert len(found) > 40
    wanted = {alert: response for alert, response in found if response != "none"}
    assert {alert: told.get(alert) for alert in wanted} == wanted
