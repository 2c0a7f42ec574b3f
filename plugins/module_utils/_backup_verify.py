# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Prove that a backup can be read, byte by byte: checksum, full read, last line, rows.

``gzip -t`` passes an empty dump and one whose pg_dump died; ``pg_restore -l`` passes half a file.
Here every byte goes through decompression, and an archive through the very pg_restore that would
restore it. The rows of SQL are counted and compared with the manifest. Those of an archive are
counted where nobody has counted them before: to print all of them takes as long as half a dump.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from . import _backup_scan, _backups, _docker

READ = "read"
_PIECE = 1024 * 1024
_ARCHIVE = b"PGDMP"
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class VerifyError(_backups.BackupError):
    """A backup that could not be proved; the text is a whole sentence."""


class DamageError(VerifyError):
    """A backup in which damage was found: it is not to be relied on."""


@dataclass(frozen=True)
class Proof:
    """What a full read found."""

    sha256: str
    tables: dict[str, int]
    created: int
    seconds: float
    text_bytes: int

    def as_verified(self, at: str) -> dict[str, Any]:
        """Return it as a manifest holds it."""
        return {
            "level": READ,
            "at": at,
            "seconds": round(self.seconds, 2),
            "tables": len(self.tables),
            "rows": sum(self.tables.values()),
        }


def verify(
    backup: _backups.Backup, restore: Sequence[str], expected: dict[str, int] | None = None
) -> Proof:
    """Read a backup from its first to its last byte.

    :param restore: the command that runs pg_restore where it is at home, up to its own options:
        ``docker exec -i <container> pg_restore``. Needed for ``.dump`` alone.
    :param expected: the rows of each table, as counted when it was made; those of its manifest
        unless told. The rows of an archive are only counted where nobody has counted them.
    :raises DamageError: it is damaged, cut or empty, or holds other rows than its manifest says.
    :raises VerifyError: that could not be found out here.
    """
    file = backup.name.file
    if backup.name.encryption:
        raise VerifyError(
            f"{file} is encrypted with {backup.name.encryption}; without the private key only its "
            "checksum can be proved here."
        )
    started = time.monotonic()
    _require_kind(backup)
    digest = require_checksum(backup)
    expected = expected or (backup.manifest.tables if backup.manifest else {})
    try:
        if backup.name.format == "dump" and expected:
            created = _read_archive(backup, restore, expected)
            return Proof(digest, expected, created, time.monotonic() - started, 0)
        scan = _backup_scan.Scan()
        for piece in pieces(backup, restore):
            scan.feed(piece)
    except DamageError as error:
        # pylint does not see through the import that it is an exception.
        raise DamageError(f"{file} is damaged: {error}") from error  # pylint: disable=bad-exception-cause
    if scan.problem():
        raise DamageError(f"{file} is no whole backup: {scan.problem()}.")
    difference = compare(expected, scan.rows)
    if difference:
        raise DamageError(f"{file} does not hold what it should: {difference}.")
    return Proof(digest, scan.rows, scan.created, time.monotonic() - started, scan.length)


def require_checksum(backup: _backups.Backup) -> str:
    """Return the sha256 of a backup, which has to be that of its manifest, if it has one.

    :raises DamageError: it is another one.
    """
    digest = sha256(backup.path)
    if backup.manifest and digest != backup.manifest.sha256:
        raise DamageError(
            f"{backup.name.file} is damaged: its sha256 is {digest[:12]}..., and was "
            f"{backup.manifest.sha256[:12]}... when it was made."
        )
    return digest


def damage(error: BaseException) -> DamageError | None:
    """Return the damage that an error tells of, itself or as its cause."""
    for one in (error, error.__cause__):
        if isinstance(one, DamageError):
            return one
    return None


@contextmanager
def distrusting(backup: _backups.Backup, *, marks: bool = True) -> Iterator[None]:
    """Mark a backup in which damage is found meanwhile, so that nobody relies on it any more.

    :param marks: without it nothing is written, as check mode wants it.
    """
    try:
        yield
    except _backups.BackupError as error:
        found = damage(error)
        if found and marks:
            # What was found is worth more than the reason why it could not be noted.
            with suppress(OSError):
                _backups.distrust(backup, str(found))
        raise


def pieces(backup: _backups.Backup, restore: Sequence[str]) -> Iterator[bytes]:
    """Go through the SQL of a backup that is not encrypted.

    :raises VerifyError: it cannot be read to its end.
    """
    return _sql_gz(backup.path) if backup.name.format == "sql.gz" else _as_sql(backup, restore)


