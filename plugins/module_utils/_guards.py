# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What may keep a remedy from being tried. Pure: what happened before comes in, a reason goes out.

What counts is that something was attempted, not that it worked: else one that always fails
could go on for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Line = Mapping[str, Any]

FIXED, INEFFECTIVE = "fixed", "ineffective"


@dataclass(frozen=True)
class Limits:
    """How often something may be tried, in seconds and attempts.

    :param cooldown: between two attempts of a remedy on a service.
    :param hour: attempts of a remedy on a service in an hour.
    :param day: attempts of a remedy on a service in a day.
    :param total_hour: attempts of anything in an hour.
    :param breaker: how long a remedy that did not help is not tried again on that service.
    """

    cooldown: float = 600
    hour: int = 3
    day: int = 10
    total_hour: int = 10
    breaker: float = 86400


def key(alert: Mapping[str, Any]) -> str:
    """Return what an alert is known by: the same one, delivered again, has the same."""
    return f"{alert.get('fingerprint', '')}@{alert.get('startsAt', '')}"


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _attempts(lines: Sequence[Line], now: float, seconds: float) -> list[Line]:
    return [
        line
        for line in lines
        if line.get("event") == "attempt" and now - float(line.get("time", 0)) < seconds
    ]


def judge(
    lines: Sequence[Line],
    remedy: str,
    service: str,
    now: float,
    limits: Limits,
    *,
    climb: Collection[str] = (),
) -> list[str]:
    """Return why a remedy may not be tried on a service now; nothing when it may.

    :param lines: of the ledger, oldest first.
    :param now: seconds since the epoch.
    :param climb: ids of the attempts of this response, in which one remedy follows the other.
    """
    found = []
    # What an earlier response ended with: people know of it, and it is their turn.
    before = [
        line for line in lines if line.get("service") == service and line.get("id") not in climb
    ]
    handed_on = _breaker(lines, before, now, limits)
    own = [line for line in lines if (line.get("remedy"), line.get("service")) == (remedy, service)]
    day = _attempts(own, now, 86400)
    hour = _attempts(own, now, 3600)
    anything = _attempts(lines, now, 3600)
    open_since = _breaker(lines, own, now, limits)
    if open_since is not None:
        found.append(
            f"{remedy} did not help {service} {_span(now - open_since)} ago, so it is not tried "
            "again (breaker); -e response_reset=true closes it when you know more"
        )
    elif handed_on is not None:
        found.append(
            f"the last remedy for {service} did not help {_span(now - handed_on)} ago, and that "
            "was handed on to people (breaker); -e response_reset=true closes it when you know more"
        )
    last = day[-1] if day else None
    if last is not None:
        since = now - float(last["time"])
        if since < limits.cooldown:
            found.append(
                f"{remedy} was tried on {service} {_span(since)} ago, and it rests for "
                f"{_span(limits.cooldown)} (response_cooldown)"
            )
    if len(hour) >= limits.hour:
        found.append(
            f"{remedy} was tried {len(hour)} times on {service} within an hour, and "
            f"{limits.hour} is the most (response_per_hour)"
        )
    if len(day) >= limits.day:
        found.append(
            f"{remedy} was tried {len(day)} times on {service} within a day, and {limits.day} is "
            "the most (response_per_day)"
        )
    if len(anything) >= limits.total_hour:
        found.append(
            f"{len(anything)} remedies were tried within an hour, and {limits.total_hour} is the "
            "most of all of them (response_total_per_hour)"
        )
    return found


def last_attempt(lines: Sequence[Line], remedy: str, service: str, since: float) -> Line | None:
    """Return the last attempt of a remedy on a service, unless an operator began anew after it."""
    found = None
    for line in lines:
        if line.get("event") == "reset":
            found = None
        own = (line.get("remedy"), line.get("service")) == (remedy, service)
        if own and line.get("event") == "attempt" and float(line["time"]) > since:
            found = line
    return found


def _breaker(
    lines: Sequence[Line], own: Sequence[Line], now: float, limits: Limits
) -> float | None:
    """Return since when the breaker is open, if it is."""
    reset = max(
        (float(line["time"]) for line in lines if line.get("event") == "reset"), default=0.0
    )
    ended = [line for line in own if line.get("event") == "outcome"]
    begun = [line for line in own if line.get("event") == "attempt"]
    last: Line | None = ended[-1] if ended else None
    if begun and (last is None or last.get("id") != begun[-1].get("id")):
        # Its controller died: nobody knows that it helped.
        last = {**begun[-1], "verdict": INEFFECTIVE}
    if last is None or last.get("verdict") == FIXED:
        return None
    at = float(last["time"])
    return at if at > reset and now - at < limits.breaker else None


def answered(lines: Sequence[Line], keys: Sequence[str], mode: str) -> dict[str, Line]:
    """Return the alerts that were answered before, and how.

    :param mode: a diagnosis is no answer where acting is asked for.
    """
    found: dict[str, Line] = {}
    for line in lines:
        if line.get("event") != "answered":
            continue
        if mode == "act" and line.get("mode") != "act":
            continue
        for one in line.get("alerts") or ():
            if one in keys:
                found[one] = line
    return found
