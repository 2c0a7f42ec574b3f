# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of the load: what is a failure, what is not, and what is counted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from load import KINDS, sequence
from load_judge import FAILED, IDLE_CLOSED, OK, Attempt, Gap, Ledger, judge
from load_wire import Answer, Connection, word

ANSWERED = Attempt(
    "cars", 7, sent=1.0, ended=1.01, reused=True, heard=True, status=200, release="v1"
)
CUT = replace(ANSWERED, heard=False, status=0, error="closed", release="")


@pytest.mark.parametrize(
    ("attempt", "verdict"),
    [
        pytest.param(ANSWERED, OK, id="answered"),
        pytest.param(replace(ANSWERED, status=502), FAILED, id="another status"),
        pytest.param(replace(ANSWERED, status=301), FAILED, id="a redirect is no answer"),
        pytest.param(CUT, IDLE_CLOSED, id="closed as it was sent"),
        pytest.param(replace(CUT, error="reset"), IDLE_CLOSED, id="reset as it was sent"),
        pytest.param(replace(CUT, reused=False), FAILED, id="a new connection was not idle"),
        pytest.param(replace(CUT, heard=True), FAILED, id="half an answer"),
        pytest.param(replace(CUT, ended=3.5), FAILED, id="cut while it was worked on"),
        pytest.param(replace(CUT, error="timeout"), FAILED, id="no answer"),
        pytest.param(replace(CUT, error="refused"), FAILED, id="refused"),
    ],
)
def test_verdict_of_an_attempt(attempt: Attempt, verdict: str) -> None:
    assert judge(attempt, 200) == verdict


def test_gap_is_the_longest_time_between_two_successes() -> None:
    gap = Gap()
    for at in (0.1, 0.2, 3.0, 2.9, 3.1):
        gap.success(at)
    assert (round(gap.longest, 6), gap.longest_at, gap.last) == (2.8, 0.2, 3.1)


def test_pages_that_go_on_do_not_hide_an_api_that_is_away() -> None:
    ledger = Ledger()
    ledger.add(replace(ANSWERED, ended=1.0), 200, "api")
    for at in (1.0, 2.0, 3.0, 4.0):
        ledger.add(replace(ANSWERED, kind="page", ended=at), 200, "web")
    ledger.add(replace(ANSWERED, ended=4.5), 200, "api")
    ledger.stop(5.0)
    assert ledger.summary()["longest_gap"] == 3.5


def test_time_until_the_end_is_a_gap_too() -> None:
    ledger = Ledger()
    ledger.add(ANSWERED, 200, "api")
    ledger.stop(9.0)
    # Answers that were under way are counted, and change no gap.
    ledger.add(replace(ANSWERED, ended=9.5), 200, "api")
    summary = ledger.summary()
    assert (summary["longest_gap"], summary["ok"]) == (7.99, 2)


def test_every_failure_is_counted_and_the_first_are_told() -> None:
    ledger = Ledger()
    for number in range(80):
        ledger.add(replace(ANSWERED, number=number, status=502), 200, "api")
    ledger.add(CUT, 200, "api")
    ledger.stop(2.0)
    summary = ledger.summary()
    assert (summary["requests"], summary["failed"], summary["idle_closed"]) == (81, 80, 1)
    assert len(summary["failures"]) == 50
    assert summary["failures"][3]["number"] == 3
    assert summary["failures"][3]["what"] == "status 502"
    assert len(summary["failed_at"]) == 80
    assert summary["ends"] == {"502": 80, "closed": 1}
    assert summary["kinds"]["cars"]["failed"] == 80


def test_websocket_that_is_back_in_time_is_told_and_not_counted() -> None:
    ledger = Ledger()
    ledger.live_cut(10.0, 11.5)
    assert (ledger.failed_at, ledger.live_cuts) == ([], [{"at": 10.0, "seconds": 1.5}])


@pytest.mark.parametrize("back", [12.5, None])
def test_websocket_that_stays_away_is_a_failure(back: float | None) -> None:
    ledger = Ledger()
    ledger.live_cut(10.0, back)
    assert (ledger.failed_at, ledger.live_cuts) == ([10.0], [])
    assert ledger.failures[0]["kind"] == "live"


def test_versions_are_told_in_the_order_they_answered() -> None:
    ledger = Ledger()
    for release, at in (("v1", 1), ("v2", 2), ("v1", 3), ("v2", 4), ("v1", 40)):
        ledger.add(replace(ANSWERED, release=release, ended=at), 200, "api")
    told = [(e["release"], e["first"], e["last"]) for e in ledger.versions["api"]]
    assert told == [("v1", 1, 3), ("v2", 2, 4), ("v1", 40, 40)]


def test_each_kind_has_its_share_spread_over_the_round() -> None:
    order = sequence()
    for kind in KINDS:
        places = [place for place, other in enumerate(order) if other is kind]
        assert len(places) == kind.share
        steps = [after - before for before, after in pairwise(places)]
        assert all(step <= 2 * len(order) / kind.share for step in steps)


async def _answer(sent: bytes) -> tuple[Answer | str, bool]:
    reader = asyncio.StreamReader()
    reader.feed_data(sent)
    reader.feed_eof()
    connection = Connection(reader, writer=None)  # type: ignore[arg-type]
    try:
        return await connection._read(), connection.heard
    except (EOFError, ValueError) as error:
        return word(error), connection.heard


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "read", "heard"),
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            Answer(200, {"content-length": "3"}, b"abc"),
            True,
            id="with a length",
        ),
        pytest.param(
            CHUNKED + b"2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n",
            Answer(200, {"transfer-encoding": "chunked"}, b"abc"),
            True,
            id="in chunks",
        ),
        pytest.param(b"", "closed", False, id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConte", "closed", True, id="half a head"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na", "closed", True, id="half a body"
        ),
        pytest.param(
            CHUNKED + b"2\r\nab\r\n",
            "closed",
            True,
            id="without the last chunk",
        ),
        pytest.param(b"SSH-2.0-x\r\n\r\n", "no HTTP", True, id="another protocol"),
    ],
)
def test_answer_is_read_whole_or_not_at_all(sent: bytes, read: Answer | str, heard: bool) -> None:
    assert asyncio.run(_answer(sent)) == (read, heard)
