# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Remove a container when this process dies, however it dies.

A container goes on whose module was killed by ``kill -9``, and nothing inside of the module can
do anything about that. A child in a session of its own waits for the end of a pipe: it comes when
the last process that holds its other side is gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ._docker import DockerError
from ._engine import Engine


@contextmanager
def guarded(engine: Engine, container: str) -> Iterator[None]:
    """Remove a container at the end, also when this process does not live to see it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        _wait(engine, container, reading)
    os.close(reading)
    try:
        yield
    finally:
        with suppress(DockerError):
            engine.remove(container)
        os.close(writing)
        os.waitpid(child, 0)


def _wait(engine: Engine, container: str, reading: int) -> None:
    """Be the child: wait for the end, and remove what is left."""
    try:
        os.setsid()
        # What the module prints must not wait for us.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for handle in (0, 1, 2):
            os.dup2(nowhere, handle)
        os.read(reading, 1)
        engine.remove(container)
    except BaseException:  # noqa: S110  # it is gone already, and nobody listens
        pass
    finally:
        os._exit(0)
