# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a release brings into a project: which files, with which mode, and whether any is new."""

from __future__ import annotations

import filecmp
import fnmatch
import os
import stat
from collections.abc import Collection, Mapping
from typing import Any

from . import _compose

# Temporary directories of the server that a configuration is brought into.
PREFIX = "carrental-deploy-"
# Beside .env: the forms of it that past releases had.
ENV_HISTORY = ".env.releases"
_PRIVATE = (".env", ".env.*", "*.env", "*.key", "*.p12", "*.pfx", "privkey*.pem", "*-key.pem")


def is_private(path: str) -> bool:
    """Return whether a file holds a secret by its name."""
    name = os.path.basename(path)
    kept = ENV_HISTORY in path.split(os.sep)
    return kept or any(fnmatch.fnmatch(name, pattern) for pattern in _PRIVATE)


def files(src: str | None, owned: Collection[str] = ()) -> dict[str, str]:
    """Return the files that were brought: path relative to the project, and where it lies.

    :param src: the directory they were brought into; None where nothing was.
    :param owned: files that are left out.
    """
    found: dict[str, str] = {}
    if src is None:
        return found
    for folder, folders, names in os.walk(src):
        folders[:] = sorted(name for name in folders if name not in (".git", ENV_HISTORY))
        for name in sorted(names):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, src)
            if relative not in (_compose.ENV_FILE, _compose.RELEASE_FILE, *owned):
                found[relative] = path
    return found


def tree(found: Mapping[str, str]) -> dict[str, Any]:
    """Return files as directories hold them: a name stands for a path, or for a tree again."""
    root: dict[str, Any] = {}
    for relative, path in found.items():
        *folders, name = relative.split(os.sep)
        place = root
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = path
    return root


def mode(relative: str, path: str) -> int:
    """Return the mode that a file of the project gets.

    :param relative: its path in the project.
    :param path: where it was brought to.
    """
    if is_private(relative):
        return 0o600
    return 0o755 if os.stat(path).st_mode & stat.S_IXUSR else 0o644


def is_there(src: str, dest: str, owned: Collection[str] = ()) -> bool:
    """Return whether a project has everything that was brought, with the content and the mode.

    :param src: the directory it was brought into.
    :param dest: directory of the project.
    :param owned: files that are left out.
    """
    for relative, path in files(src, owned).items():
        target = os.path.join(dest, relative)
        try:
            same = filecmp.cmp(path, target, shallow=False)
            if not same or stat.S_IMODE(os.stat(target).st_mode) != mode(relative, path):
                return False
        except OSError:
            # Whoever proves the configuration says what is wrong with it.
            return False
    return True
