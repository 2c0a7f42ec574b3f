# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The configuration of a stack as one archive: everything below its root that is no data.

What is too large or cannot be read is left out and named: whoever brings the archive back
must know what else is needed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

# Made anew where they are missing, or of the server that is gone.
LEFT_OUT = (".git", "node_modules", "__pycache__", ".ops")
# Of what operations remember: what runs, and the configuration that belongs to it.
KEPT_STATE = ("releases", "content")
# Files that are brought along from elsewhere, below this name.
BESIDE = ".recover"
_MAX_MEMBERS = 100_000


class ArchiveError(Exception):
    """The archive cannot be used; the text is a whole sentence."""


@dataclass
class Contents:
    """What goes into an archive, and what does not."""

    files: list[str] = field(default_factory=list)
    # Of these: links that lead out of the configuration, whose content is taken instead.
    followed: set[str] = field(default_factory=set)
    skipped: list[str] = field(default_factory=list)
    bytes: int = 0


def collect(root: str, state_dir: str, left_out: Iterable[str], max_file: int) -> Contents:
    """Return the files of a configuration, relative to its root and sorted.

    :param left_out: directories that hold data, such as the backups.
    """
    found = Contents()
    for path in _walk(root, {os.path.realpath(one) for one in left_out}, root, found):
        _consider(root, path, max_file, found)
    for name in KEPT_STATE:
        folder = os.path.join(state_dir, name)
        if _is_outside(os.path.relpath(folder, root)):
            # It would come back to no place that anybody reads.
            found.skipped += [f"{folder} (out of {root})"] if os.path.isdir(folder) else []
            continue
        for path in _walk(folder, set(), root, found):
            _consider(root, path, max_file, found)
    found.files.sort()
    return found


def shown(name: str) -> str:
    """Return the name of a file as it can be printed, whatever its bytes are."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _is_outside(name: str) -> bool:
    return name == ".." or name.startswith("../")


def _walk(folder: str, left_out: set[str], root: str, found: Contents) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        if isinstance(error, PermissionError):
            name = os.path.relpath(error.filename, root)
            found.skipped.append(f"{shown(name)} (may not be read)")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [
            name
            for name in folders
            if name not in LEFT_OUT and os.path.realpath(os.path.join(place, name)) not in left_out
        ]
        linked = [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (os.path.join(place, name) for name in [*names, *linked])


def _consider(root: str, path: str, max_file: int, found: Contents) -> None:
    name = os.path.relpath(path, root)
    if _is_outside(name):
        return
    try:
        about = os.lstat(path)
    except OSError:
        return
    if stat.S_ISLNK(about.st_mode):
        _follow(path, name, max_file, found)
    elif not stat.S_ISREG(about.st_mode):
        return
    elif about.st_size > max_file:
        found.skipped.append(f"{shown(name)} ({about.st_size // 2**20} MiB, too large)")
    elif not os.access(path, os.R_OK):
        found.skipped.append(f"{shown(name)} (may not be read)")
    else:
        found.files.append(name)
        found.bytes += about.st_size


def _follow(path: str, name: str, max_file: int, found: Contents) -> None:
    """Keep a link that stays inside; of another one, as certbot makes them, keep the content."""
    target = os.readlink(path)
    if _stays(target):
        found.files.append(name)
    elif os.path.isfile(path) and os.access(path, os.R_OK) and os.path.getsize(path) <= max_file:
        found.files.append(name)
        found.followed.add(name)
        found.bytes += os.path.getsize(path)
    else:
        led = f"leads to {shown(target)}, out of the configuration"
        found.skipped.append(f"{shown(name)} ({led})")


def _stays(target: str) -> bool:
    return not target.startswith("/") and ".." not in target.split("/")


def fingerprint(root: str, contents: Contents, beside: Mapping[str, bytes]) -> str:
    """Return a hash of everything that the archive would hold."""
    digest = hashlib.sha256()
    for name in contents.files:
        path = os.path.join(root, name)
        followed = name in contents.followed
        about = os.stat(path) if followed else os.lstat(path)
        digest.update(os.fsencode(name) + f"\0{stat.S_IMODE(about.st_mode):o}\0".encode())
        if os.path.islink(path) and not followed:
            digest.update(os.fsencode(os.readlink(path)))
        else:
            with open(path, "rb") as stream:
                digest.update(hashlib.sha256(stream.read()).digest())
    for name, content in sorted(beside.items()):
        digest.update(f"{name}\0".encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()


def write(path: str, root: str, contents: Contents, beside: Mapping[str, bytes]) -> None:
    """Write the archive; only its owner may read it.

    :raises OSError: the disk does not take it.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "wb") as stream:
        with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
            # Services that are not root read some of it: the modes of directories count, too.
            for name in [*_parents(contents.files), *contents.files]:
                place = os.path.join(root, name)
                if name in contents.followed:
                    place = os.path.realpath(place)
                # Of a file with two names the second would be a link, which is not unpacked.
                archive.inodes.clear()  # type: ignore[attr-defined]
                archive.add(place, name, recursive=False)
            for name, content in sorted(beside.items()):
                member = tarfile.TarInfo(f"{BESIDE}/{name}")
                member.size, member.mode = len(content), 0o600
                archive.addfile(member, io.BytesIO(content))
        stream.flush()
        os.fsync(stream.fileno())


def _parents(names: Iterable[str]) -> list[str]:
    found: set[str] = set()
    for name in names:
        while name := os.path.dirname(name):
            found.add(name)
    return sorted(found)


def members(path: str) -> list[tarfile.TarInfo]:
    """Read an archive to its end; return what it holds.

    :raises ArchiveError: it is damaged, or holds what must not be unpacked.
    """
    found = []
    try:
        # The end of the archive stands before the end of the file, and its checksum after it.
        with gzip.open(path) as stream:
            while stream.read(1024 * 1024):
                continue
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                _require_harmless(member)
                found.append(member)
                if len(found) > _MAX_MEMBERS:
                    raise ArchiveError(f"{path} holds more than {_MAX_MEMBERS} files.")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ArchiveError(f"{path} is no whole archive: {error}. Nothing was changed.") from error
    return found


def _require_harmless(member: tarfile.TarInfo) -> None:
    parts = member.name.split("/")
    inside = not member.name.startswith("/") and ".." not in parts
    linked = not member.issym() or _stays(member.linkname)
    if not inside or not linked or not (member.isreg() or member.issym() or member.isdir()):
        raise ArchiveError(
            f"The archive holds {member.name!r}, which does not belong into a configuration. "
            "Nothing was changed."
        )


def unpack(path: str, root: str) -> list[str]:
    """Write everything that an archive holds below a root, each file whole; return the names.

    :raises ArchiveError: it is damaged; nothing is written then.
    :raises OSError: the disk does not take it.
    """
    names = []
    members(path)
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            target = os.path.join(root, member.name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if member.isdir():
                os.makedirs(target, exist_ok=True)
                os.chmod(target, member.mode & 0o777)
                continue
            temporary = f"{target}.new"
            if member.issym():
                if os.path.lexists(temporary):
                    os.unlink(temporary)
                os.symlink(member.linkname, temporary)
            else:
                content = archive.extractfile(member)
                handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with open(handle, "wb") as stream:
                    while piece := content.read(1024 * 1024) if content else b"":
                        stream.write(piece)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.chmod(temporary, member.mode & 0o777)
            os.replace(temporary, target)
            names.append(member.name)
    return names
