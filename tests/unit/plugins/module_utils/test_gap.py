# SPDX-License-Identifier: GPL-3.0-or-later
"""How an outage is measured."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _gap

NO: list[tuple[float, str]] = []


@pytest.mark.parametrize(
    ("samples", "failed", "longest", "total"),
    [
        (NO, 0, 0.0, 0.0),
        ([(0, ""), (1, "")], 0, 0.0, 0.0),
        ([(0, ""), (1, "502"), (2, "502"), (4, ""), (5, "x"), (6, "")], 3, 3.0, 4.0),
        ([(0, ""), (1, "502"), (3, "502")], 2, 2.0, 2.0),
    ],
)
def test_an_outage_lasts_until_the_next_answer(
    samples: list[tuple[float, str]], failed: int, longest: float, total: float
) -> None:
    found = _gap.outages(samples)
    assert (found.requests, found.failed) == (len(samples), failed)
    assert (found.longest, found.total) == (longest, total)


def test_the_first_failure_is_kept() -> None:
    assert _gap.outages([(0, "it answers 502"), (1, "closed")]).first == "it answers 502"


def test_sentence_has_numbers_and_the_cause() -> None:
    found = _gap.outages([(0.0, ""), (1.0, "it answers 502"), (2.5, "")])
    assert _gap.sentence("api", found) == (
        "api: 3 requests through the proxy, 1 failed, longest outage 1.5 s (it answers 502)"
    )


def test_prober_asks_until_it_is_left() -> None:
    answers = iter(["", "refused", ""])
    with _gap.Prober(lambda: next(answers, ""), interval=0.0) as prober:
        while prober.measured.requests < 4:
            pass
    assert prober.measured.failed == 1
