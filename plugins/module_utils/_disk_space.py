# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""How much room there is where a path lies, or would lie."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Disk:
    """Space on a file system, by its device."""

    # The directory that was looked at: the one that was asked for, or the nearest above it.
    path: str
    device: int
    # In bytes, for this user.
    free: int
    # Nothing where the file system does not count them.
    free_inodes: int | None = None


def look(path: str) -> Disk:
    """Return the space where a path lies, or would lie.

    :raises OSError: it cannot be looked at.
    """
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        # Docker's directories are closed to others; their parent is on the same disk unless
        # they are a mount, and that can be seen.
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return Disk(
        path,
        os.stat(path).st_dev,
        status.f_bavail * status.f_frsize,
        status.f_favail if status.f_files else None,
    )
