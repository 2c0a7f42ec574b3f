# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who died, who was stopped by hand, and who runs in circles."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _containers
from ansible_collections.carrental.ops.plugins.module_utils._checks import Check, Subject
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container

API = Subject("api", "API", "P1", "API is healthy", "API is not responding")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
YOUNG, OLD = "2026-11-23T11:59:50.123456789Z", "2026-11-23T09:00:00Z"
NEVER = "0001-01-01T00:00:00Z"


def judge(
    status: str,
    policy: str = "unless-stopped",
    events: list[dict[str, Any]] | None = None,
    restarts: int = 0,
    networks: Any = None,
    **state: Any,
) -> Check:
    raw = {
        "Id": "0123456789abcdef",
        "Name": "/api",
        "RestartCount": restarts,
        "State": {
            "Status": status,
            "Running": status in ("running", "paused", "restarting"),
            "StartedAt": OLD,
            # No moment: then no sentence depends on the clock.
            "FinishedAt": NEVER,
            **state,
        },
        "Config": {"Labels": {"com.docker.compose.service": "api"}},
        "HostConfig": {
            "RestartPolicy": {"Name": policy},
            "NetworkMode": "backend",
            "Memory": 256 * 1024**2,
        },
        "NetworkSettings": {
            "Networks": {"b": {"IPAddress": "10.0.0.2"}} if networks is None else networks
        },
    }
    return _containers.judge(API, Container(raw), events or [], NOW)


def event(action: str, **attributes: str) -> dict[str, Any]:
    return {"Action": action, "Actor": {"Attributes": attributes}}


STOP = [event("kill", signal="15"), event("die", exitCode="143"), event("stop")]
STOP_SLOW = [event("kill", signal="15"), event("kill", signal="9"), event("die"), event("stop")]
KILL = [event("kill", signal="9"), event("die", exitCode="137")]
RELOAD_THEN_DIED = [event("kill", signal="1"), event("die", exitCode="1")]
DIED = [event("die", exitCode="1")]


@pytest.mark.parametrize(
    ("policy", "events", "state", "detail"),
    [
        ("unless-stopped", [], {"ExitCode": 0}, "was stopped by hand (exit code 0); "),
        ("always", [], {"ExitCode": 137}, "was stopped by hand (exit code 137); "),
        ("always", STOP, {"ExitCode": 143}, "was stopped by hand (exit code 143); "),
        ("always", STOP_SLOW, {"ExitCode": 137}, "was stopped by hand (exit code 137); "),
        ("always", KILL, {"ExitCode": 137}, "was killed by hand (exit code 137); "),
        ("no", STOP, {"ExitCode": 0}, "was stopped by hand (exit code 0); "),
        ("no", [], {"ExitCode": 0}, "ended by itself or was stopped (exit code 0); "),
        ("no", [], {"ExitCode": 1}, "died, last exit code 1, and it has no restart policy; "),
        ("no", DIED, {"ExitCode": 1}, "died, last exit code 1, and it has no restart policy; "),
        (
            "no",
            RELOAD_THEN_DIED,
            {"ExitCode": 1},
            "died, last exit code 1, and it has no restart policy; ",
        ),
        ("no", [], {"ExitCode": 139}, "died, last exit code 139 (SIGSEGV), and it has no restart"),
        (
            "always",
            DIED,
            {"ExitCode": 1},
            "died, last exit code 1, and Docker did not restart it; ",
        ),
        (
            "no",
            [],
            {"ExitCode": 137, "OOMKilled": True},
            "died: killed for lack of memory (limit 256 MiB); ",
        ),
        (
            "on-failure",
            [],
            {"ExitCode": 1},
            "died, last exit code 1, Docker gave up after 0 restarts; ",
        ),
        (
            "always",
            [],
            {"ExitCode": 128, "Error": "port is already allocated"},
            "could not be started: port is already allocated; repair that, then start it with: ",
        ),
    ],
)
def test_ended(
    policy: str, events: list[dict[str, Any]], state: dict[str, Any], detail: str
) -> None:
    check = judge("exited", policy, events, **state)
    assert check.status == "fail"
    assert check.detail.startswith(f"container api {detail}")


