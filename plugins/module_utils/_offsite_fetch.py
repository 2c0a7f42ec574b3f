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

from . import (
    _backup_verify,
    _backups,
    _config_backup,
    _offsite,
    _offsite_config,
    _whole_file,
)
from ._backups import Backup
from ._offsite import Offsite, OffsiteError


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
    configuration: str,
    write: bool,
) -> Fetched:
    """Bring a backup and a configuration, where they are asked for.

    :param wanted: as :func:`_backups.find` takes it; empty brings no backup.
    :param configuration: ``latest`` or a file; empty brings none.
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
        found.configuration = _configuration(offsite, directory, configuration)
    for file in filter(None, (found.backup, found.configuration)):
        # A configuration that is not there was found here.
        if file not in sizes or _is_there(offsite, directory, file):
            continue
        found.fetched.append(file)
        found.bytes += sizes[file]
        if write:
            step("fetch a copy", file=file, bytes=sizes[file])
            _bring(offsite, directory, file)
    return found


def _configuration(offsite: Offsite, directory: str, wanted: str) -> str:
    """Return the file of the configuration that is meant."""
    names = _offsite_config.listing(offsite)
    if wanted == "latest" and names:
        return names[-1]
    if wanted in [*names, *_config_backup.listing(directory)]:
        return wanted
    if names:
        raise OffsiteError(
            f"There is no configuration {wanted!r} in {offsite.place.where}; there are "
            f"{', '.join(names)}. Nothing was changed."
        )
    raise OffsiteError(
        f"There is no configuration in {offsite.place.where}; a backup copies one there when "
        "backup_encryption is set. Nothing was changed."
    )


def _require_one_server(offsite: Offsite, copies: Sequence[Backup]) -> None:
    """Refuse to choose among the copies of several servers."""
    hosts = sorted({one.manifest.host for one in copies if one.manifest and one.manifest.host})
    if len(hosts) > 1:
        raise OffsiteError(
            f"{offsite.place.where} has copies of {', '.join(hosts)}; name one by its id, and give "
            "each server a place of its own (backup_offsite_prefix). Nothing was changed."
        )


def _is_there(offsite: Offsite, directory: str, file: str) -> bool:
    """Return whether the very file is here already, byte by byte.

    :raises OffsiteError: a whole one of that name is here, and another one.
    """
    path = os.path.join(directory, file)
    if not os.path.exists(path + _backups.MANIFEST) or not os.path.exists(path):
        return False
    digest = _backup_verify.sha256(path)
    if digest == _offsite.checksum(offsite, file):
        return True
    if digest == _config_backup.checksum(directory, file):
        raise OffsiteError(
            f"{path} is whole, and another one than that of {offsite.place.where}; move it away "
            "first, for it would be overwritten. Nothing was changed."
        )
    return False


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
        if digest != str(json.loads(manifest)["sha256"]):
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
