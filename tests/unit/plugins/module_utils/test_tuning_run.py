# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back of a tune that finishes another one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _tuning_run
from ansible_collections.carrental.ops.plugins.module_utils._tuning_state import Last

FIRST = Last(
    "postgres",
    "carrental",
    {"work_mem": "4MB"},
    "2026-11-26T01:00:00Z",
    after={"work_mem": "16MB"},
    left=["shared_buffers"],
)
SECOND = Last(
    "postgres",
    "carrental",
    {"shared_buffers": None},
    "2026-11-26T01:10:00Z",
    extension=True,
    after={"shared_buffers": "256MB"},
)


def test_the_second_of_two_goes_back_to_where_the_first_began() -> None:
    found = _tuning_run._continued(FIRST, SECOND)
    assert found.before == {"work_mem": "4MB", "shared_buffers": None}
    assert found.after == {"work_mem": "16MB", "shared_buffers": "256MB"}
    assert (found.extension, found.at, found.left) == (True, SECOND.at, [])


def test_one_that_only_brings_the_extension_back_forgets_nothing() -> None:
    only = replace(SECOND, before={}, after={})
    assert _tuning_run._continued(FIRST, only).before == FIRST.before


@pytest.mark.parametrize(
    "before",
    [None, replace(FIRST, left=[]), replace(FIRST, database="another")],
)
def test_another_tune_has_a_way_back_of_its_own(before: Last | None) -> None:
    assert _tuning_run._continued(before, SECOND) == SECOND
