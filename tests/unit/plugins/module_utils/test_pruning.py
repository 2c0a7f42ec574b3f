# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of old releases: removed by name, and only where nobody else has them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _pruning
from ansible_collections.carrental.ops.plugins.module_utils._docker import DockerError

GHCR = "ghcr.io/org/backend"
DIGEST = f"@sha256:{'a' * 64}"
OWN = {GHCR, "carrental-api"}


def listed(image_id: str, *tags: str, digests: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"Id": image_id, "RepoTags": list(tags), "RepoDigests": list(digests)}


def names(images: list[dict[str, Any]], *needed: str) -> list[str]:
    return [one.image_id for one in _pruning.removable(images, OWN, needed)]


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(listed("x", digests=(GHCR + DIGEST,)), id="pulled by digest"),
        pytest.param(listed("x", f"{GHCR}:v1"), id="pulled by tag"),
        pytest.param(listed("x", "carrental-api:latest", digests=(GHCR + DIGEST,)), id="both"),
        pytest.param(
            listed("x", "<none>:<none>", digests=(GHCR + DIGEST,)), id="as older engines list it"
        ),
    ],
)
def test_image_of_an_old_release_is_removable_until_it_is_needed(image: dict[str, Any]) -> None:
    assert names([image]) == ["x"]
    assert names([image], "x") == []


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(listed("x", "postgres:16"), id="foreign"),
        pytest.param(listed("x", f"{GHCR}-tools:v1"), id="alike"),
        pytest.param(listed("x", f"{GHCR}:v1", "mine:keep"), id="somebody gave it a name"),
        pytest.param(listed("x"), id="without a name"),
        pytest.param(listed("x", "<none>:<none>", digests=("<none>@<none>",)), id="dangling"),
    ],
)
def test_image_of_somebody_else_is_never_removable(image: dict[str, Any]) -> None:
    assert names([image]) == []


def test_names_of_compose_are_known_from_the_records_and_by_its_rule() -> None:
    release: Any = {"names": {"api": "registry.example.com/own/api:latest"}}
    assert _pruning.repositories({"api": GHCR}, [release, {}], "carrental") == {  # type: ignore[typeddict-item]
        GHCR,
        "carrental-api",
        "registry.example.com/own/api",
    }


class FakeEngine:
    """An engine that removes all names but those that it is told to refuse."""

    def __init__(self, **refused: str) -> None:
        self.refused = refused
        self.untagged: list[str] = []
        self.layers = 100

    def get(self, _path: str, **_query: str) -> dict[str, Any]:
        images = [{"Id": "x", "Size": 60, "SharedSize": 50}, {"Id": "y", "Size": 60}]
        return {"LayersSize": self.layers, "Images": images}

    def untag(self, name: str) -> None:
        if name in self.refused:
            raise DockerError(self.refused[name])
        self.untagged.append(name)
        self.layers -= 10


FOUND = [_pruning.Removable("x", ("a:1", "a:2")), _pruning.Removable("y", ("b:1",))]


def prune(engine: FakeEngine, write: bool = True) -> _pruning.Pruned:
    return _pruning.prune(engine, FOUND, write)  # type: ignore[arg-type]


def test_every_name_is_taken_off_and_the_space_is_measured() -> None:
    engine = FakeEngine()
    report = prune(engine)
    assert engine.untagged == ["a:1", "a:2", "b:1"]
    assert (report.removed, report.freed_bytes, report.warnings) == (FOUND, 30, [])


def test_check_mode_removes_nothing_and_tells_the_space_of_their_own() -> None:
    engine = FakeEngine()
    report = prune(engine, write=False)
    assert (report.removed, report.freed_bytes, engine.untagged) == (FOUND, 70, [])


def test_name_that_went_with_another_is_no_failure() -> None:
    report = prune(FakeEngine(**{"a:2": "No such image: a:2"}))
    assert (report.removed, report.warnings) == (FOUND, [])


def test_image_that_cannot_be_removed_is_a_warning() -> None:
    report = prune(FakeEngine(**{"b:1": "conflict: unable to remove."}))
    assert report.removed == FOUND[:1]
    assert report.warnings == [
        "The image b:1 of no kept release is not removed: conflict: unable to remove."
    ]
