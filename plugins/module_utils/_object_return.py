# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Make a bucket what a snapshot or another bucket is."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from . import _object_fetch, _object_inventory, _object_plan, _object_put, _object_spill
from ._object_bucket import Bucket, listed
from ._object_entry import Listed, Stored, hides_md5, kept_headers, part_sizes
from ._object_fetch import DamagedError, VanishedError
from ._object_parts import part_of
from ._object_plan import FETCH, GONE, KEEP, REFRESH, Step, Sums
from ._object_snapshots import Snapshots
from ._object_workers import Workers
from ._s3_wire import Wire, WireError, pieces, read_into

_PROGRESS_S = 15.0
_NAMED = 1000
_PIECE = 256 * 1024
# A store that refuses more than this may close the line before it is heard: asked before, which
# takes little of the time that so much takes.
_HEARD = 4 * 1024 * 1024
# What a store says of a condition that does not hold, and when it knows none.
_NOT_SO = ("PreconditionFailed", "412", "ConditionalRequestConflict", "NoSuchKey", "404")
_UNKNOWN = ("NotImplemented", "501")


Judge = Callable[[Listed, Listed], str]


class ChangedError(Exception):
    """Somebody else wrote the object since it was looked at."""


class Source(Protocol):
    """Where objects come from."""

    where: str
    # What becomes of an object that both have.
    judge: Judge

    def list(self, scratch: str) -> Callable[[], Iterable[Listed]]:
        """Look once; return what yields all objects, sorted, as often as it is asked."""

    def tool(self) -> AbstractContextManager[Any]:
        """Return what a thread needs to read from it."""

    def content(self, tool: Any, one: Listed) -> _object_put.Content:
        """Return the content of an object."""


class FromSnapshot:
    """The objects of a snapshot, each of which has to be what its inventory says."""

    def __init__(self, snapshots: Snapshots, name: str) -> None:
        self.where = f"snapshot {name}"
        self.judge: Judge = _object_plan.from_snapshot
        self._folder = snapshots.path(name)

    def list(self, scratch: str) -> Callable[[], Iterable[Listed]]:
        """Return the reader of the inventory."""
        return lambda: _object_inventory.read(self._folder)

    @contextmanager
    def tool(self) -> Iterator[None]:
        """Nothing is needed to read files."""
        yield

    def content(self, tool: None, one: Listed) -> _object_put.Content:
        """Return the content of an object.

        :raises DamagedError: it is not what was saved.
        """
        if not isinstance(one, Stored):
            raise AssertionError("an inventory yields what is stored")
        path = os.path.join(self._folder, one.path)
        if file_hash(path) != one.sha256:
            raise DamagedError(
                "its copy on the disk is not what was saved, nor is it in other snapshots that "
                "share the file; look in one that fetched it another time, or elsewhere"
            )

        @contextmanager
        def opened(begin: int, length: int) -> Iterator[Iterable[bytes]]:
            with open(path, "rb") as stream:
                stream.seek(begin)
                yield pieces(stream, length, _PIECE)

        return _object_put.Content(
            one.size, one.etag, one.headers, opened, one.sha256, part_of(path, one)
        )


