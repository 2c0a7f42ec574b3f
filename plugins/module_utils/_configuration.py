# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The configuration of a stack: proved as a candidate first, then put in place.

A candidate is the project as it would be: a throw-away tree of links to what
was delivered and to what is there, with the merged ``.env`` and the pinned
images. Compose reads it before anything of the real project is touched, and a
migration can run from it while production still has the old configuration.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from . import _compose, _delivered, _env_file, _sizes

PREFIX = "carrental-candidate-"
_STALE_AFTER = 4 * 3600
_MOUNTED_FILES = 200
_MOUNTED_BYTES = 4 * 1024 * 1024


class ConfigurationError(Exception):
    """A configuration that would not work; one whole sentence for each reason."""


@dataclass(frozen=True)
class Wish:
    """What the configuration should be."""

    dest: str
    files: tuple[str, ...]
    project: str
    src: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    env_remove: tuple[str, ...] = ()
    # A whole .env that takes the place of the one that is there.
    env_file: str | None = None
    # Files that have to go: what a later release brought, when an earlier one comes back.
    absent: tuple[str, ...] = ()
    pins: Mapping[str, str] | None = None
    services: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    # Files that another procedure writes: what was delivered in their place is left out.
    owned: tuple[str, ...] = ()
    # Only the compose files count, as they are without a release: no pinned images, which
    # are not built, and what containers mount may be delivered later.
    partial: bool = False
    # Without src: the files that releases brought before, as the record has them.
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """One file that differs from what is there; without new content it has to go."""

    path: str
    new: bytes | None
    old: bytes | None
    mode: int
    old_mode: int | None

    @property
    def content(self) -> bool:
        """Whether the content differs, and not only the mode."""
        return self.new != self.old

    @property
    def action(self) -> str:
        """What has to be done, in a word."""
        if self.new is None:
            return "removed"
        if self.old is None:
            return "added"
        return "changed" if self.content else "mode"


@dataclass(frozen=True)
class Candidate:
    """A proved configuration: what differs, and what compose makes of it."""

    wish: Wish
    project: _compose.Project
    model: _compose.Model
    old_model: _compose.Model | None
    old_error: str
    changes: list[Change]
    env: _env_file.Merged
    env_text: str
    warnings: list[str]
    mounted: dict[str, dict[str, str]]
    in_place: frozenset[str]
    hashes: dict[str, str]
    plain_images: dict[str, str]
    pinned: dict[str, str]


def read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read {path}: {error.strerror}; its owner has to be the user that deploys."
        ) from error


def text_of(path: str) -> str:
    return (read(path) or b"").decode("utf-8", "replace")


def _mode(path: str) -> int | None:
    try:
        return os.stat(path).st_mode & 0o7777
    except FileNotFoundError:
        return None


def _sweep() -> None:
    """Remove the candidates of runs that were killed: each holds a copy of ``.env``."""
    root = tempfile.gettempdir()
    for name in os.listdir(root):
        path = os.path.join(root, name)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        mine = name.startswith((PREFIX, _delivered.PREFIX)) and status.st_uid == os.getuid()
        # Not the time of modification: unpacking gives a directory that of what was packed.
        if mine and time.time() - status.st_ctime > _STALE_AFTER:
            shutil.rmtree(path, ignore_errors=True)


def _brought(wish: Wish) -> dict[str, str]:
    """Return what the release brings, or what releases brought before if nothing was delivered.

    Either way the same files count as configuration: what only the server has does not.
    """
    if wish.src is not None:
        return _delivered.files(wish.src, wish.owned)
    own = (_compose.ENV_FILE, _compose.RELEASE_FILE, *wish.owned)
    places = {name: os.path.join(wish.dest, name) for name in wish.known if name not in own}
    return {name: path for name, path in places.items() if os.path.isfile(path)}


def _lay(
    given: Mapping[str, Any],
    dest: str,
    out: str,
    skip: Sequence[str],
    *,
    read_only: bool,
) -> None:
    """Lay what a release brings over what is there.

    What the release has no part in is linked as a whole. In a directory that it brings files
    into, files are copied: a container that mounts it cannot follow a link out of it.

    :param read_only: nothing mounts it, so that links do.
    """
    os.makedirs(out, exist_ok=True)
    old = set(os.listdir(dest)) if os.path.isdir(dest) else set()
    for name in given.keys() | old:
        if name in skip:
            continue
        target = os.path.join(out, name)
        below = os.path.join(dest, name)
        above = given.get(name)
        if isinstance(above, dict):
            _lay(above, below, target, (), read_only=read_only)
        elif above or (given and _is_small_file(below)):
            (os.symlink if read_only else shutil.copy2)(above or below, target)
        else:
            os.symlink(below, target)


