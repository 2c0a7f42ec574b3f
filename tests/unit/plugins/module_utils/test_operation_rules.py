# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _freeze,
    _operation,
    _operation_rules,
)

NOW = datetime(2026, 11, 24, 2, 15, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("one", "other", "excludes"),
    [
        ("deploy", "deploy", True),
        ("deploy", "rollback", True),
        ("deploy", "backup", False),
        ("backup", "drill", False),
        ("backup", "backup", True),
        ("drill", "drill", True),
        ("restore", "backup", True),
        ("restore", "drill", True),
        ("prune", "backup", True),
        ("prune", "deploy", True),
        ("respond", "deploy", True),
        ("respond", "backup", False),
        ("compose_up", "deploy", True),
    ],
)
def test_who_excludes_whom(one: str, other: str, excludes: bool) -> None:
    assert _operation_rules.exclude(one, other) is excludes
    assert _operation_rules.exclude(one=other, other=one) is excludes


@pytest.mark.parametrize("one", ["deploy", "backup", "drill", "restore", "respond"])
@pytest.mark.parametrize("other", ["deploy", "backup", "drill", "restore", "prune"])
def test_what_excludes_is_looked_at(one: str, other: str) -> None:
    """Whoever could be in the way has a file that an acquirer looks into."""
    if _operation_rules.exclude(one, other):
        assert _operation_rules.lane(other) in _operation_rules.lanes_against(one)


def test_an_id_sorts_by_time_and_names_its_kind() -> None:
    early = _operation.make_id("rollback", NOW)
    assert early.startswith("20261124T021500Z-rollback-")
    assert early < _operation.make_id("deploy", NOW.replace(second=1))
    assert _operation_rules.kind_of(early) == "rollback"
    assert _operation_rules.kind_of("../../etc/passwd") == ""
    assert _operation_rules.kind_of(f"{early}\n") == ""


@pytest.mark.parametrize(
    "text", ["2026-11-25T06:00Z", "2026-11-25T06:00:00Z", "2026-11-25T08:00+02:00"]
)
def test_the_end_of_a_freeze_is_a_moment(text: str) -> None:
    assert _freeze.planned("sale", text, "anna", NOW).until == "2026-11-25T06:00:00Z"


@pytest.mark.parametrize("text", ["2026-11-25T06:00", "tomorrow", "", "2026-11-25"])
def test_a_moment_without_a_time_zone_is_refused(text: str) -> None:
    with pytest.raises(_operation.OperationError, match="2026-11-25T06:00Z"):
        _freeze.planned("sale", text, "anna", NOW)


def test_a_freeze_needs_a_reason_and_an_end_that_comes() -> None:
    with pytest.raises(_operation.OperationError, match="reason"):
        _freeze.planned(" ", "2026-11-25T06:00Z", "anna", NOW)
    with pytest.raises(_operation.OperationError, match="past"):
        _freeze.planned("sale", "2026-11-23T06:00Z", "anna", NOW)


def test_a_freeze_ends_by_itself(tmp_path: Path) -> None:
    _freeze.save(str(tmp_path), _freeze.planned("sale", "2026-11-24T03:00Z", "anna", NOW))
    assert (tmp_path / "freeze").stat().st_mode & 0o777 == 0o600
    before = _freeze.load(str(tmp_path), NOW.replace(minute=59))
    assert before is not None
    assert before.reason == "sale"
    assert _freeze.load(str(tmp_path), NOW.replace(hour=3)) is None


def test_a_freeze_that_cannot_be_read_still_freezes(tmp_path: Path) -> None:
    (tmp_path / "freeze").write_text("{")
    with pytest.raises(_operation.OperationError, match="lock_thaw"):
        _freeze.load(str(tmp_path))
    assert _operation.thaw(str(tmp_path))
    assert _freeze.load(str(tmp_path)) is None
