# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of releases: which are held, and how the engine is asked for it."""

from __future__ import annotations

import os
import platform
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _holding
from ansible_collections.carrental.ops.plugins.module_utils._docker import DockerError
from ansible_collections.carrental.ops.plugins.module_utils._holding import Hold


def image(name: str) -> str:
    return f"sha256:{name * 16}"


def release(name: str, **images: str) -> Any:
    services = {
        service: {"image_id": image(one), "reference": f"r/{one}@sha256:{one}"}
        for service, one in images.items()
    }
    return {"id": name, "version": name, "services": services}


NEW = release("new", api="a2a2", web="b1b1", nginx="c1c1")
OLD = release("old", api="a1a1", web="b1b1", nginx="c1c1")
OLDER = release("older", api="a0a0", web="b0b0", nginx="c0c0")
IN_USE = {image("a2a2"), image("b1b1"), image("c1c1")}


def test_images_are_held_once_for_the_first_release_that_needs_them() -> None:
    assert _holding.wanted([NEW, OLD], [OLDER], ["api", "web"], IN_USE) == [
        Hold(image("a2a2"), "new", ("api",), True),
        Hold(image("b1b1"), "new", ("web",), True),
        Hold(image("a1a1"), "old", ("api",), True),
        Hold(image("a0a0"), "older", ("api",), False),
        Hold(image("b0b0"), "older", ("web",), False),
        Hold(image("c0c0"), "older", ("nginx",), False),
    ]


def test_services_without_an_image_are_absent() -> None:
    assert _holding.absent(OLD, IN_USE) == ["api"]
    assert _holding.absent(NEW, IN_USE) == []


class FakeEngine:
    """An engine that keeps a list of containers and images."""

    def __init__(self, *images: str, machine: str = "x86_64") -> None:
        self.images = {image(one) for one in images}
        self.info = {"Architecture": machine}
        self.kept: dict[str, dict[str, Any]] = {}
        self.definitions: dict[str, Mapping[str, Any]] = {}
        self.config: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.fails = ""

    def get(self, _path: str) -> list[dict[str, Any]]:
        return [{"Id": one} for one in sorted(self.images)]

    def containers(self) -> list[dict[str, Any]]:
        return list(self.kept.values())

    def image(self, name: str) -> dict[str, Any] | None:
        found = self.names.get(name, name)
        return {"Id": found, "Config": self.config} if found in self.images else None

    def create(self, name: str, definition: Mapping[str, Any]) -> None:
        self.definitions[name] = definition
        self.kept[name] = {
            "Id": name,
            "Names": [f"/{name}"],
            "ImageID": definition["Image"],
            "Labels": definition["Labels"],
            "State": "created",
        }

    def start(self, name: str) -> None:
        if self.fails:
            raise DockerError(self.fails)
        self.kept[name]["State"] = "running"

    def stop(self, name: str, _seconds: int) -> None:
        self.kept[name]["State"] = "exited"

    def remove(self, name: str) -> None:
        del self.kept[name]

    def states(self) -> dict[str, str]:
        return {one["ImageID"]: one["State"] for one in self.kept.values()}


A1, A2 = image("a1a1"), image("a2a2")


def hold(engine: FakeEngine, state: Path, *holds: Hold, write: bool = True) -> _holding.Held:
    holder = _holding.Holder(engine, "carrental", str(state), write)  # type: ignore[arg-type]
    return holder.hold(holds)


def test_hard_runs_soft_does_not_and_a_second_time_does_nothing(tmp_path: Path) -> None:
    engine = FakeEngine("a1a1", "a2a2")
    holds = (Hold(A2, "new", ("api",), True), Hold(A1, "old", ("api",), False))
    report = hold(engine, tmp_path, *holds)
    assert report.actions == ["hold api of new hard", "hold api of old softly"]
    assert engine.states() == {A2: "running", A1: "created"}
    assert list(engine.kept) == ["carrental-hold-a2a2a2a2a2a2", "carrental-hold-a1a1a1a1a1a1"]
    assert hold(engine, tmp_path, *holds).actions == []


def test_hold_changes_with_the_age_of_a_release(tmp_path: Path) -> None:
    engine = FakeEngine("a1a1", "a2a2")
    hold(engine, tmp_path, Hold(A1, "old", ("api",), True))
    hold(engine, tmp_path, Hold(A2, "new", ("api",), True), Hold(A1, "old", ("api",), False))
    assert engine.states() == {A2: "running", A1: "exited"}
    hold(engine, tmp_path, Hold(A1, "old", ("api",), True))
    assert engine.states() == {A1: "running"}


def test_check_mode_says_and_does_not(tmp_path: Path) -> None:
    engine = FakeEngine("a1a1", "a2a2")
    hold(engine, tmp_path, Hold(A1, "old", ("api",), True))
    report = hold(engine, tmp_path, Hold(A2, "new", ("api",), True), write=False)
    assert report.actions == ["hold api of new hard", "let go of carrental-hold-a1a1a1a1a1a1"]
    assert engine.states() == {A1: "running"}


