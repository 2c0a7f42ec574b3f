# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack lacks to run on more than one server."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _readiness
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container


def container(env: list[str], mounts: list[dict[str, object]] | None = None) -> Container:
    labels = {"com.docker.compose.service": "api"}
    raw = {"Id": "1", "Name": "/api", "Config": {"Labels": labels, "Env": env}}
    return Container({**raw, "Mounts": mounts or []})


def test_secrets_are_compared_and_not_shown() -> None:
    one = _readiness.fingerprints([container(["JWT_SECRET=a"])], ["JWT_SECRET"], "carrental")
    same = _readiness.fingerprints([container(["JWT_SECRET=a"])], ["JWT_SECRET"], "carrental")
    other = _readiness.fingerprints([container(["JWT_SECRET=b"])], ["JWT_SECRET"], "carrental")
    assert one == same
    assert one != other
    assert [len(value) for value in one.values()] == [8]


def test_data_on_this_server_is_in_the_way_with_the_reason() -> None:
    roles = {"postgres": "database", "redis": "cache", "minio": "object_store", "api": "stateless"}
    found = {one.name: one for one in _readiness.data(roles, ["postgres", "redis", "api"])}
    assert found["postgres.elsewhere"].status == _readiness.MISSING
    assert "Sentinel takes three servers" in found["redis.elsewhere"].detail
    assert found["minio.elsewhere"].status == _readiness.READY
    assert len(found) == 3


def test_what_is_written_to_this_server_is_in_the_way() -> None:
    mounts: list[dict[str, object]] = [
        {"Type": "bind", "RW": False, "Destination": "/etc/app"},
        {"Type": "volume", "RW": True, "Destination": "/uploads"},
    ]
    found = _readiness.local_state([container([], mounts)])
    assert "writes to /uploads," in found[0].detail
    assert _readiness.local_state([container([])])[0].status == _readiness.READY


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("public, max-age=31536000, immutable", _readiness.READY),
        ("private, max-age=31536000", _readiness.MISSING),
        ("max-age=60", _readiness.MISSING),
        ("", _readiness.MISSING),
    ],
)
def test_static_files_that_a_network_may_keep(said: str, status: str) -> None:
    page = '<link href="/_next/static/a.css?x"><script src="/b.js"></script>'
    assert _readiness.asset(page) == "/_next/static/a.css"
    assert _readiness.caching("/a.css", {"Cache-Control": said}).status == status
