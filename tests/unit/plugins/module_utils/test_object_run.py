# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs with the objects of a bucket, against a store that is a dictionary."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _object_inventory as inventory
from ansible_collections.carrental.ops.plugins.module_utils import _object_return as returns
from ansible_collections.carrental.ops.plugins.module_utils import _object_run as runs
from ansible_collections.carrental.ops.plugins.module_utils import _object_save as saves
from ansible_collections.carrental.ops.plugins.module_utils._object_snapshots import Snapshots
from ansible_collections.carrental.ops.plugins.module_utils._object_store import Login
from ansible_collections.carrental.ops.plugins.module_utils._s3_wire import Answer, WireError

DAY = "minio-backup-20261125"


@dataclass
class Kept:
    content: bytes
    mtime: int = 100
    # What the store says that it is, when that is not the MD5 of the content.
    said: str = ""

    @property
    def etag(self) -> str:
        return self.said or hashlib.md5(self.content, usedforsecurity=False).hexdigest()


@dataclass
class Store:
    buckets: dict[str, dict[str, Kept]] = field(default_factory=dict)
    # The code with which it refuses to take objects; empty when it takes them.
    full: str = ""
    # Whether it knows conditions, refuses them, or takes them for nothing.
    conditions: str = "known"
    lost_answers: int = 0


class Body:
    def __init__(self, content: bytes) -> None:
        self.left = content

    def take(self, buffer: memoryview) -> int:
        piece, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def read(self) -> bytes:
        return self.left

    def isclosed(self) -> bool:
        return True


def answer(headers: Mapping[str, str], content: bytes = b"") -> Answer:
    return Answer(200, headers, Body(content))  # type: ignore[arg-type]


class FakeWire:
    def __init__(self, store: Store, login: Login) -> None:
        self.store = store
        self.there = store.buckets[login.bucket]

    def close(self) -> None:
        pass

    def call(self, method: str, key: str, **_more: Any) -> Answer:
        if method == "DELETE":
            self.there.pop(key, None)
            return answer({})
        if key not in self.there:
            raise WireError("the store answers 404 (NoSuchKey)", "NoSuchKey")
        kept = self.there[key]
        told = {"etag": f'"{kept.etag}"', "content-length": str(len(kept.content))}
        return answer(told, kept.content if method == "GET" else b"")

    def refuse(self, key: str, headers: Mapping[str, str]) -> None:
        asked = {name: headers[name] for name in headers if name.startswith("if-")}
        there = self.there.get(key)
        if asked and self.store.conditions == "refused":
            raise WireError("the store answers 501 (NotImplemented)", "NotImplemented")
        if self.store.conditions == "odd" and "if-match" in asked:
            raise WireError("the store answers 412 (PreconditionFailed)", "PreconditionFailed")
        if asked.get("if-none-match") and there:
            raise WireError("the store answers 412 (PreconditionFailed)", "PreconditionFailed")
        if asked.get("if-match") and not there:
            raise WireError("the store answers 404 (NoSuchKey)", "NoSuchKey")
        if there and asked.get("if-match", f'"{there.etag}"') != f'"{there.etag}"':
            raise WireError("the store answers 412 (PreconditionFailed)", "PreconditionFailed")

    def send(
        self,
        key: str,
        chunks: Iterable[bytes],
        length: int,
        *,
        headers: Mapping[str, str],
        **_more: Any,
    ) -> Answer:
        self.refuse(key, headers)
        content = b"".join(chunks)
        assert len(content) == length
        if self.store.full:
            raise WireError(f"the store answers 507 ({self.store.full})", self.store.full)
        self.there[key] = kept = Kept(content, 900)
        if self.store.lost_answers:
            self.store.lost_answers -= 1
            raise WireError("the line broke")
        return answer({"etag": kept.etag})


class FakeBucket:
    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.login = Login("store", 9000, "user", "secret", name)

    def list(self) -> Iterator[list[Any]]:
        for key, kept in self.store.buckets[self.login.bucket].items():
            yield [key, len(kept.content), kept.etag, kept.mtime]

    def has(self, key: str) -> bool:
        return key in self.store.buckets[self.login.bucket]

    def exists(self) -> bool:
        return self.login.bucket in self.store.buckets


def photos(number: int) -> dict[str, Kept]:
    return {f"cars/{n:04}": Kept(f"photo {n}".encode()) for n in range(number)}