def test_holds_of_another_project_are_left_alone(tmp_path: Path) -> None:
    engine = FakeEngine("a1a1")
    hold(engine, tmp_path, Hold(A1, "old", ("api",), True))
    engine.kept["carrental-hold-a1a1a1a1a1a1"]["Labels"][_holding.OWNER] = "other"
    assert hold(engine, tmp_path).actions == []


def test_hold_that_was_paused_is_made_anew(tmp_path: Path) -> None:
    engine = FakeEngine("a1a1")
    wish = Hold(A1, "old", ("api",), True)
    hold(engine, tmp_path, wish)
    engine.kept["carrental-hold-a1a1a1a1a1a1"]["State"] = "paused"
    hold(engine, tmp_path, wish)
    assert engine.states() == {A1: "running"}


def test_missing_image_is_reported(tmp_path: Path) -> None:
    report = hold(FakeEngine(), tmp_path, Hold(A1, "old", ("api",), True))
    assert report.missing == [{"release": "old", "services": ["api"]}]
    assert report.warnings == []


def test_failure_to_hold_is_a_warning_and_ends_softly(tmp_path: Path) -> None:
    engine = FakeEngine("a1a1", "a2a2")
    engine.fails = "no space left on device"
    report = hold(
        engine, tmp_path, Hold(A2, "new", ("api",), True), Hold(A1, "old", ("api",), False)
    )
    assert report.warnings == [
        "The image of api of release new is not held as it should be (no space left on device); a "
        "prune may take it, and a rollback then needs the registry."
    ]
    assert engine.states() == {A2: "created", A1: "created"}


def test_unknown_machine_is_held_softly(tmp_path: Path) -> None:
    engine = FakeEngine("a1a1", machine="riscv64")
    report = hold(engine, tmp_path, Hold(A1, "old", ("api",), True))
    assert "riscv64" in report.warnings[0]
    assert engine.states() == {A1: "created"}


def test_nothing_of_the_stack_can_take_the_container_for_its_own(tmp_path: Path) -> None:
    engine = FakeEngine("a1a1")
    engine.config = {
        "Labels": {"com.docker.compose.project": "carrental", "vendor": "us"},
        "Volumes": {"/var/lib/data": {}},
    }
    hold(engine, tmp_path, Hold(A1, "old", ("api",), True))
    made = engine.definitions["carrental-hold-a1a1a1a1a1a1"]
    assert made["Labels"] == {
        "com.docker.compose.project": "",
        "carrental.ops.hold": "old",
        "carrental.ops.project": "carrental",
    }
    assert made["HostConfig"]["NetworkMode"] == "none"
    assert made["HostConfig"]["Tmpfs"] == {"/var/lib/data": "size=64k"}


def test_image_without_its_name_is_found_by_its_id() -> None:
    engine: Any = FakeEngine("a1a1")
    recorded: Any = OLD["services"]["api"]
    assert _holding.reference(engine, recorded) == A1
    engine.names = {recorded["reference"]: A1}
    assert _holding.reference(engine, recorded) == recorded["reference"]
    engine.images = {A2}
    engine.names = {recorded["reference"]: A2}
    assert _holding.reference(engine, recorded) is None


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no such program")
def test_program_waits_and_ends_on_a_signal(tmp_path: Path) -> None:
    content = _holding.program(platform.machine())
    assert content is not None
    path = tmp_path / "hold"
    path.write_bytes(content)
    path.chmod(0o555)
    with subprocess.Popen([str(path)]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def test_program_is_written_once_and_executable(tmp_path: Path) -> None:
    hold(FakeEngine("a1a1"), tmp_path, Hold(A1, "old", ("api",), True))
    assert stat.S_IMODE(os.stat(tmp_path / "hold").st_mode) == 0o555
    assert [one.name for one in tmp_path.iterdir()] == ["hold"]


def holding(name: str, state: str = "running") -> dict[str, str]:
    return {"ImageID": image(name), "State": state}


def here(*names: str) -> list[dict[str, Any]]:
    return [{"Id": image(name), "RepoTags": []} for name in names]


def test_images_that_run_or_are_held_hard_are_protected() -> None:
    local = here("a2a2", "b1b1", "c1c1", "a1a1")
    assert _holding.unprotected([NEW, OLD], [holding("a1a1")], IN_USE, local) == []


@pytest.mark.parametrize("held", [[], [holding("a1a1", "created")], [holding("a0a0")]])
def test_an_image_that_a_prune_would_take_is_not_protected(held: list[dict[str, str]]) -> None:
    local = here("a2a2", "b1b1", "c1c1", "a1a1")
    assert _holding.unprotected([NEW, OLD], held, IN_USE, local) == ["api of old"]


def test_an_image_that_is_gone_is_not_protected() -> None:
    local = here("a2a2", "b1b1", "c1c1")
    assert _holding.unprotected([NEW, OLD], [holding("a1a1")], IN_USE, local) == ["api of old"]


def test_an_image_of_the_current_release_without_its_name_is_not_protected() -> None:
    local = here("a2a2", "b1b1", "c1c1")
    named = {**NEW, "names": {"api": "carrental-api"}}
    assert _holding.unprotected([named], [], IN_USE, local) == ["api of new"]
    local[0]["RepoTags"] = ["carrental-api:latest"]
    assert _holding.unprotected([named], [], IN_USE, local) == []
