# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch says; what it does is seen on a server, in the scenarios."""

from __future__ import annotations

from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _switch
from ansible_collections.carrental.ops.plugins.module_utils._docker import SERVICE, Container
from ansible_collections.carrental.ops.plugins.module_utils._rollout import STARTING, Seat


class Engine:
    """One container of the API, whose main process was killed and begins again."""

    def services(self, _project: str) -> list[Container]:
        raw = {
            "Id": "1",
            "Name": "/api",
            "Config": {"Labels": {SERVICE: "api"}},
            "State": {"Status": "restarting", "ExitCode": 137},
            "RestartCount": 1,
        }
        return [Container(raw)]

    def beside(self, _project: str, _service: str) -> list[Container]:
        return []

    def endings(self, _container: str) -> list[dict[str, Any]]:
        return [{"Action": "oom"}, {"Action": "die"}]


class Project:
    name = "carrental"

    def model(self) -> tuple[dict[str, Any], list[str]]:
        return {}, []

    def hashes(self) -> dict[str, str]:
        return {}


def nowhere(*seats: Seat) -> str:
    switch = _switch.Switch(
        Engine(),  # type: ignore[arg-type]
        Project(),  # type: ignore[arg-type]
        {},
        [],
        None,
        _switch.Timing(),
        lambda *_args, **_more: None,
        tidy=True,
    )
    return switch._nowhere("api", seats)


def test_who_ended_has_no_address_and_is_told_with_the_cause() -> None:
    lost = Seat("1", "api", "", True, STARTING)
    assert nowhere(lost) == "api was killed for its memory, 2 times"


def test_where_nobody_is_it_says_that() -> None:
    assert nowhere() == "api has no address to lead to"
