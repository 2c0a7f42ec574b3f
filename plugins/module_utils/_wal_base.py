# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Copy the files of the running server, as what a recovery to a moment begins with.

``pg_basebackup`` of the server's own container prints one tar file, which is compressed on its way
to the disk, read again, and compared. Until the log has arrived that makes it consistent it lies in
a directory that ends in ``.partial``, with a kernel lock on its file; one that nobody holds is what
a killed run left.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO

from . import (
    _backup_codec,
    _backup_database,
    _backup_space,
    _backup_verify,
    _backups,
    _exec_stream,
    _wal_chain,
    _wal_server,
    _wal_service,
    _wal_status,
    _wal_store,
)
from ._backup_database import Source
from ._backups import BackupError
from ._operation_work import Operation
from ._wal_store import Base, Store

# Of the size of the databases, where no base before tells.
_GUESS = 0.5
_MARGIN = 1.5
_PIECE = 2**20
_ARRIVE = 120.0
_BEGIN = 45.0
# The end of the manifest, which pg_basebackup puts at the end of the tar file.
_TAIL = 16 * 1024
_RANGE = re.compile(
    rb'"Timeline": (?P<timeline>\d+), "Start-LSN": "(?P<start>[0-9A-F]+/[0-9A-F]+)", '
    rb'"End-LSN": "(?P<end>[0-9A-F]+/[0-9A-F]+)"'
)


@dataclass(frozen=True)
class Wish:
    """When a base is due, and what it leaves free."""

    directory: str
    state_dir: str
    reserve_mb: int = 512
    # With less than this the receiver stops: a base must not be what stops it.
    min_free_mb: int = 2048
    # A base that is younger is enough, if the log has no gap since.
    interval_hours: float = 20.0
    keep_days: int = 7


@dataclass(frozen=True)
class Due:
    """Whether a base is to be made, and why."""

    store: Store
    known: _wal_server.Facts
    why: str


def due(source: Source, wish: Wish) -> Due:
    """Look whether a base is to be made.

    :raises BackupError: the server does not answer.
    """
    known = _wal_server.facts(source)
    store = _wal_store.store(wish.directory, known.system)
    reaches = [one for one in store.reaches() if not one.gap]
    newest = max((one.since for one in reaches), default=0.0)
    if not store.bases():
        why = "there is none"
    elif not reaches:
        why = "the log has a gap since the last one"
    elif time.time() - newest > wish.interval_hours * 3600:
        why = f"the last one is older than {wish.interval_hours:g} h"
    else:
        why = ""
    return Due(store, known, why)


def keep(source: Source, wish: Wish, operation: Operation) -> list[str]:
    """Make a base where one is due, and remove what no moment needs any more; return what was done.

    :raises BackupError: nothing is received, or the base did not come about.
    """
    store = _wal_store.store(wish.directory, _wal_server.facts(source).system)
    # First, for a disk that is too full is what keeps the receiver from its work.
    done = sweep(store) + store.prune(wish.keep_days, time.time())
    require_receiver(wish.state_dir, _BEGIN)
    found = due(source, wish)
    if found.why:
        operation.step("copy the files of the server", why=found.why)
        base = make(source, wish, found, operation)
        done.append(f"copy the files of the server to the base {base.id}, because {found.why}")
    operation.step("remove what no moment needs")
    return done + store.prune(wish.keep_days, time.time())


def require_receiver(state_dir: str, seconds: float) -> None:
    """Wait until the log is received, by the settings that are there now.

    :raises BackupError: it is not.
    """
    config = _wal_service.program("", state_dir).config_path
    since = os.stat(config).st_mtime if os.path.exists(config) else math.inf
    deadline = time.monotonic() + seconds
    while True:
        found = _wal_status.read(state_dir)
        status = found if found and found.fresh and found.at > since else None
        if status and status.state == _wal_status.RECEIVING:
            return
        # What was stopped on purpose does not begin within seconds.
        if time.monotonic() > deadline or (status and status.state == _wal_status.STOPPED):
            why = status.why if status else "the receiver has not said anything"
            raise BackupError(
                f"The write-ahead log is not received: {why.rstrip('.')}. What is written now can "
                "be restored by backups alone; see journalctl of the service."
            )
        time.sleep(0.5)


