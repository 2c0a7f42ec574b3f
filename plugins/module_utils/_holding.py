# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Hold the images of releases, so that a rollback needs no registry.

What keeps an image, measured with Docker 26.1 (overlay2) and the runbook's two
lines, ``docker system prune -f`` and ``docker image prune -a -f``:

- A tag keeps nothing: ``image prune -a`` takes it off. An image that was pulled
  by digest and has no tag goes with ``system prune -f`` already.
- A container that was created and never started keeps its image from ``image
  prune -a``, but is removed itself by ``system prune`` and ``container prune``.
- A container that runs keeps its image from every prune there is, ``system prune
  -a`` included. It costs 4.5 MiB of memory (Docker's own process beside it; it
  has 0.3 MiB itself), no disk, and 0.2 s to start.
- An archive (``docker save``) would survive even ``docker rm -f`` of everything,
  but has all layers of an image that differs from its neighbour in 60 KB: 403 MB
  and 2.6 s for the two images of a release, 152 MB and 4.6 s more compressed.
- A paused container has a process too and nothing over one that runs, but cannot
  be stopped with the server: its control group is frozen.

So old releases are held softly, by a created container, and the current one and
those that a rollback goes to are held hard, by a running one. What runs in it
cannot come from the image, which need not have a ``sleep``: it is a program of
170 bytes that waits for a signal and ends.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import _registry
from ._docker import DockerError
from ._engine import OWNER, Engine
from ._releases import Release, ServiceImage

LABEL = "carrental.ops.hold"
_COMPOSE = "com.docker.compose."
_INSIDE = "/.carrental-hold"
_MEMORY = 16 * 1024 * 1024
_NOBODY = "65534:65534"
# Any other state of a container that holds is one that it cannot go on from.
_SETTLED = ("created", "exited", "running")

# Block every signal, wait for one, end. Blocked, for the first process of a container
# is not even told of a signal that it neither blocks nor handles: such a one would
# make the shutdown of the server wait until it is killed.
_ADDRESS = 0x400000
_ALL_SIGNALS = b"\xff" * 8
_PROGRAMS = {
    "x86_64": (
        62,
        bytes.fromhex(
            "31ff"  # xor edi, edi          SIG_BLOCK
            "488d351e000000"  # lea rsi, [rip+30]
            "31d2"  # xor edx, edx
            "6a08415a"  # push 8; pop r10
            "6a0e58"  # push 14; pop rax     rt_sigprocmask
            "0f05"  # syscall
            "4889f7"  # mov rdi, rsi
            "31f6"  # xor esi, esi
            "b880000000"  # mov eax, 128     rt_sigtimedwait
            "0f05"  # syscall
            "31ff"  # xor edi, edi
            "6a3c58"  # push 60; pop rax     exit
            "0f05"  # syscall
        ),
    ),
    "aarch64": (
        183,
        struct.pack(
            "<13I",
            0xD2800000,  # mov x0, 0         SIG_BLOCK
            0x10000181,  # adr x1, 48
            0xD2800002,  # mov x2, 0
            0xD2800103,  # mov x3, 8
            0xD28010E8,  # mov x8, 135       rt_sigprocmask
            0xD4000001,  # svc 0
            0x100000E0,  # adr x0, 28
            0xD2800001,  # mov x1, 0
            0xD2801128,  # mov x8, 137       rt_sigtimedwait
            0xD4000001,  # svc 0
            0xD2800000,  # mov x0, 0
            0xD2800BA8,  # mov x8, 93        exit
            0xD4000001,  # svc 0
        ),
    ),
}


@dataclass(frozen=True)
class Hold:
    """An image to hold: for which release and services, and how hard."""

    image_id: str
    release: str
    services: tuple[str, ...]
    hard: bool


