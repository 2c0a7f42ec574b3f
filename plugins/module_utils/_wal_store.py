# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Where the write-ahead log of a server and the copies of its files lie, beside the backups.

``wal/<system identifier>/`` has ``receiving`` (what pg_receivewal writes), ``archive`` (segments
that are whole, compressed) and ``base``. A server that was made anew counts from the beginning,
under an identifier of its own, so its segments never meet those of the one before.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cached_property

from . import _backup_codec, _backups, _wal_chain, _wal_names, _whole_file
from ._backups import BackupError
from ._wal_chain import Piece
from ._wal_names import Segment

FOLDER = "wal"
PARTIAL = ".partial"
_COMPRESSED = ".gz"
_FACTS = "server.json"
_MANIFEST = "base.json"
_DEFAULT_BYTES = 16 * 2**20
# A segment is mostly either zeros or text; more effort gains little.
_LEVEL = 1


@dataclass(frozen=True)
class Base:
    """A copy of the files of the server, with what recovery needs to know of it."""

    id: str
    file: str
    system_identifier: str
    server_version: str
    timeline: int
    start_lsn: str
    end_lsn: str
    segment_bytes: int
    started_at: str
    ended_at: str
    seconds: float
    # As it lies there, and as tar unpacks it.
    bytes: int
    tar_bytes: int
    sha256: str

    @cached_property
    def first(self) -> Segment:
        """The segment that its recovery begins with."""
        return _wal_names.holding(self.start_lsn, self.timeline, self.segment_bytes)

    @cached_property
    def last(self) -> Segment:
        """The segment from whose end on it is consistent."""
        return _wal_names.holding_end(self.end_lsn, self.timeline, self.segment_bytes)

    @cached_property
    def ended(self) -> float:
        """The moment from which on it can be recovered to."""
        return _backups.moment(self.ended_at).timestamp()


