# SPDX-License-Identifier: GPL-3.0-or-later
"""Two registries: `mirror` plays Docker Hub, `ghcr` plays the project's own one."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from functools import partial

from . import releases
from .console import DemoError, docker, run, say, timed, wait_for
from .images import IMAGES, REGISTRY_TAG
from .settings import NETWORK, OWNER_LABEL, REGISTRY_PASSWORD, REGISTRY_USER, STATE

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Registry:
    """A registry container; pushes go through a loopback port, pulls by name."""

    name: str
    port: int
    login: bool

    @property
    def container(self) -> str:
        return f"{NETWORK}-{self.name}"

    @property
    def host(self) -> str:
        return f"{self.name}.carrental.test"

    @property
    def push_address(self) -> str:
        # Docker speaks plain HTTP to 127.0.0.0/8 without being told.
        return f"127.0.0.1:{self.port}"


MIRROR = Registry("mirror", int(os.environ.get("DEMO_MIRROR_PORT", "5001")), login=False)
GHCR = Registry("ghcr", int(os.environ.get("DEMO_GHCR_PORT", "5002")), login=True)
REGISTRIES = (MIRROR, GHCR)


def basic_auth() -> str:
    return base64.b64encode(f"{REGISTRY_USER}:{REGISTRY_PASSWORD}".encode()).decode()


def ensure_network() -> None:
    if not docker("network", "ls", "--quiet", "--filter", f"name=^{NETWORK}$"):
        docker("network", "create", "--label", f"{OWNER_LABEL}=network", NETWORK)


def start() -> None:
    """Start both registries, creating them when they do not exist."""
    ensure_network()
    image = docker("image", "inspect", "--format", "{{.Id}}", REGISTRY_TAG)
    for registry in REGISTRIES:
        running = docker(
            "inspect", "--format", "{{.State.Running}} {{.Image}}", registry.container, check=False
        ).split()
        if running and running[1] != image:
            docker("rm", "--force", "--volumes", registry.container)
            running = []
        if not running:
            _create(registry)
        elif running[0] != "true":
            docker("start", registry.container)
    for registry in REGISTRIES:
        wait_for(
            f"the registry {registry.container} (docker logs {registry.container})",
            20,
            partial(_answers, registry),
        )
    say(
        "  registries: "
        + ", ".join(f"{r.host}:5000 (push to {r.push_address})" for r in REGISTRIES)
    )


def _create(registry: Registry) -> None:
    login = [
        *("--env", f"DEMO_REGISTRY_USER={REGISTRY_USER}"),
        *("--env", f"DEMO_REGISTRY_PASSWORD={REGISTRY_PASSWORD}"),
    ]
    docker("volume", "create", "--label", f"{OWNER_LABEL}=registry", registry.container)
    docker(
        *("run", "--detach", "--name", registry.container, "--label", f"{OWNER_LABEL}=registry"),
        *("--network", NETWORK, "--network-alias", registry.host, "--hostname", registry.host),
        *("--publish", f"{registry.push_address}:5000"),
        *("--volume", f"{registry.container}:/var/lib/docker-registry"),
        *(login if registry.login else ()),
        REGISTRY_TAG,
    )


def _answers(registry: Registry) -> bool:
    try:
        _request(registry, "GET", "")
    except OSError:
        return False
    return True


def _request(registry: Registry, method: str, path: str) -> Message:
    """The headers of an answer; an error status is raised."""
    headers = {"Accept": MANIFEST}
    if registry.login:
        headers["Authorization"] = f"Basic {basic_auth()}"
    address = f"http://{registry.push_address}/v2/{path}"
    request = urllib.request.Request(address, method=method, headers=headers)
    # No proxy of the environment may stand between us and loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        answered: Message = answer.headers
        return answered


def _digest_in(registry: Registry, name: str) -> str:
    repository, _, tag = name.rpartition(":")
    try:
        headers = _request(registry, "HEAD", f"{repository}/manifests/{tag}")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return ""
        raise DemoError(f"{registry.container} answered {error.code} for {name}") from error
    return headers["Docker-Content-Digest"] or ""


def fill() -> None:
    """Push what the registries do not hold yet."""
    wanted = [(MIRROR, image.tag, name) for image in IMAGES for name in image.field_names]
    for release in releases.load():
        wanted += [
            (GHCR, release.local_tag(part), f"carrental/{part}:{release.version}")
            for part in releases.PARTS
        ]
    with timed("registries compared"), ThreadPoolExecutor(max_workers=4) as pool:
        pushed = list(pool.map(lambda job: push(*job), wanted))
    say(f"  pushed {sum(pushed)}, already there {len(pushed) - sum(pushed)}")


def push(registry: Registry, local: str, name: str) -> bool:
    """Push an image of the engine under a name with a tag; say whether it was not there."""
    remote = f"{registry.push_address}/{name}"
    digests = docker("image", "inspect", "--format", '{{join .RepoDigests " "}}', local).split()
    repository = remote.rpartition(":")[0]
    there = _digest_in(registry, name)
    if there and f"{repository}@{there}" in digests:
        return False
    docker("tag", local, remote)
    run(["docker", "--config", _docker_config(), "push", "--quiet", remote])
    return True


def _docker_config() -> str:
    """A login for pushes that leaves the user's own ~/.docker alone."""
    folder = STATE / "docker"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = folder / "config.json"
    if not config.exists():
        config.touch(mode=0o600)
        config.write_text(json.dumps({"auths": {GHCR.push_address: {"auth": basic_auth()}}}))
    return str(folder)
