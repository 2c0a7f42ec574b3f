# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a report: what it shows, and that nothing of a server becomes markup."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.plugin_utils import _report_charts, _report_page

STEPS = [
    {"step": "acquired", "at": "2026-11-26T05:49:04.000Z"},
    {"step": "up api", "at": "2026-11-26T05:49:06.500Z"},
    {"step": "ended", "at": "2026-11-26T05:49:07.000Z"},
]


def run(**result: Any) -> dict[str, Any]:
    told = {"operation": "deploy", "verdict": "ok", "headline": "done", **result}
    return {"operation": "deploy", "verdict": "ok", "hosts": {"vps": told}}


def page(**result: Any) -> str:
    return _report_page.page(run(**result), "now")


def test_seconds_of_a_step_end_with_the_next_one() -> None:
    found = _report_page.durations(STEPS)
    assert [one["seconds"] for one in found] == [2.5, 0.5, None]


def test_a_time_that_cannot_be_read_is_no_duration() -> None:
    found = _report_page.durations([{"step": "a", "at": "?"}, *STEPS[:1]])
    assert [one["seconds"] for one in found] == [None, None]


def test_worse_comes_first_and_before_stands_beside_after() -> None:
    before = [{"name": "api", "status": "ok"}, {"name": "gone", "status": "warn"}]
    after = [{"name": "web", "status": "ok"}, {"name": "api", "status": "fail", "detail": "502"}]
    rows = _report_page.compared(before, after)
    shown = [(one["name"], one["before"], one["after"]) for one in rows]
    assert shown == [("api", "ok", "fail"), ("gone", "warn", ""), ("web", "", "ok")]


@pytest.mark.parametrize(
    ("number", "shown"),
    [(10240, "10.0 KiB"), (54525952, "52.0 MiB"), (3 * 1024**3, "3.0 GiB"), (None, "")],
)
def test_size(number: Any, shown: str) -> None:
    assert _report_page.size(number) == shown


def test_text_of_a_server_is_never_markup() -> None:
    evil = "<script>alert(1)</script>"
    html = page(
        headline=evil,
        lines=[evil],
        changed=[evil],
        steps=[{"step": evil, "at": evil}, *STEPS],
        health_before=[{"name": evil, "status": "ok", "summary": evil, "detail": evil}],
        alerts=[{"name": evil, "severity": evil, "since": evil, "summary": evil}],
        memory={
            "limits": 1,
            "reserve": 1,
            "total": 1,
            "free": 1,
            "containers": [{"container": evil, "limit": 2, "used": 1}],
        },
    )
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_page_needs_nothing_from_outside() -> None:
    html = page(steps=STEPS, backups=[{"id": "a", "bytes": 1, "at": "x"}] * 3)
    addresses = set(re.findall(r"""(?:src|href)=["']([^"'#][^"']*)""", html))
    assert addresses == set()
    assert "@import" not in html
    assert "url(" not in html.replace("url(#", "")


def test_a_bare_result_is_a_page() -> None:
    html = page()
    assert "done" in html
    assert "Timeline" not in html


def test_alerts_that_nobody_could_ask_for_are_not_none() -> None:
    assert "No alert fires." in page(alerts=[], alerts_unknown="")
    html = page(alerts=[], alerts_unknown="alertmanager does not run")
    assert "No alert fires." not in html
    assert "Which alerts fire is not known: alertmanager does not run" in html


def test_what_was_measured_otherwise_is_no_table_of_requests() -> None:
    assert "Requests during" not in page(measured={"longest_s": 1.2})
    told = {"api": {"requests": 212, "failed": 0, "longest_s": 0.0}}
    assert "Requests during" in page(measured=told)


@pytest.mark.skipif(not _report_charts.HAS_PYGAL, reason="no pygal: no charts")
def test_charts_are_drawn_of_what_is_there() -> None:
    html = page(
        steps=STEPS,
        backups=[{"id": "a", "bytes": 2048, "at": "2026-11-25"}, {"id": "b", "bytes": 4096}],
        watch={
            "numbers": {"api": {}},
            "samples": [
                {"second": 0.0, "api": {"requests": 12, "errors": 0}},
                {"second": 5.0, "api": {"requests": 30, "errors": 1}},
            ],
        },
    )
    labels = re.findall(r'aria-label="([^"]*)"', html)
    assert labels == [
        "Requests that api answered, and those of them that failed",
        "Seconds that each step took",
        "Size of each backup in KiB",
    ]


def test_without_numbers_there_is_no_chart() -> None:
    assert "<svg" not in page(
        steps=STEPS[:1], backups=[{"id": "a", "bytes": 1}], watch={"numbers": {"api": {}}}
    )