@dataclass
class Server:
    """A directory of snapshots, and a store beside it."""

    folder: Path
    store: Store

    def job(self, name: str, at: str, **more: Any) -> runs.Job:
        now = datetime.strptime(f"202611{at}", "%Y%m%d %H:%M").replace(tzinfo=timezone.utc)
        given: dict[str, Any] = {
            "delete": False,
            "max_delete": "10%",
            "confirm": "carrental",
            "safety": True,
            "key_query": "",
            "max_missing": 0,
            "keep_days": 30,
            "keep_least": 3,
            "workers": 2,
        }
        return runs.Job(folder=str(self.folder), name=name, now=now, **given | more)

    def bucket(self, name: str) -> Any:
        return FakeBucket(self.store, name)

    def save(self, at: str, bucket: str = "carrental", **more: Any) -> runs.Outcome:
        job = self.job(f"minio-backup-202611{at[:2]}", at, **more)
        return runs.save(job, self.bucket(bucket), None, "", step)

    def restore(
        self, at: str, name: str = "latest", bucket: str = "carrental", **more: Any
    ) -> runs.Outcome:
        scratch = self.folder.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        now: Callable[..., None] = more.pop("step", step)
        job = self.job(name, at, confirm=bucket, **more)
        return runs.restore(job, self.bucket(bucket), str(scratch), False, now)

    def objects(self) -> dict[str, int]:
        told = Snapshots(str(self.folder)).summaries()
        return {name: one.objects for name, one in sorted(told.items())}