class FromBucket:
    """The objects of another bucket, read while they are written."""

    def __init__(self, bucket: Bucket) -> None:
        self.where = f"bucket {bucket.login.bucket} at {bucket.login.place}"
        self.judge: Judge = _object_plan.in_bucket
        self._bucket = bucket

    def list(self, scratch: str) -> Callable[[], Iterable[Listed]]:
        """List the bucket, sorted on disk."""
        path = _object_spill.sort(self._bucket.list(), scratch, "source")
        return lambda: map(listed, _object_spill.read(path))

    def tool(self) -> AbstractContextManager[Wire]:
        """Return a connection."""
        return closing(Wire(self._bucket.login))

    def content(self, tool: Wire, one: Listed) -> _object_put.Content:
        """Return the content of an object as it is now.

        :raises WireError, VanishedError: it cannot be read.
        """
        headers = _object_fetch.head(tool, one)
        etag = _object_fetch.etag_of(headers, one)
        if etag != one.etag:
            raise WireError("it was changed while it was copied; the next run has it")

        @contextmanager
        def opened(begin: int, length: int) -> Iterator[Iterable[bytes]]:
            asked = {"if-match": f'"{etag}"'}
            if length != one.size:
                asked["range"] = f"bytes={begin}-{begin + length - 1}"
            answer = tool.call("GET", one.key, headers=asked if one.size else {})
            try:
                yield _received(answer.body)
            finally:
                if not answer.body.isclosed():
                    tool.close()

        part = next(iter(part_sizes(etag, one.size)), 0)
        md5 = "" if hides_md5(headers) else etag
        return _object_put.Content(one.size, md5, kept_headers(headers), opened, part=part)


def _received(body: Any) -> Iterator[bytes]:
    buffer = memoryview(bytearray(_PIECE))
    while read := read_into(body, buffer):
        yield bytes(buffer[:read])