@dataclass(frozen=True)
class Store:
    """The log and the bases of one server."""

    root: str

    @property
    def receiving(self) -> str:
        return os.path.join(self.root, "receiving")

    @property
    def archive(self) -> str:
        return os.path.join(self.root, "archive")

    @property
    def bases_folder(self) -> str:
        return os.path.join(self.root, "base")

    def prepare(self, segment_bytes: int) -> None:
        """Have its directories, and know how large its segments are.

        :raises OSError: one cannot be made.
        """
        for path in (self.receiving, self.archive, self.bases_folder):
            os.makedirs(path, mode=0o700, exist_ok=True)
        if self.segment_bytes != segment_bytes or not os.path.exists(self._facts):
            content = json.dumps({"segment_bytes": segment_bytes}) + "\n"
            _whole_file.write(self._facts, content.encode())

    @property
    def _facts(self) -> str:
        return os.path.join(self.root, _FACTS)

    @property
    def segment_bytes(self) -> int:
        try:
            with open(self._facts, encoding="utf-8") as stream:
                return int(json.load(stream)["segment_bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            return _DEFAULT_BYTES

    def pieces(self) -> list[Piece]:
        """Return what was received, oldest first."""
        return sorted({piece for piece, _path in self._files()})

    def _files(self) -> Iterator[tuple[Piece, str]]:
        size = self.segment_bytes
        # What moves meanwhile goes from the first to the second, so none is missed.
        for folder in (self.receiving, self.archive):
            for name in _names(folder):
                stem = name.removesuffix(_COMPRESSED).removesuffix(PARTIAL)
                segment = _wal_names.segment(stem, size)
                path = os.path.join(folder, name)
                if segment is None:
                    continue
                with suppress(OSError):
                    at = os.stat(path).st_mtime
                    yield Piece(segment, at, name.endswith(PARTIAL)), path

    def collect(self) -> int:
        """Compress and keep the segments that are whole by now; return how many.

        :raises BackupError: one cannot be written, or is not of its size.
        """
        moved = 0
        for name in _names(self.receiving):
            if name.endswith(".history"):
                _move(os.path.join(self.receiving, name), os.path.join(self.archive, name))
            elif _wal_names.segment(name, self.segment_bytes):
                self._compress(name)
                moved += 1
        return moved

    def _compress(self, name: str) -> None:
        source, size = os.path.join(self.receiving, name), self.segment_bytes
        final = os.path.join(self.archive, name + _COMPRESSED)
        try:
            try:
                with open(source, "rb") as stream:
                    data = stream.read()
                    at = os.fstat(stream.fileno()).st_mtime
            except FileNotFoundError:
                # A backup removed meanwhile what no base has need of, here and below.
                return
            if len(data) != size:
                raise BackupError(
                    f"{source} has {len(data)} bytes, and a segment of the write-ahead log has "
                    f"{size}; it stays where it is."
                )
            flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC
            with os.fdopen(os.open(final + ".new", flags, 0o600), "wb") as out:
                _backup_codec.gzip([memoryview(data)], out, _LEVEL)
                out.flush()
                os.fsync(out.fileno())
            # It tells until when the log is known.
            os.utime(final + ".new", (at, at))
            _move(final + ".new", final)
            try:
                os.unlink(source)
            except FileNotFoundError:
                with suppress(FileNotFoundError):
                    os.unlink(final)
        except OSError as error:
            raise BackupError(f"{final} cannot be written: {error.strerror}.") from error

    def leave_behind(self, first: Segment) -> list[str]:
        """Put aside what was begun and cannot be gone on with; return the names.

        :param first: the oldest segment that the server still has for us.
        """
        left = []
        for name in _names(self.receiving):
            segment = _wal_names.segment(name.removesuffix(PARTIAL), self.segment_bytes)
            if name.endswith(PARTIAL) and segment and segment.number < first.number:
                _move(os.path.join(self.receiving, name), os.path.join(self.archive, name))
                left.append(name)
        return left

    def bases(self) -> list[Base]:
        """Return the bases that are whole, newest first."""
        found = []
        for name in _names(self.bases_folder):
            if name.endswith(PARTIAL):
                continue
            with suppress(OSError, ValueError, KeyError, TypeError, BackupError):
                base = _parsed(os.path.join(self.bases_folder, name, _MANIFEST))
                # What is wrong with it must not be found out about in the middle of a restore.
                known = (base.first, base.last, base.ended)
                if all(known) and os.stat(self.base_path(base)).st_size == base.bytes:
                    found.append(base)
        return sorted(found, key=lambda one: (one.ended, one.id), reverse=True)

    def base_path(self, base: Base) -> str:
        return os.path.join(self.bases_folder, base.id, base.file)

    def save(self, folder: str, base: Base) -> None:
        """Give a base that is whole its name.

        :raises OSError: it cannot be written.
        """
        content = json.dumps(asdict(base), indent=2, sort_keys=True) + "\n"
        _whole_file.write(os.path.join(folder, _MANIFEST), content.encode())
        _move(folder, os.path.join(self.bases_folder, base.id))

    def reaches(self) -> list[_wal_chain.Reach]:
        """Return what can be reached from each base."""
        return _wal_chain.reaches(self.bases(), self.pieces())

    def size(self) -> int:
        """Return the bytes of all that lies there."""
        return sum(
            os.lstat(os.path.join(folder, name)).st_size
            for folder, _folders, names in os.walk(self.root)
            for name in names
            if os.path.exists(os.path.join(folder, name))
        )

    def prune(self, days: float, now: float) -> list[str]:
        """Remove what nobody needs any more; return what, in words.

        :raises BackupError: something cannot be removed.
        """
        bases = self.bases()
        gone = _wal_chain.expired(bases, self.pieces(), days=days, now=now)
        needless = set(gone.pieces)
        done = []
        try:
            for one in gone.bases:
                shutil.rmtree(os.path.join(self.bases_folder, one))
                done.append(f"remove the base {one}")
            old = [path for piece, path in self._files() if piece in needless]
            for path in old:
                # The receiver compresses what is whole, and the next one finds it there.
                with suppress(FileNotFoundError):
                    os.unlink(path)
        except OSError as error:
            raise BackupError(f"{error.filename} cannot be removed: {error.strerror}.") from error
        if old:
            done.append(f"remove {len(old)} segments of the log from before the oldest base")
        return done


def store(directory: str, system_identifier: str) -> Store:
    """Return where the log of a server lies, below the directory of its backups."""
    return Store(os.path.join(directory, FOLDER, system_identifier))


def stores(directory: str) -> list[Store]:
    """Return all of a directory, that of the server which was received from last at the front."""
    root = os.path.join(directory, FOLDER)
    found = [Store(os.path.join(root, one)) for one in _names(root) if one.isdigit()]
    return sorted(found, key=lambda one: os.stat(one.root).st_mtime, reverse=True)


def _parsed(path: str) -> Base:
    with open(path, encoding="utf-8") as stream:
        found = json.load(stream)
    known = {one.name for one in fields(Base)}
    return Base(**{key: value for key, value in found.items() if key in known})


def _names(folder: str) -> Iterable[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _move(source: str, final: str) -> None:
    """Give a file or a directory its place, for good."""
    os.replace(source, final)
    handle = os.open(os.path.dirname(final), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
