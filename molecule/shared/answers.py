# SPDX-License-Identifier: GPL-3.0-or-later
"""respond.yml asked by a test, and what it answers."""

from __future__ import annotations

from typing import Any

from support import STATE, Run, playbook

SWITCH = f"{STATE}/response.off"
ACT: dict[str, Any] = {
    "response_mode": "act",
    "response_cooldown": 0,
    "response_total_per_hour": 1000,
}
AGAIN: dict[str, Any] = {
    **ACT,
    "response_per_hour": 1000,
    "response_per_day": 1000,
    "response_reset": True,
}


def respond(incident: str, **extra: Any) -> Run:
    return playbook("respond", incident=incident, **extra)


def cause(run: Run) -> tuple[str, str]:
    """Service and code of the likely cause."""
    one = run.result["incidents"][0]
    return one["service"], one["cause"]


def attempts(run: Run) -> list[tuple[str, str]]:
    return [
        (one["remedy"], one["verdict"])
        for each in run.result["incidents"]
        for one in each["attempts"]
    ]
