# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Images: from a tag in a registry to a verified image on the server.

The engine asks the registry, with its own mirrors, certificates and proxies,
and gets the login with each request. So there is no ``docker login``: the
password never lies in a file, not even for the time of a pull.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

DOCKER_HUB = "docker.io"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
# What a registry or the engine answers, and the sentence for it; the first match counts.
_SENTENCES = (
    (
        ("x509:", "server gave http response to https client"),
        "The registry {registry} does not show a certificate that {host} trusts ({text}); "
        "install its certificate, or list it in insecure-registries of the engine.",
    ),
    (
        (
            "no such host",
            "connection refused",
            "i/o timeout",
            "no route to host",
            "network is unreachable",
            "server misbehaving",
            "temporary failure in name resolution",
            "tls handshake timeout",
            "context deadline exceeded",
            "client.timeout",
            "connection reset",
            "unexpected eof",
        ),
        "The registry {registry} cannot be reached from {host} ({text}); "
        "check its name, DNS and the firewall.",
    ),
    (
        ("no space left",),
        "The disk of {host} became full while {image} was pulled; free space and run again.",
    ),
    (
        ("toomanyrequests", "rate limit"),
        "The registry {registry} limits its requests and refused {image}; log in, or wait.",
    ),
)
_REFUSED = ("unauthorized", "denied", "no basic auth", "authentication required", "forbidden")
_UNKNOWN = ("manifest unknown", "not found", "name unknown", "repository does not exist")
_LOGIN_REFUSED = (
    "The registry {registry} refused {image} to the user {username}; check "
    "deploy_registry_username, deploy_registry_password and the right to read it."
)
_LOGIN_MISSING = (
    "The registry {registry} refused {image} without a login; "
    "set deploy_registry_username and deploy_registry_password."
)
_ABSENT = (
    "{image} does not exist in the registry {registry}; check the version, and that its "
    "build has pushed it."
)
_OTHER = "{image} cannot be had from the registry {registry}: {text}."


class RegistryError(Exception):
    """An image that cannot be had; the text is a whole sentence."""


@dataclass(frozen=True)
class Reference:
    """The name of an image in its parts."""

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """The repository as it is written, without tag and digest."""
        if self.registry == DOCKER_HUB:
            return self.repository.removeprefix("library/")
        return f"{self.registry}/{self.repository}"


def parse(image: str) -> Reference:
    """Return the parts of an image's name, as Docker reads it."""
    rest, _at, digest = image.partition("@")
    first, slash, _path = rest.partition("/")
    has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry = first if has_registry else DOCKER_HUB
    path = rest[len(first) + 1 :] if has_registry else rest
    head, colon, tag = path.rpartition(":")
    repository = head if colon and "/" not in tag else path
    tag = tag if colon and "/" not in tag else ""
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if digest and not _DIGEST.match(digest):
        raise RegistryError(f"{image} is not the name of an image: its digest is malformed.")
    if not repository or repository != repository.lower() or " " in image:
        raise RegistryError(f"{image!r} is not the name of an image; write registry/path:tag.")
    if tag and not _TAG.match(tag):
        raise RegistryError(f"{image} is not the name of an image: {tag!r} cannot be a tag.")
    return Reference(registry, repository, tag, digest)


def released_name(repository: str, version: str) -> str:
    """Return the image of a version, after checking that both can be what they claim."""
    reference = parse(repository)
    if reference.tag or reference.digest:
        raise RegistryError(
            f"carrental_images has {repository}; give the repository alone, for deploy_version "
            "says which image of it."
        )
    if not _TAG.match(version):
        raise RegistryError(f"{version!r} cannot be a tag of {repository}; give a git sha or tag.")
    return f"{repository}:{version}"


def authentication(
    image: str, username: str, password: str, registries: Iterable[str]
) -> dict[str, str] | None:
    """Return the login for an image: only the registries of released images get it."""
    if not username or parse(image).registry not in set(registries):
        return None
    return {"username": username, "password": password}


def explain(error: str, image: str, username: str, host: str) -> str:
    """Return one sentence for what a registry or the engine answered."""
    text = " ".join(error.split())
    refused = _LOGIN_REFUSED if username else _LOGIN_MISSING
    known = (*_SENTENCES, (_REFUSED, refused), (_UNKNOWN, _ABSENT))
    lower = text.lower()
    sentence = next((one for marks, one in known if any(mark in lower for mark in marks)), _OTHER)
    registry = parse(image).registry
    return sentence.format(
        registry=registry, image=image, username=username, host=host, text=text.rstrip(".")
    )


def stream_error(lines: Iterable[str]) -> str:
    """Return the error that a pull ended with, or nothing."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("error"):
            return str(event["error"])
    return ""


def names(image: Mapping[str, Any]) -> list[str]:
    """Return the names of an image of the engine, as it lists them: tags, then digests."""
    found = [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]
    return [name for name in found if not name.startswith("<none>")]


def digest_of(image: Mapping[str, Any], name: str) -> str | None:
    """Return the digest under which the registry knows a local image, if it came from there."""
    wanted = parse(name)
    for known in image.get("RepoDigests") or []:
        reference = parse(known)
        if (reference.registry, reference.repository) == (wanted.registry, wanted.repository):
            return reference.digest
    return None
