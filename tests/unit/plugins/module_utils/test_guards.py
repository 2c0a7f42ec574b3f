# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a remedy from being tried: rest, caps, a breaker, and alerts that were answered."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _guards

NOW = 1_800_000_000.0
LIMITS = _guards.Limits()


def attempt(ago: float, verdict: str = "fixed", **other: Any) -> list[dict[str, Any]]:
    """An attempt and its outcome; without a verdict its controller died."""
    own = {"remedy": "start_container", "service": "redis", "id": f"{ago}{other}", **other}
    lines = [{"event": "attempt", "time": NOW - ago, **own}]
    if verdict:
        lines.append({"event": "outcome", "time": NOW - ago + 5, "verdict": verdict, **own})
    return lines


def judged(*attempts: list[dict[str, Any]], limits: _guards.Limits = LIMITS) -> str:
    lines = [line for one in attempts for line in one]
    return "; ".join(_guards.judge(lines, "start_container", "redis", NOW, limits))


def test_the_first_attempt_is_free() -> None:
    assert judged() == ""


def test_it_rests_after_an_attempt_that_helped_too() -> None:
    assert "rests for 10 min" in judged(attempt(300))
    assert judged(attempt(601)) == ""


def test_another_service_and_another_remedy_do_not_rest() -> None:
    assert judged(attempt(300, service="minio"), attempt(300, remedy="repair_redis")) == ""


def test_attempts_are_counted_and_not_successes() -> None:
    often = [attempt(ago) for ago in (3500, 2500, 700)]
    assert "3 times on redis within an hour" in judged(*often)
    assert judged(*often[1:]) == ""


def test_a_day_has_its_own_cap() -> None:
    assert "10 times on redis within a day" in judged(
        *(attempt(hour * 7200 + 4000) for hour in reversed(range(10)))
    )


def test_everything_together_has_a_cap() -> None:
    others = [attempt(60 + place, service=f"s{place}") for place in range(10)]
    assert "10 remedies were tried within an hour" in judged(*others)


@pytest.mark.parametrize("verdict", ["ineffective", "failed", ""])
def test_what_did_not_help_is_not_tried_again(verdict: str) -> None:
    """Also one whose controller died: nobody knows that it helped."""
    assert "(breaker)" in judged(attempt(4000, verdict))
    assert judged(attempt(90_000, verdict)) == ""


def test_a_later_success_closes_the_breaker() -> None:
    assert judged(attempt(5000, "ineffective"), attempt(4000, "fixed")) == ""


def test_an_operator_closes_the_breaker_and_nothing_else() -> None:
    reset: list[dict[str, Any]] = [{"event": "reset", "time": NOW - 10}]
    assert judged(attempt(4000, "ineffective"), reset) == ""
    said = judged(attempt(60, "ineffective"), reset)
    assert "rests" in said
    assert "breaker" not in said


def test_an_alert_delivered_again_is_the_same() -> None:
    alert = {"fingerprint": "ab", "startsAt": "2026-11-26T05:00:00.000Z"}
    later = {**alert, "startsAt": "2026-11-26T06:00:00.000Z"}
    assert _guards.key(alert) == _guards.key({**alert, "endsAt": "x", "status": {}})
    assert _guards.key(alert) != _guards.key(later)


def test_a_diagnosis_is_no_answer_where_acting_is_asked_for() -> None:
    lines = [{"event": "answered", "alerts": ["a@1"], "mode": "diagnose"}]
    assert _guards.answered(lines, ["a@1", "b@1"], "diagnose").keys() == {"a@1"}
    assert _guards.answered(lines, ["a@1"], "act") == {}
    lines.append({"event": "answered", "alerts": ["a@1"], "mode": "act"})
    assert _guards.answered(lines, ["a@1"], "act").keys() == {"a@1"}
    assert _guards.answered(lines, ["a@1"], "diagnose").keys() == {"a@1"}


def test_after_a_response_that_did_not_help_it_is_the_turn_of_people() -> None:
    """No other remedy for that service steps in, but within the same climb."""
    other = attempt(4000, "ineffective", remedy="repull_image")
    assert "handed on to people" in judged(other)
    own = {str(line["id"]) for line in other}
    assert _guards.judge(other, "start_container", "redis", NOW, LIMITS, climb=own) == []
    elsewhere = attempt(4000, "ineffective", remedy="repull_image", service="minio")
    assert judged(elsewhere) == ""
