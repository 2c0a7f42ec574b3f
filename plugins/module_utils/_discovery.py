# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a server says of the stack that runs on it: the variables of an inventory, by looking.

Only what is not as the collection assumes becomes a variable. Values of secrets are never read;
the server keeps them, and a deploy leaves them as they are. Of an URL with a login only the host
is looked at.

An inventory is a template: what stands in double braces there is executed by the controller. So
a text of the server is taken when it is nothing but a name, and is not even quoted otherwise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from . import _compose, _registry
from ._docker import Container

PROJECT = "com.docker.compose.project"
_FOLDER = f"{PROJECT}.working_dir"
_FILES = f"{PROJECT}.config_files"
_SERVER_NAME = re.compile(r"^\s*server_name\s+([^;]+);", re.MULTILINE)
_NO_NAME = ("_", "localhost", "")
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SERVICE_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_ROOT = re.compile(r"/[A-Za-z0-9_.@+/-]+")
_FILE = re.compile(r"[A-Za-z0-9_.@+/][A-Za-z0-9_.@+/-]*")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._-]*(:[0-9]+)?(/[a-z0-9._-]+)*")
_DATABASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# A name or an address. The module ipaddress takes any text for the zone of an address.
_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}|[0-9A-Fa-f:.]{2,45}|\[[0-9A-Fa-f:.]{2,45}\]")
# What an image is by the last part of its name.
_KINDS = {
    "postgres": ("postgres", "postgresql", "postgis", "timescaledb"),
    "redis": ("redis", "valkey", "keydb"),
    "minio": ("minio",),
    "nginx": ("nginx",),
    "prometheus": ("prometheus",),
    "grafana": ("grafana", "grafana-oss", "grafana-enterprise"),
    "alertmanager": ("alertmanager",),
}
# The application goes by the names of its services, or by those of its images, of which others
# too are called server, client and next.
_ALIASES = {"api": ("api", "backend", "server"), "web": ("web", "frontend", "client", "next")}
_IMAGE_ALIASES = {"api": ("api", "backend"), "web": ("web", "frontend")}
# Where the API is told which of several it uses.
_POINTERS = {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}


class DiscoveryError(Exception):
    """A stack that cannot be told; the text is a whole sentence."""


@dataclass
class Found:
    """The variables of an inventory, and what a person has to know of them."""

    variables: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    # Services of P1 without a container that is known: health proves nothing of them.
    left_out: list[str] = field(default_factory=list)

    def take(self, variable: str, value: str, pattern: re.Pattern[str]) -> None:
        """Make what the server says a variable, if it is nothing but a name."""
        if pattern.fullmatch(value):
            self.variables[variable] = value
        else:
            self.refuse(variable)

    def refuse(self, variable: str) -> None:
        """Note that what the server says is no name."""
        self.notes.append(
            f"what the server says for {variable} has characters that do not belong there, and is "
            "not written; look at it there, and set it by hand"
        )


