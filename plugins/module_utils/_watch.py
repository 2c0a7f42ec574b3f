# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Judge a release by what happens to it after the switch: errors, latency, restarts, memory.

What is clear ends the watch at once, for customers meet it. What needs a number of
requests is judged at the end. Where too little was seen to tell, the verdict says so.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _metrics
from ._host import size

OK, FAILED, INCONCLUSIVE = "ok", "failed", "inconclusive"
# Memory is looked at this often between the samples: a leak takes seconds.
_TICK = 1.0
# Growth over as long is a trend, and not a request that was large.
_TREND_SECONDS = 5.0
_TREND_FROM = 0.75
_TREND_STEP = 0.01
# As many samples in a row above the limit are no accident.
_IN_A_ROW = 3


@dataclass(frozen=True)
class Limits:
    """From where on a release is bad."""

    min_requests: int = 20
    min_errors: int = 3
    error_percent: float = 2.0
    error_factor: float = 3.0
    clear_requests: int = 5
    clear_percent: float = 20.0
    p95_seconds: float = 0.5
    p95_factor: float = 2.0
    memory_percent: float = 95.0
    # So long does it take to lead customers back.
    memory_full_in: float = 15.0


@dataclass(frozen=True)
class Baseline:
    """What was usual before; ``unknown`` says why nobody can tell."""

    ratio: float = 0.0
    p95: float | None = None
    requests: float = 0.0
    unknown: str = ""


@dataclass(frozen=True)
class Member:
    """A container of a watched service at one moment."""

    id: str
    name: str
    serving: bool = True
    # Created for this release, so that everything that it counts is the release's.
    fresh: bool = True
    restarts: int = 0
    oom_killed: bool = False
    used: int | None = None
    limit: int = 0
    # What is wrong with it, as a health check says it.
    detail: str = ""


@dataclass(frozen=True)
class Look:
    """A service at one moment.

    :param counters: what was counted, by where it was read; None between samples.
    :param unread: why it could not be read.
    """

    members: tuple[Member, ...]
    counters: Mapping[str, _metrics.Counters] | None = None
    unread: str = ""
    fresh: bool = True


@dataclass(frozen=True)
class _Interval:
    begin: float
    end: float
    traffic: _metrics.Traffic


@dataclass
class Outcome:
    """What became of the watch."""

    verdict: str
    problems: list[str]
    at_fault: list[str]
    doubts: list[str]
    report: list[str]
    numbers: dict[str, dict[str, Any]]
    samples: list[dict[str, Any]]
    seconds: float
    msg: str


def percent(ratio: float) -> str:
    """A part of a whole for people."""
    return f"{ratio * 100:.1f} %"