def _is_small_file(path: str) -> bool:
    try:
        # What this user may not read (certbot's keys of root) is linked: compose only looks.
        small = os.path.isfile(path) and os.path.getsize(path) <= _MOUNTED_BYTES
        return small and os.access(path, os.R_OK)
    except OSError:
        return False


@contextmanager
def candidate(wish: Wish) -> Iterator[Candidate]:
    """Build a candidate, prove it, and take it away again."""
    _sweep()
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write to {tempfile.gettempdir()}: {error.strerror}; free some space."
        ) from error
    try:
        try:
            proved = _build(wish, folder)
        except OSError as error:
            raise ConfigurationError(
                f"Cannot read {error.filename}: {error.strerror}; it has to be there, and readable "
                "for the user that deploys."
            ) from error
        yield proved
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _build(wish: Wish, folder: str) -> Candidate:
    # What is there is read beside: compose takes a tenth of a second for each question.
    with ThreadPoolExecutor(max_workers=1) as beside:
        return _build_beside(wish, folder, beside)


def _build_beside(wish: Wish, folder: str, beside: ThreadPoolExecutor) -> Candidate:
    env_path = os.path.join(wish.dest, _compose.ENV_FILE)
    old_env = read(env_path)
    env = _merge_env(wish, (old_env or b"").decode("utf-8", "replace"))
    # The operator's own state, and what is written below instead of linked.
    skip = (".git", ".ops", _delivered.ENV_HISTORY, _compose.ENV_FILE, _compose.RELEASE_FILE)
    _require_inside(wish)
    given = _delivered.tree(_brought(wish))
    _lay(given, wish.dest, folder, skip, read_only=wish.partial)
    _take_away(wish, folder)
    _require_files(wish, folder)
    release_path = os.path.join(wish.dest, _compose.RELEASE_FILE)
    old_release = read(release_path)
    old = beside.submit(_old, wish, old_release is not None)
    generated: dict[str, tuple[bytes, bytes | None]] = {}
    if old_env is not None or env.text:
        generated[_compose.ENV_FILE] = (env.text.encode(), old_env)
        _write_new(os.path.join(folder, _compose.ENV_FILE), env.text.encode(), 0o600)
    plain = _compose.Project(folder, wish.project, wish.files)
    model, heard = _model(wish, plain, env.text)
    plain_images = {
        name: _compose.image_name(model, wish.project, name) for name in _compose.services(model)
    }
    pins = wish.pins
    new_release = None if wish.partial else old_release
    if pins is not None:
        new_release = _override(pins, model, old_release)
    pinned = _compose.pinned((old_release or b"").decode("utf-8", "replace"))
    if _override(pinned, model, old_release) != old_release:
        pinned = {}
    project = plain
    if new_release is not None:
        _write_new(os.path.join(folder, _compose.RELEASE_FILE), new_release, 0o644)
        generated[_compose.RELEASE_FILE] = (new_release, old_release)
        project = _compose.Project(folder, wish.project, (*wish.files, _compose.RELEASE_FILE))
        model, _heard = project.model()
    _require_services(wish, model)
    if not wish.partial:
        _require_sources(wish, model, folder)
    changes = _changes(wish, generated)
    old_model, old_error, hashes = old.result()
    mapped = _mapped(model, folder, wish.dest)
    return Candidate(
        wish=wish,
        project=project,
        model=mapped,
        old_model=old_model,
        old_error=old_error,
        changes=changes,
        env=env,
        env_text=env.text,
        warnings=_warnings(wish, heard, folder, mapped),
        mounted=_mounted(model, folder, wish.owned),
        in_place=_single_files(wish, folder, (mapped, old_model)),
        hashes=hashes,
        plain_images=plain_images,
        pinned=pinned,
    )


