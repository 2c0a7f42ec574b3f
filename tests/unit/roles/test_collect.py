# SPDX-License-Identifier: GPL-3.0-or-later
"""The collector: what it makes of what the engine says and of what operations left."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[3]


def _load() -> ModuleType:
    path = REPO / "roles/monitoring/files/collect.py"
    spec = importlib.util.spec_from_file_location("collect", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


collect = _load()


def container(**state: Any) -> dict[str, Any]:
    return {
        "Name": "/api",
        "Image": "sha256:new",
        "RestartCount": 3,
        "State": {"Running": False, "OOMKilled": True, **state},
        "HostConfig": {"Memory": 1024},
        "Config": {"Labels": {"com.docker.compose.service": "api"}},
    }


def values(samples: Any) -> dict[str, float]:
    return {name: value for name, _labels, value in samples}


def test_a_container_that_ended_tells_why() -> None:
    found = values(collect.of_container(container(), {"api": "sha256:old"}))
    assert found == {
        "carrental_container_running": 0.0,
        "carrental_container_restarts_total": 3.0,
        "carrental_container_oom_killed": 1.0,
        "carrental_container_outside_release": 1.0,
        "carrental_container_memory_limit_bytes": 1024.0,
    }


@pytest.mark.parametrize(("status", "value"), [("healthy", 1.0), ("unhealthy", 0.0)])
def test_health_is_told_once_it_is_known(status: str, value: float) -> None:
    found = values(collect.of_container(container(Health={"Status": status}), {}))
    assert found["carrental_container_healthy"] == value
    starting = values(collect.of_container(container(Health={"Status": "starting"}), {}))
    assert "carrental_container_healthy" not in starting


@pytest.mark.parametrize("idle", ["inactive_file", "total_inactive_file"])
def test_the_engine_tells_memory_and_throttling(idle: str) -> None:
    stats = {
        "memory_stats": {"usage": 1000, "stats": {idle: 400}},
        "cpu_stats": {
            "cpu_usage": {"total_usage": 5_000_000_000},
            "throttling_data": {"periods": 10, "throttled_periods": 4},
        },
    }
    assert values(collect.measured(stats, {})) == {
        "carrental_container_memory_bytes": 600.0,
        "carrental_container_cpu_seconds_total": 5.0,
        "carrental_container_cpu_periods_total": 10.0,
        "carrental_container_cpu_throttled_periods_total": 4.0,
    }


def test_a_container_that_went_away_meanwhile_has_no_memory() -> None:
    assert "carrental_container_memory_bytes" not in values(collect.measured({}, {}))


def test_reaching_the_memory_limit_is_counted_on_from_the_file_before() -> None:
    event = {"Actor": {"Attributes": {"name": "api"}}}
    before = 'carrental_container_oom_events_total{container="api"} 2\n'
    found = list(collect.of_memory([event], ["api", "web"], before))
    assert [(labels["container"], value) for _name, labels, value in found] == [
        ("api", 3.0),
        ("web", 0.0),
    ]
    assert collect.last_time("carrental_collector_timestamp_seconds 12.5\n") == 12.5
    assert collect.last_time("") == 0.0


def test_the_last_verdict_of_each_kind_counts(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    for name, verdict in {
        "20261124T010000Z-deploy-aaaa": "failed",
        "20261124T020000Z-deploy-bbbb": "ok",
        "20261124T030000Z-deploy-cccc": "",
        "20261124T015000Z-restore-dddd": "failed",
    }.items():
        lines = [{"event": "begin"}] + ([{"event": "end", "verdict": verdict}] if verdict else [])
        text = "".join(json.dumps(one) + "\n" for one in lines) + '{"torn'
        (journal / f"{name}.jsonl").write_text(text)
    found = {
        (labels["kind"], labels["verdict"])
        for name, labels, _value in collect.of_operations(str(tmp_path))
        if name == "carrental_operation_last_verdict"
    }
    assert found == {("deploy", "ok"), ("restore", "failed")}


def test_a_free_lock_is_held_by_nobody(tmp_path: Path) -> None:
    assert values(collect.of_lock(str(tmp_path), 100.0)) == {"carrental_lock_held_seconds": 0.0}
    (tmp_path / "lock").write_text('{"since": "1970-01-01T00:01:00Z", "kind": "deploy"}')
    ((_name, labels, value),) = collect.of_lock(str(tmp_path), 100.0)
    assert (labels, value) == ({"kind": "deploy"}, 40.0)


def test_server_out_of_its_balancer_is_told_for_how_long(tmp_path: Path) -> None:
    name = "carrental_out_of_balancer_seconds"
    assert values(collect.of_balancer(str(tmp_path), 100.0)) == {name: 0.0}
    mark = tmp_path / "out-of-balancer"
    mark.touch()
    os.utime(mark, (40.0, 40.0))
    assert values(collect.of_balancer(str(tmp_path), 100.0)) == {name: 60.0}


def test_backups_are_expected_once_there_was_one(tmp_path: Path) -> None:
    metrics, backups = tmp_path / "m", tmp_path / "b"
    metrics.mkdir()
    backups.mkdir()

    def expected() -> dict[str, float]:
        return values(collect.of_backups(str(metrics), str(backups)))

    assert expected() == {"carrental_backup_expected": 0.0}
    (metrics / "b.prom").write_text("carrental_backup_last_success_timestamp_seconds 1\n")
    assert expected() == {"carrental_backup_expected": 1.0}


def test_the_newest_release_that_passed_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    for name, verdict in {"1": "ok", "2": "failed"}.items():
        record = {"id": name, "verdict": verdict, "finished_at": "1970-01-01T00:00:30Z"}
        (tmp_path / f"releases/{name}.json").write_text(json.dumps(record))
    (tmp_path / "releases/3.json").write_text("torn")
    record = collect.current_release(str(tmp_path))
    assert record["id"] == "1"
    assert values(collect.of_release(record))["carrental_release_timestamp_seconds"] == 30.0


def test_the_text_format_escapes_what_it_has_to() -> None:
    said = collect.text([("carrental_container_running", {"container": 'a"b\\c'}, 1.0)])
    assert said.splitlines()[-1] == 'carrental_container_running{container="a\\"b\\\\c"} 1'
    assert "# TYPE carrental_container_running gauge" in said
