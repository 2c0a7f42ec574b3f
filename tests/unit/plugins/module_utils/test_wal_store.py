# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the log lies: what is whole is compressed and kept, what nobody needs goes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backups,
    _entry_point,
    _wal_base,
    _wal_findings,
    _wal_receiver,
    _wal_status,
    _wal_store,
)
from ansible_collections.carrental.ops.plugins.module_utils._wal_names import Segment

SIZE = 2**20
NOW = 1_795_000_000.0
DAY = 86400


@pytest.fixture
def store(tmp_path: Path) -> _wal_store.Store:
    found = _wal_store.store(str(tmp_path), "7")
    found.prepare(SIZE)
    return found


def received(
    store: _wal_store.Store, number: int, at: float = NOW, *, partial: bool = False
) -> str:
    """Lay down a segment as pg_receivewal does."""
    name = Segment(number, 1).name(SIZE) + (".partial" if partial else "")
    path = Path(store.receiving, name)
    path.write_bytes(bytes([number]) * SIZE)
    os.utime(path, (at, at))
    return name


def base(store: _wal_store.Store, number: int, ended: float = NOW) -> _wal_store.Base:
    """Lay down a base that begins and ends in one segment."""
    lsn = f"0/{number * SIZE + 40:X}"
    made = _wal_store.Base(
        *(f"base{number}", "base.tar.gz", "7", "16.14", 1, lsn, lsn, SIZE),
        *(_wal_status.stamp(ended), _wal_status.stamp(ended), 1.0, 3, 9, "0"),
    )
    folder = Path(store.bases_folder, made.id + ".partial")
    folder.mkdir()
    (folder / made.file).write_bytes(b"tar")
    store.save(str(folder), made)
    return made


def numbers(store: _wal_store.Store) -> list[int]:
    return [one.segment.number for one in store.pieces()]


def test_what_is_whole_is_compressed_and_tells_until_when_it_reaches(
    store: _wal_store.Store,
) -> None:
    name = received(store, 3, NOW - 60)
    received(store, 4, partial=True)
    Path(store.receiving, "00000002.history").write_text("1\t0/3\n")
    assert store.collect() == 1
    kept = Path(store.archive, f"{name}.gz")
    assert gzip.decompress(kept.read_bytes()) == bytes([3]) * SIZE
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [(one.segment.number, one.at, one.partial) for one in store.pieces()] == [
        (3, NOW - 60, False),
        (4, NOW, True),
    ]
    assert os.listdir(store.receiving) == [Segment(4, 1).name(SIZE) + ".partial"]
    assert sorted(os.listdir(store.archive)) == [f"{name}.gz", "00000002.history"]
    assert store.collect() == 0


def test_half_a_segment_is_not_taken_for_a_whole_one(store: _wal_store.Store) -> None:
    path = Path(store.receiving, received(store, 3))
    path.write_bytes(b"cut")
    with pytest.raises(_backups.BackupError, match=r"has 3 bytes, and a segment .* has 1048576"):
        store.collect()
    assert path.exists()
    assert os.listdir(store.archive) == []


def test_what_the_server_has_no_more_is_left_behind(store: _wal_store.Store) -> None:
    name = received(store, 3, partial=True)
    assert store.leave_behind(Segment(3, 1)) == []
    assert store.leave_behind(Segment(9, 1)) == [name]
    assert os.listdir(store.receiving) == []
    assert os.listdir(store.archive) == [name]


def test_only_what_is_whole_is_a_base(store: _wal_store.Store) -> None:
    whole = base(store, 3)
    assert store.bases() == [whole]
    assert Path(store.base_path(whole)).read_bytes() == b"tar"
    # One that is being written, one that was cut, one whose manifest is damaged.
    Path(store.bases_folder, "b.partial").mkdir()
    Path(store.base_path(base(store, 4))).write_bytes(b"ta")
    Path(store.bases_folder, base(store, 5).id, "base.json").write_text("{")
    damaged = Path(store.bases_folder, base(store, 6).id, "base.json")
    damaged.write_text(json.dumps({**asdict(whole), "start_lsn": "nonsense"}))
    assert store.bases() == [whole]


def test_what_no_moment_needs_goes_with_its_files(store: _wal_store.Store) -> None:
    for number, days in ((2, 20), (3, 10), (4, 9), (5, 1)):
        received(store, number, NOW - days * DAY)
    store.collect()
    received(store, 6, NOW, partial=True)
    base(store, 2, NOW - 20 * DAY)
    base(store, 4, NOW - 9 * DAY)
    base(store, 5, NOW - 1 * DAY)
    assert store.prune(7, NOW) == [
        "remove the base base2",
        "remove 2 segments of the log from before the oldest base",
    ]
    assert numbers(store) == [4, 5, 6]
    assert sorted(os.listdir(store.bases_folder)) == ["base4", "base5"]
    assert store.prune(7, NOW) == []


def test_a_killed_base_is_swept_and_one_that_is_written_is_not(store: _wal_store.Store) -> None:
    dead = Path(store.bases_folder, "dead.partial")
    dead.mkdir()
    (dead / "base.tar.gz").write_bytes(b"")
    with _wal_base._partial(store, "alive", "base.tar.gz") as (folder, _out):
        assert _wal_base.sweep(store) == ["remove dead.partial, which a killed run left"]
        assert os.path.isdir(folder)
    assert os.listdir(store.bases_folder) == []


def status(state: str = "receiving", why: str = "", age: float = 0.0) -> _wal_status.Status:
    return _wal_status.Status(state, why, time.time() - age, "7")


