# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup is read from its first to its last byte, and what is wrong with it is named."""

from __future__ import annotations

import gzip
import hashlib
import random
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_scan,
    _backup_verify,
    _backups,
    _docker,
)

HEAD = b"--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n"
CARS = (
    b"CREATE TABLE public.cars (\n    id integer,\n    note text\n);\n\n"
    b"COPY public.cars (id, note) FROM stdin;\n1\tCOPY public.x (a) FROM stdin;\n2\t\\N\n3\ta\\nb\n"
    b"\\.\n\n"
)
EMPTY = (
    b'CREATE TABLE public."Log Book" (id integer);\nCOPY public."Log Book" (id) FROM stdin;\n\\.\n'
)
END = b"--\n-- PostgreSQL database dump complete\n--\n\n"
WHOLE = HEAD + CARS + EMPTY + END


def scan(text: bytes, size: int) -> _backup_scan.Scan:
    found = _backup_scan.Scan()
    for at in range(0, len(text), size):
        found.feed(text[at : at + size])
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 61, 100000])
def test_rows_are_counted_wherever_the_text_is_cut_into_pieces(size: int) -> None:
    found = scan(WHOLE, size)
    assert found.rows == {"public.cars": 3, "public.Log Book": 0}
    assert found.created == 2
    assert found.problem() == ""


@pytest.mark.parametrize("tail", [END, END + b"\\unrestrict AbCdEf\n\n"])
def test_both_last_lines_of_pg_dump_are_known(tail: bytes) -> None:
    assert scan(HEAD + CARS + tail, 50).problem() == ""


@pytest.mark.parametrize("size", [1, 9, 100000])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(HEAD + CARS[:120], "in the middle of the rows of public.cars", id="mid COPY"),
        pytest.param(HEAD + CARS, "its last line is not", id="between statements"),
        pytest.param(HEAD + END, "it holds no table", id="valid and empty"),
        pytest.param(HEAD + END + CARS, "its last line is not", id="trailer in the middle"),
        pytest.param(
            HEAD + CARS.replace(b"\\.\n", b"") + END, "the rows of public.cars", id="no end of rows"
        ),
    ],
)
def test_what_is_no_whole_dump_is_named(text: bytes, says: str, size: int) -> None:
    assert says in scan(text, size).problem()


def written(folder: Path, content: bytes, *, manifest: bool = True) -> _backups.Backup:
    path = folder / "car_rental_backup_20261125_020000.sql.gz"
    path.write_bytes(content)
    if manifest:
        at = "2026-11-25T02:00:00Z"
        digest = hashlib.sha256(content).hexdigest()
        _backups.save_manifest(
            str(path),
            _backups.Manifest(
                *("car_rental_backup_20261125_020000", path.name, "sql.gz", len(content), digest),
                *(at, at, 1.0),
                tables={"public.cars": 3, "public.Log Book": 0},
            ),
        )
    return _backups.load(str(path))


def test_proof_tells_the_rows(tmp_path: Path) -> None:
    proof = _backup_verify.verify(written(tmp_path, gzip.compress(WHOLE)), [])
    assert proof.tables == {"public.cars": 3, "public.Log Book": 0}
    assert proof.text_bytes == len(WHOLE)


def test_members_one_after_the_other_are_one_text(tmp_path: Path) -> None:
    content = b"".join(gzip.compress(WHOLE[at : at + 37]) for at in range(0, len(WHOLE), 37))
    assert _backup_verify.verify(written(tmp_path, content), []).created == 2


def test_other_rows_than_the_manifest_says_are_refused(tmp_path: Path) -> None:
    content = gzip.compress(WHOLE.replace(b"2\t\\N\n", b""))
    with pytest.raises(_backup_verify.VerifyError, match=r"public\.cars has 2 rows instead of 3"):
        _backup_verify.verify(written(tmp_path, content), [])


def test_changed_byte_is_named_by_the_checksum(tmp_path: Path) -> None:
    backup = written(tmp_path, gzip.compress(WHOLE))
    content = bytearray(Path(backup.path).read_bytes())
    content[len(content) // 2] ^= 4
    Path(backup.path).write_bytes(content)
    with pytest.raises(_backup_verify.VerifyError, match="is damaged: its sha256 is"):
        _backup_verify.verify(backup, [])


def test_no_damage_of_a_foreign_dump_passes(tmp_path: Path) -> None:
    """Flipped bits, missing ends: gzip's checksum or the last line tells, or nothing was lost."""
    chance = random.Random(4)  # noqa: S311  # repeatable, no secret
    rows = b"".join(b"%d\trow %d\n" % (n, n * 7919) for n in range(3000))
    text = HEAD + CARS.replace(b"2\t\\N\n", rows) + END
    good = gzip.compress(text)
    harmless = 0
    for _attempt in range(300):
        content = bytearray(good)
        if chance.random() < 0.5:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        else:
            del content[chance.randrange(len(content)) :]
        backup = written(tmp_path, bytes(content), manifest=False)
        try:
            proof = _backup_verify.verify(backup, [])
        except _backup_verify.VerifyError:
            continue
        # The time and the system in the header of gzip are no part of the text.
        assert proof.text_bytes == len(text) and proof.tables["public.cars"] == 3002
        harmless += 1
    assert harmless < 15


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (gzip.compress(b""), "it is empty"),
        (b"-- PostgreSQL database dump", "not compressed by gzip"),
    ],
)
def test_what_is_no_dump_at_all_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(_backup_verify.VerifyError, match=says):
        _backup_verify.verify(written(tmp_path, content, manifest=False), [])


def test_pg_restore_is_begun_again_where_its_container_could_not_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_docker, "_START_PAUSES", (0, 0, 0))
    program = tmp_path / "restore"
    said = "OCI runtime exec failed: waiting for init preliminary setup: read init-p"
    program.write_text(
        "#!/bin/sh\n"
        f"echo >> {tmp_path}/tried; tail -c +6 > {tmp_path}/read\n"
        f'[ $(wc -l < {tmp_path}/tried) -gt 1 ] || {{ echo "{said}" >&2; exit 126; }}\n'
        f"cat {tmp_path}/read\n"
    )
    program.chmod(0o700)
    path = tmp_path / "car_rental_backup_20261125_020000.dump"
    path.write_bytes(b"PGDMP" + WHOLE)
    proof = _backup_verify.verify(_backups.load(str(path)), [str(program)])
    assert proof.tables == {"public.cars": 3, "public.Log Book": 0}
    # The second time it read from the beginning.
    assert (tmp_path / "tried").read_text().count("\n") == 2

    program.write_text(f'#!/bin/sh\necho "{said}" >&2; exit 126\n')
    with pytest.raises(_backup_verify.VerifyError, match="is its memory full"):
        _backup_verify.verify(_backups.load(str(path)), [str(program)])
