# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What an operator has to see of a container that failed: how it is, and what it printed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from . import _environment_masking, _verification, _whole_file
from ._docker import Container, DockerError
from ._engine import Engine

# Below the directory of what the operations remember.
FOLDER = "logs"
_SHOWN_LINES = 20
_KEPT_LINES = 20_000
_KEPT_LOGS = 20


def lines(engine: Engine, project: str, container: Container) -> list[str]:
    """Return its state and the last lines that it printed, without secrets."""
    masker = _environment_masking.container_masker(container.environment, project)
    try:
        fresh = engine.inspect(container.id)
    except DockerError:
        return [f"{container.name} is gone"]
    shown = _verification.shown(fresh, engine.log(fresh, _SHOWN_LINES))
    return [masker.text(line) for line in _verification.report([shown], _SHOWN_LINES)]


def keep_log(engine: Engine, project: str, container: Container, state_dir: str) -> str:
    """Save what a container printed, for its log goes away with it; return where, as a line.

    The file is 0600, without secrets, and holds the last 20,000 lines; the newest 20 files stay.
    One that cannot be written is said, and fails nothing.
    """
    masker = _environment_masking.container_masker(container.environment, project)
    printed = engine.log(container, _KEPT_LINES)
    if not printed:
        return f"{container.name} printed nothing"
    folder = Path(state_dir, FOLDER)
    path = folder / f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}-{container.name}.log"
    text = "".join(f"{masker.text(line)}\n" for line in printed)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _whole_file.write(os.fspath(path), text.encode())
        for name in _surplus(entry.name for entry in folder.iterdir()):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        return f"the log of {container.name} could not be kept in {folder}: {error.strerror}"
    return f"what {container.name} printed is kept in {path}"


def _surplus(names: Iterable[str]) -> list[str]:
    """Return the oldest files, beyond the newest ones: their names sort as time does."""
    return sorted(name for name in names if name.endswith(".log"))[:-_KEPT_LOGS]