@dataclass
class Held:
    """What is held afterwards, and what had to be done for it."""

    holds: list[Hold] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def wanted(
    hard: Iterable[Release],
    soft: Iterable[Release],
    released: Collection[str],
    in_use: Collection[str],
) -> list[Hold]:
    """Return the images to hold, those of the first releases first.

    :param released: services whose images a deploy replaces.
    :param in_use: images that containers of the project run. What is no released service
        keeps its image by running: holding all of them too would cost more than it saves.
    """
    found: dict[str, Hold] = {}
    for releases, is_hard in ((hard, True), (soft, False)):
        for release in releases:
            for service, image in release["services"].items():
                image_id = image["image_id"]
                if service not in released and image_id in in_use:
                    continue
                known = found.get(image_id, Hold(image_id, release["id"], (), is_hard))
                services = tuple(dict.fromkeys((*known.services, service)))
                found[image_id] = Hold(image_id, known.release, services, known.hard)
    return list(found.values())


def absent(release: Release, local: Collection[str]) -> list[str]:
    """Return the services of a release whose images are not on the server any more."""
    return [name for name, one in release["services"].items() if one["image_id"] not in local]


def local_images(engine: Engine) -> set[str]:
    """Return the ids of all images of the engine."""
    return {str(one["Id"]) for one in engine.get("/images/json")}


def missing_targets(engine: Engine, targets: Iterable[Release]) -> list[dict[str, Any]]:
    """Return the rollback targets that need a registry, with the services that do."""
    local = local_images(engine)
    found = [(release, absent(release, local)) for release in targets]
    return [
        {"release": release["id"], "version": release["version"], "services": services}
        for release, services in found
        if services
    ]


def reference(engine: Engine, image: ServiceImage) -> str | None:
    """Return a name by which compose finds a recorded image here; nothing when it is gone.

    The name with the digest is lost when ``image prune -a`` takes names off an image that
    is in use; the id is a name that compose takes too.
    """
    for name in (image["reference"], image["image_id"]):
        found = engine.image(name) if name else None
        if found is not None and found["Id"] == image["image_id"]:
            return name
    return None


