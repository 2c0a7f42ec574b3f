# SPDX-License-Identifier: GPL-3.0-or-later
"""An extra variable that nothing reads is refused, and none that is told of anywhere is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars
from ansible_collections.carrental.ops.plugins.lookup import unread_variables
from ansible_collections.carrental.ops.plugins.plugin_utils import _extra_variables

REPO = Path(__file__).resolve().parents[4]
TEXTS = (".md", ".yml", ".yaml", ".json", ".j2", ".sh", ".py", "Makefile")
FOLDERS = (
    *("README.md", "CONTRIBUTING.md", "Makefile", "awx", "demo", "docs", "extensions"),
    *("inventories", "molecule", "playbooks", "plugins", "roles", "tests/bench"),
)


def files(*starts: str) -> Iterator[Path]:
    for start in starts:
        path = REPO / start
        for one in [path] if path.is_file() else sorted(path.rglob("*")):
            if one.is_file() and one.name.endswith(TEXTS):
                yield one


def of_commands(text: str) -> set[str]:
    """Return what stands after -e in a command, or in a list of arguments."""
    given = r"(?:-e|--extra-vars)[\"']?[ ,=]\s*f?"
    names = set(re.findall(rf"{given}[\"']*(\w+)=", text))
    for braces in re.findall(rf"{given}'(\{{.*?\}})'", text):
        names |= set(re.findall(r"\"(\w+)\":", braces))
    return names


def of_tests(text: str) -> set[str]:
    """Return the keywords and the keys that a test may hand to a playbook."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            names |= {one.arg for one in node.keywords if one.arg}
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            names |= {key for key in keys if isinstance(key, str)}
    return names


def of_awx(told: Any) -> set[str]:
    """Return the questions of surveys, and the variables of job templates."""
    if isinstance(told, list):
        return {name for one in told for name in of_awx(one)}
    if not isinstance(told, dict):
        return set()
    names = {told["variable"]} if "variable" in told else set()
    names |= set(told.get("extra_vars") or {})
    return names.union(*(of_awx(one) for one in told.values()))


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_command_tells_to_give_is_not_refused(folder: str) -> None:
    given = {name for path in files(folder) for name in of_commands(path.read_text())}
    assert _extra_variables.unread(given) == []


def test_what_a_test_gives_is_not_refused() -> None:
    paths = [path for path in files("molecule", "tests/bench") if path.suffix == ".py"]
    given = {name for path in paths for name in of_tests(path.read_text())}
    assert {"deploy_version", "restore_from", "recover_bootstrap"} <= given
    assert _extra_variables.unread(given) == []


def test_what_awx_and_the_rulebook_give_is_not_refused() -> None:
    given = of_awx(yaml.safe_load((REPO / "awx/job_templates.yml").read_text()))
    given |= of_awx(yaml.safe_load((REPO / "extensions/eda/rulebooks/alerts.yml").read_text()))
    given |= set(yaml.safe_load((REPO / "extensions/eda/vars.yml").read_text()))
    assert {"target", "backup_verify", "response_mode", "carrental_eda_mode"} <= given
    # AWX hands on the result of the job before.
    assert _extra_variables.unread({*given, "carrental_result"}) == []


def test_every_setting_of_every_role_is_known() -> None:
    specs = (REPO / "roles").glob("*/meta/argument_specs.yml")
    told = [yaml.safe_load(path.read_text())["argument_specs"] for path in specs]
    given = {name for spec in told for entry in spec.values() for name in entry["options"]}
    assert len(given) > 300
    assert _extra_variables.unread(given) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("restore_form", "restore_form is read by nothing. Did you mean restore_from?"),
        ("recover_logn", "recover_logn is read by nothing. Did you mean recover_login?"),
        ("carrental_databse", "Did you mean carrental_database?"),
        ("operation_wiat", "Did you mean operation_wait?"),
        ("deploy_of_mine", "ansible-doc -t role carrental.ops.deploy lists what there is; "),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest(name: str, says: str) -> None:
    (said,) = _extra_variables.unread([name, "target", "restore_from"])
    assert says in said


@pytest.mark.parametrize("name", ["_restore_form", "restored", "my_restore_form", "tower_job_id"])
def test_names_of_others_are_left_alone(name: str) -> None:
    assert _extra_variables.unread([name]) == []


def test_variables_of_a_job_of_awx_are_its_own() -> None:
    of_the_job = ["awx_job_id", "awx_user_name", "awx_project_revision", "awx_project_scm_branch"]
    assert _extra_variables.unread(of_the_job) == []
    assert len(_extra_variables.unread(["awx_project_rul"])) == 1


def test_only_the_options_of_roles_that_are_named_are_looked_at(tmp_path: Path) -> None:
    for role in ("deploy", "stack"):
        (tmp_path / role / "meta").mkdir(parents=True)
    spec: Any = {"argument_specs": {"main": {"options": {"deploy_version": {}}}, "look": {}}}
    (tmp_path / "deploy/meta/argument_specs.yml").write_text(yaml.safe_dump(spec))
    assert _extra_variables.unread(["deploy_version", "target"], tmp_path) == []


def test_only_extra_variables_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vars.yml").write_text("backup_frmat: sql.gz\n")
    given = (f"@{tmp_path}/vars.yml", "restore_form=hunter2", '{"deploy_version": "x"}')
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict({"extra_vars": given}))
    monkeypatch.setattr(load_extra_vars, "extra_vars", None, raising=False)
    lookup = unread_variables.LookupModule(loader=DataLoader())
    said = lookup.run([], {"deploy_versoin": "of the inventory"})
    assert [one.split()[0] for one in said] == ["backup_frmat", "restore_form"]
    assert "hunter2" not in " ".join(said)