@pytest.mark.parametrize(
    ("status", "state", "restarts", "detail"),
    [
        ("paused", {"Paused": True}, 0, "container api is paused; go on with: docker unpause api"),
        (
            "created",
            {"Running": False},
            0,
            "container api was created and never ran: nobody started it; "
            "start it with: docker start api",
        ),
        (
            "restarting",
            {"Restarting": True, "ExitCode": 1},
            9,
            "container api restarts in a loop: 9 restarts, last exit code 1; "
            "see: docker logs --tail 100 api",
        ),
        (
            "running",
            {"StartedAt": YOUNG},
            3,
            "container api restarts in a loop: 3 restarts, last exit code 1, up for 9 s; "
            "see: docker logs --tail 100 api",
        ),
        (
            "running",
            {"Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "no\n db"}]}},
            0,
            "container api runs, but its own health check fails: no db; "
            "see: docker logs --tail 100 api",
        ),
        (
            "running",
            {
                "Health": {
                    "Status": "unhealthy",
                    "Log": [{"ExitCode": -1, "Output": "", "End": "2026-11-23T14:59:52.5+03:00"}],
                }
            },
            0,
            "container api runs, but its own health check fails, last tried 8 s ago: "
            "it gives no reason; see: docker logs --tail 100 api",
        ),
        ("removing", {}, 0, "container api is removing; look again"),
    ],
)
def test_does_not_serve(status: str, state: dict[str, Any], restarts: int, detail: str) -> None:
    check = judge(status, events=DIED, restarts=restarts, **state)
    assert (check.status, check.summary) == ("fail", "API is not responding")
    assert check.detail.replace("up for 10 s", "up for 9 s") == detail


def test_a_loop_for_lack_of_memory_is_named() -> None:
    events = [event("oom"), event("die", exitCode="137")]
    check = judge("restarting", events=events, restarts=4, Restarting=True, ExitCode=137)
    assert check.detail.startswith(
        "container api restarts in a loop: 4 restarts, last exit code 137 (SIGKILL), "
        "killed for lack of memory (limit 256 MiB); "
    )


def test_no_network() -> None:
    check = judge("running", networks={})
    assert check.detail == (
        "container api runs and is connected to no network: nobody reaches it; recreate it with: "
        "docker compose up -d --force-recreate api"
    )


@pytest.mark.parametrize(
    ("state", "restarts", "detail"),
    [
        (
            {"StartedAt": YOUNG},
            1,
            "container api was restarted 10 s ago by Docker, last exit code 1; ",
        ),
        (
            {"OOMKilled": True},
            0,
            "a process in container api was killed for lack of memory (limit ",
        ),
        (
            {"StartedAt": YOUNG, "Health": {"Status": "starting"}},
            0,
            "container api is starting, its own health check has not passed yet after 10 s",
        ),
    ],
)
def test_serves_with_a_finding(state: dict[str, Any], restarts: int, detail: str) -> None:
    check = judge("running", events=DIED, restarts=restarts, **state)
    assert (check.status, check.summary) == ("warn", "API is healthy")
    assert check.detail.startswith(detail)


def test_serves() -> None:
    check = judge("running", restarts=7, Health={"Status": "healthy"})
    assert (check.status, check.evidence["restarts"]) == ("ok", 7)


@pytest.mark.parametrize(
    ("moment", "seconds"), [(YOUNG, 10.0), (NEVER, None), ("", None), ("2027-01-01T00:00:00Z", 0.0)]
)
def test_seconds_since(moment: str, seconds: float | None) -> None:
    assert _containers.seconds_since(moment, NOW) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (61, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_duration(seconds: float, text: str) -> None:
    assert _containers.duration(seconds) == text
