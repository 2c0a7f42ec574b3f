# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be scaled, and what would not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _scaling, _scaling_state
from ansible_collections.carrental.ops.plugins.module_utils._checks import WARN, Subject
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container
from ansible_collections.carrental.ops.plugins.module_utils._memory_budget import Pool
from ansible_collections.carrental.ops.plugins.module_utils._sizes import Size

MB = 2**20
SERVICES: dict[str, Any] = {
    "api": {},
    "batch": {},
    "postgres": {},
    "web": {"ports": [{"published": "8080"}]},
}
TABLE = {
    "api": {"role": "stateless"},
    "batch": {"role": "stateless", "overlap": False},
    "postgres": {"role": "database"},
    "web": {"role": "stateless"},
}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("apo", "There is no service apo"),
        ("postgres", "its role is database"),
        ("batch", "must not run twice"),
        ("web", "publishes port 8080"),
    ],
)
def test_what_cannot_run_several_times(name: str, said: str) -> None:
    with pytest.raises(_scaling.ScalingError, match=said):
        _scaling.require({name: Size(replicas=2)}, SERVICES, TABLE)


def test_everything_may_have_limits() -> None:
    _scaling.require({name: Size(memory=MB) for name in SERVICES}, SERVICES, TABLE)
    _scaling.require({"api": Size(replicas=3)}, SERVICES, TABLE)


def test_pools_of_replicas_against_the_connections() -> None:
    pools = [Pool("api", 20), Pool("worker", 5, 2)]
    assert _scaling.connections(pools, 1, {"api": 1}, 100) == []
    told = _scaling.connections(pools, 1, {"api": 3}, 100)
    assert "while a release is switched" in told[0]
    with pytest.raises(_scaling.ScalingError, match="api 5 x 20") as refused:
        _scaling.connections(pools, 1, {"api": 5}, 100)
    assert "= 121 connections, and PostgreSQL offers 100 (max_connections): 21 too many" in str(
        refused.value
    )


def test_limits_against_the_server() -> None:
    _scaling.room({"api": 512, "postgres": 1024}, {"api": 2}, 100, 4096)
    with pytest.raises(_scaling.ScalingError, match="764 MB too much") as refused:
        _scaling.room({"api": 512, "postgres": 2048}, {"api": 4}, 252, 4096)
    assert "api 4 x 512 = 2048" in str(refused.value)


def test_a_limit_that_would_kill_what_runs() -> None:
    _scaling.lowered("redis", 200 * MB, 100 * MB)
    _scaling.lowered("redis", MB, None)
    with pytest.raises(_scaling.ScalingError, match="would be killed with 104 MB"):
        _scaling.lowered("redis", 104 * MB, 100 * MB)


def test_health_says_what_compose_would_replace(tmp_path: Path) -> None:
    labels = {"com.docker.compose.service": "postgres"}
    raw = {"Id": "abc", "Name": "/postgres", "Config": {"Labels": labels}}
    subject = Subject("postgres", "PostgreSQL", "P1", "PostgreSQL is ready", "")
    assert _scaling_state.pending(str(tmp_path)) == {}
    _scaling_state.keep(str(tmp_path), {"postgres": "abc"})
    waiting = _scaling_state.pending(str(tmp_path))
    found = _scaling_state.check(subject, [Container(raw)], waiting)
    assert [one.status for one in found] == [WARN]
    assert "pending recreate" in found[0].line
    # It was replaced since.
    assert _scaling_state.check(subject, [Container({**raw, "Id": "def"})], waiting) == []
    _scaling_state.keep(str(tmp_path), {})
    assert list(tmp_path.iterdir()) == []
