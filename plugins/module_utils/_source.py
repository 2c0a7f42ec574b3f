# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A project directory that is a git clone: what it holds, a commit beside it, and on to it.

The files of production do not change while a commit is looked at or built: it is laid
out in a directory of its own. Only when its release has passed does the clone follow.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from . import _compose, _history
from ._delivered import ENV_HISTORY, PREFIX

_FULL = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_SHORT = re.compile(r"[0-9a-f]{7,64}\Z")
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
# What an operation writes itself, and no commit may bring.
_OWN = (_compose.ENV_FILE, _compose.RELEASE_FILE, ENV_HISTORY, ".ops")
_SUBMODULE, _LINK = "160000", "120000"
_LOCAL_TIMEOUT = 120.0
_NAMED = 5
_TOKEN_LENGTH = 16
# Of git's own variables those that would lead it to another repository.
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")


class SourceError(Exception):
    """A clone or a commit that cannot be deployed from; the text is a whole sentence."""


@dataclass(frozen=True)
class Entry:
    """One path of a commit."""

    mode: str
    blob: str


@dataclass(frozen=True)
class Ended:
    """The end of a command that was given only so much time."""

    rc: int
    stdout: bytes
    stderr: str


def bounded(
    argv: Sequence[str],
    timeout: float,
    *,
    folder: str,
    environment: Mapping[str, str],
    stdin: bytes = b"",
) -> Ended | None:
    """Run a command and what it starts; nothing is returned, and nothing left, when time is up."""
    with subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=dict(environment),
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # Also when this module is told to stop: ssh and compose are children of it.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return Ended(process.returncode, out, err.decode("utf-8", "replace"))


def without_login(text: str) -> str:
    """Return a text without what stands before the host in its URLs."""
    return _LOGIN.sub("", text)


def logins(url: str) -> list[str]:
    """Return what may be secret in the URL of a repository: a password, or a token alone."""
    match = re.match(r"https?://(?P<user>[^/@:\s]*)(?::(?P<password>[^/@\s]+))?@", url)
    if not match:
        return []
    # Alone a short one is a name; to hide it would garble every other text.
    user = match["user"] if len(match["user"]) >= _TOKEN_LENGTH else ""
    return [one for one in (match["password"], user) if one]


def changed_paths(status: str) -> list[str]:
    """Return the paths of C(git status --porcelain -z) without renames."""
    return [entry[3:] for entry in status.split("\0") if len(entry) > 3]


def entries(listed: str) -> dict[str, Entry]:
    """Return what C(git ls-tree -r -z) lists."""
    found = {}
    for line in listed.split("\0"):
        head, tab, path = line.partition("\t")
        if tab:
            mode, _kind, blob = head.split()
            found[path] = Entry(mode, blob)
    return found


def references(listed: str) -> dict[str, str]:
    """Return the references of C(git ls-remote); of an annotated tag the commit."""
    found: dict[str, str] = {}
    for line in listed.splitlines():
        sha, _tab, name = line.partition("\t")
        if name.endswith("^{}") or name not in found:
            found[name.removesuffix("^{}")] = sha
    return found


def some(paths: Sequence[str]) -> str:
    """Return the first of many paths, in words."""
    shown = ", ".join(paths[:_NAMED])
    more = len(paths) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def forbidden(tree: Mapping[str, Entry]) -> str:
    """Return why a commit cannot be deployed by what it holds; empty when it can."""
    own = sorted(path for path in tree if path.split("/")[0] in _OWN)
    if own:
        return (
            f"it holds {some(own)}, which only a deploy writes on the server; take it out of the "
            "repository (git rm --cached) and name it in .gitignore"
        )
    submodules = sorted(path for path, one in tree.items() if one.mode == _SUBMODULE)
    if submodules:
        return (
            f"it has submodules ({some(submodules)}), which are not fetched; deploy from a registry"
        )
    return ""


