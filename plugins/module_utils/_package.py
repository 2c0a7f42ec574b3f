# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Directories of the controller in one piece, and back into files on the server.

A package holds directories and regular files. Links are followed, for what they lead to is
not on the server; sockets, pipes and devices are left out.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# What a run holds in memory on both sides. A configuration is some hundred kilobytes.
LIMIT = 64 * 1024 * 1024


class PackageError(Exception):
    """What cannot be packed or unpacked; the text is a whole sentence."""


@dataclass(frozen=True)
class Source:
    """A directory of the controller, and where its content goes in the package.

    :param exclude: what is left out with all that is below it, relative to the directory;
        C(*) stands for any characters.
    """

    directory: str
    below: str = "."
    exclude: Sequence[str] = ()


def pack(sources: Sequence[Source]) -> bytes:
    """Return the package of some directories; a later one wins.

    :raises PackageError: a directory is not there, a file cannot be read, it is too much.
    """
    buffer, size = io.BytesIO(), 0
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for source in sources:
            for path, name, found in _entries(source):
                size += found.st_size if stat.S_ISREG(found.st_mode) else 0
                if size > LIMIT:
                    raise PackageError(
                        f"{source.directory} holds more than {LIMIT // 1024**2} MiB; name what "
                        "does not belong to the configuration in deploy_config_exclude."
                    )
                _add(archive, path, name, found)
    return buffer.getvalue()


def _entries(source: Source) -> Iterator[tuple[str, str, os.stat_result]]:
    root = os.path.realpath(source.directory)
    if not os.path.isdir(root):
        raise PackageError(f"The controller has no directory {source.directory}.")
    pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(root, "", frozenset())]
    while pending:
        path, name, above = pending.pop()
        try:
            found = os.stat(path)
            inside = sorted(os.listdir(path)) if stat.S_ISDIR(found.st_mode) else []
        except OSError as error:
            raise PackageError(f"{path} cannot be read: {error.strerror}.") from error
        itself = (found.st_dev, found.st_ino)
        if itself in above:
            # A link to a directory that holds it.
            continue
        if name and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            yield path, os.path.normpath(os.path.join(source.below, name)), found
        for one in reversed(inside):
            below = os.path.join(name, one)
            if not any(fnmatch.fnmatchcase(below, pattern) for pattern in source.exclude):
                pending.append((os.path.join(path, one), below, above | {itself}))


def _add(archive: tarfile.TarFile, path: str, name: str, found: os.stat_result) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
    if stat.S_ISDIR(found.st_mode):
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
        return
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}.") from error
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def unpack(package: bytes, directory: str) -> None:
    """Write the files of a package below a directory, with their modes and times.

    :raises PackageError: it is no package, or a name leads out of the directory.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
            for entry in archive:
                _write(archive, entry, directory)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise PackageError(f"The package cannot be read: {error}.") from error


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, directory: str) -> None:
    path = os.path.normpath(os.path.join(directory, entry.name))
    if not path.startswith(os.path.normpath(directory) + os.sep):
        raise PackageError(f"The package holds {entry.name}, which leads out of its directory.")
    if entry.isdir():
        os.makedirs(path, exist_ok=True)
        # Whoever unpacks has to be able to write into it.
        os.chmod(path, entry.mode | stat.S_IRWXU)
        return
    content = archive.extractfile(entry) if entry.isreg() else None
    if content is None:
        raise PackageError(f"The package holds {entry.name}, which is no file.")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content.read())
        os.fchmod(stream.fileno(), entry.mode)
    os.utime(path, (entry.mtime, entry.mtime))
