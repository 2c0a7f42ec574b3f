# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Copies of configurations elsewhere: without one a backup of the data has no server to go to."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta

from . import _config_backup
from ._offsite import Offsite

_MOST = 3


def listing(offsite: Offsite) -> list[str]:
    """Return the whole copies, oldest first."""
    return _config_backup.complete(offsite.sizes())


def copy(offsite: Offsite, directory: str, step: Callable[..., None], *, write: bool) -> list[str]:
    """Copy the newest configurations that are not there yet; return their files.

    :raises OffsiteError: the store refused one.
    """
    there = set(listing(offsite))
    missing = [one for one in _config_backup.listing(directory)[-_MOST:] if one not in there]
    for file in missing if write else []:
        step("copy a configuration elsewhere", file=file)
        offsite.put(os.path.join(directory, file))
    return missing


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
