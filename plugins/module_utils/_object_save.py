# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Take a snapshot of a bucket: what it has, of what is there already no byte again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from . import _disk_space, _object_fetch, _object_inventory, _object_plan, _object_spill
from ._object_bucket import Bucket, StoreError, listed
from ._object_entry import Listed, Stored, stored
from ._object_fetch import DamagedError, VanishedError
from ._object_inventory import InventoryError
from ._object_plan import FETCH, GONE, KEEP, REFRESH, Step, Sums
from ._object_snapshots import SnapshotError, Snapshots, intact
from ._object_workers import Workers
from ._s3_wire import Wire, WireError

_OF_ONE_OBJECT = (DamagedError, VanishedError, WireError)
# So many in a row, and it is not the objects.
_STORE_IS_GONE = 20
_PROGRESS_S = 15.0
# As much work as a run that is killed may lose.
_FLUSH_S = 0.5
_NAMED = 1000
# Left free beside what is fetched.
_RESERVE = 256 * 1024 * 1024


@dataclass
class Report:
    """What came of a run."""

    sums: Sums = field(default_factory=Sums)
    fetched: int = 0
    fetched_bytes: int = 0
    resumed: int = 0
    vanished: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    failures: int = 0
    changed: bool = False
    snapshot: str = ""
    objects: int = 0
    bytes: int = 0


class SaveError(Exception):
    """The snapshot cannot be taken; the text is a whole sentence."""


