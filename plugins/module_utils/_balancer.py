# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A server that an operation took out of its load balancer."""

from __future__ import annotations

import os
import time

from ansible_collections.carrental.ops.plugins.module_utils import _host
from ansible_collections.carrental.ops.plugins.module_utils._checks import WARN, Check

# The role stack writes it before it tells the balancer, and takes it away once the server is back.
_MARK = "out-of-balancer"


def left_out(state_dir: str) -> list[Check]:
    """Say of a server that it is out, and since when."""
    try:
        minutes = (time.time() - os.stat(os.path.join(state_dir, _MARK)).st_mtime) / 60
    except OSError:
        return []
    return [
        _host.HOST.says(
            "balancer",
            WARN,
            f"This server is out of its load balancer for {minutes:.0f} min",
            "nobody is led to it; where no operation is under way, the next deploy, rollback or "
            "scaling of it puts it back, if it serves",
        )
    ]
