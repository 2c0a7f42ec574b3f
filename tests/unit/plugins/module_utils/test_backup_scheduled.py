# SPDX-License-Identifier: GPL-3.0-or-later
"""A night: no part of it keeps another one from being done, and what failed is told."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _backup_scheduled, _backups

PARTS = {
    "configuration": "_configuration",
    "offsite": "_copied",
    "retention": "_pruned",
    "point_in_time": "_based",
    "objects": "_objects",
}
SETTINGS: dict[str, Any] = {name: {"on": True} for name in PARTS}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that were done, none of which does anything."""
    found: list[str] = []

    def part(name: str) -> Callable[..., None]:
        return lambda *_given: found.append(name)

    for name, function in PARTS.items():
        monkeypatch.setattr(_backup_scheduled, function, part(name))
    backup = SimpleNamespace(id="car_rental_backup_20261125_020000")
    made = SimpleNamespace(actions=["back up"], backup=backup, numbers={})
    monkeypatch.setattr(_backup_scheduled, "_made", lambda *_given: made)
    return found


def fails(error: Exception) -> Callable[..., None]:
    def part(*_given: object) -> None:
        raise error

    return part


def night() -> dict[str, Any]:
    return _backup_scheduled._backed_up(SETTINGS, cast(Any, None))


def test_a_good_night_does_everything(done: list[str]) -> None:
    assert night()["headline"] == "car_rental_backup_20261125_020000 is made and proven."
    assert done == list(PARTS)


def test_without_a_backup_of_the_database_the_rest_is_saved(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backup_scheduled, "_made", fails(_backups.BackupError("It is down.")))
    with pytest.raises(_backups.BackupError, match=r"^It is down\.$"):
        night()
    # Nothing old goes.
    assert done == [name for name in PARTS if name != "retention"]


def test_a_defect_of_one_part_costs_no_other(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backup_scheduled, "_configuration", fails(ValueError("caf")))
    with pytest.raises(_backups.BackupError, match="is made and proven, but configuration: it "):
        night()
    assert done == ["offsite", "point_in_time", "objects"]


def test_all_that_failed_is_told(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backup_scheduled, "_made", fails(_backups.BackupError("It is down.")))
    monkeypatch.setattr(_backup_scheduled, "_objects", fails(OSError("full")))
    with pytest.raises(_backups.BackupError, match=r"^It is down\. And objects: full$"):
        night()
    assert done == ["configuration", "offsite", "point_in_time"]
