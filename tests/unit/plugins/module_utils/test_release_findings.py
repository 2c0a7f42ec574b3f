# SPDX-License-Identifier: GPL-3.0-or-later
"""What health says of releases."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _release_findings
from ansible_collections.carrental.ops.plugins.module_utils._docker import (
    Container,
    DockerDownError,
)

OLD, NEW, NGINX = (f"sha256:{name * 16}" for name in ("a1a1", "a2a2", "c1c1"))


def release(hour: int, version: str, image_id: str) -> Any:
    return {
        "id": f"20261123T{hour}0000Z-{version}",
        "verdict": "ok",
        "version": version * 10,
        "services": {
            "api": {"image_id": image_id, "reference": f"ghcr.io/api@{image_id}"},
            "nginx": {"image_id": NGINX, "reference": "nginx:1"},
        },
        "names": {"api": "carrental-api"},
    }


RELEASES = [release(12, "bbbbbbb", NEW), release(11, "aaaaaaa", OLD)]


class FakeDocker:
    def __init__(self, images: list[dict[str, Any]], running: list[str]) -> None:
        self.images, self.running = images, running

    def get(self, _path: str) -> Any:
        return self.images

    def containers(self) -> list[dict[str, Any]]:
        held = [{"ImageID": one, "State": "running"} for one in self.running]
        return [*held, {"ImageID": OLD, "State": "created"}]


def images(*ids: str, tag: str = "carrental-api:latest") -> list[dict[str, Any]]:
    return [{"Id": one, "RepoTags": [tag] if one == NEW else []} for one in ids]


def lines(found: list[dict[str, Any]], running: list[str]) -> list[str]:
    docker: Any = FakeDocker(found, running)
    return [check.line for check in _release_findings.look(docker, RELEASES)]


def test_way_back_that_is_held_is_no_finding() -> None:
    assert lines(images(OLD, NEW, NGINX), [OLD, NEW, NGINX]) == []


def test_image_that_is_gone_is_told_with_how_to_get_it() -> None:
    assert lines(images(NEW, NGINX), [NEW, NGINX]) == [
        "[WARN] A rollback to aaaaaaaaaaaa needs the registry: the image of api of release "
        "20261123T110000Z-aaaaaaa was removed from the server; get it back with: docker pull "
        f"ghcr.io/api@{OLD}, and deploy again"
    ]


def test_created_container_does_not_hold_hard() -> None:
    assert lines(images(OLD, NEW, NGINX), [NEW, NGINX]) == [
        "[WARN] A rollback to aaaaaaaaaaaa is at the mercy of the next docker system prune: what "
        "held the image of api does not run any more (containers named *-hold-*); deploy the "
        "current version again, which holds it"
    ]


def test_name_that_was_taken_off_is_told_with_how_to_give_it_back() -> None:
    assert lines(images(OLD, NEW, NGINX, tag="other:1"), [OLD, NEW, NGINX]) == [
        "[WARN] A plain docker compose up would not start the release: the image of api has not "
        "the name that the compose files lead to (docker image prune -a takes it off, a build "
        "gives it to another image); give it back with: docker tag a2a2a2a2a2a2 carrental-api"
    ]


def test_first_release_has_no_way_back_and_that_is_no_finding() -> None:
    docker: Any = FakeDocker(images(NEW, NGINX), [NEW, NGINX])
    assert _release_findings.look(docker, RELEASES[:1]) == []
    assert _release_findings.look(docker, []) == []


def test_docker_that_does_not_answer_is_told_elsewhere() -> None:
    class Down(FakeDocker):
        def get(self, _path: str) -> Any:
            raise DockerDownError("nobody listens")

    docker: Any = Down([], [])
    assert _release_findings.look(docker, RELEASES) == []


def surge(running: bool) -> Container:
    labels = {"carrental.ops.surge": "api"}
    state = {"Running": running}
    return Container({"Name": "/api-surge", "Config": {"Labels": labels}, "State": state})


def test_container_that_was_kept_to_be_looked_at_is_no_finding() -> None:
    assert _release_findings.left([surge(running=False)]) == []


def test_container_that_a_rollout_left_is_told() -> None:
    assert [check.line for check in _release_findings.left([surge(running=True)])] == [
        "[WARN] A rollout was interrupted: container api-surge is left: it stands in for api; "
        "unless a deploy is under way, run the deploy again, which ends what was begun"
    ]


def test_what_was_edited_since_the_release_is_told_with_the_way_back(tmp_path: Path) -> None:
    names = ("nginx/nginx.conf", ".env", "nginx/ssl/fullchain.pem", "compose.release.yml")
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    env = digests.pop(".env")
    config = {"files": digests, "env": {"sha256": env, "keys": []}}
    current: Any = {**RELEASES[0], "config": config}
    assert _release_findings.edited(current, str(tmp_path), str(tmp_path / ".ops")) == []
    for name in names:
        (tmp_path / name).write_text("by hand")
    (found,) = _release_findings.edited(current, str(tmp_path), str(tmp_path / ".ops"))
    assert found.line.startswith("[WARN] Edited since the release: .env, nginx/nginx.conf: ")
    assert "rollback_to=20261123T120000Z-bbbbbbb" in found.line
