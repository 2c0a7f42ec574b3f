# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _journal

ONE = "20261124T021500Z-deploy-ab12"


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    _journal.append(str(tmp_path), ONE, "acquired", who="anna")
    _journal.append(str(tmp_path), ONE, "step", step="pull")
    _journal.append(str(tmp_path), ONE, "ended", verdict="ok")
    lines = _journal.read(str(tmp_path), ONE)
    assert [line["event"] for line in lines] == ["acquired", "step", "ended"]
    assert _journal.last_step(lines) == lines[1]
    assert _journal.ending(lines) == lines[2]


def test_a_journal_is_private(tmp_path: Path) -> None:
    _journal.append(str(tmp_path), ONE, "acquired")
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert Path(_journal.path(str(tmp_path), ONE)).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", ['{"at": "2026', '{"at": "x", "event": "st', "\0\0\0", "é"[:1]])
def test_a_torn_last_line_is_left_out_and_spoils_no_other(tmp_path: Path, torn: str) -> None:
    _journal.append(str(tmp_path), ONE, "step", step="pull")
    with open(_journal.path(str(tmp_path), ONE), "a", encoding="utf-8") as stream:
        stream.write(torn)
    assert [line["step"] for line in _journal.read(str(tmp_path), ONE)] == ["pull"]
    _journal.append(str(tmp_path), ONE, "step", step="migrate")
    lines = _journal.read(str(tmp_path), ONE)
    assert [line["step"] for line in lines] == ["pull", "migrate"]


def test_half_a_character_is_no_reason_to_fail(tmp_path: Path) -> None:
    _journal.append(str(tmp_path), ONE, "step", step="pull")
    with open(_journal.path(str(tmp_path), ONE), "ab") as stream:
        stream.write('{"step": "é'.encode()[:-1])
    assert len(_journal.read(str(tmp_path), ONE)) == 1


def test_an_operation_without_its_verdict_has_no_ending(tmp_path: Path) -> None:
    _journal.append(str(tmp_path), ONE, "step", step="pull")
    assert _journal.ending(_journal.read(str(tmp_path), ONE)) is None
    assert _journal.ending([]) is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    ids = [f"2026112{day}T021500Z-deploy-ab12" for day in range(5)]
    for one in ids:
        _journal.append(str(tmp_path), one, "acquired")
    _journal.prune(str(tmp_path), keep=2)
    assert _journal.operations(str(tmp_path)) == [ids[4], ids[3]]


def test_no_journal_is_no_operation(tmp_path: Path) -> None:
    assert _journal.operations(str(tmp_path)) == []
    assert _journal.read(str(tmp_path), ONE) == []


def test_a_stamp_is_utc_with_milliseconds() -> None:
    there = timezone(timedelta(hours=2))
    moment = datetime(2026, 11, 24, 4, 15, 0, 250_999, tzinfo=there)
    assert _journal.stamp(moment) == "2026-11-24T02:15:00.250Z"


def test_a_step_may_tell_of_a_file(tmp_path: Path) -> None:
    """Facts are named by whoever makes a step, whatever the journal calls its own arguments."""
    _journal.append(str(tmp_path), "20261124T021500Z-backup-ab12", "step", file="a.dump")
    assert _journal.read(str(tmp_path), "20261124T021500Z-backup-ab12")[-1]["file"] == "a.dump"
