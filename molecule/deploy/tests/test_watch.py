# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch of deploy.yml, under customers: what breaks only then is found, what is good passes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from load import load
from support import eventually, fetch, on_server, playbook, release
from tiers import proof

WINDOW, INTERVAL = 60, 5
# Enough to judge by, and little enough for a busy machine.
RATE = 40


@pytest.fixture(autouse=True)
def a_good_release_before_and_after() -> Iterator[None]:
    """Each test begins on v2, and leaves nothing broken to the next one."""
    put_back()
    yield
    put_back()


def put_back() -> None:
    if f'"version":"{release("v2")}"' not in fetch("/api/v1/health")[1]:
        run = playbook("deploy", deploy_version=release("v2"), deploy_watch=False)
        assert run.code == 0, run.output


@proof
def test_errors_that_only_customers_meet_are_found_within_three_samples() -> None:
    with load(rate=RATE) as running:
        run = playbook("deploy", deploy_version=release("fails-later"), deploy_watch_window=WINDOW)
    print(f"customers saw {running.result.ends}")
    assert running.result.ends.get("500", 0) > 0, "the fault was not in force"
    assert run.code != 0
    headline = run.result["headline"]
    assert "The release did not pass the watch: api answered" in headline, run.output
    between = re.search(r"with 5xx between second (\d+) and (\d+)", headline)
    assert between, headline
    # It fails from the 20th second of its process on, which is older than the watch.
    assert int(between[2]) <= 20 + 3 * INTERVAL
    # The way back replaced its container; what it printed is still there.
    kept = "what api printed is kept in "
    line = next(line for line in run.result["lines"] if line.startswith(kept))
    path = line.removeprefix(kept)
    assert '"status":500' in on_server("cat", path)
    assert on_server("stat", "-c", "%a %U", path) == "600 deploy"
    assert any(line.startswith("api | ") for line in run.result["lines"])


@proof
def test_a_leak_is_found_within_three_samples() -> None:
    with load(rate=RATE) as running:
        run = playbook("deploy", deploy_version=release("leaks"), deploy_watch_window=WINDOW)
    print(f"customers saw {running.result.ends}")
    assert run.code != 0
    headline = run.result["headline"]
    after = re.search(r"Seen after ([\d.]+) s, in sample \d+ of 13", headline)
    assert after, headline
    # It fills up some 50 s after its start, wherever in the watch that is: either nobody has
    # killed it yet, or that was at most three samples ago.
    foreseen = re.search(r"the memory of container \S+ grew .+ (it is killed|to kill it)", headline)
    killed = re.search(r"(?:was restarted|died) (\d+) s ago.+ killed for lack of memory", headline)
    assert foreseen or (killed and int(killed[1]) <= 3 * INTERVAL), headline


@proof
def test_a_good_release_passes_and_is_compared_with_the_time_before() -> None:
    with load(rate=RATE) as running:
        # What was usual is what Prometheus has read, every 15 s.
        eventually(lambda: usual() > 100, "Prometheus knows of requests", 90)
        run = playbook("deploy", deploy_version=release("ignores-sigterm"), deploy_watch_window=20)
    print(f"customers saw {running.result.ends}")
    assert run.code == 0, run.output
    assert run.result["verdict"] == "ok"
    assert "watch: ok" in run.result["lines"]
    line = next(line for line in run.result["lines"] if line.startswith("watch: api: "))
    assert re.search(r"watch: api: 0 of \d{3,} requests with 5xx \(usual 0\.0 %\), p95 ", line)


def usual() -> float:
    """Requests of the last two minutes, by Prometheus."""
    query = 'query=sum(increase(api_requests_total{endpoint=~".*(cars|bookings)"}[2m]))'
    answer = on_server(
        *("curl", "-s", "-G", "http://127.0.0.1:9090/api/v1/query", "--data-urlencode", query)
    )
    found = re.search(r'"value":\[[\d.]+,"([\d.]+)"\]', answer)
    return float(found[1]) if found else 0.0


@proof
def test_without_prometheus_fixed_limits_hold_and_that_is_said() -> None:
    with load(rate=RATE):
        run = playbook(
            "deploy",
            deploy_version=release("ignores-sigterm"),
            deploy_watch_window=20,
            deploy_watch_prometheus_url="http://127.0.0.1:9",
        )
    assert run.code == 0, run.output
    assert "watch: ok" in run.result["lines"]
    said = "watch: api was judged by fixed limits alone: Prometheus does not answer"
    assert any(line.startswith(said) for line in run.result["lines"]), run.result["lines"]


@proof
def test_without_customers_it_is_inconclusive_and_fails_only_where_it_is_required() -> None:
    run = playbook("deploy", deploy_version=release("ignores-sigterm"))
    assert run.code == 0, run.output
    assert "watch: inconclusive" in run.result["lines"]
    assert run.line("and fewer than 20 say nothing about a release")

    run = playbook("deploy", deploy_version=release("v2"), deploy_watch_required=True)
    assert run.code != 0
    assert "is inconclusive: api answered" in run.result["headline"], run.output


@proof
def test_nothing_is_watched_where_nothing_was_switched() -> None:
    # Its version may serve and not have passed; then it is watched once more.
    recorded = playbook("deploy", deploy_version=release("v2"), deploy_watch=False)
    assert recorded.code == 0, recorded.output
    run = playbook("deploy", deploy_version=release("v2"), deploy_watch_window=WINDOW)
    assert run.code == 0, run.output
    assert run.result["verdict"] == "no_change"
    assert run.seconds < WINDOW
