# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The configuration of past releases, kept by content, so that one can be rebuilt whole.

A record names each file of a release by its hash. The content lies once under
that hash: what many releases share takes no further space, and what is there
proves itself when it is read. ``.env`` holds secrets and never goes to the
operations' own directory; each form of it lies beside the one in use.

Keys and certificates are not kept. They are renewed, never rolled back: an old
certificate beside a new key is a proxy that does not start.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from . import _compose, _whole_file
from ._delivered import ENV_HISTORY, is_private
from ._releases import Config, Release

_CONTENT = "content"
_CERTIFICATES = ("*.pem", "*.crt", "*.cer", "*.der", "*.csr", "*.jks")


class HistoryError(Exception):
    """Content that cannot be kept, or is not there; the text is a whole sentence."""


@dataclass(frozen=True)
class Rebuilt:
    """The configuration of a release as a directory to deliver, and its ``.env``."""

    src: str
    env_file: str


def content_dir(state_dir: str) -> str:
    """Return the directory of the kept files."""
    return os.path.join(state_dir, _CONTENT)


def env_dir(root: str) -> str:
    """Return the directory of the kept forms of ``.env``."""
    return os.path.join(root, ENV_HISTORY)


def is_kept(path: str) -> bool:
    """Return whether a file of a release is kept, by its name.

    The file with the pinned images is not: it follows from the images.
    """
    name = os.path.basename(path)
    certificate = any(fnmatch.fnmatch(name, pattern) for pattern in _CERTIFICATES)
    return not certificate and not is_private(path) and path != _compose.RELEASE_FILE


def keep(config: Config, source: str, env_text: str | None, root: str, state_dir: str) -> list[str]:
    """Keep what a configuration consists of; return the names of what was not there yet.

    Only content with the recorded hash is kept: a file that was changed since is not
    what was released.

    :param source: directory that holds the files at their paths.
    :param env_text: the whole of ``.env``, if it is known.
    """
    added = []
    folder = content_dir(state_dir)
    try:
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        for path, digest in sorted(config["files"].items()):
            if not is_kept(path):
                continue
            place = os.path.join(folder, digest)
            found = os.path.join(source, path)
            executable = os.access(found, os.X_OK)
            if _content(place, digest) is None:
                content = _content(found, digest)
                if content is None:
                    continue
                _store(place, content, 0o700 if executable else 0o600)
                added.append(path)
            elif executable:
                os.chmod(place, 0o700)
        digest = config["env"]["sha256"]
        place = os.path.join(env_dir(root), digest)
        env = (env_text or "").encode()
        if hashlib.sha256(env).hexdigest() == digest and _content(place, digest) is None:
            _store(place, env, 0o600)
            added.append(_compose.ENV_FILE)
    except OSError as error:
        raise HistoryError(
            f"Cannot keep the configuration at {error.filename or folder}: {error.strerror}; the "
            "owner of the directory has to be the user that deploys, and the disk needs space."
        ) from error
    return added


def keep_in_use(release: Release, root: str, state_dir: str) -> list[str]:
    """Keep the configuration of the release that is in place, as far as nobody changed it."""
    env = _read(os.path.join(root, _compose.ENV_FILE)) or b""
    return keep(release["config"], root, env.decode("utf-8", "replace"), root, state_dir)


def missing(release: Release, root: str, state_dir: str) -> list[str]:
    """Return the files of a release that cannot be had any more."""
    folder = content_dir(state_dir)
    lost = [
        path
        for path, digest in release["config"]["files"].items()
        if is_kept(path) and _content(os.path.join(folder, digest), digest) is None
    ]
    digest = release["config"]["env"]["sha256"]
    if _content(os.path.join(env_dir(root), digest), digest) is None:
        lost.append(_compose.ENV_FILE)
    return sorted(lost)


def materialise(release: Release, root: str, state_dir: str, target_dir: str) -> Rebuilt:
    """Rebuild the configuration of a release in an empty directory, whole or not at all."""
    lost = missing(release, root, state_dir)
    if lost:
        raise HistoryError(
            f"The configuration of release {release['id']} cannot be rebuilt: "
            f"{', '.join(lost)} {'is' if len(lost) == 1 else 'are'} not kept in "
            f"{content_dir(state_dir)} and {env_dir(root)}; deploy version {release['version']} "
            "with its configuration (deploy_config_dir) instead."
        )
    try:
        for path, digest in release["config"]["files"].items():
            if is_kept(path):
                target = os.path.join(target_dir, path)
                os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
                shutil.copy(os.path.join(content_dir(state_dir), digest), target)
    except OSError as error:
        raise HistoryError(
            f"Cannot rebuild the configuration of release {release['id']} in {target_dir}: "
            f"{error.strerror}; free some space."
        ) from error
    return Rebuilt(target_dir, os.path.join(env_dir(root), release["config"]["env"]["sha256"]))


def edited(release: Release, root: str, owned: Collection[str] = ()) -> list[str]:
    """Return the files of the project that are not as a release recorded them.

    :param owned: files that another procedure has written since.
    """
    files = {**release["config"]["files"], _compose.ENV_FILE: release["config"]["env"]["sha256"]}
    found = []
    for path, digest in files.items():
        if path in owned:
            continue
        place = os.path.join(root, path)
        # What this user may not read (certbot's keys of root) nobody can judge.
        unreadable = os.path.lexists(place) and not os.access(place, os.R_OK)
        if _content(place, digest) is None and not unreadable:
            found.append(path)
    return sorted(found)


def surplus(target: Release, current: Release) -> list[str]:
    """Return the files of one release that another one, which is to take its place, has not."""
    gone = current["config"]["files"].keys() - target["config"]["files"].keys()
    return sorted(path for path in gone if is_kept(path))


def collect(kept: Iterable[Release], root: str, state_dir: str, write: bool = True) -> list[str]:
    """Remove content that none of the kept releases refers to; return what was removed."""
    releases = list(kept)
    files = {digest for one in releases for digest in one["config"]["files"].values()}
    envs = {one["config"]["env"]["sha256"] for one in releases}
    removed = _collect(content_dir(state_dir), files, write)
    return removed + _collect(env_dir(root), envs, write)


def _collect(folder: str, wanted: Collection[str], write: bool) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
        gone = [os.path.join(folder, name) for name in names if name not in wanted]
        for path in gone if write else ():
            os.unlink(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HistoryError(
            f"Cannot remove what no release needs any more from {folder}: {error.strerror}; "
            "check the owner of the directory."
        ) from error
    return gone


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return None


def _content(path: str, digest: str) -> bytes | None:
    """Return the content of a file if it is what its hash says."""
    content = _read(path)
    if content is None or hashlib.sha256(content).hexdigest() != digest:
        return None
    return content


def _store(path: str, content: bytes, mode: int) -> None:
    """Write a file whole or not at all; who sees it after a crash sees all of it."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _whole_file.write(path, content, mode)