def unnamed(release: Release, images: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names that images of a release should have and have not, by service.

    They are those that the compose files alone lead to. Without them a plain ``docker compose
    up -d`` builds an image, or starts another one.

    :param images: the images of the engine, as it lists them.
    """
    local = {str(one["Id"]): set(one.get("RepoTags") or []) for one in images}
    found = {}
    for service, name in (release.get("names") or {}).items():
        recorded = release["services"].get(service)
        if recorded is None or "@" in name or recorded["image_id"] not in local:
            continue
        reference = _registry.parse(name)
        if f"{reference.name}:{reference.tag or 'latest'}" not in local[recorded["image_id"]]:
            found[service] = name
    return found


def unprotected(
    targets: Iterable[Release],
    holding: Iterable[Mapping[str, Any]],
    in_use: Collection[str],
    images: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Return the images of releases that a prune would take or has taken, in words.

    :param targets: the releases that have to be there at once, the current one first.
    :param holding: the containers that hold images, as the engine lists them.
    :param in_use: images that containers of the project run.
    :param images: the images of the engine, as it lists them.
    """
    held = {str(one["ImageID"]) for one in holding if one["State"] == "running"}
    local = {str(one["Id"]) for one in images}
    found: list[str] = []
    for position, release in enumerate(targets):
        lost = unnamed(release, images) if position == 0 else {}
        for service, image in release["services"].items():
            kept = image["image_id"] in held or image["image_id"] in in_use
            if not kept or image["image_id"] not in local or service in lost:
                found.append(f"{service} of {release['id']}")
    return found


class Holder:
    """Holds images for one project of an engine."""

    def __init__(self, engine: Engine, project: str, state_dir: str, write: bool = True) -> None:
        self.engine = engine
        self.project = project
        self.state_dir = state_dir
        self.write = write
        self.report = Held()

    def hold(self, holds: Sequence[Hold]) -> Held:
        """Hold these images, and let go of all others.

        What cannot be held is a warning: the release runs, and is not worse for it.
        """
        local = local_images(self.engine)
        existing = {str(one["ImageID"]): one for one in containers(self.engine, self.project)}
        for one in holds:
            if one.image_id not in local:
                gone = {"release": one.release, "services": list(one.services)}
                self.report.missing.append(gone)
                continue
            self.report.holds.append(one)
            try:
                self._hold(one, existing.get(one.image_id))
            except (DockerError, OSError) as error:
                self.report.warnings.append(
                    f"The image of {', '.join(one.services)} of release {one.release} is not held "
                    f"as it should be ({_text(error)}); a prune may take it, and a rollback then "
                    "needs the registry."
                )
        kept = {one.image_id for one in holds}
        for image_id, container in existing.items():
            if image_id not in kept:
                self._let_go(container)
        return self.report

    def _hold(self, one: Hold, container: dict[str, Any] | None) -> None:
        state = str(container["State"]) if container else ""
        if state in _SETTLED and (state == "running") == one.hard:
            return
        how = "hard" if one.hard else "softly"
        self.report.actions.append(f"hold {', '.join(one.services)} of {one.release} {how}")
        if not self.write:
            return
        name = container_name(self.project, one.image_id)
        if container and state not in _SETTLED:
            self.engine.remove(container["Id"])
        program_file = self._program()
        if state not in _SETTLED:
            self.engine.create(name, self._definition(one, program_file))
        if one.hard:
            if not program_file:
                raise DockerError(f"there is no program that waits on {self._machine}")
            self.engine.start(name)
        elif state == "running":
            self.engine.stop(name, 0)

    def _let_go(self, container: dict[str, Any]) -> None:
        name = str(container["Names"][0]).lstrip("/")
        self.report.actions.append(f"let go of {name}")
        try:
            if self.write:
                self.engine.remove(name)
        except DockerError as error:
            self.report.warnings.append(f"{name} cannot be removed: {_text(error)}.")

    @property
    def _machine(self) -> str:
        return str(self.engine.info.get("Architecture") or "this machine")

    def _program(self) -> str:
        """Write the program where Docker finds it at every start; empty where there is none."""
        content = program(self._machine)
        path = os.path.join(self.state_dir, "hold")
        if content is None:
            return ""
        try:
            with open(path, "rb") as stream:
                if stream.read() == content:
                    return path
        except FileNotFoundError:
            os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.state_dir, prefix=".hold-")
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o555)  # noqa: S103  # no secret, and run by nobody
        os.replace(temporary, path)
        return path

    def _definition(self, one: Hold, program_file: str) -> dict[str, Any]:
        """Return a container that nothing else of the stack can see, reach or take for its own."""
        config = (self.engine.image(one.image_id) or {}).get("Config") or {}
        # Compose labels what it builds, and a container has the labels of its image.
        foreign = {label: "" for label in config.get("Labels") or {} if label.startswith(_COMPOSE)}
        mount = {"Type": "bind", "Source": program_file, "Target": _INSIDE, "ReadOnly": True}
        return {
            "Image": one.image_id,
            "Entrypoint": [_INSIDE],
            "Cmd": [],
            "User": _NOBODY,
            "WorkingDir": "/",
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {**foreign, LABEL: one.release, OWNER: self.project},
            "HostConfig": {
                "NetworkMode": "none",
                "Memory": _MEMORY,
                "PidsLimit": 16,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "ReadonlyRootfs": True,
                "LogConfig": {"Type": "none"},
                # Started again with the server, but not when it was stopped to hold softly.
                "RestartPolicy": {"Name": "unless-stopped"},
                # Otherwise each volume of the image would become one on the disk.
                "Tmpfs": dict.fromkeys(config.get("Volumes") or {}, "size=64k"),
                "Mounts": [mount] if program_file else [],
            },
        }


def container_name(project: str, image_id: str) -> str:
    """Return the name of the container that holds an image."""
    return f"{project}-hold-{image_id.removeprefix('sha256:')[:12]}"


def containers(engine: Engine, project: str) -> list[dict[str, Any]]:
    """Return the containers that hold images for a project, as the engine lists them."""
    found = []
    for listed in engine.containers():
        labels = listed.get("Labels") or {}
        if LABEL in labels and labels.get(OWNER) == project:
            found.append(listed)
    return found


def _text(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def program(machine: str) -> bytes | None:
    """Return the program that waits, as a file of this machine; nothing for an unknown one."""
    if machine not in _PROGRAMS:
        return None
    number, code = _PROGRAMS[machine]
    code += _ALL_SIGNALS
    head = 64 + 56
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(identity, 2, number, 1, _ADDRESS + head, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    size = head + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, 0x1000)
    return header + segment + code
