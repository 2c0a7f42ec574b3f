# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of an image: from a container that is there, or from one that is made for it."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _image_files
from ansible_collections.carrental.ops.plugins.module_utils._docker import DockerError

IMAGE: dict[str, Any] = {"Id": "sha256:a", "Config": {"WorkingDir": "/app"}}
WHERE = "/app/prisma/migrations"


def packed(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"migrations/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Engine:
    """An engine with one image, whose containers it lists."""

    def __init__(self, listed: list[dict[str, Any]], archive: bytes | None) -> None:
        self.listed = listed
        self.answer = archive
        self.asked: list[tuple[str, str]] = []
        self.made: list[str] = []
        self.removed: list[str] = []

    def containers(self) -> list[dict[str, Any]]:
        return self.listed

    def archive(self, container: str, path: str) -> bytes | None:
        self.asked.append((container, path))
        return self.answer

    def create(self, _name: str, definition: dict[str, Any]) -> str:
        assert definition["Labels"] == {"carrental.ops.one-off": "carrental"}
        self.made.append(definition["Image"])
        return "new"

    def remove(self, container: str) -> None:
        self.removed.append(container)


def read(engine: Engine, create: bool = True) -> dict[str, str] | None:
    return _image_files.read(
        engine,  # type: ignore[arg-type]
        IMAGE,
        "prisma/migrations",
        project="carrental",
        create=create,
    )


def test_a_container_that_is_there_is_read() -> None:
    engine = Engine(
        [{"Id": "x", "ImageID": "b"}, {"Id": "y", "ImageID": "sha256:a"}], packed(a="1")
    )
    assert read(engine, create=False) == {"a": "1"}
    assert engine.asked == [("y", WHERE)]
    assert engine.made == []


def test_one_with_something_mounted_there_is_not() -> None:
    mounts = [{"Destination": "/app/prisma"}]
    engine = Engine([{"Id": "y", "ImageID": "sha256:a", "Mounts": mounts}], packed())
    with pytest.raises(_image_files.NotReadableError):
        read(engine, create=False)


def test_a_container_is_made_and_removed() -> None:
    engine = Engine([], packed(a="1"))
    assert read(engine) == {"a": "1"}
    assert engine.made == ["sha256:a"]
    assert engine.removed == ["new"]


def test_what_is_not_in_the_image_is_nothing() -> None:
    assert read(Engine([], None)) is None


def test_what_is_cut_off_is_told_and_leaves_no_container() -> None:
    engine = Engine([], packed(a="1" * 5000)[:1500])
    with pytest.raises(DockerError, match="too large"):
        read(engine)
    assert engine.removed == ["new"]
