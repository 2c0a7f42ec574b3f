# SPDX-License-Identifier: GPL-3.0-or-later
"""What a watch makes of what it sees: failed, inconclusive or ok, with the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _metrics, _watch

NAMES = _metrics.Names()
MIB = 1024 * 1024
LIMIT = 256 * MIB
USUAL = _watch.Baseline(ratio=0.0, p95=0.02, requests=4000)
UNKNOWN = _watch.Baseline(unknown="no container of the service prometheus runs")


def counters(good: float = 0, bad: float = 0, slow: float = 0) -> _metrics.Counters:
    """What a container has counted so far; slow ones take between 1 and 2.5 s."""
    total = good + bad + slow
    endpoint = ("endpoint", "/api/v1/cars")
    buckets = {"0.025": good + bad, "1": good + bad, "2.5": total, "+Inf": total}
    return {
        (NAMES.requests, (endpoint, ("status", "200"))): good + slow,
        (NAMES.requests, (endpoint, ("status", "500"))): bad,
        **{(NAMES.buckets, (endpoint, ("le", le))): count for le, count in buckets.items()},
    }


def member(**changes: Any) -> _watch.Member:
    return _watch.Member(**{"id": "a", "name": "api", "limit": LIMIT, **changes})


def look(counted: _metrics.Counters | None = None, **changes: Any) -> _watch.Look:
    sources = None if counted is None else {"a": counted}
    return _watch.Look((member(**changes),), sources, fresh=changes.get("fresh", True))


def course(baseline: _watch.Baseline = USUAL, metered: bool = True) -> _watch.Course:
    return _watch.Course("api", metered, baseline, _watch.Limits())


def watched(
    counted: list[_metrics.Counters], baseline: _watch.Baseline = USUAL, **changes: Any
) -> _watch.Outcome:
    """Sample every 5 s until the watch ends."""
    watch = _watch.Watch({"api": course(baseline)}, NAMES, 13)
    for number, one in enumerate(counted):
        if watch.add(number * 5.0, {"api": look(one, **changes)}, sampled=True):
            break
    return watch.outcome()


def growing(step: Callable[[int], _metrics.Counters]) -> list[_metrics.Counters]:
    return [step(number) for number in range(13)]


def test_a_good_release_passes() -> None:
    found = watched(growing(lambda n: counters(good=100 * n + 20)))
    assert found.verdict == "ok"
    assert found.problems == found.doubts == []
    assert found.numbers["api"]["requests"] == 1220
    assert found.report == [
        "api: 0 of 1220 requests with 5xx (usual 0.0 %), p95 24 ms (usual 20 ms), no restart"
    ]


def test_a_fifth_of_errors_between_two_samples_ends_it_at_once() -> None:
    found = watched(
        growing(
            lambda n: counters(good=100 * min(n, 3) + 50 * max(n - 3, 0), bad=50 * max(n - 3, 0))
        )
    )
    assert found.verdict == "failed"
    assert found.seconds == 20
    assert len(found.samples) == 5
    assert found.problems == [
        "api answered 50 of 100 requests (50.0 %) with 5xx between second 15 and 20; the limit is "
        "20.0 %, and 0.0 % was usual before"
    ]
    assert found.msg.endswith("Seen after 20.0 s, in sample 5 of 13.")


def test_a_tenth_of_errors_ends_it_after_three_samples() -> None:
    found = watched(growing(lambda n: counters(good=90 * n, bad=10 * n)))
    assert found.verdict == "failed"
    assert found.seconds == 15
    assert "30 of 300 requests (10.0 %)" in found.problems[0]
    assert "between second 0 and 15; the limit is 2.0 %" in found.problems[0]


def test_few_errors_in_every_third_sample_fail_it_at_the_end() -> None:
    found = watched(growing(lambda n: counters(good=100 * n, bad=9 * ((n + 2) // 3))))
    assert found.verdict == "failed"
    assert found.seconds == 60
    assert "36 of 1236 requests (2.9 %) with 5xx between second 0 and 60" in found.problems[0]


@pytest.mark.parametrize("errors", [1, 2])
def test_single_errors_among_few_requests_fail_nothing(errors: int) -> None:
    found = watched(growing(lambda n: counters(good=2 * n, bad=min(n, errors))))
    assert found.verdict == "ok"


def test_no_traffic_is_inconclusive() -> None:
    found = watched(growing(lambda n: counters()))
    assert found.verdict == "inconclusive"
    assert found.doubts == [
        "api answered 0 requests in 60 s, and fewer than 20 say nothing about a release"
    ]
    assert found.report[0] == found.doubts[0]


def test_few_requests_are_inconclusive() -> None:
    assert watched(growing(lambda n: counters(good=n))).verdict == "inconclusive"


def test_requests_of_before_the_watch_do_not_make_up_for_none_in_it() -> None:
    found = watched(growing(lambda n: counters(good=3000 + n)))
    assert found.verdict == "inconclusive"
    assert found.doubts[0].startswith("api answered 12 requests in 60 s")


def test_what_failed_before_is_no_fault_of_the_release() -> None:
    usual = _watch.Baseline(ratio=0.04, p95=0.02, requests=4000)
    found = watched(growing(lambda n: counters(good=95 * n, bad=5 * n)), usual)
    assert found.verdict == "ok"
    assert watched(growing(lambda n: counters(good=95 * n, bad=5 * n))).verdict == "failed"


def test_where_half_failed_before_all_of_it_is_still_worse() -> None:
    usual = _watch.Baseline(ratio=0.5, p95=0.02, requests=4000)
    assert watched(growing(lambda n: counters(good=5 * n, bad=5 * n)), usual).verdict == "ok"
    assert watched(growing(lambda n: counters(bad=10 * n)), usual).verdict == "failed"


def test_without_a_baseline_fixed_limits_hold_and_that_is_said() -> None:
    found = watched(growing(lambda n: counters(good=90 * n, bad=10 * n)), UNKNOWN)
    assert found.verdict == "failed"
    assert "and what was usual before is not known" in found.problems[0]
    found = watched(growing(lambda n: counters(good=100 * n)), UNKNOWN)
    assert found.verdict == "ok"
    assert found.report[-1] == (
        "api was judged by fixed limits alone: no container of the service prometheus runs"
    )
    assert found.numbers["api"]["baseline_p95"] is None


def test_slow_requests_fail_against_what_was_usual() -> None:
    slow = growing(lambda n: counters(good=80 * n, slow=20 * n))
    found = watched(slow)
    assert found.verdict == "failed"
    assert found.seconds == 60
    assert found.problems == [
        "api answered 95 of 100 requests within 2.12 s; the limit is 500 ms, and 20 ms was usual "
        "before"
    ]
    assert watched(slow, _watch.Baseline(p95=2.0, requests=4000)).verdict == "ok"


def test_slow_requests_without_a_baseline_are_inconclusive() -> None:
    slow = growing(lambda n: counters(good=80 * n, slow=20 * n))
    found = watched(slow, UNKNOWN)
    assert found.verdict == "inconclusive"
    assert "whether that is usual is not known" in found.doubts[0]


def test_requests_while_it_warmed_up_are_not_held_against_its_latency() -> None:
    found = watched(growing(lambda n: counters(good=100 * n, slow=50)))
    assert found.numbers["api"]["requests"] == 1250
    assert found.verdict == "ok"


def test_errors_before_the_first_sample_count() -> None:
    found = watched([counters(good=5, bad=5)])
    assert found.verdict == "failed"
    assert "5 of 10 requests (50.0 %) with 5xx since its start" in found.problems[0]


def test_an_old_container_is_counted_from_the_first_sample_on() -> None:
    found = watched(growing(lambda n: counters(good=1000 + 100 * n, bad=900)), fresh=False)
    assert found.verdict == "ok"
    assert found.numbers["api"]["requests"] == 1200
    assert found.numbers["api"]["errors"] == 0


def test_counters_that_began_again_are_not_negative() -> None:
    found = watched([counters(good=500), counters(good=600), counters(good=50)])
    assert found.numbers["api"]["requests"] == 650


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"restarts": 1}, "container api was restarted", id="restart"),
        pytest.param({"oom_killed": True}, "killed for lack of memory", id="kill in a container"),
        pytest.param({"serving": False}, "container api does not serve", id="down"),
        pytest.param({"serving": False, "detail": "container api died"}, "died", id="in words"),
    ],
)
def test_a_container_that_breaks_ends_it_at_once(changes: dict[str, Any], says: str) -> None:
    watch = _watch.Watch({"api": course()}, NAMES, 13)
    assert not watch.add(0.0, {"api": look(counters())}, sampled=True)
    assert watch.add(1.0, {"api": look(**changes)}, sampled=False)
    found = watch.outcome()
    assert found.verdict == "failed"
    assert says in found.problems[0]
    assert found.at_fault == ["api"]
    assert found.msg.endswith("Seen after 1.0 s, in sample 2 of 13.")


def test_restarts_of_long_ago_are_not_those_of_the_release() -> None:
    assert course().add(0.0, look(restarts=3, fresh=True), NAMES) == [
        "api: container api was restarted by Docker 3 times"
    ]
    old = course()
    assert old.add(0.0, look(restarts=3, fresh=False), NAMES) == []
    assert "restarted" in old.add(1.0, look(restarts=4, fresh=False), NAMES)[0]


def test_a_kill_of_long_ago_is_not_that_of_the_release() -> None:
    old = course()
    assert old.add(0.0, look(oom_killed=True, fresh=False), NAMES) == []
    assert old.add(1.0, look(oom_killed=True, fresh=False), NAMES) == []
    assert old.numbers()["oom_kills"] == 0


def test_a_service_that_lost_its_container_fails() -> None:
    assert course().add(0.0, _watch.Look(()), NAMES) == ["api has no container"]


def memory(values: Mapping[float, float]) -> tuple[float, list[str]]:
    """Feed shares of the limit by second; return when it ended, and why."""
    one = course()
    for second, share in values.items():
        found = one.add(second, look(used=int(share * LIMIT)), NAMES)
        if found:
            return second, found
    return math.inf, []


def test_a_leak_is_found_before_it_is_killed() -> None:
    # 16 MiB a second into 256 MiB.
    second, found = memory({float(n): 0.2 + n / 16 for n in range(13)})
    assert second == 9.0
    assert found == [
        "api: the memory of container api grew from 115 MiB to 195 MiB within 5 s without a "
        "pause; at 256 MiB, in 4 s, it is killed"
    ]


def test_a_slow_leak_leaves_the_time_to_lead_customers_back() -> None:
    # 4 MiB a second, as the leaking release of the demo.
    second, found = memory({float(n): 0.25 + n / 64 for n in range(48)})
    assert second == 33.0
    assert found[0].endswith("without a pause; at 256 MiB, in 15 s, it is killed")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({float(n): 0.97 for n in range(20)}, id="full and steady"),
        pytest.param({float(n): min(0.1 + n / 10, 0.7) for n in range(20)}, id="a heap fills"),
        pytest.param({float(n): 0.8 + 0.1 * (n % 2) for n in range(20)}, id="up and down"),
        pytest.param({float(n): 0.5 + n / 200 for n in range(60)}, id="slowly"),
        pytest.param({0.0: 0.3, 1.0: 0.9, 2.0: 0.9}, id="one large request"),
    ],
)
def test_memory_that_is_used_is_no_leak(values: Mapping[float, float]) -> None:
    assert memory(values) == (math.inf, [])


def test_nearly_full_and_growing_fails() -> None:
    second, found = memory({float(n): 0.93 + n / 200 for n in range(10)})
    assert second == 5.0
    assert "its limit is 256 MiB, and above 95 % of it" in found[0]


def test_metrics_that_cannot_be_read_are_inconclusive() -> None:
    watch = _watch.Watch({"api": course()}, NAMES, 3)
    for number in range(3):
        unread = _watch.Look((member(),), unread="http://10.0.0.2:3000/metrics answers 404")
        watch.add(number * 5.0, {"api": unread}, sampled=True)
    found = watch.outcome()
    assert found.verdict == "inconclusive"
    assert found.doubts == [
        "the metrics of api could not be read in 3 of 3 samples: "
        "http://10.0.0.2:3000/metrics answers 404"
    ]


def test_services_without_metrics_are_watched_by_their_containers_alone() -> None:
    web = _watch.Course("web", False, _watch.Baseline(), _watch.Limits())
    watch = _watch.Watch({"web": web}, NAMES, 1)
    watch.add(0.0, {"web": look()}, sampled=True)
    found = watch.outcome()
    assert found.verdict == "inconclusive"
    assert found.doubts == ["no metrics_path is known of web: only containers were watched"]
    watch = _watch.Watch({"web": web, "api": course()}, NAMES, 2)
    watch.add(0.0, {"web": look(), "api": look(counters())}, sampled=True)
    watch.add(5.0, {"web": look(), "api": look(counters(good=50))}, sampled=True)
    assert watch.outcome().verdict == "ok"


def test_docker_that_does_not_answer_is_inconclusive() -> None:
    watch = _watch.Watch({"api": course()}, NAMES, 3)
    watch.add(0.0, {"api": look(counters())}, sampled=True)
    watch.missed(1.0, "nobody listens")
    watch.missed(2.0, "nobody listens")
    found = watch.outcome()
    assert found.verdict == "inconclusive"
    assert found.doubts == ["Docker did not answer in 2 of 3 looks: nobody listens"]


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_it_looks_every_second_samples_every_five_and_ends_with_a_sample() -> None:
    clock, seen = Clock(), []

    def sees(sampled: bool) -> dict[str, _watch.Look]:
        seen.append((round(clock.now - 100), sampled))
        return {"api": look(counters() if sampled else None)}

    watch = _watch.Watch({"api": course()}, NAMES, 3)
    _watch.follow(watch, sees, window=12, interval=5, sleep=clock.sleep, clock=clock)
    assert [second for second, _sampled in seen] == list(range(13))
    assert [second for second, sampled in seen if sampled] == [0, 5, 10, 12]
    assert watch.outcome().seconds == 12


def test_it_ends_with_the_first_problem() -> None:
    clock = Clock()
    watch = _watch.Watch({"api": course()}, NAMES, 13)

    def sees(sampled: bool) -> dict[str, _watch.Look]:
        return {"api": look(counters() if sampled else None, serving=clock.now < 107)}

    _watch.follow(watch, sees, window=60, interval=5, sleep=clock.sleep, clock=clock)
    assert watch.outcome().seconds == 7


def test_docker_away_for_a_look_does_not_end_it() -> None:
    clock = Clock()
    watch = _watch.Watch({"api": course()}, NAMES, 3)

    def sees(sampled: bool) -> dict[str, _watch.Look] | str:
        if clock.now == 103:
            return "nobody listens"
        return {"api": look(counters(good=10 * clock.now) if sampled else None)}

    _watch.follow(watch, sees, window=10, interval=5, sleep=clock.sleep, clock=clock)
    assert (watch.blind, watch.looks) == (1, 11)
    assert watch.outcome().verdict == "ok"
