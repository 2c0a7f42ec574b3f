# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies come back from elsewhere whole, or not at all; configurations go along."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backups,
    _offsite,
    _offsite_config,
    _offsite_fetch,
)

OLD, NEW = "config_backup_20260101_020000.tar.gz.age", "config_backup_20261125_020000.tar.gz.age"
YOUNG = "config_backup_20261126_020000.tar.gz.age"
ID = "car_rental_backup_20261125_020000"
FILE = f"{ID}.dump"


class Store:
    """A bucket that is a dictionary."""

    place = _offsite.Place("copies", "me", "secret")

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def sizes(self) -> dict[str, int]:
        return {name: len(data) for name, data in self.held.items()}

    def listing(self) -> list[_backups.Backup]:
        found = []
        for file in self.held:
            if _backups.name(file) and f"{file}.json" in self.held:
                manifest = _backups.parse(self.held[f"{file}.json"].decode(), file)
                known = _backups.name(file)
                assert known
                found.append(_backups.Backup(file, known, len(self.held[file]), manifest))
        return found

    def read(self, file: str) -> bytes:
        return self.held[file]

    def fetch(self, file: str, out: IO[bytes]) -> str:
        out.write(self.held[file])
        return hashlib.sha256(self.held[file]).hexdigest()

    def put(self, path: str) -> dict[str, Any]:
        for suffix in ("", ".sha256", ".json"):
            self.held[os.path.basename(path) + suffix] = Path(path + suffix).read_bytes()
        return {}

    def remove(self, file: str) -> None:
        for suffix in ("", ".sha256", ".json"):
            del self.held[file + suffix]

    @property
    def as_offsite(self) -> _offsite.Offsite:
        return cast(_offsite.Offsite, self)


@pytest.fixture
def store() -> Store:
    found = Store()
    digest = hashlib.sha256(b"PGDMP").hexdigest()
    at = "2026-11-25T02:00:00Z"
    manifest = _backups.Manifest(*(ID, FILE, "dump", 5, digest, at, at, 1.0), verified={"at": at})
    found.held = {FILE: b"PGDMP", f"{FILE}.json": manifest.as_json().encode()}
    for name in (OLD, NEW):
        told = {"sha256": hashlib.sha256(name.encode()).hexdigest()}
        found.held |= {
            name: name.encode(),
            f"{name}.sha256": b"",
            f"{name}.json": json.dumps(told).encode(),
        }
    return found


def silent(*_names: str, **_facts: Any) -> None:
    pass


def fetched(store: Store, folder: Path, wanted: str = "latest", **how: Any) -> Any:
    how = {"configuration": "latest", "write": True, **how}
    return _offsite_fetch.fetch(store.as_offsite, str(folder), wanted, silent, **how)


