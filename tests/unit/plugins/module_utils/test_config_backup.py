# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup of the configuration is made when it has to be, and holds what it says."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_encrypt,
    _backup_verify,
    _config_backup,
)
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine

NOW = datetime(2026, 11, 25, 2, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is encrypted: neither program has to be here."""

    def encrypt(path: str, program: str, recipients: tuple[str, ...]) -> str:
        return _backup_verify.sha256(path)

    monkeypatch.setattr(_backup_encrypt, "require", lambda *_given: None)
    monkeypatch.setattr(_backup_encrypt, "encrypt", encrypt)


class Containers:
    """An engine without containers."""

    def services(self, _project: str) -> list[SimpleNamespace]:
        return []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "carrental"
    (top / "backups").mkdir(parents=True)
    (top / ".env").write_text("SECRET=1")
    return top


def saved(
    root: Path,
    program: str = "age",
    recipients: tuple[str, ...] = ("age1a",),
    *,
    days: int = 0,
    engine: object = None,
    **more: Any,
) -> _config_backup.Outcome:
    given = (str(root), str(root / ".ops"), str(root / "backups"), program, recipients, "carrental")
    wish = _config_backup.Wish(*given, **more)

    def step(*_names: str, **_facts: Any) -> None:
        """Note nothing."""

    now = NOW + timedelta(days=days)
    return _config_backup.save(cast(Engine, engine or Containers()), wish, now, False, step)


def test_it_is_made_once_for_the_same_keys(root: Path) -> None:
    assert saved(root, recipients=("age1a", "age1b")).changed
    again = saved(root, recipients=("age1b", "age1a"), days=1)
    assert (again.changed, again.file) == (False, "config_backup_20261125_020000.tar.gz.age")


@pytest.mark.parametrize(("program", "recipients"), [("age", ("age1new",)), ("gpg", ("age1a",))])
def test_another_key_or_program_makes_it_anew(
    root: Path, program: str, recipients: tuple[str, ...]
) -> None:
    saved(root)
    assert saved(root, program, recipients, days=1).changed
    assert not saved(root, program, recipients, days=2).changed


def test_one_that_does_not_say_its_keys_is_made_anew(root: Path) -> None:
    saved(root)
    (manifest,) = (root / "backups").glob("*.json")
    told = json.loads(manifest.read_text())
    del told["keys"]
    manifest.write_text(json.dumps({**told, "recipients": 1}))
    assert saved(root, days=1).changed
