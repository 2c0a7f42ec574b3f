# SPDX-License-Identifier: GPL-3.0-or-later
"""The load sees what there is to see: 0 failures mean something only if it can count others."""

from __future__ import annotations

import time

from load import RATE, begun_by_the_proxy, load
from support import eventually, fetch, inspect, on_server
from tiers import proof


@proof
def test_load_of_a_stack_that_is_left_alone_fails_nothing() -> None:
    with load(seconds_max=60) as running:
        time.sleep(10)
    seen = running.result
    assert (seen.failed, seen.idle_closed, seen.not_sent) == (0, 0, 0), seen
    assert seen.rate >= 0.9 * RATE, seen
    assert seen.longest_gap < 1, seen
    assert {part: len(lines) for part, lines in seen.versions.items()} == {"api": 1, "web": 1}


def test_load_sees_an_api_that_is_away_for_two_seconds() -> None:
    with load(seconds_max=60) as running:
        gone = time.monotonic()
        on_server("docker", "stop", "api")
        try:
            stopped = inspect("api", "{{.State.Status}}")
            time.sleep(2)
        finally:
            on_server("docker", "start", "api")
        eventually(lambda: fetch("/api/v1/health")[0] == 200, "the API answers again")
        back = time.monotonic()
        time.sleep(3)
    assert stopped == "exited"
    seen = running.result
    assert seen.failed > 20, seen
    assert seen.longest_gap > 1.5, seen
    # Reports that were under way had been sent up to three seconds before.
    assert seen.failed_between(gone - 3, back + 1) == seen.failed, seen
    assert {"book", "bookings", "cars"} <= {told["kind"] for told in seen.failures}
    # The pages do not come from the API.
    assert seen.kinds["page"]["failed"] == 0, seen


@proof
def test_load_tells_a_closed_idle_connection_from_a_failure() -> None:
    with load(seconds_max=60) as running:
        for _ in range(3):
            on_server("docker", "exec", "nginx", "nginx", "-s", "reload")
            time.sleep(3)
    seen = running.result
    assert seen.failed == 0, seen
    # Old workers close what is idle: that the load noticed shows that it had such connections.
    assert seen.reopened > 20, seen
    assert begun_by_the_proxy(seen) == []
