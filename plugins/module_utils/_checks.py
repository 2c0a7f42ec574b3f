# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a check is, and how many of them make a verdict and the printed lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

OK, WARN, FAIL, NOT_RUN = "ok", "warn", "fail", "not_run"
_RANK = {NOT_RUN: 0, OK: 1, WARN: 2, FAIL: 3}
# A line is read on a phone at night; everything else is in the checks.
_DETAIL_LIMIT = 600


@dataclass(frozen=True)
class Thresholds:
    """From which value on a measured number is a finding; percentages count as used."""

    disk_warn: int = 85
    disk_fail: int = 95
    inodes_warn: int = 85
    inodes_fail: int = 95
    memory_warn: int = 90
    memory_fail: int = 97
    connections_warn: int = 80
    connections_fail: int = 95
    long_transaction_s: int = 900
    idle_in_transaction_s: int = 300
    blocked_s: int = 30
    wraparound_warn: int = 500_000_000
    wraparound_fail: int = 1_500_000_000
    replication_lag_mb: int = 256
    slot_retained_mb: int = 1024
    cert_warn_days: int = 21
    cert_fail_days: int = 3
    clock_offset_s: int = 1
    backup_age_h: int = 26

    def __post_init__(self) -> None:
        """Refuse a pair that would never warn."""
        for item in fields(self):
            if item.name.endswith("_warn"):
                name = item.name[: -len("_warn")]
                warn, fail = getattr(self, item.name), getattr(self, f"{name}_fail")
                if warn > fail:
                    raise ValueError(
                        f"thresholds.{name}_warn is {warn} and {name}_fail is {fail}; "
                        "the warning must come before the failure."
                    )
        if self.cert_warn_days < self.cert_fail_days:
            raise ValueError(
                f"thresholds.cert_warn_days is {self.cert_warn_days} and cert_fail_days is "
                f"{self.cert_fail_days}; the warning must come before the failure."
            )


@dataclass
class Check:
    """One statement about one service or about the host, with what it rests on."""

    name: str
    service: str
    status: str
    severity: str
    summary: str
    detail: str = ""
    latency_ms: float | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    # The service does not do its work: of a P3 that is a warning, but not like any other.
    down: bool = False

    @property
    def line(self) -> str:
        """The line that an operator reads."""
        return format_line(self.status, self.summary, self.detail)

    def as_dict(self) -> dict[str, Any]:
        """The check as modules return it."""
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """What a check speaks about: the texts of a service, and how bad it is when it is down."""

    name: str
    title: str
    severity: str
    ok_text: str
    down_text: str

    def passed(self, check: str, detail: str = "", **evidence: Any) -> Check:
        """It works."""
        return self._check(check, OK, self.ok_text, detail, evidence)

    def finding(self, check: str, detail: str, **evidence: Any) -> Check:
        """It works, and something is wrong with it."""
        return self._check(check, WARN, self.ok_text, detail, evidence)

    def down(self, check: str, detail: str, **evidence: Any) -> Check:
        """It does not work; the severity decides whether that is a failure."""
        status = down_status(self.severity)
        return replace(self._check(check, status, self.down_text, detail, evidence), down=True)

    def skipped(self, check: str, detail: str, **evidence: Any) -> Check:
        """It was not looked at, and why."""
        return self._check(check, NOT_RUN, self.ok_text, detail, evidence)

    def says(self, check: str, status: str, summary: str, detail: str, **evidence: Any) -> Check:
        """A statement with a text of its own."""
        return self._check(check, status, summary, detail, evidence)

    def _check(
        self, check: str, status: str, summary: str, detail: str, evidence: dict[str, Any]
    ) -> Check:
        latency = evidence.pop("latency_ms", None)
        return Check(
            f"{self.name}.{check}",
            self.name,
            status,
            self.severity,
            summary,
            detail,
            latency,
            evidence,
        )


def down_status(severity: str) -> str:
    """P1 and P2 are failures; the stack goes on without the rest."""
    return FAIL if severity in ("P1", "P2") else WARN


def level(value: float, warn: float, fail: float) -> str:
    """Status of a number that is bad when it is above a threshold."""
    if value > fail:
        return FAIL
    return WARN if value > warn else OK


def worst(statuses: Iterable[str]) -> str:
    """The status that counts among several."""
    return max(statuses, key=_RANK.__getitem__, default=NOT_RUN)


def verdict(checks: Iterable[Check]) -> str:
    """ok, warn or fail; what was not run is neither good nor bad."""
    found = worst(check.status for check in checks)
    return OK if found == NOT_RUN else found


def format_line(status: str, summary: str, detail: str = "") -> str:
    """``[OK] API is healthy``; what is not well says why."""
    label = "SKIP" if status == NOT_RUN else status.upper()
    shown = " ".join(detail.split())
    if len(shown) > _DETAIL_LIMIT:
        shown = shown[: _DETAIL_LIMIT - 1] + "…"
    return f"[{label}] {summary}" + (f": {shown}" if shown and status != OK else "")


def service_line(checks: list[Check]) -> str:
    """One line for all checks of a service: the worst of them, with its reasons.

    Checks come in the order of cause and effect (container, answer, content),
    so the first of the worst gives the text, that of a service that is down before
    others, and equal ones join its reason.
    """
    status = worst(check.status for check in checks)
    bad = [check for check in checks if check.status == status]
    bad.sort(key=lambda check: not check.down)
    first = bad[0]
    details = [
        check.detail
        if check.summary == first.summary
        else f"{check.summary}: {check.detail}".rstrip(": ")
        for check in bad
    ]
    return format_line(status, first.summary, "; ".join(dict.fromkeys(filter(None, details))))


def lines(checks: list[Check], grouped: Iterable[str]) -> list[str]:
    """One line a service in ``grouped``, one line for each other check, in order of appearance."""
    together = set(grouped)
    seen: dict[str, list[Check]] = {}
    for check in checks:
        key = check.service if check.service in together else check.name
        seen.setdefault(key, []).append(check)
    return [
        service_line(group)
        for group in seen.values()
        # What nobody could look at is in the checks; the page stays short.
        if group[0].service in together or worst(c.status for c in group) != NOT_RUN
    ]
