# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits and replicas in the release override."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _compose, _sizes
from ansible_collections.carrental.ops.plugins.module_utils._sizes import Size

MB = 2**20


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("512M", 512 * MB),
        ("1g", 1024 * MB),
        ("1.5GB", 1536 * MB),
        (268435456, 256 * MB),
        ("64mib", 64 * MB),
    ],
)
def test_memory_as_compose_takes_it(value: Any, expected: int) -> None:
    assert _sizes.memory("api", "memory", value) == expected


@pytest.mark.parametrize("value", ["", "lots", "-1G", "1M", 0, None])
def test_memory_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(_sizes.SizeError, match=r"scaling_limits\.api\.memory is"):
        _sizes.memory("api", "memory", value)


@pytest.mark.parametrize(
    ("limits", "replicas", "said"),
    [
        ({"api": {"cpus": "9"}}, {}, "the server has 4 cores"),
        ({"api": {"cpus": "nan"}}, {}, "the server has 4 cores"),
        ({"api": {"ram": "1G"}}, {}, "has no key ram"),
        ({"api": "1G"}, {}, "give memory, cpus or shm_size"),
        ({}, {"api": 0}, "a number from 1 to 50"),
        ({}, {"api": True}, "a number from 1 to 50"),
        ({}, {"api": "many"}, "a number from 1 to 50"),
    ],
)
def test_what_cannot_be_is_refused(limits: Any, replicas: Any, said: str) -> None:
    with pytest.raises(_sizes.SizeError, match=said):
        _sizes.given(limits, replicas, 4)


def test_what_is_not_given_stays() -> None:
    old = {"api": Size(memory=256 * MB, replicas=2), "web": Size(cpus=1)}
    new = _sizes.given({"api": {"cpus": "2"}}, {"web": 3}, 4)
    assert _sizes.merged(old, new) == {
        "api": Size(memory=256 * MB, cpus=2, replicas=2),
        "web": Size(cpus=1, replicas=3),
    }


def test_the_override_remembers_them_beside_the_images() -> None:
    sizes = {
        "api": Size(512 * MB, 1.5, 0, 3),
        "postgres": Size(memory=1024 * MB, shm_size=256 * MB),
    }
    text = _compose.override(
        {"api": "ghcr.io/x@sha256:1", "web": "ghcr.io/y@sha256:2"}, ["api"], sizes
    )
    assert _sizes.read(text) == sizes
    assert _compose.pinned(text) == {"api": "ghcr.io/x@sha256:1", "web": "ghcr.io/y@sha256:2"}
    assert "    container_name: !reset null\n" in text
    assert '          memory: "536870912"\n' in text
    assert "      replicas: 3\n" in text
    assert "  postgres:\n    mem_limit: !reset null\n    shm_size: 268435456\n" in text


def test_without_sizes_the_override_is_what_it_was() -> None:
    assert "sizes" not in _compose.override({"api": "x"}, [])
    assert _compose.override({}, []).endswith("services: {}\n")
    assert _sizes.read(_compose.override({"api": "x"}, [])) == {}
