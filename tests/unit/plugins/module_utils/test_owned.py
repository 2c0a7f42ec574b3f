# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that monitor.yml writes are left alone by releases."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _configuration,
    _delivered,
    _owned,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/monitoring").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    (tmp_path / "root/monitoring/alerts.yml").write_text("ours\n")
    return tmp_path / "root"


def test_nothing_is_owned_without_a_note(root: Path, tmp_path: Path) -> None:
    assert _owned.paths(None, str(root)) == ()
    assert _owned.paths(str(tmp_path / "state"), str(root)) == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}'])
def test_a_torn_note_owns_nothing(text: str, root: Path, tmp_path: Path) -> None:
    (tmp_path / "state/owned.json").write_text(text)
    assert _owned.paths(str(tmp_path / "state"), str(root)) == ()


def test_claims_add_up_and_a_file_that_is_gone_is_not_owned(root: Path, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    _owned.claim(state, str(root), ["monitoring/alerts.yml"])
    _owned.claim(state, str(root), ["monitoring/prometheus.yml"])
    assert _owned.paths(state, str(root)) == ("monitoring/alerts.yml",)
    (root / "monitoring/prometheus.yml").write_text("ours\n")
    assert _owned.paths(state, str(root)) == ("monitoring/alerts.yml", "monitoring/prometheus.yml")


def test_what_was_delivered_in_their_place_is_left_out(root: Path, tmp_path: Path) -> None:
    src = tmp_path / "src"
    (src / "monitoring").mkdir(parents=True)
    (src / "monitoring/alerts.yml").write_text("the stack's\n")
    (src / "monitoring/other.yml").write_text("the stack's\n")
    found = _delivered.files(str(src), ("monitoring/alerts.yml",))
    assert list(found) == ["monitoring/other.yml"]
    out = tmp_path / "out"
    _configuration._lay(_delivered.tree(found), str(root), str(out), (), read_only=False)
    assert (out / "monitoring/alerts.yml").read_text() == "ours\n"
    assert (out / "monitoring/other.yml").read_text() == "the stack's\n"
