# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The file that ALTER SYSTEM writes, kept and put back without SQL.

A server that refuses its settings does not start, and then no SQL takes them back. The
file lies in the volume of the container, which the engine reads and writes for one that
does not run, too.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from dataclasses import dataclass

from ansible_collections.carrental.ops.plugins.module_utils._docker import DockerError
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine
from ansible_collections.carrental.ops.plugins.module_utils._pg_settings import AUTO_FILE

# A copy beside it: to put it back is to rename it, for which a full disk has room.
COPY = f"{AUTO_FILE}.carrental-ops"


class AutoConfError(Exception):
    """A file that could not be read or written; the text is a whole sentence without its end."""


@dataclass(frozen=True)
class AutoConf:
    """The file as it was.

    :param archive: as the engine packs it, with its owner and its mode.
    """

    folder: str
    archive: bytes

    @property
    def member(self) -> tarfile.TarInfo:
        """The file's own entry in the archive."""
        with tarfile.open(fileobj=io.BytesIO(self.archive)) as packed:
            return packed.getmembers()[0]

    @property
    def text(self) -> str:
        """What stands in it."""
        with tarfile.open(fileobj=io.BytesIO(self.archive)) as packed:
            stream = packed.extractfile(packed.getmembers()[0])
            return stream.read().decode(errors="surrogateescape") if stream else ""

    @property
    def owner(self) -> str:
        """User and group of the server, as numbers."""
        return f"{self.member.uid}:{self.member.gid}"


def read(engine: Engine, container: str, folder: str) -> AutoConf:
    """Read the file of a container, running or not.

    :param folder: the data directory.
    """
    path = posixpath.join(folder, AUTO_FILE)
    archive = engine.archive(container, path)
    if archive is None:
        raise AutoConfError(f"There is no {path} in the container, so nothing could be put back")
    return AutoConf(folder, archive)


def keep(engine: Engine, container: str, kept: AutoConf) -> None:
    """Lay a copy beside the file. That it can be written shows that the disk has room."""
    try:
        engine.unpack(container, kept.folder, _renamed(kept, COPY))
        written = engine.archive(container, posixpath.join(kept.folder, COPY))
    except DockerError as error:
        raise AutoConfError(
            f"The settings could not be kept beside {kept.folder}/{AUTO_FILE}: {error}"
        ) from error
    if written is None or AutoConf(kept.folder, written).text != kept.text:
        raise AutoConfError(
            f"The copy of {kept.folder}/{AUTO_FILE} is not what was written; is the disk full?"
        )


def drop_copy(engine: Engine, container: str, folder: str) -> None:
    """Remove the copy of a container that runs; one that is not there is fine."""
    engine.execute(container, ["rm", "-f", posixpath.join(folder, COPY)])


def put_back(engine: Engine, container: str, kept: AutoConf) -> None:
    """Put the file back as it was, whether the container runs or not."""
    target = posixpath.join(kept.folder, AUTO_FILE)
    if engine.inspect(container).running:
        copy = posixpath.join(kept.folder, COPY)
        try:
            rc, _said = engine.execute(container, ["mv", "-f", copy, target], user=kept.owner)
        except DockerError:
            # It ended in this moment; then the file is written through its volume.
            rc = 1
        if rc == 0 and read(engine, container, kept.folder).text == kept.text:
            return
    engine.unpack(container, kept.folder, kept.archive)
    if read(engine, container, kept.folder).text != kept.text:
        raise AutoConfError(f"{target} was put back and is not what it was; is the disk full?")


def _renamed(kept: AutoConf, name: str) -> bytes:
    member = kept.member
    content = kept.text.encode(errors="surrogateescape")
    member.name, member.size = name, len(content)
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as packed:
        packed.addfile(member, io.BytesIO(content))
    return output.getvalue()