def step(_name: str, **_numbers: Any) -> None:
    """Nobody looks."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    store = Store({"carrental": photos(100)})
    for module in (saves, returns):
        monkeypatch.setattr(module, "Wire", lambda login: FakeWire(store, login))
    return Server(tmp_path / "backups", store)


def lose(server: Server, number: int) -> None:
    there = server.store.buckets["carrental"]
    for key in sorted(there)[:number]:
        del there[key]


def test_a_restore_that_failed_leaves_the_guard_and_the_snapshot(server: Server) -> None:
    server.save("25 02:00")
    lose(server, 90)
    server.store.buckets["carrental"]["cars/0095"] = Kept(b"broken", 200)
    server.store.full = "XMinioStorageFull"
    outcome = server.restore("25 09:15")
    assert "could not be brought there" in outcome.why
    assert outcome.saved_first == f"{DAY}-091500"
    with pytest.raises(runs.RunError, match=f"90 of 100 objects of snapshot {DAY} are not"):
        server.save("25 10:00")
    assert server.objects() == {DAY: 100, f"{DAY}-091500": 10}


def test_the_guard_counts_against_the_last_complete_snapshot(server: Server) -> None:
    server.save("24 02:00")
    server.store.buckets["carrental"]["cars/bad"] = Kept(b"x", 100, "0" * 32)
    assert "could not be read (cars/bad" in server.save("25 02:00", max_delete="100%").why
    lose(server, 11)
    with pytest.raises(runs.RunError, match="of snapshot minio-backup-20261124 are not"):
        server.save("25 03:00")


def test_one_of_the_day_that_had_more_stays_under_its_time(server: Server) -> None:
    server.save("25 02:00")
    lose(server, 10)
    assert server.save("25 10:00").why == ""
    assert server.objects() == {DAY: 90, f"{DAY}-020000-replaced": 100}
    # The newest is still the one of the day, and one that lacks nothing goes as it always did.
    assert server.restore("25 11:00").snapshot == DAY
    server.store.buckets["carrental"]["cars/new"] = Kept(b"new", 300)
    server.save("25 12:00")
    assert server.objects() == {DAY: 91, f"{DAY}-020000-replaced": 100}


def test_one_of_the_day_that_was_complete_stays_the_latest(server: Server) -> None:
    server.save("24 02:00")
    server.store.buckets["carrental"]["cars/new"] = Kept(b"new", 300)
    server.save("25 02:00")
    server.store.buckets["carrental"]["cars/0001"] = Kept(b"unreadable", 400, "0" * 32)
    for at in ("25 10:00", "25 11:00"):
        assert "cars/0001" in server.save(at).why
    replaced = f"{DAY}-020000-replaced"
    assert server.objects() == {"minio-backup-20261124": 100, DAY: 101, replaced: 101}
    server.store.buckets["carrental"].clear()
    assert server.restore("25 12:00").snapshot == replaced
    assert len(server.store.buckets["carrental"]) == 101


def test_what_was_replaced_goes_for_its_age(server: Server) -> None:
    server.save("01 02:00", keep_days=0)
    lose(server, 1)
    server.save("01 03:00", keep_days=0)
    outcome = server.save("25 02:00", keep_days=5, keep_least=2)
    assert outcome.removed == ["minio-backup-20261101-020000-replaced"]


@pytest.mark.parametrize("objects", [{}, photos(1000)])
def test_another_bucket_does_not_take_the_place_of_a_snapshot(
    server: Server, objects: dict[str, Kept]
) -> None:
    server.save("25 02:00")
    server.store.buckets["contracts"] = objects
    with pytest.raises(runs.RunError) as raised:
        server.save("25 03:00", "contracts")
    assert str(raised.value) == (
        f"{DAY} in {server.folder} is of bucket carrental, and would be replaced by one of "
        "contracts; give each bucket a directory of its own (objects_dir). Nothing was changed."
    )
    assert server.objects() == {DAY: 100}


def test_one_that_cannot_be_read_is_not_replaced(server: Server) -> None:
    server.save("25 02:00")
    path = server.folder / DAY / "inventory.json"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(runs.RunError, match=r"Move it away.*Nothing was changed\.$"):
        server.save("25 03:00")
    assert len(list((server.folder / DAY / "objects/cars").iterdir())) == 100


def test_the_latest_snapshot_is_one_of_the_bucket(server: Server) -> None:
    server.save("24 02:00")
    server.store.buckets["contracts"] = {"one": Kept(b"contract")}
    server.save("25 02:00", "contracts")
    assert server.restore("25 09:00").snapshot == "minio-backup-20261124"
    server.store.buckets["fresh"] = {}
    with pytest.raises(runs.RunError, match="are of the buckets carrental, contracts, and none"):
        server.restore("25 10:00", bucket="fresh")


def test_a_bucket_comes_back_under_another_name(server: Server) -> None:
    server.save("25 02:00")
    server.store.buckets["fresh"] = {}
    assert server.restore("25 10:00", bucket="fresh").snapshot == DAY
    assert len(server.store.buckets["fresh"]) == 100


def spoil(server: Server, key: str) -> None:
    """A bit rots: the size and the time of the file stay."""
    path = server.folder / DAY / "objects" / key
    was = path.stat()
    path.write_bytes(b"X" * was.st_size)
    os.utime(path, (was.st_mtime, was.st_mtime))


def whole(server: Server, name: str) -> str:
    """What a verification says; nothing of the snapshot is written to."""
    return runs.verify(server.job(name, "25 12:00"), True, step).why


def test_what_verify_finds_damaged_is_fetched_by_the_next_snapshot(server: Server) -> None:
    server.save("24 02:00")
    server.save("25 02:00")
    spoil(server, "cars/0003")
    (server.folder / DAY / "objects/cars/0004").unlink()
    outcome = runs.verify(server.job("latest", "25 03:00", workers=1), False, step)
    assert outcome.why == (
        f"2 of 100 objects of {DAY} are not what was saved (cars/0003, cars/0004). The next "
        "snapshot fetches 2 of them again; the older ones share the damaged files. Look at the "
        "disk, and take one while the store has the objects."
    )
    assert server.save("26 02:00").moved == 2
    assert whole(server, "minio-backup-20261126") == ""
    assert whole(server, DAY) != ""


def test_verify_touches_nothing_in_check_mode_and_beside_another_run(server: Server) -> None:
    server.save("25 02:00")
    spoil(server, "cars/0003")
    path = server.folder / DAY / "objects/cars/0003"
    assert "fetches 0 of them again, and 1 only after" in whole(server, DAY)
    other = Snapshots(str(server.folder))
    other.begin()
    said = runs.verify(server.job(DAY, "25 03:00"), False, step).why
    assert "(another run takes a snapshot, or" in said
    assert path.stat().st_mtime == 100
    other.clear()


def test_verify_does_not_touch_what_came_meanwhile(server: Server) -> None:
    server.save("25 02:00")
    snapshots = Snapshots(str(server.folder))
    one = next(inventory.read(snapshots.path(DAY)))
    assert not snapshots.give_up(DAY, "another", one)
    assert (server.folder / DAY / one.path).stat().st_mtime == 100


@pytest.mark.parametrize("conditions", ["known", "refused"])
@pytest.mark.parametrize("size", [10, 2_000_000])
def test_what_is_written_while_a_restore_runs_stays(
    server: Server, conditions: str, size: int
) -> None:
    there = server.store.buckets["carrental"]
    there |= {key: Kept(key.encode() * size) for key in ("lost", "bad", "gone", "fine")}
    server.save("25 02:00")
    del there["lost"], there["cars/0001"]
    there |= {key: Kept(b"broken", 200) for key in ("bad", "gone", "fine")}
    server.store.conditions = conditions

    def meanwhile(name: str, **_numbers: Any) -> None:
        if name == "send objects":
            there.update(lost=Kept(b"uploaded", 300), bad=Kept(b"corrected", 300))
            del there["gone"]

    outcome = server.restore("25 09:00", step=meanwhile)
    assert (outcome.why, outcome.moved, outcome.kept) == ("", 2, 3)
    assert sorted(outcome.kept_objects) == ["bad", "gone", "lost"]
    assert (there["lost"].content, there["bad"].content) == (b"uploaded", b"corrected")
    assert there["fine"].content == b"fine" * size
    assert "gone" not in there
    assert there["cars/0001"].content == b"photo 1"


def test_an_answer_that_was_lost_is_no_other_writer(server: Server) -> None:
    server.save("25 02:00")
    lose(server, 1)
    server.store.lost_answers = 1
    outcome = server.restore("25 09:00")
    assert (outcome.why, outcome.moved, outcome.kept) == ("", 1, 0)


def test_a_store_that_compares_in_another_way_is_asked(server: Server) -> None:
    server.save("25 02:00")
    server.store.buckets["carrental"]["cars/0001"] = Kept(b"broken", 200)
    server.store.conditions = "odd"
    assert server.restore("25 09:00").moved == 1
    assert server.store.buckets["carrental"]["cars/0001"].content == b"photo 1"
