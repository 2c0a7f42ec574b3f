# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of an instance: its root file system as an image, its engine's data
as a volume. Going back to one is how tests start from a known state."""

from __future__ import annotations

import re
import time

from . import vps
from .console import DemoError, docker, say, timed, wait_for
from .images import TRIXIE as HELPER_TAG
from .settings import DEMO, OWNER_LABEL, Instance

COPY_ENGINE = DEMO / "vps/copy-engine"


def take(instance: Instance, name: str) -> None:
    """Stop the server, keep it, start it again."""
    _check_name(name)
    if vps.status(instance) == "absent":
        raise DemoError(f"{instance.container} does not exist: run 'demo.py up' first")
    start = time.monotonic()
    with timed("stopped"):
        # systemd stops the inner engine, and that its containers, in order.
        docker("stop", "--time", "60", instance.container)
    with timed("kept"):
        # The image comes last and its predecessor goes first: half a snapshot
        # never passes for one.
        docker("rmi", "--force", instance.snapshot_image(name), check=False)
        _copy(instance.volume, instance.snapshot_volume(name))
        label = f"LABEL {OWNER_LABEL}=snapshot"
        docker("commit", "--change", label, instance.container, instance.snapshot_image(name))
    docker("start", instance.container)
    vps.wait_until_reachable(instance)
    _wait_for_containers(instance)
    say(f"  snapshot {name} of {instance.container} taken in {time.monotonic() - start:.1f} s")


def reset(instance: Instance, name: str) -> None:
    """Throw the server away and boot the snapshot in its place."""
    if not exists(instance, name):
        raise DemoError(
            f"{instance.container} has no snapshot {name!r}: take it with 'demo.py snapshot {name}'"
        )
    start = time.monotonic()
    # Nothing of it is kept, so nothing is stopped in order.
    docker("rm", "--force", "--volumes", instance.container, check=False)
    with timed("volume copied back"):
        _copy(instance.snapshot_volume(name), instance.volume)
    with timed("booted"):
        vps.boot(instance, instance.snapshot_image(name))
        vps.wait_until_reachable(instance)
    with timed("containers healthy"):
        _wait_for_containers(instance)
    say(f"  {instance.container} is back at {name} after {time.monotonic() - start:.1f} s")


def exists(instance: Instance, name: str) -> bool:
    return bool(
        docker("images", "--quiet", instance.snapshot_image(name))
        and docker(
            "volume", "ls", "--quiet", "--filter", f"name=^{instance.snapshot_volume(name)}$"
        )
    )


def drop(instance: Instance, prefix: str) -> None:
    """Remove every snapshot whose name begins so; each is a copy of a whole server."""
    repository = instance.snapshot_image("x").rpartition(":")[0]
    for name in docker("images", "--format", "{{.Tag}}", repository).split():
        if name.startswith(prefix):
            docker("rmi", "--force", instance.snapshot_image(name), check=False)
            docker("volume", "rm", instance.snapshot_volume(name), check=False)
            say(f"  snapshot {name} of {instance.container} removed")


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,40}", name):
        raise DemoError(
            f"{name!r} is no name of a snapshot: small letters, digits, '.', '_' and '-'"
        )


def _copy(source: str, target: str) -> None:
    """Copy a volume; both are reached through one mount, for links need that."""
    docker("volume", "create", "--label", f"{OWNER_LABEL}=vps", target)
    volumes = docker("info", "--format", "{{.DockerRootDir}}") + "/volumes"
    docker(
        *("run", "--rm", "--interactive", "--network=none", "--label", f"{OWNER_LABEL}=helper"),
        *("--entrypoint=/bin/bash", "--volume", f"{volumes}:/volumes", HELPER_TAG),
        *("-s", "--", f"/volumes/{source}/_data", f"/volumes/{target}/_data"),
        stdin=COPY_ENGINE.read_bytes(),
    )


def _wait_for_containers(instance: Instance) -> None:
    """Every inner container that should run runs, and is healthy if it can tell."""
    states = ("running", "restarting", "exited")
    filters = " ".join(f"--filter status={state}" for state in states)
    listing = "docker ps --all --format '{{.State}} {{.Status}}' " + filters

    def settled() -> bool:
        lines = vps.ssh(instance, listing).stdout.splitlines()
        # One that was stopped before the snapshot stays stopped, and said 0.
        waited_for = [line for line in lines if "Exited (0)" not in line]
        return all(
            line.startswith("running") and "starting)" not in line and "unhealthy" not in line
            for line in waited_for
        )

    if vps.ssh(instance, "command -v docker").returncode == 0:
        wait_for(
            f"the containers inside {instance.container} to be healthy", 120, settled, pause=0.5
        )
