# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Files that go into a running container, for want of a mount.

Alertmanager's secrets lie in its own volume, readable for it alone: in a file of
the project they would have to be readable for every user of the server.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Mapping

from ._docker import Container, DockerError
from ._engine import Engine


def owner(engine: Engine, container: Container) -> int:
    """Return the user of a container's first process."""
    listed = engine.get(f"/containers/{container.id}/top", ps_args="-eo pid,uid")
    pid = str(container.state.get("Pid"))
    for row in listed.get("Processes") or []:
        if row[0] == pid:
            return int(row[-1])
    return 0


def is_kept(container: Container, path: str) -> bool:
    """Return whether a path lies in a volume, so that it outlives the container."""
    return any(
        path == target or path.startswith(f"{target.rstrip('/')}/")
        for _source, target in container.volumes
    )


def differing(
    engine: Engine, container: Container, folder: str, files: Mapping[str, str]
) -> list[str]:
    """Return the files of a directory in a container that are not as they have to be."""
    found = []
    for name, text in files.items():
        try:
            same = engine.read_file(container.id, os.path.join(folder, name)) == text
        except DockerError:
            same = False
        if not same:
            found.append(name)
    return found


def write(
    engine: Engine, container: Container, folder: str, files: Mapping[str, str], mode: int
) -> None:
    """Write files into a directory of a running container, which is made when it is not there.

    :param mode: of the files; that of directories follows from it.
    """
    uid = owner(engine, container)
    folders = {os.path.dirname(name) for name in files} | {""}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        base = folder.strip("/")
        for name in sorted(folders):
            member = tarfile.TarInfo(os.path.join(base, name) if name else base)
            member.type, member.mode = tarfile.DIRTYPE, mode | ((mode & 0o444) >> 2)
            member.uid, member.mtime = uid, int(time.time())
            archive.addfile(member)
        for name, text in sorted(files.items()):
            content = text.encode()
            member = tarfile.TarInfo(os.path.join(base, name))
            member.size, member.mode, member.uid = len(content), mode, uid
            member.mtime = int(time.time())
            archive.addfile(member, io.BytesIO(content))
    engine.unpack(container.id, "/", data.getvalue())
