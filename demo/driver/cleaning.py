# SPDX-License-Identifier: GPL-3.0-or-later
"""What exists, and how to leave nothing of it behind."""

from __future__ import annotations

import shutil

from . import snapshots, vps
from .console import docker, say
from .registries import REGISTRIES
from .settings import (
    CACHE,
    COMPOSE_PLUGIN,
    NETWORK,
    OWNER_LABEL,
    PREFIX,
    REPO,
    SECRETS_FILE,
    STATE,
    Instance,
)


def status_lines(instance: Instance) -> list[str]:
    names = [*(registry.container for registry in REGISTRIES), instance.container]
    lines = [f"{name:28} {vps.state(name)}" for name in names]
    if vps.status(instance) == "running":
        vps.trust(instance)
        inner = vps.ssh(
            instance, "docker ps --all --format '{{.Names}}\t{{.Status}}'"
        ).stdout.expandtabs(26)
        lines += [f"  {line}" for line in inner.splitlines()]
    repository = instance.snapshot_image("x").rpartition(":")[0]
    found = docker("images", "--format", "{{.Tag}}", repository).split()
    lines.append(
        f"snapshots of {instance.name}: "
        + (", ".join(sorted(t for t in found if snapshots.exists(instance, t))) or "none")
    )
    return lines


def clean() -> None:
    """Containers, volumes, network, images, keys, downloads and secrets of the demo."""
    containers = docker("ps", "--all", "--quiet", "--filter", f"label={OWNER_LABEL}").split()
    if containers:
        docker("rm", "--force", "--volumes", *containers)
    volumes = docker("volume", "ls", "--quiet", "--filter", f"label={OWNER_LABEL}").split()
    if volumes:
        docker("volume", "rm", *volumes)
    if docker("network", "ls", "--quiet", "--filter", f"name=^{NETWORK}$"):
        docker("network", "rm", NETWORK)
    images = _images()
    if images:
        docker("rmi", "--force", *images)
    # Layers that a rebuild replaced carry our label but no name any more.
    docker("image", "prune", "--force", "--filter", f"label={OWNER_LABEL}")
    for folder in (STATE, CACHE):
        shutil.rmtree(folder, ignore_errors=True)
    SECRETS_FILE.unlink(missing_ok=True)
    # Another clone's link stays: its setup made it, and its tests need it.
    if COMPOSE_PLUGIN.is_symlink() and COMPOSE_PLUGIN.readlink().is_relative_to(REPO):
        COMPOSE_PLUGIN.unlink()
    say(f"  removed {len(containers)} containers, {len(volumes)} volumes, {len(images)} images")


def _images() -> list[str]:
    """By name: removing them by id would fail where an image has two names."""
    patterns = [f"{PREFIX}/*", *(f"{registry.push_address}/*/*" for registry in REGISTRIES)]
    names: set[str] = set()
    for pattern in patterns:
        names.update(
            docker(
                "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={pattern}"
            ).split()
        )
    return sorted(name for name in names if "<none>" not in name)