def _override(pins: Mapping[str, str], model: _compose.Model, old_release: bytes | None) -> bytes:
    """Return the override of these pins, with the sizes of the one that is there."""
    built = [name for name, one in _compose.services(model).items() if one.get("build")]
    sizes = _sizes.read((old_release or b"").decode("utf-8", "replace"))
    kept = {name: one for name, one in sizes.items() if name in _compose.services(model)}
    return _compose.override(pins, built, kept).encode()


def _require_inside(wish: Wish) -> None:
    """Refuse to remove what is not a file of the configuration."""
    own = (*wish.files, _compose.ENV_FILE, _compose.RELEASE_FILE)
    known = _delivered.files(wish.src, wish.owned)
    for path in wish.absent:
        outside = os.path.isabs(path) or os.path.normpath(path) != path or path.startswith("..")
        if outside or path in own or path in known or _delivered.is_private(path):
            raise ConfigurationError(
                f"{path!r} cannot be removed from {wish.dest}: it has to be a file of the "
                "configuration below it that is not delivered, no compose file and no secret."
            )


def _take_away(wish: Wish, folder: str) -> None:
    """Remove files from a candidate, but never through a link into the real project."""
    for path in wish.absent:
        place = os.path.join(folder, path)
        parent = os.path.realpath(os.path.dirname(place))
        if os.path.lexists(place) and f"{parent}/".startswith(f"{os.path.realpath(folder)}/"):
            os.unlink(place)


def _merge_env(wish: Wish, text: str) -> _env_file.Merged:
    try:
        if wish.env_file is not None:
            whole = read(wish.env_file)
            if whole is None:
                raise ConfigurationError(
                    f"There is no {wish.env_file}, which was to take the place of "
                    f"{os.path.join(wish.dest, _compose.ENV_FILE)}; check the path."
                )
            return _env_file.replaced(text, whole.decode("utf-8", "replace"))
        return _env_file.merge(text, wish.env, wish.env_remove)
    except _env_file.EnvFileError as error:
        raise ConfigurationError(f"{wish.dest}/{error}") from error


def _write_new(path: str, content: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)


def _require_files(wish: Wish, folder: str) -> None:
    missing = [file for file in wish.files if not os.path.isfile(os.path.join(folder, file))]
    if missing:
        where = f"{wish.dest} and what was delivered have" if wish.src else f"{wish.dest} has"
        raise ConfigurationError(
            f"{where} no {' and no '.join(missing)}; deliver the configuration "
            "(deploy_config_dir) or correct carrental_compose_files."
        )


def _model(
    wish: Wish, project: _compose.Project, env_text: str
) -> tuple[_compose.Model, list[str]]:
    """Return compose's reading, or every missing variable at once."""
    done = project.run("config", "--format", "json")
    if done.rc == 0:
        return json.loads(done.stdout), _compose.warnings(done.stderr)
    if _compose.missing_variable(_compose.error_text(done.stderr)):
        texts = {file: text_of(os.path.join(project.directory, file)) for file in wish.files}
        missing = _compose.missing_variables(texts, _env_file.values(env_text))
        if missing:
            raise ConfigurationError(
                f"{os.path.join(wish.dest, _compose.ENV_FILE)} would lack what the compose files "
                f"demand: {', '.join(missing)}; set it in carrental_env."
            )
    raise ConfigurationError(_compose.explain(done.stderr, project))


def _require_services(wish: Wish, model: _compose.Model) -> None:
    known = set(_compose.services(model))
    files = ", ".join(wish.files)
    absent = [name for name in wish.services if name not in known]
    if absent:
        raise ConfigurationError(
            f"carrental_services describes {', '.join(absent)}, and none of {files} has such a "
            "service; add it there, or set enabled: false for it."
        )


def _require_sources(wish: Wish, model: _compose.Model, folder: str) -> None:
    missing = []
    for service, source, _target in _compose.binds(model):
        if not os.path.exists(source):
            shown = source.replace(folder, wish.dest, 1) if source.startswith(folder) else source
            missing.append(f"{shown} (service {service})")
    if missing:
        raise ConfigurationError(
            f"What containers mount is not there: {', '.join(dict.fromkeys(missing))}; deliver or "
            "create it, for Docker would make an empty directory of root in its place."
        )


def _mapped(model: _compose.Model, folder: str, dest: str) -> _compose.Model:
    """Return a model as it will be in the real directory."""
    text = json.dumps(model).replace(folder + "/", dest.rstrip("/") + "/")
    found: _compose.Model = json.loads(text.replace(f'"{folder}"', json.dumps(dest.rstrip("/"))))
    return found