@dataclass
class Clone:
    """The clone, which git alone reads and writes.

    :param objects: directory for what is fetched in place of the clone's own. In check mode
        the clone stays as it is.
    """

    folder: str
    remote: str = "origin"
    timeout: float = 120.0
    objects: str = ""
    # Where the content of past configurations is kept by its hash.
    content: str = ""
    # Files that a procedure of ours writes, whatever the commit has there.
    owned: Collection[str] = ()
    _trees: dict[str, dict[str, Entry]] = field(default_factory=dict)

    def run(
        self,
        *arguments: str,
        timeout: float = _LOCAL_TIMEOUT,
        index: str = "",
        stdin: bytes = b"",
        codes: Sequence[int] = (0,),
    ) -> str:
        """Run git and return what it printed.

        :param index: file that takes the place of the clone's own index.
        """
        environment = {key: text for key, text in os.environ.items() if key not in _FOREIGN}
        # Nobody is there to be asked, and looking is no reason to write.
        environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
        environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=20")
        if index:
            environment["GIT_INDEX_FILE"] = index
        if self.objects:
            environment["GIT_OBJECT_DIRECTORY"] = self.objects
            own = os.path.join(self.folder, ".git", "objects")
            environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = own
        argv = ["git", "-C", self.folder, "-c", "core.hooksPath=/dev/null", *arguments]
        try:
            done = bounded(argv, timeout, folder=self.folder, environment=environment, stdin=stdin)
        except FileNotFoundError as error:
            if not os.path.isdir(self.folder):
                raise SourceError(f"There is no directory {self.folder}.") from error
            raise SourceError(
                "git is not installed on the server; install it (apt-get install git)."
            ) from error
        if done is None:
            raise SourceError(
                f"git {arguments[0]} in {self.folder} did not end within {timeout:g} s; check the "
                f"way to its remote {self.remote}, or give it more time (deploy_git_timeout)."
            )
        if done.rc not in codes:
            said = " ".join(without_login(done.stderr).split()) or f"it ended with {done.rc}"
            raise SourceError(f"git {arguments[0]} in {self.folder} failed: {said.rstrip('.')}.")
        return done.stdout.decode("utf-8", "surrogateescape")

    def head(self) -> str:
        """Return the commit that is checked out.

        :raises SourceError: when the directory is no clone that can be deployed from.
        """
        remedy = "clone the repository there, or deploy from a registry (deploy_source=registry)"
        if not os.path.isdir(os.path.join(self.folder, ".git")):
            raise SourceError(f"{self.folder} is not a git clone; {remedy}.")
        sha = self.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", codes=(0, 1)).strip()
        if not sha:
            raise SourceError(f"The clone {self.folder} has no commit checked out; {remedy}.")
        return sha

    def url(self) -> str:
        """Return the address of the remote, which may hold a login."""
        try:
            return self.run("remote", "get-url", self.remote).strip()
        except SourceError as error:
            known = ", ".join(self.run("remote").split()) or "none"
            raise SourceError(
                f"The clone {self.folder} has no remote {self.remote!r} (deploy_git_remote); it "
                f"has: {known}."
            ) from error

    def edited(self, releases: Sequence[str] = ()) -> list[str]:
        """Return the tracked files that somebody changed by hand.

        What an operation wrote is not among them: a killed deploy and a rollback leave files
        of a release, which are either kept by their content or in the commit of a release.

        :param releases: commits of releases.
        """
        return [path for path in self.changes() if not self._is_known(path, releases)]

    def changes(self) -> list[str]:
        """Return the tracked files that are not as in the commit that is checked out."""
        status = self.run("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames")
        return [path for path in changed_paths(status) if path not in self.owned]

    def _is_known(self, path: str, releases: Sequence[str]) -> bool:
        place = self._place(path)
        trees = [self.tree(one) for one in dict.fromkeys([self.head(), *releases]) if self.has(one)]
        if not os.path.lexists(place):
            return any(path not in tree for tree in trees)
        blob = self._blob(place)
        if any(blob == tree[path].blob for tree in trees if path in tree):
            return True
        if not self.content or os.path.islink(place) or not os.path.isfile(place):
            return False
        return os.path.exists(os.path.join(self.content, _sha256(place)))

    def _blob(self, place: str) -> str:
        if os.path.islink(place):
            target = os.fsencode(os.readlink(place))
            return self.run("hash-object", "--stdin", stdin=target).strip()
        if not os.path.isfile(place):
            return ""
        return self.run("hash-object", "--", os.path.relpath(place, self.folder)).strip()

    def has(self, sha: str) -> bool:
        """Return whether a commit is here."""
        kind = self.run("cat-file", "-t", sha, codes=(0, 1, 128)).strip()
        return kind == "commit"

    def tree(self, sha: str) -> dict[str, Entry]:
        """Return every path of a commit."""
        if sha not in self._trees:
            self._trees[sha] = entries(self.run("ls-tree", "-r", "-z", "--full-tree", sha))
        return self._trees[sha]

    def resolve(self, version: str, fetch: Callable[[Sequence[str]], None]) -> str:
        """Return the commit that a sha, the beginning of one, or a tag stands for.

        :param fetch: is called with the commits that are not here.
        """
        if _FULL.match(version):
            return self._get(version, version, fetch)
        if _SHORT.match(version):
            found = self._beginning(version)
            if not found:
                fetch(self._missing_tips())
                found = self._beginning(version)
            if len(found) > 1:
                raise SourceError(
                    f"{version} stands for several commits: {', '.join(found)}; give one in full."
                )
            if found:
                return found[0]
        tips = self._tips(f"refs/tags/{version}", f"refs/tags/{version}^{{}}", f"heads/{version}")
        sha = tips.get(f"refs/tags/{version}")
        if sha:
            return self._get(sha, version, fetch)
        branch = tips.get(f"refs/heads/{version}")
        if branch:
            raise SourceError(
                f"{version} is a branch, and what that is changes; give its commit: {branch}."
            )
        raise SourceError(self._unknown(version))

    def _unknown(self, version: str) -> str:
        return (
            f"{self.remote} ({without_login(self.url())}) has no commit and no tag {version}; "
            "check the version, and that it was pushed."
        )

    def _get(self, sha: str, version: str, fetch: Callable[[Sequence[str]], None]) -> str:
        if not self.has(sha):
            try:
                fetch([sha])
            except SourceError as error:
                if "unadvertised object" in str(error):
                    # An old server gives only what a branch or a tag names, with all before it.
                    fetch(self._missing_tips())
                elif "not our ref" in str(error):
                    raise SourceError(self._unknown(version)) from error
                else:
                    raise
        if not self.has(sha):
            raise SourceError(self._unknown(version))
        return sha

    def _beginning(self, short: str) -> list[str]:
        found = self.run("rev-parse", f"--disambiguate={short}").split()
        return [one for one in found if self.has(one)]

    def _missing_tips(self) -> list[str]:
        tips = self._tips("--heads", "--tags")
        return sorted({sha for sha in tips.values() if not self.has(sha)})

    def _tips(self, *patterns: str) -> dict[str, str]:
        flags = [one for one in patterns if one.startswith("--")]
        names = [one for one in patterns if not one.startswith("--")]
        self.url()
        listed = self.run("ls-remote", *flags, self.remote, *names, timeout=self.timeout)
        return references(listed)

    def fetch(self, commits: Sequence[str]) -> None:
        """Get commits from the remote; no branch, no tag and no file changes."""
        if not commits:
            return
        self.url()
        self.run(
            *("fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head"),
            *("--recurse-submodules=no", self.remote, *commits),
            timeout=self.timeout,
        )

    def collisions(self, sha: str, releases: Sequence[str] = ()) -> list[str]:
        """Return untracked files that a commit has, too, with another content."""
        tracked = set(self.run("ls-files", "-z").split("\0"))
        found: dict[str, None] = {}
        for path, entry in self.tree(sha).items():
            above = self._no_directory(path)
            if above and above not in tracked:
                found[above] = None
            place = self._place(path)
            if path in tracked or not os.path.lexists(place):
                continue
            if self._blob(place) != entry.blob and not self._is_known(path, releases):
                found[path] = None
        return list(found)

    def _no_directory(self, path: str) -> str:
        """Return what is in the way of a path, for its directory has to be there; or nothing."""
        above = os.path.dirname(path)
        while above:
            place = self._place(above)
            if os.path.lexists(place) and (os.path.islink(place) or not os.path.isdir(place)):
                return above
            above = os.path.dirname(above)
        return ""

    def lay_out(self, sha: str, folder: str) -> None:
        """Write all files of a commit to a directory of their own."""
        with tempfile.TemporaryDirectory(prefix=PREFIX) as own:
            index = os.path.join(own, "index")
            self.run("read-tree", sha, index=index)
            self.run("checkout-index", "--all", "--force", f"--prefix={folder}/", index=index)

    def move_to(self, sha: str, keep: Callable[[str], bool]) -> list[str]:
        """Make the clone be at a commit; return the files that stay although they left it.

        What has the content of the commit already is not touched: a container that mounts
        a file by itself would keep the old one. Untracked files stay.

        :param keep: says of a file that the commit does not have any more that it stays.
        """
        tracked = set(filter(None, self.run("ls-files", "-z").split("\0")))
        with tempfile.TemporaryDirectory(prefix=PREFIX) as own:
            index = os.path.join(own, "index")
            self.run("read-tree", sha, index=index)
            self.run("update-index", "-q", "--refresh", index=index, codes=(0, 1))
            spared = [path for path in self.owned if path in self.tree(sha)]
            if spared:
                self.run("update-index", "--skip-worktree", "--", *spared, index=index)
            self.run("checkout-index", "--all", "--force", "--quiet", index=index)
        gone = sorted(tracked - self.tree(sha).keys())
        left = [path for path in gone if os.path.lexists(self._place(path)) and keep(path)]
        for path in gone:
            if path not in left:
                self._remove(path)
        if self.head() != sha:
            note = "carrental.ops: released"
            self.run("update-ref", "--no-deref", "-m", note, "HEAD", sha)
        self.run("read-tree", sha)
        self.run("update-index", "-q", "--refresh", codes=(0, 1))
        return left

    def _place(self, path: str) -> str:
        return os.path.join(self.folder, path)

    def _remove(self, path: str) -> None:
        try:
            os.unlink(self._place(path))
        except (FileNotFoundError, NotADirectoryError):
            return
        parent = os.path.dirname(path)
        while parent:
            try:
                os.rmdir(self._place(parent))
            except OSError:
                # Something else is in it.
                return
            parent = os.path.dirname(parent)


def stays(path: str, mounts: Sequence[str]) -> bool:
    """Return whether a file stays on the server when a commit does not have it any more.

    Secrets and certificates are taken out of a repository so that they are only here. What
    a container mounts is needed by its next start.

    :param mounts: what containers mount, relative to the project.
    """
    mounted = any(path == one or path.startswith(f"{one}/") for one in mounts)
    return mounted or not _history.is_kept(path)


def _sha256(place: str) -> str:
    with open(place, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()
