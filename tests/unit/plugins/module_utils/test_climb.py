# SPDX-License-Identifier: GPL-3.0-or-later
"""The climb: what is tried in which order, what halts it, and what the ledger has of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _climb,
    _journal,
    _ledger,
    _remedies,
)
from ansible_collections.carrental.ops.plugins.module_utils._incidents import Cause
from ansible_collections.carrental.ops.plugins.module_utils._remedy import Context, RemedyError

STOPPED = Cause("container_stopped", "redis", "it was stopped")


class Fake:
    """An action that helps or not, and says when it was called."""

    def __init__(self, called: list[str], name: str, *, refuses: str = "", wrong: str = "") -> None:
        self._called, self._name = called, name
        self._refuses, self._wrong = refuses, wrong

    def refuse(self, _context: Context) -> str:
        return self._refuses

    def act(self, context: Context) -> list[str]:
        self._called.append(self._name)
        lines = _ledger.read(context.params["state_dir"])
        # What is begun is noted already.
        assert (lines[-1]["event"], lines[-1]["remedy"]) == ("attempt", self._name)
        if self._wrong == "fails":
            raise RemedyError("it cannot be done")
        return [f"did {self._name}"]

    def wrong(self, _context: Context) -> str:
        return self._wrong


@pytest.fixture
def called() -> list[str]:
    return []


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, called: list[str]) -> Any:
    def put(name: str, **how: str) -> None:
        monkeypatch.setitem(_climb.ACTIONS, name, Fake(called, name, **how))

    for name in ("start_container", "recreate_container", "look"):
        put(name)
    return put


def climb(folder: Path, *causes: Cause, check_mode: bool = False, **params: Any) -> _climb.Climbed:
    known = {
        "state_dir": str(folder),
        "alerts": [],
        "evidence": "",
        "incident": "redis_down",
        "operation_id": "",
        "deadline": 0,
        "consecutive": 1,
        "cooldown": 600,
        "per_hour": 3,
        "per_day": 10,
        "total_per_hour": 10,
        "breaker": 86400,
        **params,
    }
    ladder = _remedies.ladder(causes or [STOPPED], known.get("confirm", []), {"redis": "cache"})
    # As it comes back from the controller.
    ladder = _climb.rungs([one.as_dict() for one in ladder])
    engine: Any = None
    run = _climb.Climb(engine, known, lambda *_name, **_facts: None, check_mode=check_mode)
    return run.climb(ladder)


def test_the_least_that_helps_is_all_that_is_done(
    tmp_path: Path, fakes: Any, called: list[str]
) -> None:
    done = climb(tmp_path)
    assert (called, done.over) == (["start_container"], True)
    assert [line["event"] for line in _ledger.read(str(tmp_path))] == ["attempt", "outcome"]


@pytest.mark.parametrize("how", ["still down", "fails"])
def test_what_does_not_help_is_followed_by_the_next_and_neither_runs_again(
    tmp_path: Path, fakes: Any, called: list[str], how: str
) -> None:
    fakes("start_container", wrong=how)
    fakes("recreate_container", wrong=how)
    first = climb(tmp_path)
    assert (called, first.over) == (["start_container", "recreate_container"], False)
    again = climb(tmp_path, cooldown=0)
    assert called == ["start_container", "recreate_container"]
    assert "(breaker)" in again.skipped[0]["why"]


def test_a_remedy_that_rests_halts_its_ladder(
    tmp_path: Path, fakes: Any, called: list[str]
) -> None:
    climb(tmp_path)
    rests = climb(tmp_path)
    assert called == ["start_container"]
    assert [one["remedy"] for one in rests.skipped] == ["start_container"]


def test_a_precondition_that_does_not_hold_leads_to_the_next(
    tmp_path: Path, fakes: Any, called: list[str]
) -> None:
    fakes("start_container", refuses="there is no container")
    assert climb(tmp_path).over
    assert called == ["recreate_container"]


def test_the_kill_switch_stops_everything(tmp_path: Path, fakes: Any, called: list[str]) -> None:
    (tmp_path / "response.off").touch()
    done = climb(tmp_path)
    assert (called, _ledger.read(str(tmp_path))) == ([], [])
    assert "switched off" in done.skipped[0]["why"]


def test_check_mode_notes_nothing(tmp_path: Path, fakes: Any, called: list[str]) -> None:
    done = climb(tmp_path, check_mode=True)
    assert done.attempts[0].verdict == "would be tried"
    assert (called, _ledger.read(str(tmp_path))) == ([], [])
    broken = Cause("release_broken", "redis", "", facts={"previous": "old"})
    confirmed = climb(tmp_path, broken, check_mode=True, confirm=["rollback_release"])
    assert confirmed.attempts[0].remedy == "rollback_release"


def test_what_cannot_be_taken_back_is_left_to_people(
    tmp_path: Path, fakes: Any, called: list[str]
) -> None:
    full = Cause("redis_memory_full", "redis", "full")
    done = climb(tmp_path, full)
    assert (called, done.over) == ([], False)
    assert "response_confirm" in done.left[0]["why"]


def test_a_rollback_is_handed_to_its_role(tmp_path: Path, fakes: Any, called: list[str]) -> None:
    broken = Cause("release_broken", "redis", "", facts={"previous": "old"})
    done = climb(tmp_path, broken, confirm=["rollback_release"])
    assert (done.role, done.rest[0]["name"]) == ("rollback_release", "rollback_release")
    assert [line["event"] for line in _ledger.read(str(tmp_path))] == ["attempt"]


def test_what_cannot_be_noted_is_not_tried(
    tmp_path: Path, fakes: Any, called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: Any, **_facts: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_journal, "append_file", full)
    with pytest.raises(_ledger.LedgerError, match="No space left on device"):
        climb(tmp_path)
    assert called == []


def test_a_rung_that_nobody_knows_is_refused() -> None:
    with pytest.raises(RemedyError, match="is no rung"):
        _climb.rungs([{"name": "rm_rf", "cause": STOPPED.as_dict(), "confirmed": True}])