def make(source: Source, wish: Wish, found: Due, operation: Operation) -> Base:
    """Make a base.

    :raises BackupError: nothing is left that looks like one then.
    """
    store, known = found.store, found.known
    reserve = max(
        (wish.reserve_mb, "backup_reserve_mb"), (wish.min_free_mb, "backup_wal_min_free_mb")
    )
    _backup_space.require(store.root, _needed(store, known.size_bytes), *reserve)
    began, at = time.monotonic(), datetime.now(timezone.utc)
    name = at.strftime("%Y%m%dT%H%M%SZ")
    zstd = _backup_codec.has_zstd()
    file = "base.tar.zst" if zstd else "base.tar.gz"
    with _partial(store, name, file) as (folder, out):
        copied = _copied(source, operation, out, _backup_codec.zstd if zstd else _backup_codec.gzip)
        path = os.path.join(folder, file)
        _require_same(path, copied)
        ended = math.ceil(time.time())
        base = Base(
            id=name,
            file=file,
            system_identifier=known.system,
            server_version=known.version,
            timeline=copied.timeline,
            start_lsn=copied.start,
            end_lsn=copied.end,
            segment_bytes=known.segment_bytes,
            started_at=_backups.stamp(at),
            ended_at=_wal_status.stamp(ended),
            seconds=round(time.monotonic() - began, 2),
            bytes=os.stat(path).st_size,
            tar_bytes=copied.length,
            sha256=_backup_verify.sha256(path),
        )
        operation.step("wait for the log of the base", base=name)
        _wal_server.require(store, base.last, _ARRIVE)
        if not _wal_chain.reaches([base], store.pieces()):
            raise BackupError(
                f"The base {name} is not kept: the write-ahead log that was written meanwhile has "
                "a gap. Run the backup again."
            )
        store.save(folder, base)
    return base


def _needed(store: Store, size_bytes: int) -> int:
    before = next(iter(store.bases()), None)
    if before:
        return int(before.bytes * max(size_bytes / max(before.tar_bytes, 1), 1) * _MARGIN)
    return int(size_bytes * _GUESS)


@contextmanager
def _partial(store: Store, name: str, file: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Give a directory that is no base yet, and its file; what is left of it is removed."""
    folder = os.path.join(store.bases_folder, name + _wal_store.PARTIAL)
    try:
        os.mkdir(folder, 0o700)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        with os.fdopen(os.open(os.path.join(folder, file), flags, 0o600), "wb") as out:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder, out
    except OSError as error:
        raise BackupError(f"{folder} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(store: Store) -> list[str]:
    """Remove the bases that killed runs left; return what was done."""
    done = []
    try:
        names = os.listdir(store.bases_folder)
    except OSError:
        return []
    for name in sorted(one for one in names if one.endswith(_wal_store.PARTIAL)):
        folder = os.path.join(store.bases_folder, name)
        if not any(_written(os.path.join(folder, file)) for file in os.listdir(folder)):
            shutil.rmtree(folder)
            done.append(f"remove {name}, which a killed run left")
    return done


def _written(path: str) -> bool:
    """Return whether somebody writes a file."""
    with open(path, "rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@dataclass
class _Copied:
    """What pg_basebackup said, and what it printed."""

    start: str = ""
    end: str = ""
    timeline: int = 0
    length: int = 0
    sha256: str = ""


def _copied(
    source: Source, operation: Operation, out: IO[bytes], write: _backup_codec.Writer
) -> _Copied:
    argv = ["pg_basebackup", "--pgdata=-", "--format=tar", "--wal-method=none"]
    argv += ["--checkpoint=fast", "--no-password", f"--username={source.user}"]
    # By this name the next backup finds what a killed run left at work in the container.
    stream = _exec_stream.Stream(
        source.docker, source.container.id, argv, source.environment(operation.id)
    )
    digest, found, tail = hashlib.sha256(), _Copied(), bytearray()

    def counted(pieces: Iterable[memoryview]) -> Iterator[memoryview]:
        for piece in pieces:
            digest.update(piece)
            found.length += len(piece)
            tail.extend(piece[-_TAIL:])
            del tail[:-_TAIL]
            yield piece

    try:
        stream.end_input()
        write(counted(stream.output()), out)
        out.flush()
        os.fsync(out.fileno())
        code = stream.exit_code()
    except _backup_codec.CodecError as error:
        raise BackupError(f"The base cannot be written: {error}.") from error
    finally:
        stream.close()
    log = _RANGE.search(tail)
    if code != 0 or not log:
        said = [line for line in stream.errors.splitlines() if "error" in line]
        raise _backup_database.DatabaseError(
            _backup_database.explain("\n".join(said) or stream.errors, source)
        )
    found.start, found.end = log["start"].decode(), log["end"].decode()
    found.timeline = int(log["timeline"])
    found.sha256 = digest.hexdigest()
    return found


def _require_same(path: str, copied: _Copied) -> None:
    """Read it from the disk, and refuse what is not what was printed.

    :raises BackupError: it is not.
    """
    digest = hashlib.sha256()
    for piece in unpacked(path):
        digest.update(piece)
    if digest.hexdigest() != copied.sha256:
        raise BackupError(f"{path} does not hold what pg_basebackup printed; see the disk.")


def unpacked(path: str) -> Iterator[bytes]:
    """Go through the tar file of a base.

    :raises BackupError: it is damaged.
    """
    if path.endswith(".gz"):
        try:
            with gzip.open(path, "rb") as stream:
                while piece := stream.read(_PIECE):
                    yield piece
        except (OSError, EOFError) as error:
            raise BackupError(f"{path} is damaged: {error}.") from error
        return
    argv = ["zstd", "-q", "-dc", "--", path]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        while piece := process.stdout.read(_PIECE):
            yield piece
    if process.returncode != 0:
        raise BackupError(f"{path} is damaged: zstd ended with {process.returncode}.")
