# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of the sample application: the committed table and their images."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .build import BUILD_ENVIRONMENT, context_files
from .console import DemoError, docker, run, say, timed
from .images import NODE_TAG
from .settings import CACHE, DEMO, HASH_LABEL, OWNER_LABEL, PREFIX, RELEASES_FILE

ENTRY = re.compile(r"^  - name: (\S+)\n    version: (\S+)\n    what: (.+)$", re.MULTILINE)
RELEASE_RECIPE = DEMO / "app/release.Dockerfile"
PARTS = {"backend": "api", "frontend": "web"}
NPM_INSTALL = ["npm", "ci", "--omit=dev", "--omit=optional", "--omit=peer", "--ignore-scripts"]


@dataclass(frozen=True)
class Release:
    """One line of releases.yml. The version stands for a git commit."""

    name: str
    version: str
    what: str

    def local_tag(self, part: str) -> str:
        return f"{PREFIX}/{part}:{self.version}"


def version_of(name: str) -> str:
    """Forty hex digits that look like a commit and never change."""
    return hashlib.sha1(f"carrental-demo {name}".encode(), usedforsecurity=False).hexdigest()


def load() -> list[Release]:
    """Read the table and refuse it when a version is not the one its name gives."""
    releases = [Release(*fields) for fields in ENTRY.findall(RELEASES_FILE.read_text())]
    for release in releases:
        if release.version != version_of(release.name):
            raise DemoError(
                f"{RELEASES_FILE.name}: {release.name} has version {release.version}, "
                f"it must be {version_of(release.name)}"
            )
    known = set(re.findall(r"^  '?([\w-]+)'?(?::|,$)", _javascript_table(), re.MULTILINE))
    if known != {release.name for release in releases}:
        raise DemoError(
            f"{RELEASES_FILE.name} and the backend's lib/releases.js name different releases: "
            f"{', '.join(sorted(known))}"
        )
    return releases


def _javascript_table() -> str:
    source = (DEMO / "app/backend/lib/releases.js").read_text()
    return source.partition("export const RELEASES = {")[2].partition("\n};")[0]


def build_all() -> None:
    """Build backend and frontend of every release; unchanged ones are skipped."""
    releases = load()
    for part, service in PARTS.items():
        application = f"{PREFIX}/{part}:application"
        _build_application(part, service, application)
        _build_releases(part, application, releases)


def _build_releases(part: str, application: str, releases: list[Release]) -> None:
    recipe = RELEASE_RECIPE.read_bytes()
    identity = docker("image", "inspect", "--format", "{{.Id}}", application)
    wanted = hashlib.sha256(identity.encode() + recipe).hexdigest()
    missing = [release for release in releases if _label(release.local_tag(part)) != wanted]
    if not missing:
        say(f"  {part}: {len(releases)} releases unchanged")
        return

    def build_one(release: Release) -> None:
        arguments = {"APPLICATION": application, "NAME": release.name, "COMMIT": release.version}
        _docker_build(release.local_tag(part), wanted, arguments, ["-"], recipe)

    with (
        timed(f"built {len(missing)} releases of {part}"),
        ThreadPoolExecutor(max_workers=2) as pool,
    ):
        list(pool.map(build_one, missing))


def _build_application(part: str, service: str, tag: str) -> None:
    """The application itself, from a context laid out as a checkout in the field."""
    node = docker("image", "inspect", "--format", "{{.Id}}", NODE_TAG)
    sources = _sources(part, service)
    digest = hashlib.sha256(node.encode())
    for path, name in sources:
        digest.update(name.encode() + path.read_bytes())
    wanted = digest.hexdigest()
    if _label(tag) == wanted:
        return
    modules = _node_modules() if part == "backend" else None
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, name in sources:
            tar.add(path, arcname=name)
        if modules:
            tar.add(modules, arcname=f"app/{part}/node_modules")
    with timed(f"built {tag}"):
        recipe = f"--file=docker/Dockerfile.{service}.prod"
        _docker_build(tag, wanted, {"NODE_IMAGE": NODE_TAG}, [recipe, "-"], context.getvalue())


def _sources(part: str, service: str) -> list[tuple[Path, str]]:
    root = DEMO / "app"
    dockerfile = f"docker/Dockerfile.{service}.prod"
    files = [path for path in context_files(root / part) if "node_modules" not in path.parts]
    return [(DEMO / "stack" / dockerfile, dockerfile)] + [
        (path, f"app/{path.relative_to(root)}") for path in files
    ]


def _label(tag: str) -> str:
    return docker(
        "image",
        "inspect",
        "--format",
        f'{{{{index .Config.Labels "{HASH_LABEL}"}}}}',
        tag,
        check=False,
    )


def _docker_build(
    tag: str, hash_: str, arguments: dict[str, str], options: list[str], stdin: bytes
) -> None:
    run(
        ["docker", "build", "--quiet", "--rm", "--force-rm", f"--tag={tag}"]
        + [f"--label={HASH_LABEL}={hash_}", f"--label={OWNER_LABEL}=release"]
        + [f"--build-arg={name}={value}" for name, value in arguments.items()]
        + options,
        stdin=stdin,
        env=BUILD_ENVIRONMENT,
    )


def _node_modules() -> Path:
    """The backend's libraries, installed by the lock file, kept by its hash."""
    backend = DEMO / "app/backend"
    lock = hashlib.sha256((backend / "package-lock.json").read_bytes()).hexdigest()[:16]
    target = CACHE / f"node_modules-{lock}"
    if target.exists():
        return target
    CACHE.mkdir(exist_ok=True)
    with (
        timed("installed the backend's libraries"),
        tempfile.TemporaryDirectory(dir=CACHE) as scratch,
    ):
        for name in ("package.json", "package-lock.json"):
            shutil.copy(backend / name, scratch)
        run(["env", f"--chdir={scratch}", *NPM_INSTALL])
        (Path(scratch) / "node_modules").replace(target)
    return target


def named(name: str) -> Release:
    """The release of that name."""
    releases = {release.name: release for release in load()}
    if name not in releases:
        raise DemoError(f"there is no release {name!r}; there are {', '.join(releases)}")
    return releases[name]


def print_table() -> None:
    for release in load():
        say(f"{release.name:16} {release.version}  {release.what}")
