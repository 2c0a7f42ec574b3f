# SPDX-License-Identifier: GPL-3.0-or-later
"""Compression by all cores gives what one gzip would have given."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _backup_codec


def pieces(text: bytes, size: int) -> Iterator[memoryview]:
    for at in range(0, len(text), size):
        yield memoryview(text)[at : at + size]


def rows(count: int) -> bytes:
    chance = random.Random(5)  # noqa: S311  # repeatable, no secret
    return b"".join(b"%d\tcar %d\t2026-11-25\n" % (n, chance.randrange(500)) for n in range(count))


@pytest.mark.parametrize("count", [0, 1, 1000, 150_000])
def test_gzip_of_many_threads_is_gzip(count: int) -> None:
    text, out = rows(count), io.BytesIO()
    _backup_codec.gzip(pieces(text, 32768), out)
    assert gzip.decompress(out.getvalue()) == text


def test_it_is_no_larger_than_that_of_one_thread() -> None:
    text, out = rows(150_000), io.BytesIO()
    _backup_codec.gzip(pieces(text, 32768), out)
    assert len(out.getvalue()) <= len(gzip.compress(text, 6)) * 1.002


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not on this machine")
def test_zstd_comes_back_with_a_checksum(tmp_path: object) -> None:
    text = rows(100_000)
    with open(f"{tmp_path}/x.zst", "w+b") as out:
        _backup_codec.zstd(pieces(text, 32768), out)
        out.seek(0)
        packed = out.read()
    done = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True)
    assert done.stdout == text
    packed = packed[:-1] + bytes([packed[-1] ^ 1])
    broken = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=False)
    assert b"checksum" in broken.stderr


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not on this machine")
def test_full_disk_is_said_by_name() -> None:
    with (
        open("/dev/full", "wb") as out,
        pytest.raises(_backup_codec.CodecError, match="No space left on device"),
    ):
        _backup_codec.zstd(pieces(rows(200_000), 32768), out)
