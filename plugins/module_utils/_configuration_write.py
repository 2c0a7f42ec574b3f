# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Put a proved configuration in place."""

from __future__ import annotations

import os

from ._configuration import Candidate, Change, ConfigurationError


def apply(proved: Candidate) -> None:
    """Write what differs.

    Everything is written and synced beside its place first, so that a full disk
    is met before any file in use is touched. Then the files move into place by
    rename, which no reader ever sees half done. Only a file that a container
    mounts by itself is copied into the old one: a rename would leave the
    container with the old inode until it is recreated. What reads such a file
    reads it when told to, after the copy.
    """
    dest = proved.wish.dest
    staged: list[tuple[Change, str]] = []
    try:
        for change in proved.changes:
            if change.new is None:
                continue
            target = os.path.join(dest, change.path)
            os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
            temporary = os.path.join(
                os.path.dirname(target), f".{os.path.basename(target)}.carrental-new"
            )
            if os.path.lexists(temporary):
                os.unlink(temporary)
            staged.append((change, temporary))
            _write_synced(temporary, change.new, change.mode)
        for change, temporary in staged:
            target = os.path.join(dest, change.path)
            if change.path in proved.in_place and os.path.isfile(target):
                _copy_in_place(target, change)
                os.unlink(temporary)
            else:
                os.replace(temporary, target)
        for change in proved.changes:
            if change.new is None:
                os.unlink(os.path.join(dest, change.path))
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write {error.filename or dest}: {error.strerror}; the owner of {dest} has to "
            "be the user that deploys, and the disk needs space. A new run completes what was "
            "begun."
        ) from error
    finally:
        for _change, temporary in staged:
            if os.path.lexists(temporary):
                os.unlink(temporary)


def _write_synced(path: str, content: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(path, mode)


def _copy_in_place(target: str, change: Change) -> None:
    if change.new is not None and change.content:
        with open(target, "r+b") as stream:
            stream.write(change.new)
            stream.truncate()
            stream.flush()
            os.fsync(stream.fileno())
    os.chmod(target, change.mode)