def file_hash(path: str) -> str:
    """Return the sha256 of a file; empty when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as stream:
            buffer = memoryview(bytearray(_PIECE))
            while read := stream.readinto(buffer):
                digest.update(buffer[:read])
    except OSError:
        return ""
    return digest.hexdigest()


_OF_ONE_OBJECT = (ChangedError, DamagedError, VanishedError, WireError)


@dataclass
class Report:
    """What came of a run."""

    sums: Sums = field(default_factory=Sums)
    sent: int = 0
    sent_bytes: int = 0
    deleted: int = 0
    vanished: int = 0
    # Written by somebody else meanwhile.
    kept: int = 0
    kept_objects: list[str] = field(default_factory=list)
    failures: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)


class Return:
    """A bucket that is being made what a source is.

    :param delete: whether objects go that the source does not have.
    """

    def __init__(self, source: Source, bucket: Bucket, scratch: str, delete: bool) -> None:
        self.source = source
        self.bucket = bucket
        self.report = Report()
        self.exists = bucket.exists()
        self._scratch = scratch
        self._delete = delete
        self._read: Callable[[], Iterable[Listed]] = lambda: ()
        self._there = ""
        self._differ = ""
        # Whether the store knows conditions.
        self._conditions = True

    def look(self, workers: int) -> Sums:
        """List both, and count what there is to do.

        :raises StoreError, InventoryError: one of them cannot be listed.
        """
        self._read = self.source.list(self._scratch)
        rows = self.bucket.list() if self.exists else iter(())
        self._there = _object_spill.sort(rows, self._scratch, "there")
        differing = self._differing(workers)
        self._differ = _object_spill.sort(differing, self._scratch, "differ")
        self.report.sums = sums = Sums()
        for step in self._steps():
            sums.add(step)
        return sums

    def _differing(self, workers: int) -> Iterator[list[Any]]:
        """Yield the keys of objects that were put again, and not with the same metadata."""
        pool: Workers[Wire] = Workers(workers, lambda: closing(Wire(self.bucket.login)))
        asked = (one for one in self._compared() if one.action == REFRESH)
        for item, came in pool.run(asked, _differs, _OF_ONE_OBJECT):
            if came and item.source:
                yield [item.source.key]

    def _compared(self) -> Iterator[Step]:
        there = map(listed, _object_spill.read(self._there))
        return _object_plan.compare(self._read(), there, self.source.judge)

    def _steps(self) -> Iterator[Step]:
        differing = _object_spill.read(self._differ)
        differs = next(differing, None)
        for step in self._compared():
            if step.action == GONE and not self._delete:
                yield replace(step, action=KEEP, source=step.copy)
            elif step.action == REFRESH and step.source:
                while differs and differs[0] < step.source.key:
                    differs = next(differing, None)
                changed = differs is not None and differs[0] == step.source.key
                yield replace(step, action=FETCH if changed else KEEP)
            else:
                yield step

    def run(self, workers: int, step: Callable[..., None]) -> Report:
        """Send what is missing or different, then delete what should not be there."""
        report = self.report
        if not self.exists:
            step("make bucket", bucket=self.bucket.login.bucket)
            self.bucket.make()
        step("send objects", objects=report.sums.fetch, bytes=report.sums.fetch_bytes)
        self._all(workers, FETCH, step)
        # What could not be sent would be missing beside what was deleted.
        if report.sums.gone and not report.failures:
            step("delete objects", objects=report.sums.gone)
            self._all(workers, GONE, step)
        return report

    def _all(self, workers: int, action: str, step: Callable[..., None]) -> None:
        report, shown = self.report, time.monotonic()
        pool: Workers[tuple[Any, Wire]] = Workers(workers, self._tools)
        wanted = (one for one in self._steps() if one.action == action)
        for item, came in pool.run(wanted, self._work, _OF_ONE_OBJECT):
            one = item.source or item.copy
            key = one.key if one else ""
            if isinstance(came, VanishedError):
                report.vanished += 1
            elif isinstance(came, ChangedError):
                report.kept += 1
                if len(report.kept_objects) < _NAMED:
                    report.kept_objects.append(key)
            elif isinstance(came, Exception):
                report.failures += 1
                if len(report.failed) < _NAMED:
                    report.failed.append({"key": key, "why": str(came)})
            elif action == GONE:
                report.deleted += 1
            else:
                report.sent += 1
                report.sent_bytes += item.size
            if time.monotonic() - shown > _PROGRESS_S:
                shown = time.monotonic()
                step("send objects", done=report.sent, of=report.sums.fetch)

    @contextmanager
    def _tools(self) -> Iterator[tuple[Any, Wire]]:
        with self.source.tool() as tool, closing(Wire(self.bucket.login)) as wire:
            yield tool, wire

    def _work(self, tools: tuple[Any, Wire], step: Step) -> None:
        tool, wire = tools
        if step.source is None:
            wire.call("DELETE", step.copy.key if step.copy else "").body.read()
            return
        self._put(wire, step, self.source.content(tool, step.source))

    def _put(self, wire: Wire, step: Step, content: _object_put.Content) -> None:
        """Put an object where there still is what was listed.

        :raises ChangedError: there is something else by now, which stays.
        """
        key = step.source.key if step.source else ""
        asked = {"if-match": f'"{step.copy.etag}"'} if step.copy else {"if-none-match": "*"}
        if (content.size > _HEARD or not self._conditions) and _is_done(wire, step):
            return
        try:
            _object_put.put(wire, key, content, asked if self._conditions else None)
        except WireError as error:
            if error.code in _UNKNOWN:
                self._conditions = False
            elif error.code not in _NOT_SO:
                raise
            if not _is_done(wire, step):
                _object_put.put(wire, key, content)


def _is_done(wire: Wire, step: Step) -> bool:
    """Return whether an object is there already: the answer to an attempt may have been lost.

    :raises ChangedError: there is neither that nor what was listed.
    """
    wanted, seen = step.source, step.copy
    if wanted is None:
        raise AssertionError("what is put has a source")
    try:
        etag, _headers = _object_fetch.look(wire, wanted)
    except VanishedError:
        etag = ""
    if etag == (seen.etag if seen else ""):
        return False
    if etag == wanted.etag:
        return True
    raise ChangedError(wanted.key)


def _differs(wire: Wire, step: Step) -> bool:
    """Return whether an object that is newer than its copy is another one."""
    wanted = step.source
    if not isinstance(wanted, Stored):
        return True
    etag, headers = _object_fetch.look(wire, wanted)
    return (etag, headers) != (wanted.etag, wanted.headers)
