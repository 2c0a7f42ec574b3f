# SPDX-License-Identifier: GPL-3.0-or-later
"""What health says of backups."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _backup_findings, _backups

HOUR = 3600
NOW = datetime.now(timezone.utc)


def made(folder: Path, hours: float, *, verified: bool = True) -> None:
    """Lay a backup down that is so many hours old."""
    at = NOW - timedelta(hours=hours)
    name = _backups.Name(_backups.PREFIX, at.replace(microsecond=0), "dump")
    path = folder / name.file
    path.write_bytes(b"PGDMP")
    stamp = _backups.stamp(at)
    manifest = _backups.Manifest(
        *(name.id, name.file, "dump", 5, "0", stamp, stamp, 1.0),
        verified={"at": stamp} if verified else {},
    )
    _backups.save_manifest(str(path), manifest)


def said(folder: Path, since: float | None = 100 * HOUR) -> list[tuple[str, str, str]]:
    found = _backup_findings.look(str(folder), 26, since)
    return [(one.status, one.summary, one.detail) for one in found]


@pytest.mark.parametrize("since", [None, 25 * HOUR])
def test_a_server_that_is_new_needs_no_backup_yet(tmp_path: Path, since: float | None) -> None:
    assert said(tmp_path, since) == []
    assert said(tmp_path / "none", since) == []


def test_a_server_without_a_backup_is_warned_of(tmp_path: Path) -> None:
    expected = ("warn", "There is no verified backup", "see playbooks/backup.yml")
    assert said(tmp_path, 27 * HOUR) == [expected]
    made(tmp_path, 1, verified=False)
    assert said(tmp_path, 1 * HOUR) == [expected]


def test_the_age_of_the_newest_one_to_rely_on_counts(tmp_path: Path) -> None:
    made(tmp_path, 30)
    made(tmp_path, 2, verified=False)
    ((status, summary, detail),) = said(tmp_path)
    assert (status, summary) == ("warn", "The newest verified backup is too old")
    assert "is 30 h old, more than 26 h" in detail
    made(tmp_path, 25)
    assert said(tmp_path) == [("ok", "The newest backup is 25 h old", "")]
