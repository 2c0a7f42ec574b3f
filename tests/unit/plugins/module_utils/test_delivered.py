# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release brings into a project, and whether the project has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _delivered


@pytest.mark.parametrize(
    ("path", "private"),
    [
        (".env", True),
        (".env.production", True),
        ("secrets/api.env", True),
        ("nginx/ssl/privkey.pem", True),
        ("tls/server.key", True),
        ("nginx/ssl/fullchain.pem", False),
        ("nginx/nginx.conf", False),
    ],
)
def test_private_files_are_known_by_name(path: str, private: bool) -> None:
    assert _delivered.is_private(path) == private


@pytest.fixture
def brought(tmp_path: Path) -> tuple[Path, Path]:
    """Return a delivery, and a project that has all of it and more."""
    for root in (tmp_path / "src", tmp_path / "dest"):
        (root / "nginx").mkdir(parents=True)
        for name, mode in (("compose.yml", 0o644), ("nginx/site.key", 0o600), ("run.sh", 0o755)):
            (root / name).write_text(f"{name}\n")
            (root / name).chmod(mode)
    (tmp_path / "dest" / ".env").write_text("SECRET=one\n")
    (tmp_path / "src" / ".env").write_text("SECRET=another\n")
    return tmp_path / "src", tmp_path / "dest"


def test_a_project_that_has_everything_is_known(brought: tuple[Path, Path]) -> None:
    src, dest = brought
    assert _delivered.is_there(str(src), str(dest))


@pytest.mark.parametrize("name", ["compose.yml", "nginx/site.key"])
def test_other_content_is_new(brought: tuple[Path, Path], name: str) -> None:
    src, dest = brought
    # As long as before: the sizes say nothing.
    (dest / name).write_text("x" * (len(name)) + "\n")
    assert not _delivered.is_there(str(src), str(dest))


def test_a_file_that_the_project_lacks_is_new(brought: tuple[Path, Path]) -> None:
    src, dest = brought
    (dest / "nginx" / "site.key").unlink()
    assert not _delivered.is_there(str(src), str(dest))


def test_a_project_that_is_not_there_has_nothing(brought: tuple[Path, Path]) -> None:
    src, dest = brought
    assert not _delivered.is_there(str(src), str(dest / "elsewhere"))


def test_an_open_key_is_new_whatever_mode_it_was_brought_with(brought: tuple[Path, Path]) -> None:
    src, dest = brought
    (src / "nginx" / "site.key").chmod(0o644)
    assert _delivered.is_there(str(src), str(dest))
    (dest / "nginx" / "site.key").chmod(0o644)
    assert not _delivered.is_there(str(src), str(dest))


def test_a_script_that_lost_its_bit_is_new(brought: tuple[Path, Path]) -> None:
    src, dest = brought
    (dest / "run.sh").chmod(0o644)
    assert not _delivered.is_there(str(src), str(dest))


def test_a_file_of_another_procedure_does_not_count(brought: tuple[Path, Path]) -> None:
    src, dest = brought
    (dest / "compose.yml").write_text("of the role monitoring\n")
    assert _delivered.is_there(str(src), str(dest), ("compose.yml",))
