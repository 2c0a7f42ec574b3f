# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy does with each container."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _plan
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container


def container(service: str, *, image: str = "i1", running: bool = True, **more: Any) -> Container:
    return Container(
        {
            "Id": more.get("id", service),
            "Name": f"/{service}",
            "Image": image,
            "State": {"Running": running, "StartedAt": more.get("started", "1")},
            "Config": {
                "Labels": {
                    "com.docker.compose.service": service,
                    "com.docker.compose.config-hash": more.get("config", "h1"),
                }
            },
        }
    )


def step(found: list[Container], **changed: Any) -> _plan.Step:
    arguments: dict[str, Any] = {
        "services": ["api"],
        "containers": found,
        "differing": {},
        "hashes": {"api": "h1"},
        "image_ids": {"api": "i1"},
        "held": [],
    }
    return _plan.steps(**{**arguments, **changed})["api"]


@pytest.mark.parametrize(
    ("found", "changed", "expected"),
    [
        ([], {}, _plan.Step("create")),
        ([container("api")], {}, _plan.Step("keep")),
        ([container("api", running=False)], {}, _plan.Step("start", ("it does not run",))),
        (
            [container("api")],
            {"differing": {"api": ["environment", "image"]}},
            _plan.Step("recreate", ("environment", "image")),
        ),
        ([container("api", image="i0")], {}, _plan.Step("recreate", ("image",))),
        (
            [container("api", config="h0")],
            {},
            _plan.Step("recreate", ("started from another configuration",)),
        ),
        ([container("api", config="h0")], {"excused": ["api"]}, _plan.Step("keep")),
        ([container("api", config="h0")], {"hashes": {}}, _plan.Step("keep")),
        (
            [container("api", image="i0")],
            {"held": ["api"]},
            _plan.Step("held", ("image",)),
        ),
        (
            [container("api", image="i0", running=False)],
            {"held": ["api"]},
            _plan.Step("held", ("image", "it does not run")),
        ),
        ([container("api")], {"differing": {"api": ["new"]}}, _plan.Step("keep")),
        (
            [container("api"), container("api", running=False, id="api2")],
            {},
            _plan.Step("start", ("it does not run",)),
        ),
    ],
)
def test_steps(found: list[Container], changed: dict[str, Any], expected: _plan.Step) -> None:
    assert step(found, **changed) == expected


def test_dependencies_are_followed_to_the_end_and_in_circles() -> None:
    services: dict[str, dict[str, Any]] = {
        "nginx": {"depends_on": {"api": {}}},
        "api": {"depends_on": {"postgres": {}}},
        "postgres": {},
        "a": {"depends_on": {"b": {}}},
        "b": {"depends_on": {"a": {}, "absent": {}}},
    }
    assert _plan.dependencies(services) == {
        "nginx": {"api", "postgres"},
        "api": {"postgres"},
        "postgres": set(),
        "a": {"a", "b", "absent"},
        "b": {"a", "b", "absent"},
    }


def test_what_happened_is_read_from_two_looks() -> None:
    before = [container("api"), container("web"), container("redis"), container("old")]
    after = [
        container("api", id="api-new"),
        container("web"),
        container("redis", started="2"),
        container("minio"),
    ]
    assert _plan.happened(before, after) == [
        "created minio",
        "recreated api",
        "removed old",
        "started redis",
    ]