def sha256(path: str) -> str:
    """Return the checksum of a file."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def compare(expected: dict[str, int], found: dict[str, int]) -> str:
    """Return how the rows of two tables of tables differ, in words; empty if they do not.

    A table without rows may be missing in what was found: no data, no COPY. What only stands in
    what was found belongs to an extension, which brings its tables itself.
    """
    lines = []
    for table in sorted(expected):
        before, now = expected[table], found.get(table, 0)
        if before != now:
            lines.append(f"{table} has {now} rows instead of {before}")
    return "; ".join(lines[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")


def _require_kind(backup: _backups.Backup) -> None:
    """Refuse what is not what its name says, with a better sentence than a decoder has."""
    with open(backup.path, "rb") as stream:
        first = stream.read(len(_ARCHIVE))
    file = backup.name.file
    if not first:
        raise DamageError(f"{file} is no whole backup: it is empty.")
    if backup.name.zstd and first[:4] != _ZSTD:
        raise DamageError(f"{file} is not compressed by zstd: it begins with other bytes.")
    if backup.name.format == "dump" and not backup.name.zstd and first != _ARCHIVE:
        raise DamageError(f"{file} is no archive of pg_dump: it does not begin with PGDMP.")
    if backup.name.format == "sql.gz" and first[:2] != _GZIP:
        raise DamageError(f"{file} is not compressed by gzip: it begins with other bytes.")


def _sql_gz(path: str) -> Iterator[bytes]:
    """Decompress all members of a gzip file; each ends with a checksum, which zlib compares."""
    decoder, begun = zlib.decompressobj(31), False
    with open(path, "rb", buffering=0) as stream:
        while data := stream.read(_PIECE):
            while data:
                begun = True
                try:
                    piece = decoder.decompress(data, 4 * _PIECE)
                except zlib.error as error:
                    raise DamageError(f"gzip says {_reason(error)}.") from error
                if piece:
                    yield piece
                data = decoder.unconsumed_tail
                if decoder.eof:
                    data = decoder.unused_data
                    decoder, begun = zlib.decompressobj(31), False
    if begun:
        raise DamageError("it ends in the middle of a compressed block.")


def _reason(error: Exception) -> str:
    return str(error).partition(": ")[2] or str(error)


def _read_archive(backup: _backups.Backup, restore: Sequence[str], expected: dict[str, int]) -> int:
    """Let pg_restore read all of an archive; return how many tables have data in it."""
    contents = b"".join(_run(backup, [*restore, "-l"], whole=False)).decode(errors="replace")
    lines = [line for line in contents.splitlines() if " TABLE DATA " in line]
    missing = [
        table
        for table, rows in sorted(expected.items())
        if rows and not any(f" TABLE DATA {table.replace('.', ' ', 1)} " in one for one in lines)
    ]
    if missing:
        raise DamageError(f"it has no data of {', '.join(missing[:5])}.")
    for _piece in _run(backup, [*restore, "-f", "/dev/null"]):
        raise DamageError("pg_restore printed something although it was told not to.")
    return len(lines)


def _as_sql(backup: _backups.Backup, restore: Sequence[str]) -> Iterator[bytes]:
    """Let pg_restore turn a whole archive into SQL; no database is touched."""
    return _run(backup, [*restore, "-f", "-"])


def _run(backup: _backups.Backup, argv: Sequence[str], *, whole: bool = True) -> Iterator[bytes]:
    """Let pg_restore read an archive, and return what it prints.

    :param whole: it reads to the end; otherwise it may stop before.
    :raises DamageError: it found damage.
    :raises VerifyError: it could not be started.
    """
    try:
        # Its first piece comes, or its end, when the container has started it.
        first, rest = _docker.begun(lambda: _begun(_run_once(backup, argv, whole=whole)))
    except _docker.NotBegunError as error:
        raise VerifyError(f"{backup.name.file} could not be read: {error}") from error
    yield from first
    yield from rest


def _begun(output: Iterator[bytes]) -> tuple[list[bytes], Iterator[bytes]]:
    """Return the first piece of an output, if there is one, and the rest of it."""
    first = next(output, None)
    return [] if first is None else [first], output


def _run_once(backup: _backups.Backup, argv: Sequence[str], *, whole: bool) -> Iterator[bytes]:
    # Whoever stops half-way raises here, and what is open is closed then.
    # pylint: disable-next=contextmanager-generator-missing-cleanup
    with opened(backup, whole=whole) as stream, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(argv, stdin=stream, stdout=subprocess.PIPE, stderr=said)
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        # Only pg_restore reads it now; when it ends, what writes to it must notice.
        stream.close()
        try:
            while piece := process.stdout.read1(_PIECE):  # type: ignore[attr-defined]
                yield piece
            code = process.wait()
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
                process.wait()
        said.seek(0)
        message = said.read(_PIECE).decode(errors="replace")
        _docker.require_begun(code, message)
        if code == 0:
            return
        said_why = f"pg_restore ended with {code}: {_first(message)}."
        # pg_restore itself ends with 1. All else is a signal, or Docker that speaks of itself.
        if code == 1 and "daemon" not in message:
            raise DamageError(said_why)
        raise VerifyError(f"{backup.name.file} could not be read: {said_why}")


@contextmanager
def opened(backup: _backups.Backup, *, whole: bool = True) -> Iterator[IO[bytes]]:
    """Open what pg_restore reads of a backup: its file, or what zstd makes of it.

    Give it to a process as its standard input. At the end zstd must have found nothing wrong.

    :param whole: it is read to its end; otherwise the reader may stop before.

    :raises DamageError: zstd found damage.
    :raises VerifyError: zstd is missing.
    """
    if not backup.name.zstd:
        with open(backup.path, "rb") as stream:
            yield stream
        return
    with tempfile.TemporaryFile() as said:
        argv = ["zstd", "-q", "-dc", "--", backup.path]
        try:
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=said)
        except FileNotFoundError as error:
            raise VerifyError(
                "zstd is not on this server; run playbooks/bootstrap.yml, which installs it."
            ) from error
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        try:
            yield process.stdout
        except BaseException as error:
            process.stdout.close()
            process.wait()
            # pg_restore stumbles over what zstd could not read; one that nobody reads from any
            # more is ended by SIGPIPE, which is no finding of its own.
            if isinstance(error, DamageError) and process.returncode > 0:
                raise DamageError(_of_zstd(process.returncode, said)) from error
            raise
        process.stdout.close()
        if process.wait() > 0 or (whole and process.returncode != 0):
            raise DamageError(_of_zstd(process.returncode, said))


def _of_zstd(code: int, said: IO[bytes]) -> str:
    said.seek(0)
    message = _first(said.read(_PIECE).decode(errors="replace"))
    # It begins with what it reads from.
    return f"zstd ended with {code}: {message.partition(' : ')[2] or message}."


def _first(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    wanted = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
    return (wanted or "it gave no reason").rstrip(".")
