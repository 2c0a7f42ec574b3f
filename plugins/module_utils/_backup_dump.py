# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Run pg_dump of the server's image and write what comes to a file.

A large database is dumped by a container beside the server's. A small one is dumped in there, for
it is done before another container has started, and so is one that does not let the other in.

No shell stands between: the server is process 1 of its container, and takes a child of a shell
that died for one of its own. When such a child is ended by a signal, the server thinks that it
crashed, and cuts all connections (seen with PostgreSQL 16).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from . import _backup_beside, _backup_codec, _exec_stream
from ._backup_database import DatabaseError, Source, explain
from ._backups import BackupError
from ._docker import DockerError

_SAY_EVERY = 15.0
# Measured: another container needs half a second, in which so much is dumped.
_BESIDE_FROM = 100_000_000
_NOT_LET_IN = re.compile(r"connection to server .* failed|could not open output file")
# Without zstd, an archive is compressed by pg_dump alone: fast, and a little larger.
_GZIP_IN_ARCHIVE = 1


@dataclass(frozen=True)
class Way:
    """How a dump becomes a file: which options pg_dump gets, and who compresses."""

    format: str
    codec: str
    options: tuple[str, ...]
    write: _backup_codec.Writer
    # The file is a stream of zstd around the archive.
    zstd: bool = False


def version(source: Source) -> str:
    """Return the version of pg_dump in the container."""
    code, output, errors = _exec_stream.run(
        source.docker, source.container.id, ["pg_dump", "--version"]
    )
    if code != 0:
        raise DatabaseError(
            f"{source.container.name} has no pg_dump that runs "
            f"({(errors or output).strip().rstrip('.')}); back up from an image that has it. "
            "Nothing was changed."
        )
    # pg_dump (PostgreSQL) 16.14 (Debian 16.14-1.pgdg13+1)
    return output.split(")", 1)[-1].split()[0]


def way(source: Source, form: str) -> Way:
    """Return the best way to make a dump of a format here."""
    if form == "sql.gz":
        return Way(form, "gzip", ("-Fp",), _backup_codec.gzip)
    if _backup_codec.has_zstd():
        return Way(form, "zstd", ("-Fc", "-Z0"), _backup_codec.zstd, zstd=True)
    if _knows_zstd(source):
        option = f"--compress=zstd:{_backup_codec.ZSTD_LEVEL}"
        return Way(form, "zstd (pg_dump)", ("-Fc", option), _backup_codec.plain)
    option = f"-Z{_GZIP_IN_ARCHIVE}"
    return Way(form, "gzip (pg_dump)", ("-Fc", option), _backup_codec.plain)


def _knows_zstd(source: Source) -> bool:
    """Return whether pg_dump was built with zstd: it judges its options before it connects."""
    argv = ["pg_dump", "-Fc", "--compress=zstd", "-h", "/nonexistent"]
    _code, _output, errors = _exec_stream.run(source.docker, source.container.id, argv)
    return "compress" not in errors.lower() and bool(errors)


def dump(
    source: Source,
    chosen: Way,
    out: IO[bytes],
    *,
    snapshot: str,
    operation: str,
    lock_timeout: int,
    size_bytes: int,
    pipe: str,
    say: Callable[[int, int], None],
) -> int:
    """Write a dump of the snapshot; return how many bytes pg_dump printed.

    :param size_bytes: of the database, by which the place is chosen.
    :param pipe: a path for a pipe out of a container beside the server's.
    :param say: told now and then how many bytes were read and written.
    :raises BackupError: pg_dump or what compresses failed, or the disk is full.
    """
    argv = ["pg_dump", *chosen.options, f"--snapshot={snapshot}", "--no-password"]
    argv += [f"--lock-wait-timeout={lock_timeout}s", "-U", source.user, "-d", source.database]
    if size_bytes >= _BESIDE_FROM:
        try:
            beside = _backup_beside.Beside(source.docker, source, argv, operation, pipe)
            return _written(beside, source, chosen, out, say)
        except (DockerError, OSError, _NotLetInError):
            # Its socket lets the superuser in whatever the network does.
            out.seek(0)
            out.truncate()
    stream = _exec_stream.Stream(
        source.docker,
        source.container.id,
        argv,
        source.environment(operation),
    )
    return _written(stream, source, chosen, out, say)


class _NotLetInError(Exception):
    """The container beside the server could not connect to it, or not write."""


def _written(
    stream: _exec_stream.Stream | _backup_beside.Beside,
    source: Source,
    chosen: Way,
    out: IO[bytes],
    say: Callable[[int, int], None],
) -> int:
    """Write what pg_dump prints; return how many bytes that were."""
    read = _Counted(stream.output(), lambda length: say(length, out.tell()))
    try:
        chosen.write(read, out)
        out.flush()
        code = stream.exit_code()
    except OSError as error:
        raise BackupError(f"The backup cannot be written: {error.strerror}.") from error
    except _backup_codec.CodecError as error:
        raise BackupError(f"The backup cannot be written: {error}.") from error
    finally:
        stream.close()
    if code != 0:
        said = stream.errors or f"pg_dump ended with {code} and gave no reason"
        beside = isinstance(stream, _backup_beside.Beside)
        if beside and not read.length and _NOT_LET_IN.search(said):
            raise _NotLetInError
        raise DatabaseError(explain(said, source))
    return read.length


class _Counted:
    """Pieces that are counted on their way, and told of now and then."""

    def __init__(self, pieces: Iterable[memoryview], say: Callable[[int], None]) -> None:
        self._pieces = pieces
        self._say = say
        self.length = 0

    def __iter__(self) -> Iterator[memoryview]:
        told = time.monotonic()
        for piece in self._pieces:
            yield piece
            self.length += len(piece)
            if time.monotonic() - told > _SAY_EVERY:
                told = time.monotonic()
                self._say(self.length)


def roles(source: Source, *, passwords: bool) -> str:
    """Return the SQL of the roles and tablespaces of the server."""
    argv = ["pg_dumpall", "--globals-only", "--no-password", "-U", source.user]
    argv += [] if passwords else ["--no-role-passwords"]
    code, output, errors = _exec_stream.run(
        source.docker,
        source.container.id,
        [*argv, "-l", source.database],
        source.environment(),
    )
    if code != 0:
        raise DatabaseError(explain(errors, source))
    return output
