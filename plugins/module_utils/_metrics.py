# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Requests, errors and latency from counters, as an exporter prints or Prometheus keeps them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]
# A series (its name and labels) and how far it has counted.
Counters = dict[tuple[str, Labels], float]

_LINE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r"(?:\{(?P<labels>(?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\})?"
    r"\s+(?P<value>\S+)"
)
_LABEL = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*\"((?:[^\"\\]|\\.)*)\"")
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


@dataclass(frozen=True)
class Names:
    """What the application calls its metrics; ``ignore`` are endpoints that no customer asks."""

    requests: str = "api_requests_total"
    durations: str = "api_request_duration_seconds"
    status: str = "status"
    endpoint: str = "endpoint"
    ignore: str = ".*/(health|healthz|live|livez|ready|readyz|metrics)"

    @property
    def buckets(self) -> str:
        """The series of the histogram that hold its buckets."""
        return f"{self.durations}_bucket"


@dataclass
class Traffic:
    """Requests that were answered, those among them that failed, and how long they took."""

    requests: float = 0.0
    errors: float = 0.0
    # Requests that took no longer than the bound, by the bound.
    buckets: dict[float, float] = field(default_factory=dict)

    def add(self, other: Traffic) -> None:
        """Count the other's requests too."""
        self.requests += other.requests
        self.errors += other.errors
        for bound, count in other.buckets.items():
            self.buckets[bound] = self.buckets.get(bound, 0.0) + count

    @property
    def ratio(self) -> float:
        """The part that failed."""
        return self.errors / self.requests if self.requests else 0.0


def parse(text: str, names: Names) -> Counters:
    """Return the counters that matter from what an exporter prints."""
    return samples(text, (names.requests, names.buckets))


def samples(text: str, wanted: Collection[str]) -> Counters:
    """Return the series of these names from what an exporter prints."""
    found: Counters = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or match["name"] not in wanted:
            continue
        labels = {
            name: re.sub(r"\\.", lambda one: _ESCAPES.get(one.group(), one.group()), value)
            for name, value in _LABEL.findall(match["labels"] or "")
        }
        number = number_of(match["value"])
        if number is not None:
            found[match["name"], tuple(sorted(labels.items()))] = number
    return found


def number_of(text: str) -> float | None:
    """Return a value as Prometheus writes it; nothing for NaN, which stands for no value."""
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def increase(before: Mapping[tuple[str, Labels], float], after: Counters) -> Counters:
    """Return what was counted between two looks; one that fell began again at zero."""
    found: Counters = {}
    for series, value in after.items():
        old = before.get(series, 0.0)
        found[series] = value - old if value >= old else value
    return found


def traffic(counters: Counters, names: Names) -> Traffic:
    """Return the customers' requests among what was counted."""
    ignored = re.compile(names.ignore) if names.ignore else None
    found = Traffic()
    for (name, pairs), value in counters.items():
        labels = dict(pairs)
        if ignored and ignored.fullmatch(labels.get(names.endpoint, "")):
            continue
        if name == names.requests:
            found.requests += value
            if labels.get(names.status, "").startswith("5"):
                found.errors += value
        elif name == names.buckets:
            bound = number_of(labels.get("le", ""))
            if bound is not None:
                found.buckets[bound] = found.buckets.get(bound, 0.0) + value
    return found


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """Return the time within which this share was answered, as Prometheus reckons it.

    Within a bucket it is taken to grow evenly. Beyond the last bound nothing is
    known, so that bound is the answer. Without requests there is none.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or not math.isinf(bounds[-1]) or buckets[bounds[-1]] <= 0:
        return None
    rank = share * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if math.isinf(bound):
                return lower
            inside = buckets[bound] - below
            return lower + (bound - lower) * ((rank - below) / inside if inside > 0 else 1.0)
        lower, below = bound, buckets[bound]
    return lower
