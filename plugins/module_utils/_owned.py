# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Files of the project that a procedure of ours writes, and a release does not.

The stack delivers a ``prometheus.yml`` of its own with every release; once
``playbooks/monitor.yml`` wrote that file, a deploy or a rollback would undo it
without a word. What stands here is left alone by both, is no part of a record,
and is no edit by hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from . import _whole_file

_FILE = "owned.json"


def paths(state_dir: str | None, root: str) -> tuple[str, ...]:
    """Return the files, relative to the project, as far as they are there.

    One that was removed comes with the next release again.
    """
    if not state_dir:
        return ()
    try:
        with open(os.path.join(state_dir, _FILE), encoding="utf-8") as stream:
            written = [str(one) for one in json.load(stream)["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return tuple(sorted(one for one in written if os.path.isfile(os.path.join(root, one))))


def claim(state_dir: str, root: str, files: Iterable[str]) -> None:
    """Say which files are written by us, from before their first byte is.

    :raises OSError: the disk is full, or the directory may not be written.
    """
    wanted = sorted({*paths(state_dir, root), *files})
    content = json.dumps({"files": wanted}, indent=1) + "\n"
    _whole_file.write(os.path.join(state_dir, _FILE), content.encode())