def _old(wish: Wish, released: bool) -> tuple[_compose.Model | None, str, dict[str, str]]:
    """Return what compose makes of the configuration that is there."""
    if not all(os.path.isfile(os.path.join(wish.dest, file)) for file in wish.files):
        return None, "", {}
    files = (*wish.files, _compose.RELEASE_FILE) if released else wish.files
    project = _compose.Project(wish.dest, wish.project, files)
    try:
        return project.model()[0], "", project.hashes()
    except _compose.ComposeError as error:
        return None, str(error), {}


def _warnings(wish: Wish, heard: list[str], folder: str, model: _compose.Model) -> list[str]:
    found = []
    for warning in heard:
        name = _compose.unset_variable(warning)
        if not name:
            found.append(warning.replace(folder + "/", ""))
            continue
        places = [
            f"{file} line {line}"
            for file in wish.files
            for line in _compose.lines_using(text_of(os.path.join(folder, file)), name)
        ]
        found.append(f"{name} is not set and counts as empty ({', '.join(places)}).")
    return found + _compose.traps(model, wish.held)


def _changes(wish: Wish, generated: Mapping[str, tuple[bytes, bytes | None]]) -> list[Change]:
    found = []
    for relative, path in _delivered.files(wish.src, wish.owned).items():
        target = os.path.join(wish.dest, relative)
        mode = _delivered.mode(relative, path)
        new, old, old_mode = read(path) or b"", read(target), _mode(target)
        if new != old or mode != old_mode:
            found.append(Change(relative, new, old, mode, old_mode))
    for relative, (new, old) in generated.items():
        mode = 0o600 if relative == _compose.ENV_FILE else 0o644
        old_mode = _mode(os.path.join(wish.dest, relative))
        if new != old or mode != old_mode:
            found.append(Change(relative, new, old, mode, old_mode))
    for relative in wish.absent:
        target = os.path.join(wish.dest, relative)
        old = read(target)
        if old is not None:
            found.append(Change(relative, None, old, 0, _mode(target)))
    return sorted(found, key=lambda change: _order(change, wish.files))


def _order(change: Change, files: Sequence[str]) -> tuple[int, str]:
    """Return the place of a file when it is written.

    What compose files refer to comes before them, and ``.env`` before the file
    that may demand a new variable: whoever calls compose in between finds
    either the old project or the new one. What goes goes last.
    """
    rank = {_compose.ENV_FILE: 1, _compose.RELEASE_FILE: 3}
    usual = 2 if change.path in files else 0
    return 4 if change.new is None else rank.get(change.path, usual), change.path


def _files_below(source: str) -> list[str]:
    if os.path.isfile(source):
        return [source]
    found: list[str] = []
    for folder, folders, names in os.walk(source, followlinks=False):
        folders.sort()
        found += [os.path.join(folder, name) for name in sorted(names)]
        if len(found) > _MOUNTED_FILES:
            # A directory of data, not of configuration.
            return []
    return found


def _mounted(
    model: _compose.Model, folder: str, owned: Collection[str]
) -> dict[str, dict[str, str]]:
    """Return the hash of every project file that a service mounts, and a release brings."""
    found: dict[str, dict[str, str]] = {}
    for service, source, _target in _compose.binds(model):
        if not source.startswith(folder + "/"):
            continue
        for path in _files_below(source):
            try:
                if os.path.getsize(path) > _MOUNTED_BYTES:
                    continue
                with open(path, "rb") as stream:
                    digest = hashlib.sha256(stream.read()).hexdigest()
            except OSError:
                # A file of another user (a socket, a log) is no configuration of ours.
                continue
            relative = os.path.relpath(path, folder)
            if relative not in owned:
                found.setdefault(service, {})[relative] = digest
    return found


def _single_files(
    wish: Wish, folder: str, models: Sequence[_compose.Model | None]
) -> frozenset[str]:
    """Return the files that a container mounts by themselves, now or after the change."""
    found = set()
    for model in models:
        for _service, source, _target in _compose.binds(model) if model else []:
            relative = os.path.relpath(source, wish.dest)
            if not relative.startswith("..") and os.path.isfile(os.path.join(folder, relative)):
                found.add(relative)
    return frozenset(found)
