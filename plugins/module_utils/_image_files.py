# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Text files of an image, read without running anything of it.

The engine gives files of containers only. One that was made from the image is read where it
lies, running or not; else one is created, never started, and removed. Where nothing may be
written even that is too much, and so is ``docker image save``: it unpacks the whole image into
the engine's temporary directory first. See _image_layers for that.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
import uuid
from collections.abc import Mapping
from typing import Any

from . import _one_off
from ._docker import DockerError
from ._engine import Engine


class NotReadableError(Exception):
    """Why the files cannot be had; a clause."""


def read(
    engine: Engine, image: Mapping[str, Any], path: str, *, project: str, create: bool
) -> dict[str, str] | None:
    """Return the files below a path of an image; nothing where the image has no such path.

    :param path: absolute, or seen from the image's working directory.
    :param project: named in the label of what is created, by which a killed run's is found.
    :param create: a container may be created for it.
    """
    config = image.get("Config") or {}
    where = posixpath.join("/", config.get("WorkingDir") or "/", path)
    image_id = str(image["Id"])
    for listed in engine.containers():
        if listed.get("ImageID") == image_id and not _covers(listed, where):
            return _texts(engine.archive(listed["Id"], where), where)
    if not create:
        raise NotReadableError("no container of the image is there to read them from")
    definition = {
        "Image": image_id,
        # Never started; but an image without a command could not be created without one.
        "Cmd": ["true"],
        "Labels": {_one_off.LABEL: project},
        "NetworkDisabled": True,
    }
    container = engine.create(f"{project}-read-{uuid.uuid4().hex[:8]}", definition)
    try:
        return _texts(engine.archive(container, where), where)
    finally:
        engine.remove(container)


def _covers(listed: Mapping[str, Any], path: str) -> bool:
    """Whether something is mounted into a container where its image has the path."""
    mounted = [str(one.get("Destination", "")) for one in listed.get("Mounts") or []]
    return any((path + "/").startswith(one.rstrip("/") + "/") for one in mounted if one)


def _texts(archive: bytes | None, where: str) -> dict[str, str] | None:
    """Return the files of a tar file by their path below its one directory."""
    if archive is None:
        return None
    found: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    name = member.name.partition("/")[2]
                    found[name] = content.read().decode("utf-8", "replace")
    except tarfile.TarError as error:
        raise DockerError(f"{where} of the image is too large to be read ({error}).") from error
    return found