class Save:
    """A snapshot that is being taken.

    :param scratch: a folder for what is sorted on disk.
    """

    def __init__(self, bucket: Bucket, snapshots: Snapshots, name: str, scratch: str) -> None:
        self.bucket = bucket
        self.snapshots = snapshots
        self.name = name
        self.scratch = scratch
        self.report = Report(snapshot=name)
        self.before = snapshots.newest(bucket.login.bucket)
        # What may be missing is counted against one that lacks nothing itself.
        self.whole = snapshots.newest(bucket.login.bucket, complete_first=True)
        self._against_whole = Sums()
        self._listing = ""
        self._unbroken = 0

    def look(self) -> Sums:
        """List the bucket, and count what there is to do.

        :raises StoreError: it cannot be listed.
        :raises InventoryError: the snapshot before cannot be read.
        """
        self._listing = _object_spill.sort(self.bucket.list(), self.scratch, "listing")
        self.report.sums = sums = Sums()
        for step in self._steps():
            sums.add(step)
        self._against_whole = sums
        if self.whole != self.before:
            self._against_whole = Sums()
            for step in self._compared(self.whole, _object_plan.in_snapshot):
                self._against_whole.add(step)
        return sums

    def refusal(self, allowed: str) -> str:
        """Return why this must not become a snapshot; empty when it may.

        :param allowed: how many objects may be missing that the last complete snapshot has.
        """
        why = self._taken()
        why = why or _object_plan.too_many(self._against_whole, allowed, f"snapshot {self.whole}")
        return why or self.no_space(self.report.sums)

    def _taken(self) -> str:
        """Return why the one of this name cannot be replaced; empty when it can."""
        if self.name not in self.snapshots.names():
            return ""
        try:
            there = _object_inventory.summary(self.snapshots.path(self.name)).bucket
        except InventoryError as error:
            return f"{error} Move it away, or give another name (snapshot). Nothing was changed."
        if there == self.bucket.login.bucket:
            return ""
        return (
            f"{self.name} in {self.snapshots.folder} is of bucket {there}, and would be replaced "
            f"by one of {self.bucket.login.bucket}; give each bucket a directory of its own "
            "(objects_dir). Nothing was changed."
        )

    def no_space(self, sums: Sums) -> str:
        """Return why the disk cannot take it; empty when it can."""
        disk = _disk_space.look(self.snapshots.folder)
        place, free = disk.path, disk.free
        if sums.fetch_bytes + _RESERVE > free:
            return (
                f"{sums.fetch_bytes // 2**20} MiB of objects have to be fetched, and "
                f"{free // 2**20} MiB are free at {place}, of which {_RESERVE // 2**20} stay free; "
                "make room, or set carrental_backup_dir to a larger disk. Nothing was changed."
            )
        # Some file systems do not count them.
        if disk.free_inodes is not None and sums.fetch + _NAMED > disk.free_inodes:
            return (
                f"{sums.fetch} objects have to be fetched, and {place} has room for "
                f"{disk.free_inodes} more files (inodes); make room. Nothing was changed."
            )
        return ""

    @property
    def needed(self) -> bool:
        """Whether a snapshot of this name would be another one than there is."""
        if self.report.sums.change or self.before != self.name:
            return True
        return not _object_inventory.summary(self.snapshots.path(self.name)).complete

    def _steps(self) -> Iterator[Step]:
        return self._compared(self.before, self._judge)

    def _compared(self, name: str, judge: Callable[[Listed, Listed], str]) -> Iterator[Step]:
        """Compare the bucket with a snapshot, or with nothing where there is none."""
        known: Iterable[Stored] = ()
        if name:
            known = _object_inventory.read(self.snapshots.path(name))
        rows = _object_spill.read(self._listing)
        return _object_plan.compare(map(listed, rows), known, judge)

    def _judge(self, wanted: Listed, had: Listed) -> str:
        action = _object_plan.in_snapshot(wanted, had)
        if action != FETCH and isinstance(had, Stored) and not intact(self._kept(had), had):
            return FETCH
        return action

    def _kept(self, had: Stored) -> str:
        return self.snapshots.path(self.before, had.path)

    def take(self, workers: int, at: str, identity: str, step: Callable[..., None]) -> Report:
        """Fetch what is missing, link the rest, and put the snapshot in its place.

        :raises SaveError: the store went away.
        :raises OSError, SnapshotError: the disk does not take it.
        """
        report, snapshots = self.report, self.snapshots
        step("fetch objects", objects=report.sums.fetch, bytes=report.sums.fetch_bytes)
        with open(os.path.join(snapshots.work, "done"), "a", encoding="ascii") as done:
            resumed = _object_spill.sort(self._done(), self.scratch, "resumed")
            rows = self._rows(workers, resumed, done, step)
            path = _object_spill.sort(rows, self.scratch, "inventory")
        step("write inventory")
        head = _object_inventory.Summary(identity, self.bucket.login.bucket, at)
        head.complete = not report.failures
        head.failed = report.failed
        objects = (stored(row[1]) for row in _object_spill.read(path))
        _object_inventory.write(snapshots.next, head, objects)
        report.objects, report.bytes = head.objects, head.bytes
        step("place snapshot", snapshot=self.name)
        snapshots.place(self.name, self._aside(head))
        report.changed = True
        return report

    def _aside(self, head: _object_inventory.Summary) -> str:
        """Return the name under which the one of this name stays; empty where nobody misses it.

        :param head: what the next snapshot amounts to.
        """
        if self.name not in self.snapshots.names():
            return ""
        folder = self.snapshots.path(self.name)
        there = _object_inventory.summary(folder)
        if head.complete or not there.complete:
            both = (_object_inventory.read(self.snapshots.next), _object_inventory.read(folder))
            steps = _object_plan.compare(*both, _object_plan.in_snapshot)
            if not any(step.action == GONE for step in steps):
                return ""
        return _object_plan.replaced(there.at)

    def _done(self) -> Iterator[list[Any]]:
        """Yield what a run before got that did not come to its end."""
        with open(os.path.join(self.snapshots.work, "done"), encoding="ascii") as stream:
            for line in stream:
                # A line that was cut when the run before died is left out.
                with suppress(ValueError):
                    yield json.loads(line)

    def _rows(
        self, workers: int, resumed: str, done: Any, step: Callable[..., None]
    ) -> Iterator[list[Any]]:
        """Yield every object of the snapshot, linked into it."""
        linked: list[list[Any]] = []
        pool: Workers[Wire] = Workers(workers, lambda: closing(Wire(self.bucket.login)))
        shown = flushed = time.monotonic()
        todo = self._todo(_object_spill.read(resumed), linked)
        for item, came in pool.run(todo, self._work, _OF_ONE_OBJECT):
            yield from linked
            linked.clear()
            if isinstance(came, Exception):
                yield from self._failed(item, came)
            else:
                self._unbroken = 0
                one, content = came
                if content:
                    # So that a run after one that dies need not fetch it again.
                    done.write(
                        json.dumps([one.key, one.as_dict(), os.path.basename(content)]) + "\n"
                    )
                    self.report.fetched += 1
                    self.report.fetched_bytes += one.size
                yield [one.key, one.as_dict()]
            if time.monotonic() - flushed > _FLUSH_S:
                flushed = time.monotonic()
                done.flush()
            if time.monotonic() - shown > _PROGRESS_S:
                shown = time.monotonic()
                step("fetch objects", done=self.report.fetched, of=self.report.sums.fetch)
        yield from linked

    def _todo(self, resumed: Iterator[list[Any]], linked: list[list[Any]]) -> Iterator[Step]:
        """Yield what has to be asked of the store, and link what has not."""
        got = next(resumed, None)
        for step in self._steps():
            if step.action == GONE or step.source is None:
                continue
            while got and got[0] < step.source.key:
                got = next(resumed, None)
            if step.action == KEEP:
                linked.append(self._linked(self._kept(_had(step)), _had(step)))
            elif got and got[0] == step.source.key and self._usable(got, step.source):
                one = stored(got[1])
                linked.append(self._linked(os.path.join(self.snapshots.got, got[2]), one))
                self.report.resumed += 1
            else:
                yield step

    def _usable(self, got: list[Any], wanted: Listed) -> bool:
        one = stored(got[1])
        same = (one.size, one.etag, one.mtime) == (wanted.size, wanted.etag, wanted.mtime)
        return same and intact(os.path.join(self.snapshots.got, got[2]), one)

    def _work(self, wire: Wire, step: Step) -> tuple[Stored, str]:
        """Fetch an object, or what is kept beside its content when that is the same."""
        wanted = step.source
        if wanted is None:
            raise AssertionError("what is gone is not fetched")
        if step.action == REFRESH:
            had = _had(step)
            etag, headers = _object_fetch.look(wire, wanted)
            if etag == had.etag:
                # By its time the next run sees that it was not touched on the disk.
                os.utime(self._kept(had), (wanted.mtime, wanted.mtime))
                one = replace(had, mtime=wanted.mtime, headers=headers)
                return self._placed(self._kept(had), one), ""
        one, content = _object_fetch.fetch(wire, wanted, self.snapshots.got)
        return self._placed(content, one), content

    def _placed(self, content: str, one: Stored) -> Stored:
        """Link an object into the snapshot; return it with its place."""
        path = self.snapshots.link(content, one.key, one.path)
        return one if path == one.path else replace(one, path=path)

    def _linked(self, content: str, one: Stored) -> list[Any]:
        return [one.key, self._placed(content, one).as_dict()]

    def _failed(self, step: Step, error: Exception) -> Iterator[list[Any]]:
        """Note an object that cannot be read; what is kept of it from before stays."""
        wanted = step.source
        if wanted is None:
            raise AssertionError("what is gone is not fetched")
        why = str(error)
        if isinstance(error, VanishedError):
            if not self.bucket.has(wanted.key):
                self.report.vanished += 1
                return
            why = "the store lists it, and says that it does not exist when it is read"
        self._unbroken += 1
        if self._unbroken >= _STORE_IS_GONE and isinstance(error, WireError):
            raise SaveError(
                f"The store at {self.bucket.login.place} went away after {self.report.fetched} of "
                f"{self.report.sums.fetch} objects: {why}. What was fetched is kept; run it again "
                "when the store is back, it goes on from there."
            ) from error
        self.report.failures += 1
        if len(self.report.failed) < _NAMED:
            self.report.failed.append({"key": wanted.key, "why": why})
        had = step.copy
        if isinstance(had, Stored) and intact(self._kept(had), had):
            yield self._linked(self._kept(had), replace(had, stale=True))


def _had(step: Step) -> Stored:
    if not isinstance(step.copy, Stored):
        raise AssertionError("only what an inventory knows is kept")
    return step.copy


EXPECTED = (InventoryError, SaveError, SnapshotError, StoreError)
