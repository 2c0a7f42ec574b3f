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


def test_health_tells_of_one_that_was_cut_off(tmp_path: Path) -> None:
    """The next deploy would use its sizes, and blame the release for what they do."""
    state = str(tmp_path)
    assert _scaling_state.cut_off(state) == []
    _scaling_state.begin(state, "")
    (check,) = _scaling_state.cut_off(state)
    assert (check.status, check.summary) == ("warn", "A scaling is under way, or was cut off")
    assert "playbooks/scale.yml" in check.detail
