# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark of releases reads from what a load saw."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import deploy
import pytest
import results
from load import Result


def seen(*lines: tuple[str, float, float]) -> Result:
    empty: dict[str, Any] = {item.name: 0 for item in fields(Result)}
    versions = [{"release": name, "first": first, "last": last} for name, first, last in lines]
    return Result(**{**empty, "versions": {"api": versions}})


@pytest.mark.parametrize(
    ("lines", "at"),
    [
        pytest.param([("v2", 0, 20), ("leaks", 15, 40), ("v2", 41, 60)], 41, id="switched back"),
        pytest.param([("v2", 0, 20), ("leaks", 15, 40)], None, id="not switched back"),
        pytest.param([("v2", 0, 60)], None, id="never switched to"),
        pytest.param([], None, id="nothing answered"),
    ],
)
def test_time_at_which_the_release_before_serves_again(
    lines: list[tuple[str, float, float]], at: float | None
) -> None:
    assert deploy.served_again(seen(*lines), "leaks") == at


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    lines = results.table(["way", "failed"], [["a long way", "0"], ["b", "12345678"]])
    assert lines == ["way           failed", "a long way         0", "b           12345678"]
