# SPDX-License-Identifier: GPL-3.0-or-later
"""The clone on a server, with git itself: what is refused, fetched, laid out and moved."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _source

WHO = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
WHO |= {
    f"GIT_{one}_{key}": "t@example.org"
    for one in ("AUTHOR", "COMMITTER")
    for key in ("NAME", "EMAIL")
}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**os.environ, **WHO},
        text=True,
        capture_output=True,
        check=True,
    )
    return done.stdout.strip()


def commit(folder: Path, **files: str | None) -> str:
    """Commit and push files by name; None removes one."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            git(folder, "rm", "-q", "--cached", str(path.relative_to(folder)))
            path.unlink()
        else:
            path.write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "work")
    git(folder, "push", "-q", "origin", "HEAD:main")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(name="work")
def a_developer(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "remote.git")
    git(tmp_path, "clone", "-q", "remote.git", "work")
    work = tmp_path / "work"
    commit(work, compose_yml="services: {}\n", nginx__nginx_conf="one\n", app__old_js="old\n")
    return work


@pytest.fixture(name="clone")
def the_server(work: Path) -> _source.Clone:
    live = work.parent / "live"
    git(work.parent, "clone", "-q", "remote.git", "live")
    (live / ".env").write_text("SECRET=1\n")
    return _source.Clone(str(live), content=str(work.parent / "content"))


def resolved(clone: _source.Clone, version: str) -> tuple[str, list[str]]:
    """The commit that a version stands for, and what had to be fetched for it."""
    fetched: list[str] = []

    def fetch(commits: Sequence[str]) -> None:
        fetched.extend(commits)
        clone.fetch(commits)

    return clone.resolve(version, fetch), fetched


def state(folder: str) -> list[tuple[str, int, bytes]]:
    """Every file below a directory, and whether it is still the same one."""
    return sorted(
        (str(path), path.stat().st_ino, path.read_bytes())
        for path in Path(folder).rglob("*")
        if path.is_file()
    )


def test_login_of_a_remote_is_known_and_not_shown() -> None:
    url = "https://x-access-token:ghp_abc@github.com/your-org/carrental.git"
    assert _source.logins(url) == ["ghp_abc"]
    assert _source.logins("https://ghp_0123456789abcdef@github.com/a.git") == [
        "ghp_0123456789abcdef"
    ]
    assert _source.logins("https://git@github.com/a.git") == []
    assert _source.logins("git@github.com:your-org/carrental.git") == []
    assert _source.without_login(f"fatal: unable to access '{url}'") == (
        "fatal: unable to access 'https://github.com/your-org/carrental.git'"
    )


def test_annotated_tag_is_the_commit_that_it_names() -> None:
    listed = "aaa\trefs/tags/v1\nbbb\trefs/tags/v1^{}\nccc\trefs/heads/main\n"
    assert _source.references(listed) == {"refs/tags/v1": "bbb", "refs/heads/main": "ccc"}


def test_many_paths_are_told_shortly() -> None:
    assert _source.some(["a", "b"]) == "a, b"
    assert _source.some([*"abcdefg"]) == "a, b, c, d, e and 2 more"


def test_commit_with_what_belongs_to_the_server_is_refused() -> None:
    file = _source.Entry("100644", "aaa")
    assert ".env" in _source.forbidden({".env": file, "a": file})
    assert ".ops/lock" in _source.forbidden({".ops/lock": file})
    assert "submodules (lib)" in _source.forbidden({"lib": _source.Entry("160000", "aaa")})
    assert _source.forbidden({".env.example": file, "app/.env": file}) == ""


def test_secret_and_mounted_files_stay_when_they_leave_the_repository() -> None:
    mounts = ["nginx/nginx.conf", "monitoring"]
    assert _source.stays("nginx/ssl/privkey.pem", mounts)
    assert _source.stays("config/.env.production", mounts)
    assert _source.stays("monitoring/prometheus.yml", mounts)
    assert not _source.stays("app/old.js", mounts)


def test_directory_that_is_no_clone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(_source.SourceError, match="is not a git clone; clone the repository"):
        _source.Clone(str(tmp_path)).head()


def test_untracked_files_do_not_make_a_clone_dirty(clone: _source.Clone) -> None:
    assert clone.edited() == []
    Path(clone.folder, "nginx/nginx.conf").write_text("by hand\n")
    Path(clone.folder, "app/old.js").unlink()
    assert clone.edited() == ["app/old.js", "nginx/nginx.conf"]


def test_what_a_killed_deploy_or_a_rollback_left_is_no_work_of_somebody(
    work: Path, clone: _source.Clone
) -> None:
    newer = commit(work, app__old_js=None, app__new_js="new\n")
    clone.fetch([newer])
    Path(clone.folder, "nginx/nginx.conf").write_text("of a release\n")
    Path(clone.folder, "app/old.js").unlink()
    assert clone.edited() == ["app/old.js", "nginx/nginx.conf"]
    kept = Path(clone.content, hashlib.sha256(b"of a release\n").hexdigest())
    kept.parent.mkdir()
    kept.write_text("of a release\n")
    assert clone.edited() == ["app/old.js"]
    assert clone.edited(releases=["f" * 40, newer]) == []


