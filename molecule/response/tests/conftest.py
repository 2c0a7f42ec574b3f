# SPDX-License-Identifier: GPL-3.0-or-later
"""After each test the stack is as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from answers import SWITCH
from support import eventually, fetch, inspect, on_server


@pytest.fixture(autouse=True)
def running() -> Iterator[None]:
    """What a test stopped runs again afterwards."""
    yield
    on_server("rm", "-f", SWITCH)
    for name in ("redis", "minio", "postgres", "api", "web"):
        if inspect(name, "{{.State.Paused}}") == "true":
            on_server("docker", "unpause", name)
        on_server("docker", "start", name)
    eventually(lambda: fetch("/api/v1/health")[0] == 200, "the API answers again", 90)
