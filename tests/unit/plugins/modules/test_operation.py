# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of an operation: its verdict, its lock, and the result that stays on the server."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.modules import operation
from arguments import answer

RESULT = {"operation": "deploy", "verdict": "ok", "headline": "v2 is released."}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "reports").mkdir()
    return tmp_path


@pytest.fixture
def begun(state: Path, capfd: pytest.CaptureFixture[str]) -> str:
    made = answer(
        capfd, operation, state_dir=str(state), state="acquired", kind="deploy", who="anna"
    )
    return str(made["operation_id"])


def end(capfd: pytest.CaptureFixture[str], state: Path, begun: str, **given: Any) -> dict[str, Any]:
    ending = {"state_dir": str(state), "state": "released", "operation_id": begun, "verdict": "ok"}
    return answer(capfd, operation, **{**ending, **given})


def test_the_result_stays_with_the_id_and_the_steps(
    capfd: pytest.CaptureFixture[str], state: Path, begun: str
) -> None:
    ended = end(capfd, state, begun, result=RESULT)
    assert ended["held"]
    (kept,) = (state / "reports").iterdir()
    assert ended["kept"] == {"path": str(kept), "error": ""}
    assert kept.name.endswith("-deploy.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    result = json.loads(kept.read_text())
    assert {key: result[key] for key in RESULT} == RESULT
    assert result["operation_id"] == begun
    assert [one["step"] for one in result["steps"]] == ["acquired", "ended"]


def test_without_a_result_nothing_is_kept(
    capfd: pytest.CaptureFixture[str], state: Path, begun: str
) -> None:
    assert end(capfd, state, begun)["kept"] == {"path": "", "error": ""}
    assert list((state / "reports").iterdir()) == []


def test_check_mode_keeps_the_lock_and_writes_nothing(
    capfd: pytest.CaptureFixture[str], state: Path, begun: str
) -> None:
    end(capfd, state, begun, result=RESULT, check_mode=True)
    assert list((state / "reports").iterdir()) == []
    assert end(capfd, state, begun)["held"]


def test_a_result_that_cannot_be_kept_does_not_keep_the_lock(
    capfd: pytest.CaptureFixture[str], state: Path, begun: str
) -> None:
    (state / "reports").rmdir()
    ended = end(capfd, state, begun, result=RESULT)
    assert ended["held"]
    assert ended["kept"]["path"] == ""
    assert ended["kept"]["error"].startswith(f"cannot write to {state}/reports: No such file")
    assert not end(capfd, state, begun)["held"]
