# SPDX-License-Identifier: GPL-3.0-or-later
"""Build what changed: each image carries the hash of everything it was made from."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from .console import DemoError, docker, run, say, timed
from .downloads import fetch
from .images import IMAGES, Image
from .settings import HASH_LABEL, OWNER_LABEL, PREFIX, upstream

# The classic builder is everywhere; buildx is a plugin that Debian leaves out.
BUILD_ENVIRONMENT = {**os.environ, "DOCKER_BUILDKIT": "0"}


def build_all() -> None:
    """Build or pull every image of the table, two at a time, parents first."""
    present = _labels()
    hashes: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=2) as pool:
        futures: dict[str, Future[None]] = {}
        # The table lists parents before children, so a waiting child never
        # blocks the worker that its parent needs.
        for image in IMAGES:
            hashes[image.tag] = image_hash(image, hashes)
            waits = [futures[parent] for parent in image.parents.values()]
            if present.get(image.tag) == hashes[image.tag]:
                futures[image.tag] = _finished()
                continue
            futures[image.tag] = pool.submit(_make, image, hashes[image.tag], waits)
        for future in futures.values():
            future.result()
    made = sum(present.get(tag) != wanted for tag, wanted in hashes.items())
    say(f"  images: {made} made, {len(hashes) - made} unchanged")


def image_hash(image: Image, hashes: dict[str, str]) -> str:
    """What an image depends on, in one number."""
    digest = hashlib.sha256()
    if upstream() and image.pulled_from:
        digest.update(image.pulled_from.encode())
        return digest.hexdigest()
    digest.update(image.suite.encode())
    for path in context_files(image.context):
        digest.update(f"{path.relative_to(image.context)} {path.stat().st_mode & 0o111}".encode())
        digest.update(path.read_bytes())
    for name, download in image.files.items():
        digest.update(f"{name} {download.identity}".encode())
    for argument, parent in image.parents.items():
        digest.update(f"{argument} {hashes[parent]}".encode())
    return digest.hexdigest()


def context_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _labels() -> dict[str, str]:
    wanted = ("--filter", f"label={HASH_LABEL}", "--filter", f"reference={PREFIX}/*")
    listed = docker("images", *wanted, "--format", "{{.Repository}}:{{.Tag}}").split()
    if not listed:
        return {}
    hashes = docker(
        "image", "inspect", "--format", f'{{{{index .Config.Labels "{HASH_LABEL}"}}}}', *listed
    ).split()
    return dict(zip(listed, hashes, strict=True))


def _finished() -> Future[None]:
    done: Future[None] = Future()
    done.set_result(None)
    return done


def _make(image: Image, hash_: str, waits: list[Future[None]]) -> None:
    for parent in waits:
        parent.result()
    if upstream() and image.pulled_from:
        with timed(f"pulled {image.pulled_from}"):
            _pull(image, hash_)
    elif image.suite:
        with timed(f"made {image.tag} with mmdebstrap"):
            _bootstrap(image, hash_)
    else:
        archives = {name: fetch(download) for name, download in image.files.items()}
        with timed(f"built {image.tag}"):
            _build(image, hash_, archives)


def _pull(image: Image, hash_: str) -> None:
    pulled = run(["docker", "pull", "--quiet", image.pulled_from], check=False)
    if pulled.returncode != 0:
        raise DemoError(
            f"cannot pull {image.pulled_from}: {pulled.stderr.strip()}\n"
            "DEMO_IMAGES=upstream needs a way to the public registries; "
            "without one unset it, and the images are built from packages"
        )
    # A build of one line adds the label and nothing else.
    recipe = f"FROM {image.pulled_from}\n".encode()
    _docker_build(image, hash_, ["-"], stdin=recipe)


def _bootstrap(image: Image, hash_: str) -> None:
    made = run_bytes([image.context / "mkbase.sh", image.suite])
    docker(
        "import",
        *("--change", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        *("--change", 'CMD ["/bin/bash"]'),
        *("--change", f"LABEL {HASH_LABEL}={hash_} {OWNER_LABEL}=image"),
        *("-", image.tag),
        stdin=made,
    )


def run_bytes(argv: list[str | Path]) -> bytes:
    """A command whose standard output is data."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, check=False)
    if done.returncode != 0:
        tail = done.stderr.decode(errors="replace")[-2000:]
        raise DemoError(f"{argv[0]} ended with {done.returncode}:\n{tail}")
    return done.stdout


def _build(image: Image, hash_: str, archives: dict[str, Path]) -> None:
    context = io.BytesIO()
    # GNU format: docker does not take a stream that begins with a pax header for a tar.
    with tarfile.open(fileobj=context, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in context_files(image.context):
            tar.add(path, arcname=str(path.relative_to(image.context)))
        for name, archive in archives.items():
            tar.add(archive, arcname=name)
    options = [f"--build-arg={argument}={parent}" for argument, parent in image.parents.items()]
    _docker_build(image, hash_, [*options, "-"], stdin=context.getvalue())


def _docker_build(image: Image, hash_: str, options: list[str], stdin: bytes) -> None:
    run(
        [
            *("docker", "build", "--quiet", "--rm", "--force-rm", f"--tag={image.tag}"),
            *(f"--label={HASH_LABEL}={hash_}", f"--label={OWNER_LABEL}=image"),
            *options,
        ],
        stdin=stdin,
        env=BUILD_ENVIRONMENT,
    )
