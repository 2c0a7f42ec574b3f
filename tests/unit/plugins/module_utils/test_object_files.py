# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects on disk: their places, their inventory, sorting, snapshots of hard links."""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _object_entry as entries
from ansible_collections.carrental.ops.plugins.module_utils import _object_inventory as inventory
from ansible_collections.carrental.ops.plugins.module_utils import _object_parts as parts
from ansible_collections.carrental.ops.plugins.module_utils import _object_spill as spill
from ansible_collections.carrental.ops.plugins.module_utils import _object_verify as verify
from ansible_collections.carrental.ops.plugins.module_utils._object_snapshots import (
    SnapshotError,
    Snapshots,
)

MIB = 1024 * 1024
MD5 = "0" * 32


@pytest.mark.parametrize("key", ["cars/1", "a b/ü.jpg", "-rf", "a\nb", "...", ".carrental"])
def test_a_key_that_can_be_a_path_is_one(key: str) -> None:
    assert entries.path_of(key) == f"objects/{key}"


@pytest.mark.parametrize(
    "key",
    ["/etc/passwd", "../../x", "a/../b", "a//b", "dir/", ".", "a/./b", "x" * 256, "a/" * 2000],
)
def test_a_key_that_is_no_path_leads_nowhere_else(key: str) -> None:
    place = entries.path_of(key)
    assert place == entries.odd_path(key)
    assert place.startswith("odd/")
    assert len(place) == 4 + 64


