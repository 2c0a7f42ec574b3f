# SPDX-License-Identifier: GPL-3.0-or-later
"""A silence belongs to one operation, and to no other."""

from __future__ import annotations

from typing import Any, cast

from ansible_collections.carrental.ops.plugins.module_utils import _alertmanager
from ansible_collections.carrental.ops.plugins.modules import alert_silence

ID = "20261124T021500Z-restore-ab12"


class Manager:
    """What the module asks of Alertmanager."""

    def __init__(self, *comments: str) -> None:
        self.held = [{"id": str(n), "comment": text} for n, text in enumerate(comments)]
        self.created: list[tuple[Any, ...]] = []
        self.expired: list[str] = []

    def silences(self) -> list[dict[str, str]]:
        return self.held

    def silence(self, *given: Any) -> str:
        self.created.append(given)
        return "new"

    def expire(self, silence: str) -> None:
        self.expired.append(silence)


def converge(manager: Manager, check_mode: bool = False, **more: Any) -> list[str]:
    params = {
        "operation": ID,
        "alerts": ["ApiDown", "WebDown"],
        "minutes": 30,
        "who": "me",
        "state": "present",
        **more,
    }
    return alert_silence.converge(cast(_alertmanager.Alertmanager, manager), params, check_mode)


def test_only_the_named_alerts_are_silenced_and_for_a_time() -> None:
    manager = Manager("something else")
    assert converge(manager) == ["new"]
    (((matcher,), seconds, who, comment),) = manager.created
    assert matcher["value"] == "ApiDown|WebDown"
    assert (seconds, who) == (1800, "me")
    assert ID in comment


def test_it_is_created_once() -> None:
    manager = Manager(f"What this operation causes is expected ({ID})")
    assert converge(manager) == []
    assert manager.created == []


def test_the_end_takes_only_its_own() -> None:
    manager = Manager(f"mine ({ID})", "(20261124T021500Z-restore-ffff)")
    assert converge(manager, state="absent") == ["0"]
    assert manager.expired == ["0"]


def test_check_mode_touches_nothing() -> None:
    manager = Manager(f"mine ({ID})")
    assert converge(manager, check_mode=True, state="absent") == ["0"]
    assert converge(Manager(), check_mode=True) == ["(new)"]
    assert (manager.expired, manager.created) == ([], [])


def test_without_alerts_there_is_nothing_to_be_silent_about() -> None:
    assert converge(Manager(), alerts=[]) == []
