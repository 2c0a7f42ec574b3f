# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of past releases: kept once by content, rebuilt whole or not at all."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _delivered, _history

ENV = "SECRET=hunter2hunter2\n"
FILES = {
    "compose.yml": "services: {}\n",
    "nginx/nginx.conf": "server\n",
    "nginx/same.conf": "server\n",
    "nginx/ssl/privkey.pem": "key\n",
    "nginx/ssl/fullchain.pem": "certificate\n",
    "compose.release.yml": "pins\n",
}
KEPT = ["compose.yml", "nginx/nginx.conf", "nginx/same.conf"]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def release(files: dict[str, str], env: str = ENV, name: str = "20261123T100000Z-aaaaaaa") -> Any:
    return {
        "id": name,
        "version": "a" * 40,
        "config": {
            "files": {path: sha(text) for path, text in files.items()},
            "env": {"sha256": sha(env), "keys": ["SECRET"]},
        },
    }


def lay(root: Path, files: dict[str, str], env: str = ENV) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / ".env").write_text(env)


@pytest.fixture(name="root")
def a_project(tmp_path: Path) -> Path:
    root = tmp_path / "carrental"
    lay(root, FILES)
    return root


def keep(root: Path, one: Any) -> list[str]:
    return _history.keep_in_use(one, str(root), str(root / ".ops"))


def tree(folder: str) -> dict[str, str]:
    base = Path(folder)
    return {
        str(path.relative_to(base)): path.read_text()
        for path in base.rglob("*")
        if not path.is_dir()
    }


def test_release_is_rebuilt_as_it_was(root: Path, tmp_path: Path) -> None:
    one = release(FILES)
    keep(root, one)
    lay(root, {"nginx/nginx.conf": "other\n"}, env="SECRET=other\n")
    built = _history.materialise(one, str(root), str(root / ".ops"), str(tmp_path / "out"))
    assert tree(built.src) == {path: FILES[path] for path in KEPT}
    assert Path(built.env_file).read_text() == ENV


def test_keys_certificates_and_pins_are_not_kept(root: Path) -> None:
    keep(root, release(FILES))
    kept = set(tree(str(root / ".ops/content")).values())
    assert kept == {FILES[path] for path in KEPT}


def test_same_content_lies_there_once_and_a_second_time_changes_nothing(root: Path) -> None:
    assert keep(root, release(FILES)) == ["compose.yml", "nginx/nginx.conf", ".env"]
    assert len(tree(str(root / ".ops/content"))) == 2
    before = {path: path.stat().st_mtime_ns for path in (root / ".ops/content").iterdir()}
    assert keep(root, release(FILES)) == []
    assert before == {path: path.stat().st_mtime_ns for path in (root / ".ops/content").iterdir()}


def test_environment_never_enters_the_operations_directory(root: Path) -> None:
    keep(root, release(FILES))
    assert all("hunter2" not in text for text in tree(str(root / ".ops")).values())
    folder = root / ".env.releases"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / sha(ENV)).stat().st_mode) == 0o600


def test_file_that_was_changed_since_is_not_kept_as_released(root: Path, tmp_path: Path) -> None:
    one = release(FILES)
    lay(root, {"nginx/nginx.conf": "edited by hand\n"})
    (root / "nginx/same.conf").write_text("edited by hand\n")
    keep(root, one)
    with pytest.raises(_history.HistoryError) as caught:
        _history.materialise(one, str(root), str(root / ".ops"), str(tmp_path / "out"))
    assert str(caught.value) == (
        "The configuration of release 20261123T100000Z-aaaaaaa cannot be rebuilt: "
        f"nginx/nginx.conf, nginx/same.conf are not kept in {root}/.ops/content and "
        f"{root}/.env.releases; deploy version {'a' * 40} with its "
        "configuration (deploy_config_dir) instead."
    )
    assert not (tmp_path / "out").exists()


def test_damaged_content_counts_as_missing_and_is_mended(root: Path) -> None:
    one = release(FILES)
    keep(root, one)
    (root / ".ops/content" / sha("server\n")).write_text("cut of")
    where = (str(root), str(root / ".ops"))
    assert _history.missing(one, *where) == ["nginx/nginx.conf", "nginx/same.conf"]
    assert keep(root, one) == ["nginx/nginx.conf"]
    assert _history.missing(one, *where) == []


def test_missing_environment_is_named(root: Path) -> None:
    one = release(FILES)
    keep(root, one)
    (root / ".env.releases" / sha(ENV)).unlink()
    assert _history.missing(one, str(root), str(root / ".ops")) == [".env"]


def test_executable_stays_one(root: Path, tmp_path: Path) -> None:
    (root / "compose.yml").chmod(0o755)
    one = release(FILES)
    keep(root, one)
    built = _history.materialise(one, str(root), str(root / ".ops"), str(tmp_path / "out"))
    assert (Path(built.src) / "compose.yml").stat().st_mode & 0o100
    assert not (Path(built.src) / "nginx/nginx.conf").stat().st_mode & 0o100


def test_only_what_no_kept_release_needs_is_collected(root: Path) -> None:
    old, new = release(FILES), release({**FILES, "compose.yml": "new\n"}, "SECRET=new\n")
    keep(root, old)
    lay(root, {"compose.yml": "new\n"}, env="SECRET=new\n")
    keep(root, new)
    where = (str(root), str(root / ".ops"))
    assert _history.collect([old, new], *where) == []
    gone = [
        f"{root}/.ops/content/{sha(FILES['compose.yml'])}",
        f"{root}/.env.releases/{sha(ENV)}",
    ]
    assert _history.collect([new], *where, write=False) == gone
    assert _history.missing(old, *where) == []
    assert _history.collect([new], *where) == gone
    assert _history.missing(new, *where) == []
    assert _history.missing(old, *where) == [".env", "compose.yml"]


def test_nothing_was_ever_kept(tmp_path: Path) -> None:
    assert _history.collect([], str(tmp_path), str(tmp_path / ".ops")) == []


def test_files_that_the_older_release_did_not_have() -> None:
    old = release({"compose.yml": "a"})
    new = release({"compose.yml": "b", "nginx/conf.d/new.conf": "c", "nginx/ssl/ca.pem": "d"})
    assert _history.surplus(old, new) == ["nginx/conf.d/new.conf"]


def test_kept_environments_are_private_and_never_delivered(tmp_path: Path) -> None:
    lay(tmp_path, {".env.releases/abc": "SECRET=x", "compose.yml": "services: {}"})
    assert _delivered.is_private(".env.releases/abc")
    assert list(_delivered.files(str(tmp_path))) == ["compose.yml"]


def test_edits_by_hand_are_told_by_file(root: Path) -> None:
    one = release(FILES)
    assert _history.edited(one, str(root)) == []
    lay(root, {"nginx/nginx.conf": "edited\n"}, env="SECRET=edited\n")
    (root / "compose.yml").unlink()
    assert _history.edited(one, str(root)) == [".env", "compose.yml", "nginx/nginx.conf"]
