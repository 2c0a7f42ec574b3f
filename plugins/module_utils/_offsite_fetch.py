# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Bring copies back from elsewhere: what arrived is compared before it gets its name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from . import _backups, _offsite_config, _whole_file
from ._backups import Backup
from ._offsite import Offsite, OffsiteError

CONFIGURATION = "configuration"


@dataclass
class Fetched:
    """What was brought, or was there already."""

    backup: str = ""
    configuration: str = ""
    fetched: list[str] = field(default_factory=list)
    bytes: int = 0


def fetch(
    offsite: Offsite,
    directory: str,
    wanted: str,
    step: Callable[..., None],
    *,
    configuration: bool,
    write: bool,
) -> Fetched:
    """Bring a backup, and the newest configuration where that is asked for.

    :param wanted: as :func:`_backups.find` takes it; empty brings no backup.
    :raises BackupError: there is none, or something else arrived than was copied.
    """
    found = Fetched()
    sizes = offsite.sizes()
    if wanted:
        copies = offsite.listing()
        if wanted == "latest" or wanted.startswith("before="):
            copies = [one for one in copies if not one.put_aside]
            _require_one_server(offsite, copies)
        found.backup = os.path.basename(_backups.find(copies, wanted).path)
    if configuration:
        names = _offsite_config.listing(offsite)
        if not names:
            raise OffsiteError(
                f"There is no configuration in {offsite.place.where}; a backup copies one there "
                "when backup_encryption is set. Nothing was changed."
            )
        found.configuration = names[-1]
    for file in filter(None, (found.backup, found.configuration)):
        if _is_there(directory, file, sizes[file]):
            continue
        found.fetched.append(file)
        found.bytes += sizes[file]
        if write:
            step("fetch a copy", file=file, bytes=sizes[file])
            _bring(offsite, directory, file)
    return found


def _require_one_server(offsite: Offsite, copies: Sequence[Backup]) -> None:
    """Refuse to choose among the copies of several servers."""
    hosts = sorted({one.manifest.host for one in copies if one.manifest and one.manifest.host})
    if len(hosts) > 1:
        raise OffsiteError(
            f"{offsite.place.where} has copies of {', '.join(hosts)}; name one by its id, and give "
            "each server a place of its own (backup_offsite_prefix). Nothing was changed."
        )


def _is_there(directory: str, file: str, size: int) -> bool:
    path = os.path.join(directory, file)
    whole = os.path.exists(path + _backups.MANIFEST) and os.path.exists(path)
    return whole and os.path.getsize(path) == size


def _bring(offsite: Offsite, directory: str, file: str) -> None:
    manifest = offsite.read(file + _backups.MANIFEST)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, file)
    partial = path + _backups.PARTIAL
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(handle, "wb") as out:
            digest = offsite.fetch(file, out)
            out.flush()
            os.fsync(out.fileno())
        wanted = str(json.loads(manifest)["sha256"])
        if digest != wanted:
            raise OffsiteError(
                f"{file} of {offsite.place.where} is damaged: its sha256 is not that of its "
                "manifest; take another one. Nothing was changed."
            )
        os.rename(partial, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)
    _whole_file.write(path + _backups.CHECKSUM, _backups.checksum_line(digest, file).encode())
    # Last: what has no manifest is not believed.
    _whole_file.write(path + _backups.MANIFEST, manifest)
