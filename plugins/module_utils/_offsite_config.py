# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Copies of configurations elsewhere: without one a backup of the data has no server to go to."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta

from . import _backup_verify, _config_backup, _offsite
from ._offsite import Offsite, OffsiteError

_MOST = 3


def listing(offsite: Offsite) -> list[str]:
    """Return the whole copies, oldest first."""
    return _config_backup.complete(offsite.sizes())


def copy(offsite: Offsite, directory: str, step: Callable[..., None], *, write: bool) -> list[str]:
    """Copy the newest configurations that are not there yet; return their files.

    :raises OffsiteError: the store refused one, or one is damaged; the others are copied.
    """
    there = set(listing(offsite))
    copied, damaged = [], []
    for file in _config_backup.listing(directory)[-_MOST:]:
        digest = _config_backup.checksum(directory, file)
        if file in there:
            _require_own(offsite, file, digest)
        elif digest != _backup_verify.sha256(os.path.join(directory, file)):
            damaged.append(file)
        else:
            if write:
                step("copy a configuration elsewhere", file=file)
                offsite.put(os.path.join(directory, file))
            copied.append(file)
    if damaged:
        raise OffsiteError(
            f"{', '.join(damaged)} is not copied: it is damaged, for its sha256 is not that of its "
            f"manifest; remove it from {directory}."
        )
    return copied


def _require_own(offsite: Offsite, file: str, digest: str) -> None:
    """Refuse a place where another server has a configuration under the same name."""
    if digest and _offsite.checksum(offsite, file) != digest:
        raise OffsiteError(
            f"{file} in {offsite.place.where} is another one than that of this server, which is "
            "not copied; give each server a place of its own (backup_offsite_prefix)."
        )


def prune(
    offsite: Offsite,
    days: int,
    least: int,
    now: datetime,
    step: Callable[..., None],
    *,
    write: bool,
) -> list[str]:
    """Remove old copies there, never the last ones; return their files."""
    names = listing(offsite)
    limit = now - timedelta(days=days)
    old = [one for one in names[: -max(least, 1)] if _config_backup.moment(one) < limit]
    for file in old if write else []:
        step("remove an old copy", file=file)
        offsite.remove(file)
    return old
