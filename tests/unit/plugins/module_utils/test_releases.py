# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of releases: written whole, read truthfully."""

from __future__ import annotations

import json
import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _releases

A = "a" * 40
B = "b" * 40


def record(release_id: str, verdict: str = "ok", version: str = A) -> Any:
    return {
        "schema": 1,
        "id": release_id,
        "verdict": verdict,
        "version": version,
        "services": {},
    }


def put(state: Path, *records: Any) -> str:
    for one in records:
        _releases.write(str(state), one)
    return str(state)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("abc1234" + "0" * 33, "20261123T215350Z-abc1234"),
        ("abc1234", "20261123T215350Z-abc1234"),
        ("v1.2.3", "20261123T215350Z-v1.2.3"),
        ("feature/x y", "20261123T215350Z-feature-x-y"),
        ("", "20261123T215350Z-none"),
    ],
)
def test_id_is_the_utc_time_and_the_short_version(version: str, expected: str) -> None:
    moment = datetime(2026, 11, 23, 21, 53, 50, tzinfo=timezone.utc)
    assert _releases.make_id(version, moment) == expected


def test_nothing_released_is_no_release(tmp_path: Path) -> None:
    assert _releases.load(str(tmp_path / "absent")) == []
    assert _releases.current(str(tmp_path / "absent")) is None


def test_current_is_the_newest_that_passed(tmp_path: Path) -> None:
    state = put(
        tmp_path,
        record("20261123T100000Z-aaaaaaa"),
        record("20261123T110000Z-bbbbbbb", version=B),
        record("20261123T120000Z-ccccccc", verdict="failed", version="c" * 40),
    )
    current = _releases.current(state)
    assert current is not None
    assert current["id"] == "20261123T110000Z-bbbbbbb"


def test_a_record_is_private_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    state = tmp_path / ".ops"
    path = Path(_releases.write(str(state), record("20261123T100000Z-aaaaaaa")))
    assert json.loads(path.read_text())["version"] == A
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert os.listdir(state / "releases") == [path.name]


def test_an_unfinished_record_is_not_a_record(tmp_path: Path) -> None:
    state = put(tmp_path, record("20261123T100000Z-aaaaaaa"))
    (tmp_path / "releases" / ".x7.tmp").write_text("{")
    assert [one["id"] for one in _releases.load(state)] == ["20261123T100000Z-aaaaaaa"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{",
            "{path} is not the record of a release (Expecting property name enclosed in double "
            "quotes: line 1 column 2 (char 1)); move it out of the directory.",
        ),
        (
            "[]",
            "{path} is not the record of a release (it has no schema); "
            "move it out of the directory.",
        ),
        (
            '{"schema": 2}',
            "{path} has schema 2, and this version of carrental.ops knows 1; "
            "use the version that wrote it, or a newer one.",
        ),
        (
            '{"schema": 1, "id": "x", "version": "y"}',
            "{path} is not the record of a release (it has no services, verdict); "
            "move it out of the directory.",
        ),
    ],
)
def test_a_record_that_cannot_be_read_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "releases" / "20261123T100000Z-aaaaaaa.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(_releases.ReleaseError) as error:
        _releases.current(str(tmp_path))
    assert str(error.value) == message.replace("{path}", str(path))


def test_an_id_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(_releases.ReleaseError) as error:
        _releases.write(str(tmp_path), record("../evil"))
    assert str(error.value) == (
        "'../evil' is not the id of a release; ids look like 20261123T215350Z-abc1234."
    )


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "releases").write_text("")
    with pytest.raises(_releases.ReleaseError) as error:
        _releases.write(str(tmp_path), record("20261123T100000Z-aaaaaaa"))
    assert str(error.value) == (
        f"Cannot write the record of the release to {tmp_path}/releases/"
        "20261123T100000Z-aaaaaaa.json: File exists; "
        "check the owner of the directory and the free space."
    )


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("20261123T100000Z-aaaaaaa", "20261123T100000Z-aaaaaaa"),
        (A, "20261123T110000Z-aaaaaaa"),
        ("aaaaaaa", "20261123T110000Z-aaaaaaa"),
    ],
)
def test_find(tmp_path: Path, wanted: str, expected: str) -> None:
    state = put(tmp_path, record("20261123T100000Z-aaaaaaa"), record("20261123T110000Z-aaaaaaa"))
    assert _releases.find(_releases.load(state), wanted)["id"] == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            "bbbbbbb",
            "There is no good release bbbbbbb; the newest ones are: 20261123T110000Z-aaaaaaa, "
            "20261123T100000Z-aaaaaaa.",
        ),
        (
            "aaaaaaa",
            f"aaaaaaa stands for several versions: {A}, aaaaaaab; give one in full.",
        ),
    ],
)
def test_find_says_what_there_is(tmp_path: Path, wanted: str, message: str) -> None:
    state = put(
        tmp_path,
        record("20261123T100000Z-aaaaaaa"),
        record("20261123T110000Z-aaaaaaa", version="aaaaaaab"),
        record("20261123T120000Z-bbbbbbb", verdict="failed", version=B),
    )
    with pytest.raises(_releases.ReleaseError) as error:
        _releases.find(_releases.load(state), wanted)
    assert str(error.value) == message


def ran(hour: int, version: str, config: str = "c", verdict: str = "ok") -> Any:
    """A release whose image follows from its version."""
    return {
        **record(f"20261123T{hour:02}0000Z-{version[:7]}", verdict, version),
        "services": {"api": {"image_id": f"sha256:{version}"}},
        "config": config,
    }


def ids(releases: list[Any]) -> list[int]:
    return [int(one["id"][9:11]) for one in releases]


def test_previous_differs_from_what_runs() -> None:
    again = [ran(14, B), ran(13, B), ran(12, B, "c", "failed"), ran(11, A), ran(10, A, "older")]
    assert ids([_releases.previous(again)]) == [11]
    assert ids([_releases.previous([ran(13, B), ran(12, B, "other"), ran(11, A)])]) == [12]
    assert _releases.previous([ran(12, B), ran(11, B)]) is None
    assert _releases.previous([]) is None


def test_targets_hold_another_version_even_behind_changes_of_configuration() -> None:
    releases = [ran(14, B, "z"), ran(13, B, "y"), ran(12, B, "x"), ran(11, A), ran(10, "c" * 40)]
    assert ids(_releases.targets(releases)) == [14, 13, 11]
    assert ids(_releases.targets([ran(14, B), ran(13, A)])) == [14, 13]
    assert _releases.targets([]) == []


def test_kept_are_the_newest_good_ones_each_once() -> None:
    releases = [ran(15, B), ran(14, B), ran(13, "d" * 40, "c", "failed"), ran(12, A), ran(11, "e")]
    assert ids(_releases.kept(releases, 2)) == [15, 12]
    assert ids(_releases.kept(releases, 5)) == [15, 12, 11]
    assert ids(_releases.kept(releases, 1)) == [15, 12], "the rollback target is always kept"
