# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters as exporters print them, their growth, and quantiles of histograms."""

from __future__ import annotations

import math

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _metrics

NAMES = _metrics.Names()
EXPOSITION = """\
# HELP api_requests_total Requests answered.
# TYPE api_requests_total counter
api_requests_total{method="GET",endpoint="/api/v1/cars",status="200"} 90
api_requests_total{method="GET",endpoint="/api/v1/cars",status="404"} 4
api_requests_total{method="POST",endpoint="/api/v1/bookings",status="500"} 6 1795485690852
api_requests_total{method="GET",endpoint="/api/v1/health",status="503"} 1000
api_requests_total_created{method="GET",endpoint="/api/v1/cars",status="200"} 1.7e9
api_request_duration_seconds_bucket{le="0.1",method="GET",endpoint="/api/v1/cars"} 50
api_request_duration_seconds_bucket{le="0.5",method="GET",endpoint="/api/v1/cars"} 90
api_request_duration_seconds_bucket{le="+Inf",method="GET",endpoint="/api/v1/cars"} 100
api_request_duration_seconds_count{method="GET",endpoint="/api/v1/cars"} 100
nodejs_eventloop_lag_seconds NaN
"""


def test_only_the_requests_of_customers_are_counted() -> None:
    found = _metrics.traffic(_metrics.parse(EXPOSITION, NAMES), NAMES)
    assert (found.requests, found.errors) == (100, 6)
    assert found.ratio == 0.06
    assert found.buckets == {0.1: 50, 0.5: 90, math.inf: 100}


def test_labels_with_braces_quotes_and_commas_are_read() -> None:
    text = r'api_requests_total{endpoint="/cars/{id},\"x\"\\",status="502"} 3'
    series = next(iter(_metrics.parse(text, NAMES)))
    assert dict(series[1])["endpoint"] == '/cars/{id},"x"\\'
    assert _metrics.traffic(_metrics.parse(text, NAMES), NAMES).errors == 3


def test_other_names_and_no_labels() -> None:
    names = _metrics.Names(requests="hits_total", status="code", ignore="")
    text = 'hits_total 7\nhits_total{code="5xx"} 2\nhits_total{code="200"} NaN'
    found = _metrics.traffic(_metrics.parse(text, names), names)
    assert (found.requests, found.errors) == (9, 2)


@pytest.mark.parametrize(
    "endpoint", ["/health", "/api/v1/health", "/api/v1/metrics", "/healthz", "/v2/readyz"]
)
def test_endpoints_that_no_customer_asks_do_not_count(endpoint: str) -> None:
    text = f'api_requests_total{{endpoint="{endpoint}",status="200"}} 5'
    assert _metrics.traffic(_metrics.parse(text, NAMES), NAMES).requests == 0


def test_an_endpoint_that_only_looks_like_health_counts() -> None:
    text = 'api_requests_total{endpoint="/api/v1/health-insurance",status="200"} 5'
    assert _metrics.traffic(_metrics.parse(text, NAMES), NAMES).requests == 5


def test_a_counter_that_fell_began_again_at_zero() -> None:
    def at(value: float) -> _metrics.Counters:
        return {("api_requests_total", (("status", "200"),)): value}

    series = ("api_requests_total", (("status", "200"),))
    assert _metrics.increase(at(10), at(25)) == {series: 15}
    assert _metrics.increase(at(1000), at(8)) == {series: 8}
    assert _metrics.increase({}, at(8)) == {series: 8}


@pytest.mark.parametrize(
    ("share", "buckets", "expected"),
    [
        pytest.param(0.5, {0.1: 50.0, 0.5: 90.0, math.inf: 100.0}, 0.1, id="at a bound"),
        pytest.param(0.7, {0.1: 50.0, 0.5: 90.0, math.inf: 100.0}, 0.3, id="inside a bucket"),
        pytest.param(0.95, {0.1: 50.0, 0.5: 90.0, math.inf: 100.0}, 0.5, id="beyond the last"),
        pytest.param(0.5, {0.1: 50.0, math.inf: 50.0}, 0.05, id="inside the first"),
        pytest.param(0.95, {0.1: 0.0, math.inf: 0.0}, None, id="no requests"),
        pytest.param(0.95, {}, None, id="no histogram"),
        pytest.param(0.95, {0.1: 5.0, 0.5: 9.0}, None, id="without its last bucket"),
    ],
)
def test_quantile_is_the_one_of_prometheus(
    share: float, buckets: dict[float, float], expected: float | None
) -> None:
    found = _metrics.quantile(share, buckets)
    assert found == (None if expected is None else pytest.approx(expected))