def projects(listed: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the compose projects of an engine, and the services of each.

    :param listed: containers as the engine lists them.
    """
    found: dict[str, set[str]] = {}
    for one in listed:
        labels = one.get("Labels") or {}
        # Another name is none that compose gave.
        if _PROJECT_NAME.fullmatch(str(labels.get(PROJECT) or "")):
            service = str(labels.get("com.docker.compose.service") or "")
            found.setdefault(str(labels[PROJECT]), set()).add(service)
    return found


def choose(found: Mapping[str, set[str]], table: Mapping[str, Any], wanted: str) -> str:
    """Return the project of the stack.

    :param wanted: its name, if somebody said it.
    :raises DiscoveryError: there is none, or more than one that it may be.
    """
    shown = ", ".join(sorted(found)) or "none"
    if wanted:
        if wanted not in found:
            raise DiscoveryError(f"There is no compose project {wanted} here; there are: {shown}.")
        return wanted
    known = {str(one.get("compose_service") or name) for name, one in table.items()}
    scores = {name: len(services & known) for name, services in found.items()}
    best = max(scores.values(), default=0)
    candidates = [name for name, score in scores.items() if score == best and score > 0]
    if len(candidates) != 1:
        raise DiscoveryError(
            f"Cannot tell which compose project is the stack; there are: {shown}. Say it with "
            "init_project, or deploy the stack first."
        )
    return candidates[0]


def kind_of(container: Container) -> str:
    """Return which service of the table a container is by its image; empty where it is none."""
    last = _image_name(container)
    return next((kind for kind, names in _KINDS.items() if last in names), "")


def _image_name(container: Container) -> str:
    name = _registry.parse(container.image.partition("@")[0] or "none").repository
    return name.rpartition("/")[2]


def _place(containers: Sequence[Container], project: str, found: Found) -> None:
    label = next((one.labels for one in containers if one.labels.get(_FOLDER)), {})
    root = str(label.get(_FOLDER) or "")
    if not root:
        found.notes.append("its directory is not known: set carrental_root")
        return
    if root != "/opt/carrental":
        found.take("carrental_root", root, _ROOT)
    if os.path.basename(root) != project:
        found.take("carrental_project", project, _PROJECT_NAME)
    named = [str(one.labels.get(_FILES) or "") for one in containers]
    files = [
        os.path.relpath(file, root)
        for file in max(named, key=len, default="").split(",")
        if file and os.path.basename(file) != _compose.RELEASE_FILE
    ]
    if not all(_FILE.fullmatch(file) for file in files):
        found.refuse("carrental_compose_files")
    elif files and files != ["docker-compose.prod.yml", "docker-compose.monitoring.yml"]:
        found.variables["carrental_compose_files"] = files


def _named(containers: Sequence[Container], found: Found) -> list[Container]:
    """Return the containers whose service has a name that compose accepts."""
    named = [one for one in containers if _SERVICE_NAME.fullmatch(one.service)]
    if len(named) < len(containers):
        found.notes.append(
            f"{len(containers) - len(named)} containers belong to services with names that "
            "compose does not accept; they are not looked at"
        )
    return named


def _candidates(name: str, left: Sequence[Container], project: str) -> list[Container]:
    """Return the services that may be one of the table, by the surest sign that any of them has."""
    aliases = _ALIASES.get(name, ())
    images = {
        *_IMAGE_ALIASES.get(name, ()),
        *(f"{project}{sign}{alias}" for alias in aliases for sign in "-_"),
    }
    of_no_kind = [one for one in left if not kind_of(one)]
    signs = (
        [one for one in left if kind_of(one) == name],
        [one for one in of_no_kind if one.service in aliases],
        [one for one in of_no_kind if _image_name(one) in images],
    )
    return next((some for some in signs if some), [])


def _pointed_at(candidates: Sequence[Container], api: Container, key: str) -> list[Container]:
    """Return the candidate that the API uses; nothing where its settings name none of them."""
    try:
        host = urlsplit(api.environment.get(key, "")).hostname
    except ValueError:
        return []
    return [one for one in candidates if host in (one.service, one.name)]


def _assigned(
    services: Sequence[Container],
    table: Mapping[str, Mapping[str, Any]],
    project: str,
    found: Found,
) -> tuple[dict[str, Container], dict[str, dict[str, Any]]]:
    """Return the container of each service of the table, and what the table has to be told.

    What may be several is told nothing: health then misses it, and not its loss.
    """
    taken = {
        name: one
        for name in table
        for one in services
        if one.service == name and kind_of(one) in ("", name)
    }
    changes: dict[str, dict[str, Any]] = {}
    for name in table:
        if name in taken:
            continue
        left = [one for one in services if one not in taken.values()]
        some = _candidates(name, left, project)
        if len(some) > 1 and name in _POINTERS and "api" in taken:
            some = _pointed_at(some, taken["api"], _POINTERS[name]) or some
        if len(some) == 1:
            taken[name] = some[0]
            changes[name] = {"compose_service": some[0].service}
        elif some:
            names = sorted(one.service for one in some)
            found.notes.append(
                f"{name}: {' and '.join(names)} may be it. Set the right one, as in "
                f"carrental_services: {{{name}: {{compose_service: {names[0]}}}}}; until then "
                "health does not find it"
            )
        else:
            changes[name] = {"enabled": False}
            found.notes.append(
                f"{name}: no container of it was found; it is left out. If it has another name, "
                f"set carrental_services: {{{name}: {{compose_service: …}}}}"
            )
    return taken, changes


def _services(
    containers: Sequence[Container],
    table: Mapping[str, Mapping[str, Any]],
    project: str,
    found: Found,
) -> dict[str, Container]:
    """Return the container of each service of the table, and note what differs."""
    # Replicas are one service.
    by_name = {one.service: one for one in containers}
    taken, changes = _assigned(list(by_name.values()), table, project, found)
    found.left_out = [
        name for name, one in table.items() if one.get("severity") == "P1" and name not in taken
    ]
    for name, container in taken.items():
        port = table[name].get("port")
        ports = container.exposed
        if (
            table[name].get("role") == "stateless"
            and port
            and len(ports) == 1
            and port not in ports
        ):
            changes.setdefault(name, {})["port"] = next(iter(ports))
    others = sorted(set(by_name) - {one.service for one in taken.values()})
    if others:
        found.notes.append(
            f"besides there are: {', '.join(others)}. Health watches their containers; what "
            "belongs to the application is one more entry of carrental_services"
        )
    if changes:
        found.variables["carrental_services"] = changes
    return taken


def _images(
    taken: Mapping[str, Container], table: Mapping[str, Mapping[str, Any]], found: Found
) -> None:
    images, built = {}, []
    for name, container in taken.items():
        if table[name].get("role") != "stateless":
            continue
        reference = _registry.parse(container.image)
        if reference.registry == _registry.DOCKER_HUB and "/" not in container.image:
            built.append(name)
        elif _IMAGE.fullmatch(reference.name):
            images[name] = reference.name
        else:
            found.refuse(f"carrental_images.{name}")
    if images:
        found.variables["carrental_images"] = images
    if built:
        found.notes.append(
            f"{', '.join(built)}: built on the server; name the repositories of their images in "
            "carrental_images, or deploy with deploy_source=git"
        )


def _names(taken: Mapping[str, Container], proxy: str, found: Found) -> None:
    database = taken["postgres"].environment.get("POSTGRES_DB") if "postgres" in taken else ""
    if database and database != "carrental":
        found.take("carrental_database", database, _DATABASE)
    buckets = {one.environment.get("MINIO_BUCKET", "") for one in taken.values()} - {""}
    if len(buckets) == 1 and buckets != {"carrental"}:
        found.take("carrental_bucket", buckets.pop(), _BUCKET)
    domain = next(
        (
            word
            for match in _SERVER_NAME.finditer(proxy)
            for word in match[1].split()
            if word not in _NO_NAME and not word.startswith(("~", "*", "."))
        ),
        "",
    )
    if domain:
        found.take("carrental_domain", domain, _DOMAIN)
    else:
        found.notes.append("the proxy names no domain: set carrental_domain, if it has one")


def describe(
    project: str,
    containers: Sequence[Container],
    table: Mapping[str, Mapping[str, Any]],
    proxy: str = "",
) -> Found:
    """Return the variables of an inventory for a stack.

    :param table: the services as the collection assumes them.
    :param proxy: the configuration of its proxy, as text.
    """
    found = Found()
    named = _named(containers, found)
    found.services = sorted({one.service for one in named})
    _place(named, project, found)
    taken = _services(named, table, project, found)
    _images(taken, table, found)
    _names(taken, proxy, found)
    return found
