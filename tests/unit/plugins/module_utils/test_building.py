# SPDX-License-Identifier: GPL-3.0-or-later
"""What compose is given to build a commit with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _building

DEST = "/opt/carrental"
SHA = "2e2e585eb17bf081e2aeb370d6bab51cafc30108"


def model(**section: Any) -> dict[str, Any]:
    build = {"context": DEST, "dockerfile": "docker/Dockerfile.api.prod", **section}
    return {"services": {"api": {"build": build, "environment": {"X": "1"}}, "redis": {}}}


def plan(tree: Path, wanted: dict[str, Any], **more: Any) -> _building.Plan:
    given: dict[str, Any] = {"released": {"api": "ghcr.io/example/backend"}, "argument": "VERSION"}
    given |= more
    return _building.plan(
        wanted,
        given["released"],
        project="carrental",
        revision=SHA,
        dest=DEST,
        tree=str(tree),
        argument=given["argument"],
    )


def test_only_the_build_is_taken_and_leads_to_the_commit(tmp_path: Path) -> None:
    made = plan(tmp_path, model(args={"NODE_ENV": "production"}, labels={"team": "rental"}))
    document = made.document("carrental", ["api"], str(tmp_path))
    service = document["services"]["api"]
    assert set(service) == {"image", "build"}
    assert service["image"] == f"ghcr.io/example/backend:{SHA}"
    assert service["build"]["context"] == str(tmp_path)
    assert service["build"]["dockerfile"] == "docker/Dockerfile.api.prod"
    assert service["build"]["args"] == {"NODE_ENV": "production", "VERSION": SHA}
    assert service["build"]["labels"]["team"] == "rental"
    assert service["build"]["labels"][_building.REVISION] == SHA


def test_empty_repository_stands_for_the_name_of_compose(tmp_path: Path) -> None:
    made = plan(tmp_path, model(), released={"api": ""})
    assert made.images == {"api": f"carrental-api:{SHA}"}


def test_argument_of_the_compose_file_counts(tmp_path: Path) -> None:
    made = plan(tmp_path, model(args={"VERSION": "own"}))
    assert made.sections["api"]["args"] == {"VERSION": "own"}
    assert "args" not in plan(tmp_path, model(), argument="").sections["api"]


def test_another_argument_is_another_build_and_another_directory_is_not(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    mark = plan(one, model(args={"URL": "a"})).mark("api", str(one))
    assert plan(two, model(args={"URL": "a"})).mark("api", str(two)) == mark
    assert plan(one, model(args={"URL": "b"})).mark("api", str(one)) != mark


def test_service_without_a_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(_building.BuildError, match="no build section for redis"):
        plan(tmp_path, model(), released={"api": "a", "redis": "b"})


def test_context_that_is_only_on_the_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(_building.BuildError, match="The context of api, /opt/carrental/vendor, is"):
        plan(tmp_path, model(context=f"{DEST}/vendor"))
    made = plan(tmp_path, model(context="https://example.org/a.git"))
    assert made.sections["api"]["context"] == "https://example.org/a.git"


def test_secrets_of_a_build_come_along_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "npmrc").write_text("")
    wanted = model(secrets=[{"source": "npm"}, {"source": "token"}])
    wanted["secrets"] = {
        "npm": {"file": f"{DEST}/npmrc"},
        "token": {"file": f"{DEST}/secrets/token"},
        "other": {"environment": "OTHER"},
    }
    made = plan(tmp_path, wanted)
    assert made.secrets == {
        "npm": {"file": f"{tmp_path}/npmrc"},
        "token": {"file": f"{DEST}/secrets/token"},
    }


def test_configuration_is_what_the_stack_reads_and_not_the_source(tmp_path: Path) -> None:
    for name, text in {
        "docker-compose.yml": (
            "include: [monitoring/compose.yml]\nservices:\n  api:\n    env_file: config/api.env\n"
            "    extends: {file: ./common.yml, service: base}\n"
            "    build: {context: ., dockerfile: app/x}\n"
        ),
        "common.yml": "services: {base: {}}\n",
        "config/api.env": "A=1\n",
        "monitoring/compose.yml": "services: {p: {env_file: p.env}}\n",
        "monitoring/p.env": "",
        "nginx/conf.d/a.conf": "",
        "app/server.js": "",
        "app/x": "",
        "package.json": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    mounts = {
        "services": {
            "api": {"build": {"context": DEST, "dockerfile": "app/x"}},
            "nginx": {
                "volumes": [
                    {"type": "bind", "source": f"{DEST}/nginx/conf.d", "target": "/a"},
                    {"type": "bind", "source": f"{DEST}/nginx/ssl", "target": "/b"},
                    {"type": "bind", "source": "/etc/localtime", "target": "/c"},
                ]
            },
        }
    }
    found = _building.configuration(mounts, ["docker-compose.yml"], DEST, str(tmp_path))
    assert found == [
        "common.yml",
        "config/api.env",
        "docker-compose.yml",
        "monitoring/compose.yml",
        "monitoring/p.env",
        "nginx/conf.d/a.conf",
    ]
    target = tmp_path / "out"
    _building.copy_files(found, str(tmp_path), str(target))
    assert (target / "config/api.env").read_text() == "A=1\n"


def test_login_for_a_build_leaves_the_one_of_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "cli-plugins").mkdir(parents=True)
    before = {"auths": {"docker.io": {"auth": "eDp5"}}, "currentContext": "default"}
    (theirs / "config.json").write_text(json.dumps(before))
    monkeypatch.setenv("DOCKER_CONFIG", str(theirs))
    own = tmp_path / "own"
    own.mkdir()
    folder = Path(_building._logged_in(str(own), ["ghcr.io"], ("deployer", "pw")))
    after = json.loads((folder / "config.json").read_text())
    assert set(after["auths"]) == {"docker.io", "ghcr.io"}
    assert after["currentContext"] == "default"
    assert os.path.isdir(folder / "cli-plugins")
    assert json.loads((theirs / "config.json").read_text()) == before
