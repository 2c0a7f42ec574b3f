# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Switch the receiver of the write-ahead log on and off, without being root.

``playbooks/bootstrap.yml`` brought a path of systemd, which starts the receiver as soon as its
settings are there. Without them it ends by itself.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

from . import (
    _backup_database,
    _engine,
    _schedule,
    _wal_receiver,
    _wal_server,
    _wal_status,
)
from ._backups import BackupError
from ._docker import DockerError
from ._schedule import Program

_END = 60.0


def program(unit: str, state_dir: str) -> Program:
    """Return where the receiver lies."""
    return Program(
        "carrental-wal", "wal.json", "the receiver of the write-ahead log", unit, state_dir
    )


def install(
    found: Program, content: bytes, wish: _wal_receiver.Wish, *, check_mode: bool
) -> list[str]:
    """Have the receiver; return what was done.

    :raises BackupError: nothing is there that could start it.
    :raises OSError: a file cannot be written.
    """
    if wish.slot_max_mb < 1 or wish.min_free_mb < 1:
        raise BackupError(
            f"backup_wal_slot_max_mb is {wish.slot_max_mb} and backup_wal_min_free_mb is "
            f"{wish.min_free_mb}; give 1 or more: they keep the disk from being filled. Nothing "
            "was changed."
        )
    if not _schedule.is_at_work(f"{found.unit}.path"):
        raise BackupError(
            f"{found.unit}.path of systemd is not at work on this server, and nothing else starts "
            f"{found.called}; run playbooks/bootstrap.yml, which installs it, or set "
            "backup_point_in_time to false. Nothing was changed."
        )
    text = json.dumps(asdict(wish), indent=2, sort_keys=True) + "\n"
    changed = _schedule.put(found.path, content, 0o700, check_mode)
    # These start it, so they come last.
    changed |= _schedule.put(found.config_path, text.encode(), 0o600, check_mode)
    return [f"install {found.called}"] if changed else []


def uninstall(found: Program, wish: _wal_receiver.Wish, *, check_mode: bool) -> list[str]:
    """Have no receiver and no slot; what was received stays. Return what was done.

    :raises BackupError: the slot cannot be dropped.
    """
    files = (found.config_path, found.path)
    known = _wal_status.path(wish.state_dir)
    if not any(os.path.exists(one) for one in (*files, known)):
        return []
    done = [
        f"remove {found.called}",
        f"drop the replication slot {_wal_server.SLOT}",
    ]
    if check_mode:
        return done
    most_mb = _installed(found).get("slot_max_mb", wish.slot_max_mb)
    for one in files:
        _schedule.remove(one, check_mode=False)
    # It ends by itself now, and must not make the slot anew after it was dropped.
    with _wal_receiver.alone(wish.state_dir, _END):
        try:
            engine = _engine.Engine()
            engine.remove_labelled(_wal_receiver.LABEL, wish.project)
            source = _backup_database.source(
                engine, wish.project, wish.database_service, wish.database
            )
            _wal_server.drop_slot(source)
            _wal_server.unbound(source, most_mb)
        except (BackupError, DockerError) as error:
            why = str(error).removesuffix(" Nothing was changed.").rstrip(".")
            raise BackupError(
                f"The receiver of the write-ahead log is removed, and its slot {_wal_server.SLOT} "
                f"could not be dropped: {why}. It keeps {most_mb} MB at the most; run the "
                "same again when the database runs."
            ) from error
        _wal_status.forget(wish.state_dir, wish.metrics_dir)
    return done


def _installed(found: Program) -> dict[str, Any]:
    """Return the settings that the receiver has had."""
    try:
        with open(found.config_path, encoding="utf-8") as stream:
            known: dict[str, Any] = json.load(stream)
    except (OSError, ValueError):
        return {}
    return known