def reachable(tmp_path: Path, said: _wal_status.Status | None) -> dict[str, Any]:
    return _wal_status.as_result(str(tmp_path), said, NOW)


def test_where_there_never_was_a_log_nothing_is_said(tmp_path: Path) -> None:
    assert reachable(tmp_path, None) == {}
    assert _wal_findings.look(str(tmp_path), str(tmp_path), NOW) == []


def test_what_can_be_reached_is_said(tmp_path: Path, store: _wal_store.Store) -> None:
    assert _wal_status.line(reachable(tmp_path, status())) == (
        "point in time: no moment can be reached: there is no base"
    )
    received(store, 3, NOW - 100)
    store.collect()
    base(store, 3, NOW - 200)
    since, until = _wal_status.stamp(NOW - 200), _wal_status.stamp(NOW)
    assert _wal_status.line(reachable(tmp_path, status())) == (
        f"point in time: any moment from {since} to {until}"
    )
    # What is not received any more ends where it ended.
    dead = reachable(tmp_path, status(age=600))
    assert dead["spans"] == [{"since": since, "until": _wal_status.stamp(NOW - 100)}]
    assert _wal_status.line(dead).endswith(
        "; nothing is received: the receiver has said nothing for 10 min"
    )
    full = _wal_status.line(reachable(tmp_path, status("stopped", "The disk is full.")))
    assert full.endswith("; nothing is received: The disk is full")
    assert _wal_status.line(reachable(tmp_path, None)).endswith("it is switched off")


def test_what_a_backup_removed_meanwhile_stops_no_receiver(store: _wal_store.Store) -> None:
    kept = received(store, 4)
    # Listed, and not there any more when it is opened.
    gone = Path(store.receiving, Segment(3, 1).name(SIZE))
    gone.symlink_to("removed")
    store.collect()
    assert os.listdir(store.archive) == [f"{kept}.gz"]


def test_what_a_server_that_is_no_more_left_is_told(
    tmp_path: Path, store: _wal_store.Store
) -> None:
    received(store, 3)
    base(store, 3, NOW)
    assert reachable(tmp_path, status())["former"] == []
    other = _wal_store.store(str(tmp_path), "8")
    other.prepare(SIZE)
    received(other, 1)
    found = reachable(tmp_path, status())
    assert [one["path"] for one in found["former"]] == [other.root]
    assert f"{other.root} (1 MiB) is of a database server that is gone" in _wal_status.line(found)
    assert os.path.isdir(other.root)


def test_a_gap_is_said_and_measured(tmp_path: Path, store: _wal_store.Store) -> None:
    received(store, 3, NOW - 100)
    base(store, 3, NOW - 200)
    measured = _wal_status.measure(status(), store)
    assert measured["carrental_wal_unbroken"] == 1
    assert measured["carrental_wal_reachable_since_timestamp_seconds"] == NOW - 200
    received(store, 5)
    measured = _wal_status.measure(status(), store)
    assert measured["carrental_wal_unbroken"] == 0
    assert "carrental_wal_reachable_since_timestamp_seconds" not in measured
    assert "what came after has a gap" in _wal_status.line(reachable(tmp_path, status()))


def test_health_warns_of_what_cannot_be_restored(tmp_path: Path, store: _wal_store.Store) -> None:
    def said(one: _wal_status.Status) -> tuple[str, str]:
        _wal_status.write(str(tmp_path), str(tmp_path / "metrics"), one, store)
        (check,) = _wal_findings.look(str(tmp_path), str(tmp_path), NOW)
        return check.status, check.summary

    assert said(status("waiting")) == ("warn", "The write-ahead log is not received")
    assert said(status()) == ("warn", "No moment from now on can be restored")
    received(store, 3)
    base(store, 3, NOW - 200)
    since = _wal_status.stamp(NOW - 200)
    assert said(status()) == ("ok", f"Any moment since {since} can be restored")
    assert (tmp_path / "metrics" / "carrental_wal.prom").stat().st_mode & 0o777 == 0o644
    _wal_status.forget(str(tmp_path), str(tmp_path / "metrics"))
    assert _wal_findings.look(str(tmp_path), str(tmp_path), NOW) == []


def test_a_backup_of_a_moment_is_as_old_as_the_moment() -> None:
    name = _backups.Name(_backups.PREFIX, _backups.moment("2026-11-26T04:00:00Z"), "dump")
    manifest = _backups.Manifest(
        *(name.id, name.file, "dump", 5, "0", "2026-11-26T04:00:00Z", "2026-11-26T04:00:02Z", 2.0),
        point_in_time="2026-11-26T03:12:00Z",
    )
    backup = _backups.Backup(name.file, name, 5, manifest)
    assert _backups.stamp(backup.at) == "2026-11-26T03:12:00Z"


def test_only_one_receives(tmp_path: Path) -> None:
    with (
        _wal_receiver.alone(str(tmp_path)),
        pytest.raises(_backups.BackupError, match="did not end within 0 s"),
        _wal_receiver.alone(str(tmp_path)),
    ):
        pass


def test_the_program_runs_without_ansible(tmp_path: Path) -> None:
    program = tmp_path / "carrental-wal"
    program.write_bytes(_entry_point.program(_wal_receiver))
    settings = tmp_path / "wal.json"
    # Without its settings there is nothing to receive, and it says which.
    settings.write_text("{}")
    done = subprocess.run(
        [sys.executable, "-I", str(program), str(settings)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "missing 6 required positional arguments: 'project'" in done.stderr
