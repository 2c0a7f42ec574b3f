# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check says, and what many of them say together."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    FAIL,
    NOT_RUN,
    OK,
    WARN,
    Check,
    Subject,
    Thresholds,
    format_line,
    level,
    lines,
    service_line,
    verdict,
)

REDIS = Subject("redis", "Redis", "P3", "Redis is responding", "Redis is down (fallback)")
POSTGRES = Subject("postgres", "PostgreSQL", "P1", "PostgreSQL is ready", "PostgreSQL is not ready")


@pytest.mark.parametrize(
    ("status", "detail", "line"),
    [
        (OK, "2 of 97 connections", "[OK] API is healthy"),
        (WARN, "it is degraded", "[WARN] API is healthy: it is degraded"),
        (FAIL, "two\n lines", "[FAIL] API is healthy: two lines"),
        (NOT_RUN, "no release", "[SKIP] API is healthy: no release"),
    ],
)
def test_line(status: str, detail: str, line: str) -> None:
    assert format_line(status, "API is healthy", detail) == line


def test_a_line_stays_readable() -> None:
    assert len(format_line(FAIL, "API", "x" * 10_000)) < 700


@pytest.mark.parametrize(
    ("severity", "status"), [("P1", FAIL), ("P2", FAIL), ("P3", WARN), ("P4", WARN)]
)
def test_severity_decides_what_down_means(severity: str, status: str) -> None:
    assert Subject("x", "X", severity, "up", "down").down("ping", "").status == status


def test_service_line_shows_the_worst_with_its_reasons() -> None:
    checks = [
        POSTGRES.passed("container"),
        POSTGRES.finding("blocked", "1 session waits"),
        POSTGRES.finding("slots", "slot x retains"),
        POSTGRES.skipped("write", "left out"),
    ]
    assert service_line(checks) == "[WARN] PostgreSQL is ready: 1 session waits; slot x retains"


def test_a_failure_hides_warnings_of_its_service() -> None:
    checks = [POSTGRES.finding("blocked", "1 session waits"), POSTGRES.down("write", "read-only")]
    assert service_line(checks) == "[FAIL] PostgreSQL is not ready: read-only"


def test_a_warning_that_means_down_gives_the_text() -> None:
    checks = [REDIS.finding("memory", "almost full"), REDIS.down("canary", "refuses to write")]
    assert service_line(checks) == (
        "[WARN] Redis is down (fallback): refuses to write; Redis is responding: almost full"
    )


def test_another_text_joins_with_its_own_words() -> None:
    checks = [
        POSTGRES.down("login", "refused"),
        POSTGRES.says("dns", FAIL, "PostgreSQL cannot resolve api", "see resolv.conf"),
    ]
    assert service_line(checks) == (
        "[FAIL] PostgreSQL is not ready: refused; PostgreSQL cannot resolve api: see resolv.conf"
    )


def test_a_service_is_one_line_and_what_was_not_run_is_none() -> None:
    host = Subject("host", "Host", "P2", "", "")
    checks = [
        REDIS.passed("container"),
        REDIS.down("ping", "refused"),
        host.says("disk:/", OK, "Disk usage at 41%", ""),
        host.says("clock", NOT_RUN, "Clock is synchronised", "unknown"),
    ]
    assert lines(checks, ["redis"]) == [
        "[WARN] Redis is down (fallback): refused",
        "[OK] Disk usage at 41%",
    ]


def test_verdict_is_the_worst_and_not_run_does_not_count() -> None:
    assert verdict([]) == OK
    assert verdict([REDIS.skipped("a", ""), REDIS.passed("b")]) == OK
    assert verdict([REDIS.passed("b"), REDIS.down("a", "")]) == WARN
    assert verdict([REDIS.down("a", ""), POSTGRES.down("a", "")]) == FAIL


@pytest.mark.parametrize(("value", "status"), [(85, OK), (86, WARN), (95, WARN), (96, FAIL)])
def test_a_threshold_is_the_last_good_value(value: int, status: str) -> None:
    assert level(value, 85, 95) == status


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^thresholds\.disk_warn is 97 and disk_fail is 95; "):
        Thresholds(disk_warn=97)
    with pytest.raises(
        ValueError, match=r"^thresholds\.cert_warn_days is 1 and cert_fail_days is 3"
    ):
        Thresholds(cert_warn_days=1)


def test_a_check_travels_as_plain_data() -> None:
    check = REDIS.passed("ping", latency_ms=1.5, place="10.0.0.1:6379")
    assert check.latency_ms == 1.5
    assert Check(**check.as_dict()) == check