@pytest.mark.parametrize(
    ("etag", "size", "possible"),
    [
        (MD5, 100 * MIB, []),
        (f"{MD5}-2", 9 * MIB, [8 * MIB, 5 * MIB, 9 * MIB // 2]),
        (f"{MD5}-13", 64 * MIB, [5 * MIB, -(-64 * MIB // 13)]),
        (f"{MD5}-7", 6 * 1000, [858]),
        ("strange", 64 * MIB, []),
    ],
)
def test_parts_can_have_had_these_sizes(etag: str, size: int, possible: list[int]) -> None:
    assert entries.part_sizes(etag, size) == possible


@pytest.mark.parametrize("part", [5, 8, 9])
def test_the_size_of_parts_is_found_by_the_etag_that_it_makes(tmp_path: Path, part: int) -> None:
    md5 = partial(hashlib.md5, usedforsecurity=False)
    path, content = tmp_path / "x", os.urandom(9 * MIB + 1)
    path.write_bytes(content)
    size = part * MIB
    hashed = [md5(content[at : at + size]).digest() for at in range(0, len(content), size)]
    etag = f"{md5(b''.join(hashed)).hexdigest()}-{len(hashed)}"
    found = parts.part_of(str(path), entries.Listed("x", len(content), etag, 0))
    assert found == size or part == 9
    assert -(-len(content) // found) == len(hashed)


def stored(key: str, size: int = 3) -> entries.Stored:
    headers = {"content-type": "image/jpeg", "x-amz-meta-owner": "me"}
    return entries.Stored(key, size, MD5, 100, "s" * 64, f"objects/{key}", headers)


def written(folder: Path, *keys: str) -> inventory.Summary:
    head = inventory.Summary("id", "carrental", "2026-11-25T02:00:00Z", complete=True)
    return inventory.write(str(folder), head, (stored(key) for key in keys))


@pytest.mark.parametrize("keys", [(), ("a",), ("a", "b\nc", "ü/x")])
def test_an_inventory_comes_back_and_is_one_json_document(
    tmp_path: Path, keys: tuple[str, ...]
) -> None:
    written(tmp_path, *keys)
    assert list(inventory.read(str(tmp_path))) == [stored(key) for key in keys]
    told = inventory.summary(str(tmp_path))
    assert (told.objects, told.bytes, told.complete) == (len(keys), 3 * len(keys), True)
    document = json.loads((tmp_path / "inventory.json").read_text())
    assert [one["key"] for one in document["objects"]] == list(keys)
    assert all(one["metadata"] == {"owner": "me"} for one in document["objects"])
    assert document["count"] == len(keys)
    assert inventory.checked(str(tmp_path))
    assert (tmp_path / "inventory.json").stat().st_mode & 0o777 == 0o600


def test_an_inventory_that_was_cut_anywhere_is_none(tmp_path: Path) -> None:
    written(tmp_path, "a", "b")
    path = tmp_path / "inventory.json"
    whole = path.read_bytes()
    for size in range(len(whole) - 2):
        path.write_bytes(whole[:size])
        assert not inventory.checked(str(tmp_path))
        with pytest.raises(inventory.InventoryError, match="no whole inventory"):
            inventory.summary(str(tmp_path))


def test_what_failed_is_told_however_much_it_is(tmp_path: Path) -> None:
    failed = [{"key": "k" * 500, "why": "y" * 100}] * 100
    head = inventory.Summary("id", "carrental", "2026-11-25T02:00:00Z", failed=failed)
    inventory.write(str(tmp_path), head, [stored("a")])
    told = inventory.summary(str(tmp_path))
    assert told.failed == failed
    assert not told.complete


def test_more_than_a_run_is_sorted_and_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_RUN", 7)
    # As a store lists that walks through directories: "a/b" before "a-b".
    rows: list[list[Any]] = [[f"k{n % 40:02}/x", n] for n in range(50)] + [["a/b", 1], ["a-b", 2]]
    path = spill.sort(rows, str(tmp_path), "rows")
    found = [row[0] for row in spill.read(path)]
    assert found == sorted({row[0] for row in rows})
    assert found[:2] == ["a-b", "a/b"]
    assert os.listdir(tmp_path) == ["rows"]


def test_keys_that_the_database_refers_to_and_nobody_has(tmp_path: Path) -> None:
    path = spill.sort([["a"], ["b"], ["d"], ["z"]], str(tmp_path), "keys")
    asked, found = verify.missing(path, iter([stored("a"), stored("c"), stored("d")]))
    assert (asked, found.number, found.first) == (4, 2, ["b", "z"])


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    made = Snapshots(str(tmp_path / "backups"))
    made.begin()
    return made


def got(snapshots: Snapshots, name: str, text: str) -> str:
    path = Path(snapshots.got) / name
    path.write_text(text)
    return str(path)


def place(snapshots: Snapshots, name: str) -> None:
    written(Path(snapshots.next))
    snapshots.place(name)


def test_a_snapshot_is_links_and_replaces_one_of_its_name(snapshots: Snapshots) -> None:
    content = got(snapshots, "1", "photo")
    assert snapshots.link(content, "cars/1") == "objects/cars/1"
    place(snapshots, "minio-backup-20261125")
    first = Path(snapshots.path("minio-backup-20261125", "objects/cars/1"))
    assert first.stat().st_ino == Path(content).stat().st_ino
    snapshots.begin()
    snapshots.link(str(first), "cars/2")
    place(snapshots, "minio-backup-20261125")
    assert not first.exists()
    assert first.with_name("2").read_text() == "photo"
    assert snapshots.names() == ["minio-backup-20261125"]


def test_keys_that_exclude_each_other_on_a_disk_have_a_place_each(snapshots: Snapshots) -> None:
    for number, key in enumerate(["a", "a/b", "c/d", "c"]):
        path = snapshots.link(got(snapshots, str(number), key), key)
        assert (Path(snapshots.next) / path).read_text() == key
    assert snapshots.link(got(snapshots, "9", "x"), "../../out") == entries.odd_path("../../out")


def test_a_day_that_was_being_replaced_comes_back(snapshots: Snapshots) -> None:
    place(snapshots, "minio-backup-20261125")
    snapshots.begin()
    before = Path(snapshots.work) / "before"
    before.mkdir()
    os.rename(snapshots.path("minio-backup-20261125"), before / "minio-backup-20261125")
    assert snapshots.names() == []
    snapshots.begin()
    assert snapshots.names() == ["minio-backup-20261125"]


def test_two_runs_do_not_work_in_one_place(snapshots: Snapshots) -> None:
    with pytest.raises(SnapshotError, match="Another run"):
        Snapshots(snapshots.folder).begin()
    snapshots.begin()


def test_what_has_no_inventory_is_no_snapshot(snapshots: Snapshots) -> None:
    os.mkdir(snapshots.path("minio-backup-20261125"))
    assert snapshots.names() == []
    assert snapshots.newest("carrental") == ""
