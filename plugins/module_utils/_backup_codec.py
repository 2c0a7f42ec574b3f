# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Compress a dump on its way to the disk, on all cores and in bounded memory.

An archive is compressed by the server's own zstd: beside the database's container and its limits,
with threads and a checksum, whatever pg_dump was built with. Two threads are enough, for pg_dump
makes text no faster than that. SQL is gzip, one stream as gzip itself would write it, but made of
blocks that are compressed at the same time.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

from ._backups import BackupError

_BLOCK = 1024 * 1024
_WINDOW = 32 * 1024
_MOST_THREADS = 8
# Of gzip: deflate, no name, no time, made on Unix.
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
_ZSTD_THREADS = 2
GZIP_LEVEL = 6
# Measured on bookings as JSON: a third of the time of level 3, and smaller than that and than gzip.
ZSTD_LEVEL = 2


class CodecError(BackupError):
    """A dump that could not be written; the text is a clause that says why."""


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def has_zstd() -> bool:
    """Return whether the server has the program zstd."""
    return shutil.which("zstd") is not None


def plain(pieces: Iterable[memoryview], out: IO[bytes]) -> None:
    """Write what comes as it comes."""
    for piece in pieces:
        out.write(piece)


def zstd(pieces: Iterable[memoryview], out: IO[bytes], level: int = ZSTD_LEVEL) -> None:
    """Compress by the program zstd, which puts a checksum at the end."""
    threads = min(cores(), _ZSTD_THREADS)
    argv = ["zstd", "-q", f"-{level}", f"-T{threads}", "-c"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out, stderr=said)
        try:
            if process.stdin is None:
                raise AssertionError("a pipe was asked for")
            try:
                for piece in pieces:
                    process.stdin.write(piece)
                process.stdin.close()
            except BrokenPipeError:
                # What it says of the cause is read below.
                pass
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code != 0:
            said.seek(0)
            lines = said.read(4096).decode(errors="replace").split("\n")
            raise CodecError(f"zstd ended with {code}: {lines[0].rpartition(' : ')[2].strip('. ')}")


def gzip(pieces: Iterable[memoryview], out: IO[bytes], level: int = GZIP_LEVEL) -> None:
    """Compress as gzip does, with as many threads as there are processors."""
    out.write(_GZIP_HEAD)
    checksum, length, before = 0, 0, b""
    threads = min(cores(), _MOST_THREADS)
    under_way: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for block in _blocks(pieces):
            checksum = zlib.crc32(block, checksum)
            length += len(block)
            under_way.append(pool.submit(_deflate, block, before, level))
            before = block[-_WINDOW:]
            if len(under_way) > threads:
                out.write(under_way.popleft().result())
        while under_way:
            out.write(under_way.popleft().result())
    out.write(zlib.compressobj(level, zlib.DEFLATED, -15).flush())
    out.write(struct.pack("<II", checksum, length & 0xFFFFFFFF))


def _deflate(block: bytes, before: bytes, level: int) -> bytes:
    """Compress one block that refers to the one before, up to a border between bytes."""
    coder = zlib.compressobj(level, zlib.DEFLATED, -15, zdict=before)
    return coder.compress(block) + coder.flush(zlib.Z_SYNC_FLUSH)


def _blocks(pieces: Iterable[memoryview]) -> Iterable[bytes]:
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


Writer = Callable[[Iterable[memoryview], IO[bytes]], None]
