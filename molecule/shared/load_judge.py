# SPDX-License-Identifier: GPL-3.0-or-later
"""What a load saw: each attempt judged, and all of them counted. No input, no output.

A failure is what a customer would have seen: no answer, half an answer, another status
than the expected one, or one that came too late. Told apart from it is a request on a
kept-alive connection that the server closed at the same moment (RFC 9112, 9.3.1): the
server never read it, and clients send it again by themselves.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

# Longer than a server's close needs to arrive on a busy machine, shorter than a slow request
# takes: one that ended later was being worked on.
IDLE_CLOSE_SECONDS = 1.0
LIVE_RECONNECT_SECONDS = 2.0
TOLD_FAILURES = 50
# A release seen again after this long begins a new line in the list of versions.
VERSION_PAUSE_SECONDS = 5.0
CLOSED = ("closed", "reset")

OK, FAILED, IDLE_CLOSED = "ok", "failed", "idle_closed"


@dataclass(frozen=True)
class Attempt:
    """One request, with what came of it."""

    kind: str
    number: int
    sent: float
    ended: float
    reused: bool
    # Whether a byte of the answer arrived.
    heard: bool = False
    status: int = 0
    # "" for a complete answer, or "refused", "closed", "reset", "timeout", ...
    error: str = ""
    release: str = ""


def judge(attempt: Attempt, expected: int) -> str:
    """OK, FAILED or IDLE_CLOSED."""
    if not attempt.error:
        return OK if attempt.status == expected else FAILED
    at_once = attempt.ended - attempt.sent < IDLE_CLOSE_SECONDS
    if attempt.reused and not attempt.heard and attempt.error in CLOSED and at_once:
        return IDLE_CLOSED
    return FAILED


@dataclass
class Gap:
    """The longest time without a success."""

    last: float = 0.0
    longest: float = 0.0
    longest_at: float = 0.0

    def success(self, at: float) -> None:
        if at - self.last > self.longest:
            self.longest, self.longest_at = at - self.last, self.last
        self.last = max(self.last, at)


@dataclass
class _Kind:
    counts: Counter[str] = field(default_factory=Counter)
    fresh: int = 0
    seconds: list[float] = field(default_factory=list)
    gap: Gap = field(default_factory=Gap)


@dataclass
class Ledger:
    """Everything that was counted; times are seconds since the load began."""

    kinds: dict[str, _Kind] = field(default_factory=dict)
    # Of each part of the application: pages that go on must not hide an API that is away.
    gaps: dict[str, Gap] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    # When what failed was sent.
    failed_at: list[float] = field(default_factory=list)
    idle_closed: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    reopened: int = 0
    not_sent: int = 0
    live_cuts: list[dict[str, Any]] = field(default_factory=list)
    stopped: float | None = None

    def add(self, attempt: Attempt, expected: int, part: str) -> str:
        """Count one attempt; returns its verdict."""
        verdict = judge(attempt, expected)
        kind = self.kinds.setdefault(attempt.kind, _Kind())
        kind.counts[verdict] += 1
        kind.fresh += not attempt.reused
        self.ends[attempt.error or str(attempt.status)] += 1
        if verdict == OK:
            kind.seconds.append(attempt.ended - attempt.sent)
            if self.stopped is None:
                kind.gap.success(attempt.ended)
                self.gaps.setdefault(part, Gap()).success(attempt.ended)
        elif verdict == IDLE_CLOSED:
            self.idle_closed.append(_told(attempt))
        else:
            self._fail(attempt.sent, _told(attempt))
        if attempt.release:
            self._seen(part, attempt.release, attempt.ended)
        return verdict

    def live_cut(self, at: float, back: float | None) -> None:
        """A websocket was cut, and came back at that time or not at all."""
        if back is not None and back - at <= LIVE_RECONNECT_SECONDS:
            self.live_cuts.append({"at": round(at, 3), "seconds": round(back - at, 3)})
        else:
            error = f"no websocket for {back - at:.1f} s" if back is not None else "no websocket"
            self._fail(at, {"at": round(at, 3), "kind": "live", "what": error})

    def stop(self, at: float) -> None:
        """No more requests; those under way still count, but not for the gaps."""
        self.stopped = at
        for gap in (*self.gaps.values(), *(kind.gap for kind in self.kinds.values())):
            gap.success(at)

    def _fail(self, at: float, told: dict[str, Any]) -> None:
        self.failed_at.append(round(at, 3))
        if len(self.failures) < TOLD_FAILURES:
            self.failures.append(told)

    def _seen(self, part: str, release: str, at: float) -> None:
        seen = self.versions.setdefault(part, [])
        for entry in reversed(seen):
            if entry["release"] == release and at - entry["last"] < VERSION_PAUSE_SECONDS:
                entry["last"] = round(at, 3)
                entry["answers"] += 1
                return
        moment = round(at, 3)
        seen.append({"release": release, "first": moment, "last": moment, "answers": 1})

    def summary(self) -> dict[str, Any]:
        """What goes into the result; ``stop`` was called before."""
        seconds = self.stopped or 0.0
        total: Counter[str] = Counter()
        for kind in self.kinds.values():
            total += kind.counts
        requests = sum(total.values())
        worst = max(self.gaps.values(), key=lambda gap: gap.longest, default=Gap())
        return {
            "seconds": round(seconds, 3),
            "requests": requests,
            "rate": round(requests / seconds, 1) if seconds else 0.0,
            "ok": total[OK],
            # A websocket that stayed away is a failure, but was no request.
            "failed": len(self.failed_at),
            "idle_closed": total[IDLE_CLOSED],
            "reopened": self.reopened,
            "not_sent": self.not_sent,
            "longest_gap": round(worst.longest, 3),
            "longest_gap_at": round(worst.longest_at, 3),
            "ends": dict(self.ends.most_common()),
            "failures": self.failures,
            "failed_at": self.failed_at,
            "idle_closings": self.idle_closed,
            "versions": self.versions,
            "live_cuts": self.live_cuts,
            "kinds": {name: _kind_summary(kind) for name, kind in sorted(self.kinds.items())},
        }


def _kind_summary(kind: _Kind) -> dict[str, Any]:
    p50, p95 = _percentiles(kind.seconds)
    return {
        "requests": sum(kind.counts.values()),
        "fresh": kind.fresh,
        **{verdict: kind.counts[verdict] for verdict in (OK, FAILED, IDLE_CLOSED)},
        "longest_gap": round(kind.gap.longest, 3),
        "p50": p50,
        "p95": p95,
    }


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    if len(seconds) < 2:
        return (round(seconds[0], 4),) * 2 if seconds else (0.0, 0.0)
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return round(cuts[9], 4), round(cuts[18], 4)


def _told(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": round(attempt.ended, 3),
        "after": round(attempt.ended - attempt.sent, 3),
        "kind": attempt.kind,
        "number": attempt.number,
        "what": attempt.error or f"status {attempt.status}",
        "connection": "kept alive" if attempt.reused else "fresh",
        "release": attempt.release,
    }
