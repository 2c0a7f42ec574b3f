# SPDX-License-Identifier: GPL-3.0-or-later
"""One builder at a time on a machine, whichever clone of the repository it is in."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .console import say


@contextmanager
def machine_lock(name: str) -> Iterator[None]:
    """Images, registries and the network are shared by all clones: take turns."""
    path = Path(tempfile.gettempdir()) / f"carrental-demo-{name}.lock"
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("  waiting for another run of the demo to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
