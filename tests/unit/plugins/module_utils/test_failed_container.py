# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of a container that is about to be replaced; the lines are seen on a server."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.carrental.ops.plugins.module_utils import _failed_container
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container

API = Container({"Id": "1", "Name": "/api", "Config": {"Env": ["REDIS_PASSWORD=s3cr3t-of-redis"]}})


class Engine:
    def __init__(self, *printed: str) -> None:
        self.printed = list(printed)

    def log(self, _container: Container, _count: int) -> list[str]:
        return self.printed


def kept(engine: Engine, state_dir: Path) -> str:
    return _failed_container.keep_log(
        engine,  # type: ignore[arg-type]
        "carrental",
        API,
        str(state_dir),
    )


def test_a_log_is_kept_for_its_owner_and_without_secrets(tmp_path: Path) -> None:
    said = kept(Engine("cannot log in", "with s3cr3t-of-redis"), tmp_path)
    path = Path(said.removeprefix("what api printed is kept in "))
    assert path.parent == tmp_path / "logs"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    first, second = path.read_text().splitlines()
    assert first == "cannot log in"
    assert "s3cr3t-of-redis" not in second


def test_only_the_newest_logs_stay(tmp_path: Path) -> None:
    for number in range(25):
        last = kept(Engine(f"line {number}"), tmp_path)
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert len(names) == 20
    assert last.endswith(names[-1])


def test_where_it_cannot_be_written_that_is_said(tmp_path: Path) -> None:
    said = kept(Engine("line"), tmp_path / "nowhere")
    assert said.startswith("the log of api could not be kept in ")
    assert said.endswith(": No such file or directory")


def test_a_container_that_printed_nothing_leaves_no_file(tmp_path: Path) -> None:
    assert kept(Engine(), tmp_path) == "api printed nothing"
    assert list(tmp_path.iterdir()) == []
