# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes into a package comes out of it, and nothing beside it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _package
from ansible_collections.carrental.ops.plugins.module_utils._package import PackageError, Source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "nginx").mkdir(parents=True)
    (root / "nginx" / "nginx.conf").write_text("events {}\n")
    (root / ".git" / "objects").mkdir(parents=True)
    (root / ".git" / "objects" / "one").write_text("x")
    (root / ".env").write_text("SECRET=x")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "empty").mkdir()
    return root


def names(root: Path) -> set[str]:
    return {str(one.relative_to(root)) for one in root.rglob("*")}


def through(tmp_path: Path, *sources: Source) -> Path:
    target = tmp_path / "target"
    target.mkdir()
    _package.unpack(_package.pack(sources), str(target))
    return target


def test_files_arrive_with_their_content_mode_and_time(source: Path, tmp_path: Path) -> None:
    os.utime(source / "run.sh", (1_700_000_000, 1_700_000_000))
    target = through(tmp_path, Source(str(source), exclude=[".git", ".env"]))
    assert names(target) == {"nginx", "nginx/nginx.conf", "run.sh", "empty"}
    assert (target / "nginx" / "nginx.conf").read_text() == "events {}\n"
    assert (target / "run.sh").stat().st_mode & 0o7777 == 0o755
    assert (target / "run.sh").stat().st_mtime == 1_700_000_000


def test_what_is_left_out_is_told_from_the_top(source: Path, tmp_path: Path) -> None:
    (source / "nginx" / ".env").write_text("not the one of the project")
    target = through(tmp_path, Source(str(source), exclude=[".env", ".git/*", "n*.sh"]))
    assert "nginx/.env" in names(target)
    assert ".git" in names(target)
    assert ".git/objects" not in names(target)
    assert "run.sh" in names(target)


def test_a_second_directory_goes_below_and_wins(source: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "key.pem").write_text("new")
    (keys / "key.pem").chmod(0o600)
    (source / "nginx" / "ssl").mkdir()
    (source / "nginx" / "ssl" / "key.pem").write_text("old")
    target = through(tmp_path, Source(str(source)), Source(str(keys), "nginx/ssl"))
    assert (target / "nginx/ssl/key.pem").read_text() == "new"
    assert (target / "nginx/ssl/key.pem").stat().st_mode & 0o7777 == 0o600


def test_links_are_followed_and_those_that_lead_back_end(source: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.conf"
    outside.write_text("outside")
    (source / "linked.conf").symlink_to(outside)
    (source / "nginx" / "back").symlink_to(source)
    target = through(tmp_path, Source(str(source)))
    assert (target / "linked.conf").read_text() == "outside"
    assert not (target / "linked.conf").is_symlink()
    assert "nginx/back" not in names(target)


def test_pipes_are_left_out_and_dead_links_are_named(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "pipe")
    assert "pipe" not in names(through(tmp_path, Source(str(source))))
    (source / "dead").symlink_to("nowhere")
    with pytest.raises(PackageError, match=r"/dead cannot be read: No such file"):
        _package.pack([Source(str(source))])


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"no directory .*/absent"):
        _package.pack([Source(str(tmp_path / "absent"))])


def test_too_much_is_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_package, "LIMIT", 4)
    with pytest.raises(PackageError, match="deploy_config_exclude"):
        _package.pack([Source(str(source))])


@pytest.mark.parametrize("name", ["../beside", "/etc/beside", "."])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(PackageError, match="leads out"):
        _package.unpack(buffer.getvalue(), str(target))


def test_links_in_a_package_and_half_packages_are_refused(source: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(PackageError, match="link"):
        _package.unpack(buffer.getvalue(), str(tmp_path))
    (source / "noise").write_bytes(os.urandom(100_000))
    half = _package.pack([Source(str(source))])[:50_000]
    with pytest.raises(PackageError, match="cannot be read"):
        _package.unpack(half, str(tmp_path))
