# SPDX-License-Identifier: GPL-3.0-or-later
"""A proof is taken away where damage was found, and by nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_run,
    _backup_verify,
    _backups,
    _docker,
)

ID = "car_rental_backup_20261125_020000"
AT = "2026-11-25T02:00:00Z"


class Operation:
    """An operation that notes nothing."""

    id = ""

    def step(self, *_names: str, **_facts: Any) -> None:
        """Note nothing."""


def written(folder: Path, ending: str, content: bytes, **known: Any) -> _backups.Backup:
    path = folder / f"{ID}.{ending}"
    path.write_bytes(content)
    manifest = _backups.Manifest(
        *(ID, path.name, "dump", len(content), hashlib.sha256(content).hexdigest(), AT, AT, 1.0),
        **{"tables": {"public.cars": 1}, "verified": {"level": "read", "at": AT}, **known},
    )
    _backups.save_manifest(str(path), manifest)
    return _backups.load(str(path))


def proved(backup: _backups.Backup) -> _backup_run.Outcome:
    source = cast(Any, SimpleNamespace(container=SimpleNamespace(id="postgres")))
    return _backup_run.prove(backup, source, cast(Any, Operation()))


def test_an_encrypted_backup_keeps_its_proof_where_its_checksum_holds(tmp_path: Path) -> None:
    outcome = proved(written(tmp_path, "dump.zst.age", b"age-encryption.org/v1"))
    assert outcome.backup.verified
    (did,) = outcome.actions
    assert "compare the checksum" in did and "nothing else of it was read" in did


def test_an_encrypted_backup_that_was_changed_loses_it(tmp_path: Path) -> None:
    backup = written(tmp_path, "dump.zst.age", b"age-encryption.org/v1")
    Path(backup.path).write_bytes(b"age-encryption.org/v2")
    with pytest.raises(_backup_verify.DamageError, match="is damaged: its sha256 is"):
        proved(backup)
    assert not _backups.load(backup.path).verified


@pytest.mark.parametrize(
    ("known", "says"),
    [({"damage": "cut"}, "it is cut"), ({"verified": {}}, "it is not verified")],
)
def test_a_checksum_is_no_proof_of_what_was_never_proved(
    tmp_path: Path, known: dict[str, Any], says: str
) -> None:
    backup = written(tmp_path, "dump.age", b"age-encryption.org/v1", **known)
    with pytest.raises(_backups.BackupError, match=says):
        proved(backup)
    assert _backups.load(backup.path).manifest == backup.manifest


def test_a_foreign_encrypted_backup_cannot_be_compared(tmp_path: Path) -> None:
    path = tmp_path / f"{ID}.dump.gpg"
    path.write_bytes(b"gpg")
    with pytest.raises(_backups.BackupError, match="is encrypted and has no manifest"):
        proved(_backups.load(str(path)))
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that read a backup: those of this folder alone."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(_docker, "_START_PAUSES", ())
    return folder


def program(path: Path, said: str, code: int) -> None:
    path.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit {code}\n')
    path.chmod(0o700)


def test_a_server_without_zstd_says_nothing_of_a_backup(tmp_path: Path, reads: Path) -> None:
    program(reads / "docker", "", 0)
    backup = written(tmp_path, "dump.zst", b"\x28\xb5\x2f\xfd of zstd")
    with pytest.raises(_backup_verify.VerifyError, match="zstd is not on this server"):
        proved(backup)
    assert _backups.load(backup.path).verified


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("OCI runtime exec failed: waiting for init preliminary setup: read init-p", 126),
        ("Error response from daemon: container postgres is not running", 1),
        ("", 137),
    ],
)
def test_a_container_that_does_not_run_says_nothing_of_a_backup(
    tmp_path: Path, reads: Path, said: str, code: int
) -> None:
    program(reads / "docker", said, code)
    backup = written(tmp_path, "dump", b"PGDMP and so on")
    with pytest.raises(_backup_verify.VerifyError, match="could not be read") as caught:
        proved(backup)
    assert "is damaged" not in str(caught.value)
    assert _backups.load(backup.path).verified


def test_what_pg_restore_stumbles_over_is_damage(tmp_path: Path, reads: Path) -> None:
    program(reads / "docker", "pg_restore: error: could not read from input file", 1)
    backup = written(tmp_path, "dump", b"PGDMP and so on")
    with pytest.raises(_backup_verify.DamageError, match="is damaged: pg_restore ended with 1"):
        proved(backup)
    assert not _backups.load(backup.path).verified
