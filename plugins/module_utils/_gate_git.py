# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a gate asks Git about a checkout."""

from __future__ import annotations

import subprocess

from . import _gate


def _run(folder: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = ["git", "-C", folder, *arguments]
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _gate.GateError(f"Cannot run git in {folder}: {error}; install git.") from error


def files(folder: str, commit: str) -> list[str]:
    """Return the files of a commit, relative to the top of its repository.

    :raises _gate.GateError: there is no such commit.
    """
    done = _run(folder, "ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
    if done.returncode != 0:
        said = " ".join(done.stderr.split())
        raise _gate.GateError(
            f"git ls-tree in {folder} ended with {done.returncode}: {said}; gate_base is a "
            "branch or commit of that checkout, which has to be fetched (fetch-depth: 0 in CI)."
        )
    return done.stdout.split("\0")


def ignored(folder: str, path: str) -> bool:
    """Whether a path is kept out of Git; what is in no repository is not."""
    try:
        # With a slash, too: a pattern for directories does not match what is not there.
        return bool(_run(folder, "check-ignore", "--", path, f"{path}/").stdout)
    except _gate.GateError:
        return False
