# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _reports


def test_name_is_utc_and_sorts_as_time_does() -> None:
    there = timezone(timedelta(hours=2))
    early = _reports.report_name("health", datetime(2026, 11, 23, 1, 0, 0, tzinfo=there))
    late = _reports.report_name("health", datetime(2026, 11, 23, 0, 0, 0, tzinfo=timezone.utc))
    assert early == "20261122T230000.000000Z-health.json"
    assert early < late


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (1, ["1-health.json", "2-health.json"]),
        (2, ["1-health.json"]),
        (3, []),
        (9, []),
    ],
)
def test_surplus_is_the_oldest_of_the_same_operation(keep: int, gone: list[str]) -> None:
    names = ["3-health.json", "0-restore.json", "1-health.json", "2-health.json", ".report-x"]
    assert _reports.surplus(names, "health", keep) == gone


def test_save_writes_whole_private_and_prunes(tmp_path: Path) -> None:
    paths = [_reports.save(tmp_path, "health", {"n": number}, keep=2) for number in range(4)]
    assert sorted(tmp_path.iterdir()) == sorted(paths[2:])
    assert json.loads(paths[3].read_text()) == {"n": 3}
    assert paths[3].stat().st_mode & 0o777 == 0o600


def test_save_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        _reports.save(tmp_path, "health", {"not": object()}, keep=2)
    assert list(tmp_path.iterdir()) == []


def test_save_needs_the_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _reports.save(tmp_path / "missing", "health", {}, keep=2)
