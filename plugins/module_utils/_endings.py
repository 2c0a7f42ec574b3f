# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""How a container ended: its state forgets it with the next start, the engine's events do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Events = Sequence[Mapping[str, Any]]


def last_exit(events: Events) -> int | None:
    """Return with which code a container ended last; None where the engine does not know.

    :param events: what the engine remembers, oldest first.
    """
    for event in reversed(events):
        if event.get("Action") == "die":
            code = (event.get("Actor") or {}).get("Attributes", {}).get("exitCode", "")
            return int(code) if str(code).isdigit() else None
    return None


def out_of_memory(state: Mapping[str, Any], events: Events) -> bool:
    """Return whether the kernel killed it for its memory."""
    told = any(event.get("Action") == "oom" for event in events)
    return told or bool(state.get("OOMKilled"))
