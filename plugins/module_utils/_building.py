# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Images of a release built on the server, by compose, from the files of a commit alone.

Of the compose files only the C(build) sections of the released services are used, as
compose itself reads them. So the contexts hold no C(.env) that a C(COPY . .) would put
into an image, and nothing that merely lies in the live directory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _compose, _configuration, _delivered, _one_off, _registry, _source
from ._engine import Engine

REVISION = "org.opencontainers.image.revision"
# Not below carrental.ops: a container has the labels of its image, and those there say that
# it is none of the stack.
BUILD = "carrental.build"
_SERVICE = "com.docker.compose.service"
_PROJECT = "com.docker.compose.project"
# Tokens of a compose file that may be the name of another file.
_TOKEN = re.compile(r"[\w@%+./-]+")
_TAIL = 20


class BuildError(Exception):
    """An image that cannot be built; the text is a whole sentence, the report what was printed."""

    def __init__(self, message: str, report: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.report = list(report)


@dataclass(frozen=True)
class Plan:
    """What compose is to build: the image of each service, and its C(build) section."""

    images: dict[str, str]
    sections: dict[str, dict[str, Any]]
    secrets: dict[str, Any]
    revision: str

    def document(self, project: str, services: Iterable[str], tree: str) -> dict[str, Any]:
        """Return a compose file that builds these services and says nothing else of them."""
        found: dict[str, Any] = {}
        for name in services:
            section = self.sections[name]
            labels = {**_labels(section), REVISION: self.revision, BUILD: self.mark(name, tree)}
            found[name] = {"image": self.images[name], "build": {**section, "labels": labels}}
        return {"name": project, "services": found, "secrets": self.secrets}

    def mark(self, name: str, tree: str) -> str:
        """Return what tells builds of one commit apart: arguments come from C(.env), too."""
        used = [one.get("source") for one in self.sections[name].get("secrets") or []]
        secrets = {key: one for key, one in self.secrets.items() if key in used}
        text = json.dumps([self.sections[name], secrets], sort_keys=True)
        return hashlib.sha256(text.replace(tree, ".").encode()).hexdigest()


def _labels(section: Mapping[str, Any]) -> dict[str, str]:
    given = section.get("labels") or {}
    if isinstance(given, list):
        pairs = (str(one).partition("=") for one in given)
        return {key: value for key, _equals, value in pairs}
    return {str(key): str(value) for key, value in given.items()}


def plan(
    model: _compose.Model,
    released: Mapping[str, str],
    *,
    project: str,
    revision: str,
    dest: str,
    tree: str,
    argument: str,
) -> Plan:
    """Return what has to be built so that every released service has an image of a commit.

    :param model: compose's reading of the files of the commit, as they will be in C(dest).
    :param released: repository of each image; an empty one is named as compose does.
    :param tree: where the files of the commit lie meanwhile.
    :param argument: build argument that says which commit it is.
    """
    services = _compose.services(model)
    images, sections, secrets, unbuilt = {}, {}, {}, []
    for name, repository in released.items():
        section = (services.get(name) or {}).get("build")
        if not section:
            unbuilt.append(name)
            continue
        own = repository or f"{project}-{name}"
        images[name] = _registry.released_name(own, revision)
        sections[name] = _moved(name, section, dest, tree)
        if argument:
            # What the compose file gives is meant so.
            given = sections[name].get("args") or {}
            sections[name]["args"] = {argument: revision, **given}
        for used in section.get("secrets") or []:
            key = used.get("source")
            secrets[key] = dict((model.get("secrets") or {}).get(key) or {})
    for secret in secrets.values():
        file = str(secret.get("file") or "")
        inside = _inside(file, dest, tree)
        # One that is in no repository lies on the server.
        if file and os.path.exists(inside):
            secret["file"] = inside
    if unbuilt:
        raise BuildError(
            f"The compose files of {revision[:12]} have no build section for "
            f"{', '.join(unbuilt)}; add one, or take it out of carrental_images."
        )
    return Plan(images, sections, secrets, revision)


def _moved(name: str, section: Mapping[str, Any], dest: str, tree: str) -> dict[str, Any]:
    """Return a section whose paths lead to the files of the commit."""
    found = dict(section)
    wanted = {"context": str(section.get("context") or dest)}
    wanted |= {f"additional_contexts {key}": str(one) for key, one in _additional(section).items()}
    for what, path in wanted.items():
        if path.startswith("/") and not os.path.exists(_inside(path, dest, tree)):
            raise BuildError(
                f"The {what} of {name}, {path}, is not in the commit; what is only on the server "
                "cannot be built from."
            )
    found["context"] = _inside(wanted["context"], dest, tree)
    if "dockerfile" in section:
        found["dockerfile"] = _inside(str(section["dockerfile"]), dest, tree)
    if section.get("additional_contexts"):
        found["additional_contexts"] = {
            key: _inside(one, dest, tree) for key, one in _additional(section).items()
        }
    return found


def _additional(section: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(one) for key, one in (section.get("additional_contexts") or {}).items()}


def _inside(path: str, dest: str, tree: str) -> str:
    """Return a path of the project as one of the commit; any other as it is."""
    root = dest.rstrip("/")
    if path == root or path.startswith(f"{root}/"):
        return tree + path[len(root) :]
    return path


def configuration(model: _compose.Model, files: Sequence[str], dest: str, tree: str) -> list[str]:
    """Return the files of a commit that the stack reads as they are, relative to it.

    These are the compose files, what containers mount, and the files that compose files name:
    those that they extend or include, and environments, which compose's reading does not tell.
    Everything else only goes into images.
    """
    found: set[str] = set()
    recipes = {_recipe(one, dest) for one in _compose.services(model).values()}
    queue = list(files)
    while queue:
        file = queue.pop()
        if file in found or file in recipes:
            continue
        found.add(file)
        if file.endswith((".yml", ".yaml")):
            queue += _named(file, tree)
    for _service, source, _target in _compose.binds(model):
        relative = os.path.relpath(source, dest)
        if not relative.startswith(".."):
            found.update(_below(relative, tree))
    return sorted(found)


def _recipe(service: Mapping[str, Any], dest: str) -> str:
    """Return the Dockerfile of a service, relative to the project."""
    section = service.get("build") or {}
    context = str(section.get("context") or dest)
    return os.path.relpath(
        os.path.join(context, str(section.get("dockerfile") or "Dockerfile")), dest
    )


def _named(file: str, tree: str) -> list[str]:
    text = _configuration.text_of(os.path.join(tree, file))
    found = []
    for token in set(_TOKEN.findall(text)):
        for base in ("", os.path.dirname(file)):
            path = os.path.normpath(os.path.join(base, token))
            if not path.startswith(("..", "/")) and os.path.isfile(os.path.join(tree, path)):
                found.append(path)
    return found


def _below(relative: str, tree: str) -> list[str]:
    place = os.path.join(tree, relative)
    if os.path.isfile(place):
        return [relative]
    return [
        os.path.relpath(os.path.join(folder, name), tree)
        for folder, _folders, names in os.walk(place)
        for name in names
    ]


def present(engine: Engine, made: Plan, name: str, project: str, tree: str) -> dict[str, Any]:
    """Return the image that was built of a service before, if any; a prune may have unnamed it."""
    mark = made.mark(name, tree)
    image = engine.image(made.images[name])
    if image is not None and _label(image, BUILD) == mark:
        return image
    labels = [f"{BUILD}={mark}", f"{REVISION}={made.revision}"]
    labels += [f"{_SERVICE}={name}", f"{_PROJECT}={project}"]
    for listed in engine.get("/images/json", filters=json.dumps({"label": labels})):
        return engine.image(str(listed["Id"])) or {}
    return {}


def _label(image: Mapping[str, Any], name: str) -> str:
    return str(((image.get("Config") or {}).get("Labels") or {}).get(name, ""))


def build(
    made: Plan,
    services: Sequence[str],
    *,
    project: str,
    tree: str,
    env_text: str,
    login: tuple[str, str],
    timeout: float,
) -> None:
    """Let compose build the images of services.

    :param env_text: the whole of C(.env), from which secrets of a build may come.
    :param login: user and password of the registries of the released images, for what the
        images are based on.
    """
    with tempfile.TemporaryDirectory(prefix=_delivered.PREFIX) as own:
        file, env = os.path.join(own, "build.json"), os.path.join(own, "env")
        document = made.document(project, services, tree)
        for path, text in ((file, json.dumps(document)), (env, env_text)):
            # The directory is private: arguments may be secret.
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
        docker = ("docker", "compose", "--env-file", env)
        command = _compose.Project(tree, project, (file,), docker).argv("build", *services)
        environment = {
            **os.environ,
            "DOCKER_BUILDKIT": "1",
            # One build of compose's own, with lines instead of a moving picture, and an image
            # that is nothing but an image.
            "COMPOSE_BAKE": "false",
            "BUILDKIT_PROGRESS": "plain",
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        }
        if login[0]:
            registries = {_registry.parse(image).registry for image in made.images.values()}
            environment["DOCKER_CONFIG"] = _logged_in(own, registries, login)
        done = _source.bounded(command, timeout, folder=tree, environment=environment)
    names = ", ".join(services)
    if done is None:
        raise BuildError(
            f"The build of {names} at {made.revision[:12]} did not end within {timeout:g} s and "
            "was stopped; look at the load of the server, or give it more time "
            "(deploy_build_timeout)."
        )
    if done.rc != 0:
        output = done.stdout.decode("utf-8", "replace") + done.stderr
        lines = _one_off.tail(output.replace(f"{tree}/", ""), _TAIL)
        reason = lines[-1].rstrip(".") if lines else "compose gave no reason"
        raise BuildError(
            f"{names} at {made.revision[:12]} cannot be built: {reason}; mend it in a new commit, "
            "or look at the server's disk and its way to the images it is based on.",
            [f"build | {line}" for line in lines],
        )


def _logged_in(own: str, registries: Iterable[str], login: tuple[str, str]) -> str:
    """Return a directory for the command line of Docker that knows one more login.

    It reads a login from nowhere else. The directory of the user stays as it is.
    """
    theirs = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    folder = os.path.join(own, "docker")
    os.mkdir(folder)
    config: dict[str, Any] = {}
    try:
        with open(os.path.join(theirs, "config.json"), encoding="utf-8") as stream:
            config = json.load(stream)
    except (OSError, ValueError):
        # Without one there is nothing to keep.
        config = {}
    encoded = base64.b64encode(":".join(login).encode()).decode()
    config["auths"] = {
        **(config.get("auths") or {}),
        **{registry: {"auth": encoded} for registry in registries},
    }
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as stream:
        json.dump(config, stream)
    plugins = os.path.join(theirs, "cli-plugins")
    if os.path.isdir(plugins):
        os.symlink(plugins, os.path.join(folder, "cli-plugins"))
    return folder


def copy_files(paths: Iterable[str], tree: str, folder: str) -> None:
    """Copy files of a commit to a directory, at the same paths."""
    for path in paths:
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(os.path.join(tree, path), target)
