# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The directory of snapshots: find them, build one of hard links, put it in its place.

What is being made lies in one working directory beside the snapshots, whose name is no
snapshot's. A file is never written to under its final name: the name of a file in one
snapshot is the name of the same file in others.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress

from . import _object_inventory
from ._object_entry import Stored, odd_path, path_of
from ._object_inventory import InventoryError
from ._object_plan import is_of_a_day, is_snapshot

WORK = ".minio-backup.partial"
_GOT, _NEXT, _BEFORE = "got", "next", "before"


class SnapshotError(Exception):
    """The directory cannot be used as it is; the text is a whole sentence."""


class Snapshots:
    """A directory of snapshots of one bucket."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.work = os.path.join(folder, WORK)
        self.got = os.path.join(self.work, _GOT)
        self.next = os.path.join(self.work, _NEXT)
        self._before = os.path.join(self.work, _BEFORE)
        self._made = ""
        self._lock = -1

    def names(self) -> list[str]:
        """Return the names of the snapshots, oldest first."""
        try:
            found = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return sorted(
            name
            for name in found
            if is_snapshot(name) and os.path.exists(self.path(name, _object_inventory.NAME))
        )

    def path(self, name: str, *more: str) -> str:
        """Return a path in a snapshot."""
        return os.path.join(self.folder, name, *more)

    def summaries(self) -> dict[str, _object_inventory.Summary]:
        """Return what each snapshot amounts to; those that cannot be read are left out."""
        found = {}
        for name in self.names():
            try:
                found[name] = _object_inventory.summary(self.path(name))
            except InventoryError:
                continue
        return found

    def newest(self, bucket: str, *, complete_first: bool = False) -> str:
        """Return the snapshot of a bucket that was taken last; empty when there is none.

        One that was taken before a change goes behind all those of a day: the bucket may have
        lost its objects by then.

        :param complete_first: whether one that is not complete goes behind those that are.
        """
        found = [
            (is_of_a_day(name), told.complete or not complete_first, told.at, name)
            for name, told in self.summaries().items()
            if told.bucket == bucket
        ]
        return max(found)[-1] if found else ""

    def begin(self) -> None:
        """Make the working directory; what a run before got for it stays.

        :raises SnapshotError: another run works there.
        :raises OSError: the directory cannot be written.
        """
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._hold()
        os.makedirs(self.got, mode=0o700, exist_ok=True)
        self.mend()
        for name in os.listdir(self.folder):
            # A removal that was interrupted.
            if name.startswith(f"{WORK}."):
                shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)
        shutil.rmtree(self.next, ignore_errors=True)
        os.mkdir(self.next, 0o700)
        self._made = ""

    def _hold(self) -> None:
        """Keep others from working here.

        :raises SnapshotError: another run works here.
        """
        if self._lock < 0:
            # The kernel gives it back when this process ends, however it does.
            self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SnapshotError(
                f"Another run takes a snapshot in {self.folder}; wait for its end. "
                "Nothing was changed."
            ) from error

    def give_up(self, name: str, identity: str, one: Stored) -> bool:
        """Have the next snapshot fetch a file anew, for it is not what was saved.

        By its time alone, for all snapshots share the file, and there may be no other.

        :param identity: of the inventory that was read; another run may have replaced it.
        :return: whether it will be fetched.
        """
        try:
            self._hold()
            if _object_inventory.summary(self.path(name)).id != identity:
                return False
            with suppress(FileNotFoundError):
                os.utime(self.path(name, one.path), (0, 0), follow_symlinks=False)
        except (SnapshotError, InventoryError, OSError):
            return False
        finally:
            self._let_go()
        return True

    def mend(self) -> None:
        """Bring back the snapshot of a day that a run was replacing when it died."""
        if not os.path.isdir(self._before):
            return
        for name in os.listdir(self._before):
            old, place = os.path.join(self._before, name), self.path(name)
            if os.path.lexists(place):
                shutil.rmtree(old)
            else:
                os.rename(old, place)

    def link(self, content: str, key: str, path: str = "") -> str:
        """Give a file its place in the next snapshot; return that place.

        :param path: where it lay in the snapshot before, if it did.
        :raises OSError: the file cannot be linked.
        """
        for place in dict.fromkeys([path or path_of(key), odd_path(key)]):
            target = os.path.join(self.next, place)
            try:
                parent = os.path.dirname(target)
                if parent != self._made:
                    os.makedirs(parent, mode=0o700, exist_ok=True)
                    self._made = parent
                os.link(content, target)
            except (FileExistsError, NotADirectoryError):
                # "a" and "a/b" are two objects, and cannot be a file and a directory at once.
                continue
            return place
        raise SnapshotError(
            f"Two objects would lie in the same place of {self.next}, one of them {key!r}; "
            "something else writes there."
        )

    def place(self, name: str, aside: str = "") -> None:
        """Put the next snapshot in its place, on disk; one of the same name goes.

        :param aside: the name under which that one stays instead.
        :raises OSError: it could not be done; the one of that name is still there.
        """
        sync(self.work)
        final = self.path(name)
        if aside:
            os.rename(final, self.path(aside))
        elif os.path.lexists(final):
            shutil.rmtree(self._before, ignore_errors=True)
            os.mkdir(self._before, 0o700)
            os.rename(final, os.path.join(self._before, name))
        os.rename(self.next, final)
        sync(self.folder)

    def drop_next(self) -> None:
        """Forget what would have become the next snapshot, but not what was fetched for it."""
        if os.listdir(self.got):
            shutil.rmtree(self.next, ignore_errors=True)
            self._let_go()
        else:
            self.clear()

    def clear(self) -> None:
        """Remove the working directory, and let others work here."""
        shutil.rmtree(self.work, ignore_errors=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remove(self, names: Iterable[str]) -> None:
        """Remove snapshots: out of the way first, so that none is ever half there."""
        for name in names:
            gone = os.path.join(self.folder, f"{WORK}.{name}")
            os.rename(self.path(name), gone)
            shutil.rmtree(gone)


def intact(path: str, one: Stored) -> bool:
    """Return whether a file is still what was written, as far as its size and time tell."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_size == one.size
        and int(found.st_mtime) == one.mtime
    )


def sync(folder: str) -> None:
    """Bring everything on the file system of a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(handle)
