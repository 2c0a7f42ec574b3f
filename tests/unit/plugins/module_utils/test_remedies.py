# SPDX-License-Identifier: GPL-3.0-or-later
"""Which remedies come into question, and that each can say why it is not to be tried."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _climb, _remedies
from ansible_collections.carrental.ops.plugins.module_utils._incidents import Cause

ROLES = {"api": "stateless", "postgres": "database", "redis": "cache"}


def names(code: str, service: str) -> list[str]:
    found = _remedies.ladder([Cause(code, service, "")], (), ROLES)
    return [rung.remedy.name for rung in found]


def test_a_database_that_runs_is_neither_restarted_nor_replaced_unasked() -> None:
    """Replacing its container cuts every session, as the restart does that needs a confirmation."""
    assert names("container_unhealthy", "postgres") == ["restart_database"]
    assert not _remedies.REMEDIES["restart_database"].reversible
    assert names("container_unhealthy", "api") == ["restart_container", "recreate_container"]


def test_a_database_that_is_gone_may_be_created_again() -> None:
    assert "recreate_container" in names("container_missing", "postgres")


def test_what_redis_cannot_read_is_repaired_before_it_is_given_up() -> None:
    assert names("redis_data_damaged", "redis") == ["repair_redis", "empty_redis"]


@pytest.mark.parametrize("name", list(_climb.ACTIONS))
def test_every_action_is_whole(name: str) -> None:
    """A method that another class lends does not find its parent."""
    action = _climb.ACTIONS[name]
    for method in ("refuse", "act", "wrong"):
        owner = getattr(type(action), method).__qualname__.rpartition(".")[0]
        assert owner in [one.__name__ for one in type(action).__mro__], f"{name}: {method}"
