# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""How long customers found nobody, measured while something is switched.

One request after the other goes through the proxy, each on a connection of its own.
An outage is the time from the first request that failed to the next that passed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Measured:
    """What was seen of one way in.

    :param requests: how many were sent.
    :param failed: how many of them failed.
    :param longest: the longest outage in seconds.
    :param total: all outages in seconds.
    :param first: why the first of them failed.
    """

    requests: int = 0
    failed: int = 0
    longest: float = 0.0
    total: float = 0.0
    first: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as a result shows it."""
        return {
            "requests": self.requests,
            "failed": self.failed,
            "longest_s": round(self.longest, 2),
            "total_s": round(self.total, 2),
            "first_failure": self.first,
        }


def sentence(service: str, measured: Measured) -> str:
    """Return what was measured, for an operator."""
    text = f"{service}: {measured.requests} requests through the proxy, {measured.failed} failed"
    if not measured.failed:
        return text
    return f"{text}, longest outage {measured.longest:.1f} s ({measured.first})"


def outages(samples: list[tuple[float, str]]) -> Measured:
    """Return what a series of requests says.

    :param samples: for each request the moment at which it was sent, in seconds, and why it
        failed, empty when it did not.
    """
    found = Measured(requests=len(samples))
    since: float | None = None
    for moment, wrong in samples:
        if wrong:
            found.failed += 1
            found.first = found.first or wrong
            since = moment if since is None else since
        elif since is not None:
            found.total += moment - since
            found.longest = max(found.longest, moment - since)
            since = None
    if since is not None:
        found.total += samples[-1][0] - since
        found.longest = max(found.longest, samples[-1][0] - since)
    return found


class Prober:
    """Asks in the background until it is told to stop."""

    def __init__(self, ask: Callable[[], str], interval: float = 0.1) -> None:
        """Prepare.

        :param ask: sends one request and returns why it failed; empty when it did not.
        :param interval: seconds from the end of a request to the next.
        """
        self._ask = ask
        self._interval = interval
        self._samples: list[tuple[float, str]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._over.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._over.is_set():
            sent = time.monotonic()
            wrong = self._ask()
            self._samples.append((sent, wrong))
            self._over.wait(self._interval)

    @property
    def last(self) -> str:
        """Return why the newest request failed; empty when it did not."""
        return self._samples[-1][1] if self._samples else ""

    @property
    def measured(self) -> Measured:
        """Return what was seen so far."""
        return outages(list(self._samples))
