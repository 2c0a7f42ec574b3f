# SPDX-License-Identifier: GPL-3.0-or-later
"""The image for AWX: built on the demo's Debian, and a playbook run inside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support import INSTANCE, INVENTORY, REPO
from tiers import proof

BASE = f"carrental-{INSTANCE}/ee-base:test"
IMAGE = f"carrental-{INSTANCE}/ee:test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def run(*argv: str, cwd: Path = REPO) -> str:
    done = subprocess.run(
        argv, cwd=cwd, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image of this checkout, with the certificates that this machine trusts."""
    folder = tmp_path_factory.mktemp("ee")
    context = folder / "base"
    context.mkdir()
    shutil.copy(CERTIFICATES, context / "ca.crt")
    (context / "Dockerfile").write_text(
        "FROM carrental-demo/base:trixie\n"
        f"COPY ca.crt {CERTIFICATES}\n"
        f"ENV PIP_CERT={CERTIFICATES} PIP_DEFAULT_TIMEOUT=180\n"
    )
    run("docker", "build", "--tag", BASE, str(context))
    run("ansible-galaxy", "collection", "build", "--force", "--output-path", str(folder))
    next(folder.glob("carrental-ops-*.tar.gz")).rename(folder / "carrental-ops.tar.gz")
    definition = yaml.safe_load((REPO / "execution-environment.yml").read_text())
    assert definition["version"] == 3
    definition["images"]["base_image"]["name"] = BASE
    definition["additional_build_files"][0]["src"] = str(folder / "carrental-ops.tar.gz")
    (folder / "execution-environment.yml").write_text(yaml.safe_dump(definition))
    run(
        *(sys.executable, "-m", "ansible_builder", "build", "--tag", IMAGE),
        *("--container-runtime", "docker", "--context", str(folder / "context")),
        "--extra-build-cli-args=--network host",
        cwd=folder,
    )
    yield IMAGE
    subprocess.run(["docker", "rmi", IMAGE, BASE], capture_output=True, check=False)


@proof
def test_a_playbook_runs_inside_the_image(image: str) -> None:
    told = run(
        # As root, for the key and the secrets of the tests are readable by nobody else. AWX hands
        # both over in its own way.
        *("docker", "run", "--rm", "--network", "host", "--user", "0"),
        *("--volume", f"{REPO}:{REPO}:ro", "--env", "HOME=/tmp", "--env", "USER=runner"),
        image,
        *("ansible-playbook", "-i", str((REPO / INVENTORY).resolve())),
        *("carrental.ops.health", "-e", "health_depth=quick"),
    )
    assert "health ok" in told
    assert "[OK] API is healthy" in told


@proof
def test_the_image_has_what_reports_and_awx_need(image: str) -> None:
    modules = "import pygal, ansible_runner, ansible_collections.awx.awx, ansible_collections"
    run("docker", "run", "--rm", image, "python3", "-c", modules)
