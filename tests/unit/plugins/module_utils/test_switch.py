# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch says; what it does is seen on a server, in the scenarios."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _switch
from ansible_collections.carrental.ops.plugins.module_utils._docker import SERVICE, Container
from ansible_collections.carrental.ops.plugins.module_utils._rollout import (
    DEAD,
    STARTING,
    Look,
    Seat,
)


def container(name: str) -> Container:
    """One whose main process was killed and begins again."""
    raw = {
        "Id": name,
        "Name": f"/{name}",
        "Config": {"Labels": {SERVICE: "api"}},
        "State": {"Status": "restarting", "ExitCode": 137},
        "RestartCount": 1,
    }
    return Container(raw)


class Engine:
    """The container of the API, and a second one."""

    def services(self, _project: str) -> list[Container]:
        return [container("api")]

    def beside(self, _project: str, _service: str) -> list[Container]:
        return [container("surge")]

    def endings(self, _container: str) -> list[dict[str, Any]]:
        return [{"Action": "oom"}, {"Action": "die"}]


class Project:
    name = "carrental"

    def model(self) -> tuple[dict[str, Any], list[str]]:
        return {}, []

    def hashes(self) -> dict[str, str]:
        return {}


@pytest.fixture
def switch() -> _switch.Switch:
    return _switch.Switch(
        Engine(),  # type: ignore[arg-type]
        Project(),  # type: ignore[arg-type]
        {},
        [],
        None,
        _switch.Timing(),
        lambda *_args, **_more: None,
        tidy=True,
    )


def test_who_ended_has_no_address_and_is_told_with_the_cause(switch: _switch.Switch) -> None:
    lost = Seat("api", "api", "", True, STARTING)
    assert switch._nowhere("api", (lost,)) == "api was killed for its memory, 2 times"


def test_where_nobody_is_it_says_that(switch: _switch.Switch) -> None:
    assert switch._nowhere("api", ()) == "api has no address to lead to"


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        pytest.param("surge", "surge answered before, and was killed for its memory", id="killed"),
        pytest.param("other", "the second container of api answered before", id="gone"),
    ],
)
def test_a_second_container_that_is_lost_is_told_with_the_cause(
    switch: _switch.Switch, lost: str, told: str
) -> None:
    look = Look(1, (), (Seat(lost, lost, "", True, DEAD),), frozenset())
    with pytest.raises(_switch.SwitchError, match=told):
        switch._lost_surge({"api": look})
