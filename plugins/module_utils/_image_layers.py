# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Text files of an image that is still in its registry, read from the stream of its layers.

Nothing is kept: each layer flows by once, the newest first, and what an upper one holds or
deletes (a whiteout of the OCI's image specification) hides what is below.
"""

from __future__ import annotations

import posixpath
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from ._registry_client import Client, ReadError

# Read for a plan; more than that is a download that nobody asked for.
LIMIT = 400 * 1024 * 1024
_FILE_BYTES = 4 * 1024 * 1024
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass
class Below:
    """The files below a directory, as far as the layers were read."""

    directory: str
    files: dict[str, str] = field(default_factory=dict)
    # Nothing of a lower layer can be seen any more.
    closed: bool = False
    _hidden: set[str] = field(default_factory=set)

    def add(self, stream: IO[bytes]) -> None:
        """Read one layer, below those that were read before."""
        hidden: set[str] = set()
        try:
            # A stream that is no gzip is read as it is.
            with tarfile.open(fileobj=stream, mode="r|*") as tar:
                for member in tar:
                    self._member(tar, member, hidden)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise ReadError(f"a layer cannot be read ({error})") from error
        self._hidden |= hidden
        self.closed = self.closed or any(_holds(one, self.directory) for one in hidden)

    def _member(self, tar: tarfile.TarFile, member: tarfile.TarInfo, hidden: set[str]) -> None:
        path = posixpath.normpath("/" + member.name)
        folder, name = posixpath.split(path)
        if name == _OPAQUE:
            hidden.add(folder)
        elif name.startswith(_WHITEOUT):
            hidden.add(posixpath.join(folder, name.removeprefix(_WHITEOUT)))
        elif member.issym() and _holds(path, self.directory):
            raise ReadError(f"{path} is a link in the image")
        elif path.startswith(self.directory + "/") and member.isfile():
            relative = posixpath.relpath(path, self.directory)
            seen = any(_holds(one, path) for one in self._hidden)
            content = None if seen or relative in self.files else tar.extractfile(member)
            if content is not None:
                self.files[relative] = content.read(_FILE_BYTES).decode("utf-8", "replace")


def _holds(directory: str, path: str) -> bool:
    """Whether a path is the directory or lies in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def read(
    client: Client, architecture: str, path: str, local: Sequence[str]
) -> tuple[dict[str, str], bool]:
    """Return the files below a path of an image, and whether these are all.

    :param path: absolute, or seen from the image's working directory.
    :param local: layers of the image that runs now. What both have in common is not read.
    """
    manifest = client.manifest(architecture)
    layers: list[Mapping[str, Any]] = list(manifest.get("layers") or [])
    config = client.document(str((manifest.get("config") or {}).get("digest", "")))
    ids = (config.get("rootfs") or {}).get("diff_ids") or []
    common = common_layers(ids, local) if len(ids) == len(layers) else 0
    new = layers[common:]
    size = sum(int(one.get("size") or 0) for one in new)
    if size > LIMIT:
        raise ReadError(f"its new layers have {size // 2**20} MiB, too much to be read for a plan")
    folder = (config.get("config") or {}).get("WorkingDir") or "/"
    below = Below(posixpath.normpath(posixpath.join("/", folder, path)))
    for layer in reversed(new):
        with client.blob(str(layer["digest"])) as stream:
            below.add(stream)
        if below.closed:
            break
    return below.files, below.closed or common == 0


def common_layers(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many layers two images have in common, from the lowest on."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
