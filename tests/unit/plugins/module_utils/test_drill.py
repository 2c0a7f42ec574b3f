# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill takes the proof from a backup where it found damage, and for nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_verify,
    _backups,
    _drill,
    _restore,
    _restore_swap,
)

ID = "car_rental_backup_20261125_020000"
AT = "2026-11-25T02:00:00Z"


@pytest.mark.parametrize(
    ("found", "verified"),
    [(_backup_verify.DamageError("it is cut."), False), (_backup_verify.VerifyError("no."), True)],
)
def test_only_damage_takes_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Exception, verified: bool
) -> None:
    path = tmp_path / f"{ID}.dump"
    path.write_bytes(b"PGDMP")
    digest = hashlib.sha256(b"PGDMP").hexdigest()
    manifest = _backups.Manifest(
        *(ID, path.name, "dump", 5, digest, AT, AT, 1.0), verified={"level": "read", "at": AT}
    )
    _backups.save_manifest(str(path), manifest)

    class Restore:
        """A restore that reads a backup and stops there."""

        def __init__(self, *_given: object) -> None:
            pass

        def read(self, _backup: _backups.Backup) -> None:
            raise _restore.RestoreError("It is not restored.") from found

    monkeypatch.setattr(_restore, "Restore", Restore)
    monkeypatch.setattr(_restore_swap, "Server", lambda *_given: None)
    operation = SimpleNamespace(id="", step=lambda *_names, **_facts: None)
    nobody = cast(Any, None)
    wish = _drill.Wish("carrental", "postgres", "carrental", str(tmp_path))
    with pytest.raises(_restore.RestoreError):
        _drill._try(nobody, nobody, wish, _backups.load(str(path)), cast(Any, operation))
    assert _backups.load(str(path)).verified is verified
