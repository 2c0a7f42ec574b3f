# SPDX-License-Identifier: GPL-3.0-or-later
"""What fires and what somebody silenced, and how a file system can grow."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _firing, _growing, _incidents

GIB = 2**30


def alert(name: str = "RedisDown", silenced: bool = False, **labels: str) -> dict[str, Any]:
    known = {"alertname": name, "service": "redis", "severity": "P3", "response": "redis_down"}
    return {
        "fingerprint": name,
        "startsAt": "2026-11-26T05:00:00.000Z",
        "labels": {**known, **labels},
        "annotations": {"summary": "it is down"},
        "status": {
            "state": "active",
            "silencedBy": ["x"] if silenced else [],
            "inhibitedBy": [],
        },
    }


def silence(*matchers: tuple[str, str, bool], state: str = "active") -> dict[str, Any]:
    return {
        "status": {"state": state},
        "createdBy": "alice",
        "comment": "moving it",
        "matchers": [
            {"name": name, "value": value, "isRegex": regex, "isEqual": True}
            for name, value, regex in matchers
        ],
    }


def test_only_what_asks_for_a_response_is_wanted_the_gravest_first() -> None:
    found = _firing.Found(
        True,
        alerts=[
            alert("Watchdog", response="none"),
            alert("Foreign", response=""),
            alert(),
            alert("ApiDown", severity="P1", response="api_down", service="api"),
        ],
    )
    assert [one["alert"] for one in _firing.wanting(found)] == ["ApiDown", "RedisDown"]


def test_alerts_of_one_incident_are_one_response() -> None:
    first = alert("PostgresConnectionsHigh", response="database_connections", service="postgres")
    second = alert("PostgresIdleInTransaction", response="database_connections", service="postgres")
    one = alert("ContainerOomKilled", response="high_memory", service="containers", container="api")
    groups = _firing.groups([_firing.short(each) for each in (first, second, one)])
    assert [(each["incident"], each["service"], len(each["alerts"])) for each in groups] == [
        ("database_connections", "postgres", 2),
        ("high_memory", "api", 1),
    ]


def test_a_label_that_nobody_knows_is_looked_at() -> None:
    (group,) = _firing.groups([_firing.short(alert(response="own_invention"))])
    assert group["incident"] == "diagnose"


def test_an_alert_that_is_over_needs_nothing() -> None:
    key = _firing.short(alert())["key"]
    assert _firing.still_firing(_firing.Found(True, alerts=[alert()]), [key]) == ""
    assert "does not fire" in _firing.still_firing(_firing.Found(True), [key])
    muted = _firing.Found(True, alerts=[alert(silenced=True)])
    assert "silenced" in _firing.still_firing(muted, [key])
    assert "nobody can tell" in _firing.still_firing(_firing.Found(error="away."), [key])
    assert _firing.still_firing(_firing.Found(error="away."), []) == ""


@pytest.mark.parametrize(
    ("one", "names_it"),
    [
        (silence(("service", "redis", False)), True),
        (silence(("container", "cache-1", False)), True),
        (silence(("service", "redis|minio", True)), True),
        (silence(("alertname", "RedisDown", False)), True),
        (silence(("alertname", "RedisDown", False), state="expired"), False),
        (silence(("service", "minio", False)), False),
        (silence(("severity", "P3", False)), False),
        (silence(("service", ".*", True)), False),
        (silence(("service", "(", True)), False),
    ],
)
def test_a_silence_has_to_name_the_service(one: dict[str, Any], names_it: bool) -> None:
    said = _firing.silence_of([one], "redis", ["cache-1"])
    assert bool(said) is names_it
    assert _firing.silence_of([one], "redis", [], "moving it") == ""


def tree(disk: int, start: int, size: int, **part: Any) -> dict[str, Any]:
    """A disk with one partition, in bytes."""
    node = {
        "name": "vda1",
        "path": "/dev/vda1",
        "type": "part",
        "size": size,
        "fstype": "ext4",
        "mountpoints": ["/"],
        "partn": 1,
        "start": start // 512,
        **part,
    }
    disk_node = {"name": "vda", "path": "/dev/vda", "type": "disk", "size": disk}
    return {"blockdevices": [{**disk_node, "children": [node]}]}


def test_the_partition_grows_before_its_file_system() -> None:
    plan = _growing.plan(tree(80 * GIB, 2**20, 39 * GIB), "/", 38 * GIB)
    assert plan is not None
    assert plan.commands == (("growpart", "/dev/vda", "1"), ("resize2fs", "/dev/vda1"))
    assert plan.gain > 30 * GIB


def test_a_file_system_smaller_than_its_partition_grows_alone() -> None:
    plan = _growing.plan(tree(80 * GIB, 2**20, 80 * GIB - 2**20, fstype="xfs"), "/", 38 * GIB)
    assert plan is not None
    assert plan.commands == (("xfs_growfs", "/"),)


@pytest.mark.parametrize(
    "listed",
    [
        tree(40 * GIB, 2**20, 39 * GIB),
        tree(80 * GIB, 2**20, 39 * GIB, fstype="btrfs"),
        tree(80 * GIB, 2**20, 39 * GIB, type="lvm"),
        tree(80 * GIB, 2**20, 39 * GIB, mountpoints=[None]),
        {"blockdevices": []},
    ],
)
def test_nothing_grows_where_there_is_no_room_or_nobody_knows_how(listed: dict[str, Any]) -> None:
    assert _growing.plan(listed, "/", 38 * GIB) is None


def test_only_the_last_partition_has_room_behind_it() -> None:
    listed = tree(80 * GIB, 2**20, 39 * GIB)
    listed["blockdevices"][0]["children"].append({"name": "vda2", "start": 40 * GIB // 512})
    assert _growing.plan(listed, "/", 38 * GIB) is None


def test_every_alias_is_an_incident() -> None:
    for name in _incidents.ALIASES:
        assert _incidents.resolve(name)