def test_what_is_not_there_yet_comes_with_its_manifest(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    plan = fetched(store, folder, write=False)
    assert plan.fetched == [FILE, NEW]
    assert not folder.exists()
    assert fetched(store, folder).fetched == [FILE, NEW]
    assert _backups.load(str(folder / FILE)).verified
    assert (folder / f"{FILE}.sha256").read_text().endswith(f"  {FILE}\n")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert fetched(store, folder).fetched == []
    assert fetched(store, folder, FILE.split(".", maxsplit=1)[0], configuration="").backup == FILE


def test_a_damaged_copy_is_not_taken_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    store.held[FILE] = b"PGDMq"
    with pytest.raises(_backups.BackupError, match="is damaged: its sha256 is not that"):
        fetched(store, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_configuration_there_is_no_recovery(store: Store, tmp_path: Path) -> None:
    for name in (OLD, NEW):
        store.remove(name)
    with pytest.raises(_backups.BackupError, match="There is no configuration in"):
        fetched(store, tmp_path)
    assert fetched(store, tmp_path, configuration="").fetched == [FILE]


def configuration(folder: Path, name: str, content: bytes = b"{}") -> None:
    """Put a backup of a configuration into a folder."""
    told = {"sha256": hashlib.sha256(content).hexdigest()}
    (folder / name).write_bytes(content)
    (folder / f"{name}.sha256").write_text("")
    (folder / f"{name}.json").write_text(json.dumps(told))


def test_configurations_are_copied_once_and_the_last_ones_stay(
    store: Store, tmp_path: Path
) -> None:
    configuration(tmp_path, YOUNG)
    assert _offsite_config.copy(store.as_offsite, str(tmp_path), silent, write=True) == [YOUNG]
    assert _offsite_config.copy(store.as_offsite, str(tmp_path), silent, write=True) == []
    now = datetime(2026, 11, 26, 3, tzinfo=timezone.utc)
    assert _offsite_config.prune(store.as_offsite, 90, 3, now, silent, write=True) == []
    assert _offsite_config.prune(store.as_offsite, 90, 2, now, silent, write=True) == [OLD]
    assert _offsite_config.listing(store.as_offsite) == [NEW, YOUNG]


def test_a_damaged_configuration_is_not_copied_and_keeps_no_other_from_it(
    store: Store, tmp_path: Path
) -> None:
    bad = "config_backup_20261125_120000.tar.gz.age"
    configuration(tmp_path, YOUNG)
    configuration(tmp_path, bad)
    (tmp_path / bad).write_bytes(b"[]")
    with pytest.raises(_offsite.OffsiteError, match=rf"{bad} is not copied: it is damaged"):
        _offsite_config.copy(store.as_offsite, str(tmp_path), silent, write=True)
    assert _offsite_config.listing(store.as_offsite) == [OLD, NEW, YOUNG]


def test_a_configuration_of_another_server_is_not_taken_for_a_copy(
    store: Store, tmp_path: Path
) -> None:
    configuration(tmp_path, NEW, b"of this server")
    held = dict(store.held)
    with pytest.raises(_offsite.OffsiteError, match="another one than that of this server"):
        _offsite_config.copy(store.as_offsite, str(tmp_path), silent, write=True)
    assert store.held == held


def test_an_older_configuration_is_fetched_by_its_name(store: Store, tmp_path: Path) -> None:
    found = fetched(store, tmp_path, "", configuration=OLD)
    assert (found.configuration, found.fetched) == (OLD, [OLD])
    assert (tmp_path / OLD).read_text() == OLD
    with pytest.raises(_offsite.OffsiteError, match=rf"there are {OLD}, {NEW}"):
        fetched(store, tmp_path, "", configuration=YOUNG)
    # Somebody brought it.
    configuration(tmp_path, YOUNG)
    found = fetched(store, tmp_path, "", configuration=YOUNG)
    assert (found.configuration, found.fetched) == (YOUNG, [])


def test_what_was_damaged_here_is_fetched_again(store: Store, tmp_path: Path) -> None:
    fetched(store, tmp_path)
    (tmp_path / FILE).write_bytes(b"PGDMq")
    (tmp_path / NEW).write_bytes(b"x" * len(NEW))
    assert fetched(store, tmp_path).fetched == [FILE, NEW]
    assert (tmp_path / FILE).read_bytes() == b"PGDMP"


def test_another_whole_one_of_that_name_is_not_written_over(store: Store, tmp_path: Path) -> None:
    configuration(tmp_path, NEW, b"of this server")
    with pytest.raises(_offsite.OffsiteError, match="move it away first"):
        fetched(store, tmp_path, "")
    assert (tmp_path / NEW).read_bytes() == b"of this server"


def test_a_manifest_there_without_a_time_costs_no_other(store: Store) -> None:
    bad = f"{ID[:-1]}1.dump"
    told = json.loads(store.held[f"{FILE}.json"])
    store.held |= {bad: b"PGDMP"}
    for started_at in ("20x6-11-25T02:00:00Z", None):
        text = json.dumps({**told, "file": bad, "started_at": started_at})
        store.held[f"{bad}.json"] = text.encode()
        (found,) = _offsite.Offsite.listing(store.as_offsite)
        assert found.id == ID


def test_copies_of_two_servers_are_not_chosen_among(store: Store, tmp_path: Path) -> None:
    for number, host in enumerate(("one", "two")):
        file = f"car_rental_backup_20261124_02000{number}.dump"
        digest = hashlib.sha256(b"PGDMP").hexdigest()
        at = "2026-11-24T02:00:00Z"
        manifest = _backups.Manifest(
            *(file.removesuffix(".dump"), file, "dump", 5, digest, at, at, 1.0),
            verified={"at": at},
            host=host,
        )
        store.held |= {file: b"PGDMP", f"{file}.json": manifest.as_json().encode()}
    with pytest.raises(_offsite.OffsiteError, match=r"has copies of one, two; name one by its id"):
        fetched(store, tmp_path)
    named = fetched(store, tmp_path, "car_rental_backup_20261124_020001", configuration="")
    assert named.backup == "car_rental_backup_20261124_020001.dump"


@pytest.fixture
def local(tmp_path: Path) -> _backups.Backup:
    """Return a verified backup of this server that is said to be elsewhere, too."""
    (tmp_path / FILE).write_bytes(b"PGDMP")
    digest = hashlib.sha256(b"PGDMP").hexdigest()
    at = "2026-11-25T02:00:00Z"
    manifest = _backups.Manifest(
        *(ID, FILE, "dump", 5, digest, at, at, 1.0), verified={"at": at}, offsite={"at": at}
    )
    _backups.save_manifest(str(tmp_path / FILE), manifest)
    _backups.save_checksum(str(tmp_path / FILE), digest)
    return _backups.load(str(tmp_path / FILE))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [({"host": "one"}, {"host": "two"}), ({"system_identifier": "1"}, {"system_identifier": "2"})],
)
def test_a_copy_of_another_server_is_not_written_over(
    store: Store, local: _backups.Backup, ours: dict[str, str], theirs: dict[str, str]
) -> None:
    assert _offsite.copy(store.as_offsite, [local], silent, 7, write=True) == []
    assert local.manifest
    other = replace(local.manifest, sha256="0" * 64, **cast(Any, theirs))
    store.held[f"{FILE}.json"] = other.as_json().encode()
    local = replace(local, manifest=replace(local.manifest, **cast(Any, ours)))
    held = dict(store.held)
    with pytest.raises(_offsite.OffsiteError, match="it would be lost; give each server a place"):
        _offsite.copy(store.as_offsite, [local], silent, 7, write=True)
    assert store.held == held


def test_a_copy_of_that_name_that_is_another_one_is_made_anew(
    store: Store, local: _backups.Backup
) -> None:
    assert local.manifest
    other = replace(local.manifest, sha256="0" * 64)
    store.held[f"{FILE}.json"] = other.as_json().encode()
    assert _offsite.copy(store.as_offsite, [local], silent, 7, write=True) == [ID]
    assert _backups.parse(store.held[f"{FILE}.json"].decode(), FILE).sha256 != other.sha256


def test_what_is_damaged_here_is_not_copied(store: Store, local: _backups.Backup) -> None:
    store.held.clear()
    Path(local.path).write_bytes(b"PGDMq")
    with pytest.raises(_offsite.OffsiteError, match=rf"it is damaged.*backup_verify={ID}\)"):
        _offsite.copy(store.as_offsite, [local], silent, 7, write=True)
    assert store.held == {}


def test_what_was_found_damaged_is_not_relied_on_until_it_was_read_whole(
    local: _backups.Backup,
) -> None:
    assert local.verified
    _backups.distrust(local, "it is cut")
    found = _backups.load(local.path)
    assert (found.verified, found.problem) == (False, "it is cut")
    assert _backups.newest_verified([found]) is None