def test_commit_is_fetched_by_its_sha_and_only_once(work: Path, clone: _source.Clone) -> None:
    newer = commit(work, nginx__nginx_conf="two\n")
    before = state(clone.folder + "/.git/refs")
    assert resolved(clone, newer) == (newer, [newer])
    assert resolved(clone, newer) == (newer, [])
    assert resolved(clone, newer[:7]) == (newer, [])
    assert state(clone.folder + "/.git/refs") == before


def test_beginning_of_a_sha_is_found_also_below_a_tip(work: Path, clone: _source.Clone) -> None:
    middle = commit(work, nginx__nginx_conf="two\n")
    tip = commit(work, nginx__nginx_conf="three\n")
    assert resolved(clone, middle[:9]) == (middle, [tip])


def test_tag_is_what_the_remote_says(work: Path, clone: _source.Clone) -> None:
    newer = commit(work, nginx__nginx_conf="two\n")
    git(work, "tag", "-a", "v1.2", "-m", "v1.2")
    git(work, "push", "-q", "origin", "v1.2")
    git(Path(clone.folder), "tag", "v1.2")
    assert resolved(clone, "v1.2") == (newer, [newer])


def test_branch_is_refused_with_its_commit(work: Path, clone: _source.Clone) -> None:
    sha = git(work, "rev-parse", "HEAD")
    with pytest.raises(_source.SourceError, match=f"main is a branch.*give its commit: {sha}"):
        resolved(clone, "main")


@pytest.mark.parametrize("version", ["f" * 40, "fffffff", "v9"])
def test_unknown_version_is_refused(clone: _source.Clone, version: str) -> None:
    with pytest.raises(_source.SourceError, match=f"has no commit and no tag {version}"):
        resolved(clone, version)


def test_remote_that_is_gone_is_told_and_not_needed_for_what_is_here(
    work: Path, clone: _source.Clone
) -> None:
    (work.parent / "remote.git").rename(work.parent / "gone.git")
    here = clone.head()
    assert resolved(clone, here) == (here, [])
    with pytest.raises(_source.SourceError, match=r"git fetch in .* failed: .*remote\.git"):
        resolved(clone, "f" * 40)
    with pytest.raises(_source.SourceError, match=r"has no remote 'upstream'.*it has: origin"):
        resolved(_source.Clone(clone.folder, "upstream"), "v9")


def test_looking_at_a_commit_leaves_no_trace_in_the_clone(
    work: Path, clone: _source.Clone, tmp_path: Path
) -> None:
    newer = commit(work, nginx__nginx_conf="two\n", app__new_js="new\n")
    before = state(clone.folder)
    beside, tree = tmp_path / "objects", tmp_path / "tree"
    beside.mkdir()
    clone.objects = str(beside)
    assert resolved(clone, newer) == (newer, [newer])
    clone.lay_out(newer, str(tree))
    assert (tree / "nginx/nginx.conf").read_text() == "two\n"
    assert (tree / "app/new.js").read_text() == "new\n"
    assert not (tree / ".git").exists()
    assert state(clone.folder) == before


def test_untracked_file_in_the_way_is_found(work: Path, clone: _source.Clone) -> None:
    newer = commit(work, app__new_js="new\n", app__same_js="same\n", a__b_js="", c__d_js="")
    clone.fetch([newer])
    live = Path(clone.folder)
    (live / "app/new.js").write_text("of somebody\n")
    (live / "app/same.js").write_text("same\n")
    (live / "a").write_text("no directory\n")
    (live / "c/d.js").mkdir(parents=True)
    assert sorted(clone.collisions(newer)) == ["a", "app/new.js", "c/d.js"]


def test_clone_follows_without_touching_what_is_right(work: Path, clone: _source.Clone) -> None:
    newer = commit(
        work, nginx__nginx_conf="two\n", app__old_js=None, app__new_js="new\n", key_pem="secret\n"
    )
    newest = commit(work, key_pem=None)
    clone.fetch([newest])
    live = Path(clone.folder)
    # As the configuration is written: into the file that a container mounts.
    (live / "nginx/nginx.conf").write_text("two\n")
    inode = (live / "nginx/nginx.conf").stat().st_ino
    clone.move_to(newer, lambda path: _source.stays(path, []))
    assert clone.head() == newer
    assert clone.changes() == []
    assert clone.edited() == []
    assert (live / "nginx/nginx.conf").stat().st_ino == inode
    assert (live / "app/new.js").read_text() == "new\n"
    assert not (live / "app/old.js").exists()
    assert (live / ".env").read_text() == "SECRET=1\n"
    assert clone.move_to(newest, lambda path: _source.stays(path, [])) == ["key.pem"]
    assert (live / "key.pem").read_text() == "secret\n"
    assert clone.changes() == []
    assert git(live, "rev-parse", "main") != newest


def test_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    ended = _source.bounded(
        ["sh", "-c", "sleep 60 & echo $! > child; wait"],
        0.5,
        folder=str(tmp_path),
        environment=dict(os.environ),
    )
    assert ended is None
    stat = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    deadline = time.monotonic() + 5
    while stat.exists() and ") Z " not in stat.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
