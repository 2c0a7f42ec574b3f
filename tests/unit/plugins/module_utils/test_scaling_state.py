# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scaling that was killed leaves behind."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.carrental.ops.plugins.module_utils import _scaling_state


def test_a_scaling_that_came_to_no_end_is_known_until_it_ended(tmp_path: Path) -> None:
    state = str(tmp_path)
    assert _scaling_state.unfinished(state) is None
    _scaling_state.begin(state, "services: {}\n")
    assert _scaling_state.unfinished(state) == "services: {}\n"
    _scaling_state.end(state)
    assert _scaling_state.unfinished(state) is None
    _scaling_state.end(state)


def test_before_the_first_override_there_was_none(tmp_path: Path) -> None:
    """Which is not the same as no scaling."""
    _scaling_state.begin(str(tmp_path), "")
    assert _scaling_state.unfinished(str(tmp_path)) == ""
