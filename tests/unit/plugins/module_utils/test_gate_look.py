# SPDX-License-Identifier: GPL-3.0-or-later
"""A gate says what it did not look at."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _compose, _gate_look

MODEL = {
    "services": {
        "api": {
            "image": "example/api:1",
            "restart": "always",
            "deploy": {"resources": {"limits": {"memory": "1"}}},
        }
    }
}


def params(src: Path | str, **given: Any) -> dict[str, Any]:
    return {
        "src": str(src),
        "compose_files": ["a.yml"],
        "env": {},
        "held": [],
        "released": [],
        "migrations": "prisma/migrations",
        "base": "",
        "lock_timeout": True,
        "images": [],
        "username": "",
        "password": "",
        "architecture": "amd64",
        "insecure_registries": [],
        "inventory": [],
        "variables": {},
        "unreadable": "",
        "known": {},
        "prefixes": [],
        "directory": "",
        **given,
    }


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_compose.Project, "model", lambda _self: (MODEL, []))
    (tmp_path / "a.yml").write_text("services:\n  api:\n    image: example/api:1\n")
    return tmp_path


def migration(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "migration.sql").write_text("SELECT 1;")


def areas(looked: _gate_look.Looked) -> set[str]:
    return {rule.partition(".")[0] for rule in looked.skipped}


def test_without_a_checkout_nothing_of_it_passes() -> None:
    looked = _gate_look.look(params(""))
    assert areas(looked) == {"compose", "nginx", "migration", "image"}
    assert looked.found == []


def test_what_the_checkout_does_not_have_is_not_looked_at(checkout: Path) -> None:
    looked = _gate_look.look(params(checkout))
    assert looked.found == []
    assert looked.skipped == {
        "nginx.prefix": "nginx, for the checkout has no configuration of it",
        "nginx.repeat": "nginx, for the checkout has no configuration of it",
        "nginx.variable": "nginx, for the checkout has no configuration of it",
        "migration.destructive": "migrations, for prisma/migrations has none",
        "migration.locking": "migrations, for prisma/migrations has none",
        "image.missing": "images, for gate_version names none",
    }


def test_what_is_there_is_looked_at(checkout: Path) -> None:
    migration(checkout, "prisma/migrations/1")
    (checkout / "nginx.conf").touch()
    assert areas(_gate_look.look(params(checkout))) == {"image"}


def test_migrations_that_lie_elsewhere_are_an_error(checkout: Path) -> None:
    migration(checkout, "backend/prisma/migrations/1")
    (found,) = _gate_look.look(params(checkout)).found
    assert (found.rule, found.level) == ("migration.not_run", "error")
    assert found.message == (
        "prisma/migrations has no migrations, and backend/prisma/migrations has some: none was "
        "looked at."
    )
    assert found.fix == "Set gate_migrations to backend/prisma/migrations."


def test_a_directory_that_somebody_named_has_to_be_there(checkout: Path) -> None:
    (found,) = _gate_look.look(params(checkout, migrations="db/migrate")).found
    assert (found.rule, found.level) == ("migration.not_run", "error")
    (checkout / "db/migrate").mkdir(parents=True)
    assert _gate_look.look(params(checkout, migrations="db/migrate")).found == []
    looked = _gate_look.look(params(checkout, migrations=""))
    assert looked.skipped["migration.not_run"] == "migrations, for gate_migrations is empty"


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ("Cannot run docker: it is not installed; run playbooks/bootstrap.yml first.", "not_run"),
        ("Compose refuses a.yml: docker: 'compose' is not a docker command.", "not_run"),
        ("Compose refuses a.yml: services.api has no image.", "invalid"),
    ],
)
def test_without_compose_its_rules_do_not_pass(
    said: str, rule: str, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_self: Any) -> None:
        raise _compose.ComposeError(said)

    monkeypatch.setattr(_compose.Project, "model", refuses)
    looked = _gate_look.look(params(checkout))
    assert [(one.rule, one.level) for one in looked.found] == [(f"compose.{rule}", "error")]
    assert "compose.memory" in looked.skipped
    assert not {"compose.variable", f"compose.{rule}"} & set(looked.skipped)


def test_an_inventory_that_cannot_be_read_has_no_variables_to_pass() -> None:
    looked = _gate_look.look(params("", unreadable="it is  broken"))
    assert [one.message for one in looked.found] == ["The inventory cannot be read: it is broken"]
    assert {"inventory.unknown", "inventory.type"} <= set(looked.skipped)


@pytest.mark.parametrize(
    "said",
    [
        "[ERROR]: Attempting to decrypt but no vault secrets found.",
        "[ERROR]: Decryption failed (no vault secrets were found that could decrypt).",
        "[ERROR]: The vault password file /gone was not found",
    ],
)
def test_a_vault_that_stays_shut_makes_no_inventory_invalid(said: str) -> None:
    (found,) = _gate_look.look(params("", unreadable=said)).found
    assert (found.rule, found.level) == ("inventory.not_run", "error")
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in found.fix


def test_what_has_no_file_belongs_to_one_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").touch()
    given = {"inventory": [str(tmp_path / "inventory")], "directory": str(tmp_path)}
    assert _gate_look.anchor(params("src", **given)) == "a.yml"
    assert _gate_look.anchor(params("", **given)) == "inventory/hosts.yml"
    assert _gate_look.anchor(params("")) == "inventory"


def test_a_secret_that_git_ignores_is_in_no_commit(checkout: Path) -> None:
    folder = checkout / "inventory"
    folder.mkdir()
    (folder / "hosts.yml").write_text("all: {hosts: {one: {DB_PASSWORD: Zaeg7queiquo}}}")
    asked = params("", inventory=[str(folder)], directory=str(checkout))
    (found,) = _gate_look.look(asked).found
    assert found.file == "inventory/hosts.yml"
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    assert len(_gate_look.look(asked).found) == 1
    (checkout / ".gitignore").write_text("hosts.yml\n")
    assert _gate_look.look(asked).found == []
