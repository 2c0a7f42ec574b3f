# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of the documentation name playbooks, variables and files that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [
        *(REPO / "docs").rglob("*.md"),
        *(REPO / "docs").rglob("*.yml"),
        *REPO.glob("*.md"),
        *(REPO / "roles").glob("*/README.md"),
        *(REPO / "playbooks").glob("*.yml"),
    ]
)
# Variables of Ansible itself, of the playbooks, and of what is around a block of code.
OTHERS = {
    *("ansible_user", "target", "carrental_operation", "deploy_version"),
    *("recover_bootstrap", "recover_login"),
}
GENERATED = {"CHANGELOG.md"}


def options() -> set[str]:
    found: set[str] = set()
    for path in (REPO / "roles").glob("*/meta/argument_specs.yml"):
        found |= set(yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"])
    return found


KNOWN = options() | OTHERS


def shown(page: Path) -> str:
    return str(page.relative_to(REPO))


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in GENERATED], ids=shown)
def test_playbooks_and_variables_of_commands_exist(page: Path) -> None:
    text = page.read_text()
    playbooks = set(re.findall(r"playbooks/(\w+)\.yml", text))
    there = {path.stem for path in (REPO / "playbooks").glob("*.yml")}
    assert playbooks - there == set()
    names = set(re.findall(r"-e '?([a-z_]+)=", text))
    names |= set(re.findall(r"-e '\{\"([a-z_]+)\":", text))
    assert names - KNOWN == set()


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.suffix == ".md" and p.name not in GENERATED], ids=shown
)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_verb_has_its_section() -> None:
    text = (REPO / "docs/operations.md").read_text()
    sections = set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    rows = ("purpose", "before", "stops", "verify", "undo", "downtime")
    assert text.count("| purpose |") == len(sections)
    for row in rows:
        assert text.count(f"| {row} |") == len(sections), row
    assert sections <= {path.stem for path in (REPO / "playbooks").glob("*.yml")}


def test_workflows_of_the_documentation_are_workflows() -> None:
    for name in ("github-gate.yml", "github-deploy.yml"):
        # YAML 1.1 reads the key "on" as true.
        told: dict[Any, Any] = yaml.safe_load((REPO / "docs/ci" / name).read_text())
        assert {"name", "jobs", "permissions"} <= set(told)
        assert True in told
        for job in told["jobs"].values():
            assert job["steps"]
