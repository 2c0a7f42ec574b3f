# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that stayed out of its load balancer is told of."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ansible_collections.carrental.ops.plugins.module_utils import _balancer


def test_a_mark_is_a_warning_with_its_age(tmp_path: Path) -> None:
    assert _balancer.left_out(str(tmp_path)) == []
    mark = tmp_path / "out-of-balancer"
    mark.touch()
    os.utime(mark, (time.time() - 725, time.time() - 725))
    (check,) = _balancer.left_out(str(tmp_path))
    assert (check.name, check.status) == ("host.balancer", "warn")
    assert check.summary == "This server is out of its load balancer for 12 min"
