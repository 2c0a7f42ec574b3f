# SPDX-License-Identifier: GPL-3.0-or-later
"""What is promised of a server's memory, and alerts in short."""

from __future__ import annotations

from datetime import datetime, timezone

from ansible_collections.carrental.ops.plugins.module_utils import _overview

SHARES = [
    _overview.Share("api", "api", 512, 140),
    _overview.Share("exporter", "exporter", 0, 30),
]


def test_budget_counts_limits_and_what_has_none() -> None:
    told = _overview.budget(SHARES, 2048, 900)
    assert (told["limits"], told["unlimited"], told["unlimited_used"]) == (512, ["exporter"], 30)
    assert told["free"] == 2048 - 512 - 30 - told["reserve"]


def test_line_says_what_is_left_and_what_is_too_much() -> None:
    assert _overview.budget_line(_overview.budget(SHARES, 2048, 900)) == (
        "memory: 512 MiB promised to containers and 30 MiB by 1 without a limit, 512 MiB kept for "
        "the server, of 2048 MiB: 994 MiB are left"
    )
    assert "30 MiB more than there is" in _overview.budget_line(_overview.budget(SHARES, 1024, 900))


def test_alert_in_one_line() -> None:
    now = datetime(2026, 11, 26, 5, 30, tzinfo=timezone.utc)
    told = _overview.alert(
        {
            "labels": {"alertname": "ApiDown", "severity": "P1"},
            "annotations": {"summary": "api does not answer"},
            "startsAt": "2026-11-26T05:00:00.123456789Z",
        },
        now,
    )
    assert _overview.alert_line(told) == "alert P1 ApiDown for 30 min: api does not answer"


def test_alert_without_anything_is_still_one() -> None:
    told = _overview.alert({}, datetime(2026, 11, 26, tzinfo=timezone.utc))
    assert _overview.alert_line(told) == "alert without a name"


def test_total_memory() -> None:
    assert _overview.total_memory("MemTotal:  2097152 kB\nMemFree: 1 kB\n") == 2048
    assert _overview.total_memory("") == 0