def span(seconds: float) -> str:
    """A latency for people."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def error_limit(floor_percent: float, limits: Limits, baseline: Baseline) -> float:
    """Return the part of errors from which on the release is to blame.

    Where much failed before, a multiple could not be reached any more; there half
    of what still succeeded is the limit.
    """
    floor = floor_percent / 100
    if baseline.unknown:
        return floor
    usual = baseline.ratio
    return max(floor, min(limits.error_factor * usual, (1 + usual) / 2))


class Course:
    """One service in the course of the watch."""

    def __init__(self, name: str, metered: bool, baseline: Baseline, limits: Limits) -> None:
        self.name = name
        self.metered = metered
        self.baseline = baseline
        self.limits = limits
        self.total = _metrics.Traffic()
        # Without what came before the first sample: a process is slow while it warms up.
        self.timed = _metrics.Traffic()
        self.intervals: list[_Interval] = []
        self.reads = self.misses = 0
        self.unread = ""
        self.oom_kills: set[str] = set()
        self.restarts = 0
        self.memory_peak = 0.0
        self._counters: dict[str, _metrics.Counters] = {}
        self._restarts: dict[str, int] = {}
        self._killed_before: dict[str, bool] = {}
        self._memory: dict[str, list[tuple[float, int]]] = {}
        self._read_at = 0.0

    def add(self, second: float, look: Look, names: _metrics.Names) -> list[str]:
        """Take one look into account; return what is clearly wrong."""
        found = [] if look.members else [f"{self.name} has no container"]
        for member in look.members:
            reason = self._state(member)
            found += [reason] if reason else self._growth(second, member)
        if look.unread:
            self.misses += 1
            self.unread = look.unread
        elif look.counters is not None:
            self._count(second, look, names)
            found += self._errors()
        return found

    def _state(self, member: Member) -> str:
        """Return why a container does not serve, or did not."""
        before = self._restarts.setdefault(member.id, 0 if member.fresh else member.restarts)
        restarted = member.restarts - before
        self.restarts = max(self.restarts, restarted)
        # Docker remembers a kill of long ago until the container is started again.
        old = self._killed_before.setdefault(member.id, member.oom_killed and not member.fresh)
        killed = member.oom_killed and not old
        if killed:
            self.oom_kills.add(member.id)
        if not member.serving:
            return f"{self.name}: {member.detail or f'container {member.name} does not serve'}"
        if restarted > 0:
            said = f"container {member.name} was restarted by Docker {restarted} times"
            return f"{self.name}: {member.detail or said}"
        if killed:
            said = f"a process in container {member.name} was killed for lack of memory"
            return f"{self.name}: {member.detail or said}"
        return ""

    def _growth(self, second: float, member: Member) -> list[str]:
        """Return that a container is about to be killed for its memory."""
        if member.used is None or not member.limit:
            return []
        seen = self._memory.setdefault(member.id, [])
        seen.append((second, member.used))
        share = member.used / member.limit
        self.memory_peak = max(self.memory_peak, share)
        recent = [one for one in seen if one[0] >= second - _TREND_SECONDS - _TICK / 2]
        begin, least = recent[0]
        grown = member.used - least
        if grown < _TREND_STEP * member.limit:
            return []
        said = (
            f"{self.name}: the memory of container {member.name} grew from {size(least)} to "
            f"{size(member.used)} within {second - begin:.0f} s"
        )
        if share * 100 > self.limits.memory_percent:
            return [
                f"{said}; its limit is {size(member.limit)}, and above "
                f"{self.limits.memory_percent:g} % of it Docker is about to kill it"
            ]
        steady = all(one[1] < two[1] for one, two in itertools.pairwise(recent))
        long_enough = second - begin >= _TREND_SECONDS - _TICK / 2
        if not (steady and long_enough and share > _TREND_FROM):
            return []
        left = (member.limit - member.used) / (grown / (second - begin))
        if left > self.limits.memory_full_in:
            return []
        return [f"{said} without a pause; at {size(member.limit)}, in {left:.0f} s, it is killed"]

    def _count(self, second: float, look: Look, names: _metrics.Names) -> None:
        """Take what was counted since the sample before."""
        self.reads += 1
        fresh = _metrics.Traffic()
        for source, counters in (look.counters or {}).items():
            known = source in self._counters
            before = self._counters.get(source, {} if look.fresh else counters)
            counted = _metrics.traffic(_metrics.increase(before, counters), names)
            fresh.add(counted)
            if known:
                self.timed.add(counted)
            self._counters[source] = counters
        self.total.add(fresh)
        self.intervals.append(_Interval(self._read_at, second, fresh))
        self._read_at = second

    def _errors(self) -> list[str]:
        """Return that so much fails that nobody has to wait for more."""
        last = self.intervals[-1]
        limit = error_limit(self.limits.clear_percent, self.limits, self.baseline)
        one = last.traffic
        if one.requests >= self.limits.clear_requests and self._too_many(one, limit):
            return [self._failing(one, last.begin, last.end, limit)]
        recent = [interval for interval in self.intervals if interval.traffic.requests]
        recent = recent[-_IN_A_ROW:]
        together = _metrics.Traffic()
        for interval in recent:
            together.add(interval.traffic)
        limit = error_limit(self.limits.error_percent, self.limits, self.baseline)
        if (
            len(recent) == _IN_A_ROW
            and together.requests >= self.limits.min_requests
            and self._too_many(together, limit)
            and all(interval.traffic.ratio > limit for interval in recent)
        ):
            return [self._failing(together, recent[0].begin, last.end, limit)]
        return []

    def _too_many(self, traffic: _metrics.Traffic, limit: float) -> bool:
        return traffic.errors >= self.limits.min_errors and traffic.ratio > limit

    def _failing(self, traffic: _metrics.Traffic, begin: float, end: float, limit: float) -> str:
        since = f"between second {begin:.0f} and {end:.0f}" if end > begin else "since its start"
        return (
            f"{self.name} answered {traffic.errors:.0f} of {traffic.requests:.0f} requests "
            f"({percent(traffic.ratio)}) with 5xx {since}; the limit is {percent(limit)}, "
            f"{self._usual_errors()}"
        )

    def _usual_errors(self) -> str:
        if self.baseline.unknown:
            return "and what was usual before is not known"
        return f"and {percent(self.baseline.ratio)} was usual before"

    @property
    def p95(self) -> float | None:
        """Return the latency within which 95 of 100 requests were answered."""
        return _metrics.quantile(0.95, self.timed.buckets)

    def final(self) -> list[str]:
        """Return what is wrong with all requests together."""
        found: list[str] = []
        limit = error_limit(self.limits.error_percent, self.limits, self.baseline)
        if self.total.requests >= self.limits.min_requests and self._too_many(self.total, limit):
            found.append(self._failing(self.total, 0.0, self._read_at, limit))
        usual = self.baseline.p95
        if not self.baseline.unknown and usual is not None and self._slow():
            limit = max(self.limits.p95_seconds, self.limits.p95_factor * usual)
            if (self.p95 or 0.0) > limit:
                found.append(
                    f"{self.name} answered 95 of 100 requests within {span(self.p95 or 0.0)}; "
                    f"the limit is {span(limit)}, and {span(usual)} was usual before"
                )
        return found

    def _slow(self) -> bool:
        enough = max(self.timed.buckets.values(), default=0.0) >= self.limits.min_requests
        return enough and (self.p95 or 0.0) > self.limits.p95_seconds

    def doubts(self, seconds: float) -> list[str]:
        """Return why what was seen does not suffice to judge."""
        if not self.metered:
            return []
        if self.misses > self.reads:
            return [
                f"the metrics of {self.name} could not be read in {self.misses} of "
                f"{self.misses + self.reads} samples: {self.unread}"
            ]
        if self.timed.requests < self.limits.min_requests:
            return [
                f"{self.name} answered {self.timed.requests:.0f} requests in {seconds:.0f} s, and "
                f"fewer than {self.limits.min_requests} say nothing about a release"
            ]
        if self._slow() and (self.baseline.unknown or self.baseline.p95 is None):
            return [
                f"{self.name} answered 95 of 100 requests within {span(self.p95 or 0.0)}, and "
                "whether that is usual is not known"
            ]
        return []

    def line(self) -> str:
        """Return what was seen, as a line for an operator."""
        parts = []
        if self.metered:
            parts.append(
                f"{self.total.errors:.0f} of {self.total.requests:.0f} requests with 5xx"
                + ("" if self.baseline.unknown else f" (usual {percent(self.baseline.ratio)})")
            )
            if self.p95 is not None:
                usual = self.baseline.p95
                known = not self.baseline.unknown and usual is not None
                parts.append(
                    f"p95 {span(self.p95)}" + (f" (usual {span(usual or 0.0)})" if known else "")
                )
        parts.append(f"{self.restarts} restarts" if self.restarts else "no restart")
        if self.oom_kills:
            parts.append("killed for lack of memory")
        if self.memory_peak:
            parts.append(f"memory at most {self.memory_peak * 100:.0f} % of its limit")
        return f"{self.name}: {', '.join(parts)}"

    def numbers(self) -> dict[str, Any]:
        """Return what was measured."""
        state = {
            "restarts": self.restarts,
            "oom_kills": len(self.oom_kills),
            "memory_peak": round(self.memory_peak, 3),
        }
        if not self.metered:
            return state
        usual = None if self.baseline.unknown else self.baseline
        return {
            **state,
            "requests": int(self.total.requests),
            "errors": int(self.total.errors),
            "error_ratio": round(self.total.ratio, 4),
            "p95": None if self.p95 is None else round(self.p95, 4),
            "baseline_requests": int(usual.requests) if usual else None,
            "baseline_error_ratio": round(usual.ratio, 4) if usual else None,
            "baseline_p95": round(usual.p95, 4) if usual and usual.p95 is not None else None,
        }


@dataclass
class Watch:
    """All watched services, look by look."""

    courses: dict[str, Course]
    names: _metrics.Names
    planned: int
    notes: list[str] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    looks: int = 0
    blind: int = 0
    blinded: str = ""
    second: float = 0.0

    def add(self, second: float, looks: Mapping[str, Look], sampled: bool) -> bool:
        """Take one look into account; return whether the watch is over."""
        self.second = second
        self.looks += 1
        for name, course in self.courses.items():
            found = course.add(second, looks[name], self.names) if name in looks else []
            if found:
                self.problems.setdefault(name, []).extend(found)
        if sampled or self.problems:
            self.samples.append(
                {
                    "second": round(second, 1),
                    **{name: course.numbers() for name, course in self.courses.items()},
                }
            )
        return bool(self.problems)

    def missed(self, second: float, why: str) -> None:
        """Note that Docker did not answer."""
        self.second = second
        self.looks += 1
        self.blind += 1
        self.blinded = why

    def outcome(self) -> Outcome:
        """Return the verdict and what it rests on."""
        by_service = self.problems or {
            name: found for name, course in self.courses.items() if (found := course.final())
        }
        problems = [one for found in by_service.values() for one in found]
        doubts = [] if problems else self._doubts()
        verdict = FAILED if problems else INCONCLUSIVE if doubts else OK
        return Outcome(
            verdict=verdict,
            problems=problems,
            at_fault=list(by_service),
            doubts=doubts,
            report=[*doubts, *(course.line() for course in self.courses.values()), *self._notes()],
            numbers={name: course.numbers() for name, course in self.courses.items()},
            samples=self.samples,
            seconds=round(self.second, 1),
            msg=self._sentence(verdict, problems, doubts),
        )

    def _doubts(self) -> list[str]:
        if self.blind * 2 > self.looks:
            return [f"Docker did not answer in {self.blind} of {self.looks} looks: {self.blinded}"]
        found = [one for course in self.courses.values() for one in course.doubts(self.second)]
        if not any(course.metered for course in self.courses.values()):
            found.append(_without_metrics(self.courses.values()))
        return found

    def _notes(self) -> list[str]:
        metered = [course for course in self.courses.values() if course.metered]
        plain = [course for course in self.courses.values() if not course.metered]
        found = [
            f"{course.name} was judged by fixed limits alone: {course.baseline.unknown}"
            for course in metered
            if course.baseline.unknown
        ]
        return [*found, *([_without_metrics(plain)] if metered and plain else []), *self.notes]

    def _sentence(self, verdict: str, problems: list[str], doubts: list[str]) -> str:
        if verdict == FAILED:
            return (
                f"The release did not pass the watch: {'; '.join(problems)}. Seen after "
                f"{self.second:.1f} s, in sample {len(self.samples)} of {self.planned}."
            )
        if verdict == INCONCLUSIVE:
            return f"The watch of {self.second:.0f} s is inconclusive: {'; '.join(doubts)}."
        seen = "; ".join(course.line() for course in self.courses.values())
        return f"The release passed the watch of {self.second:.0f} s: {seen}."


def _without_metrics(courses: Iterable[Course]) -> str:
    named = ", ".join(course.name for course in courses)
    return f"no metrics_path is known of {named}: only containers were watched"


def follow(
    watch: Watch,
    look: Callable[[bool], Mapping[str, Look] | str],
    *,
    window: float,
    interval: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Look until something is clearly wrong or the window is over.

    :param look: told whether to read the counters; returns the services, or why not.
    """
    started = clock()
    due = 0.0
    while True:
        second = clock() - started
        over = second >= window
        sampled = over or second >= due
        seen = look(sampled)
        if sampled:
            due = max(due + interval, second)
        if isinstance(seen, str):
            watch.missed(second, seen)
        elif watch.add(second, seen, sampled):
            return
        if over:
            return
        soon = min(due, window, second + min(_TICK, interval))
        sleep(max(started + soon - clock(), 0.05))
