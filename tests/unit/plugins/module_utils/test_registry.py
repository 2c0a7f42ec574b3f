# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of images, and what registries answer."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _registry

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "parts", "name"),
    [
        ("postgres:16", ("docker.io", "library/postgres", "16", ""), "postgres"),
        ("prom/prometheus", ("docker.io", "prom/prometheus", "", ""), "prom/prometheus"),
        ("ghcr.io/o/r/api:v1", ("ghcr.io", "o/r/api", "v1", ""), "ghcr.io/o/r/api"),
        ("localhost/x", ("localhost", "x", "", ""), "localhost/x"),
        ("h.test:5000/x", ("h.test:5000", "x", "", ""), "h.test:5000/x"),
        (f"h:5000/x:1@{DIGEST}", ("h:5000", "x", "1", DIGEST), "h:5000/x"),
    ],
)
def test_parts_of_a_name(image: str, parts: tuple[str, str, str, str], name: str) -> None:
    assert _registry.parse(image) == _registry.Reference(*parts)
    assert _registry.parse(image).name == name


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("x@sha256:12", "x@sha256:12 is not the name of an image: its digest is malformed."),
        ("Upper/x", "'Upper/x' is not the name of an image; write registry/path:tag."),
        ("a b", "'a b' is not the name of an image; write registry/path:tag."),
        ("x:-1", "x:-1 is not the name of an image: '-1' cannot be a tag."),
    ],
)
def test_what_is_no_name(image: str, message: str) -> None:
    with pytest.raises(_registry.RegistryError) as error:
        _registry.parse(image)
    assert str(error.value) == message


def test_a_released_name() -> None:
    assert _registry.released_name("ghcr.io/o/api", "abc1234") == "ghcr.io/o/api:abc1234"


@pytest.mark.parametrize(
    ("repository", "version", "message"),
    [
        (
            "ghcr.io/o/api:latest",
            "v1",
            "carrental_images has ghcr.io/o/api:latest; give the repository alone, "
            "for deploy_version says which image of it.",
        ),
        (
            "ghcr.io/o/api",
            "a b",
            "'a b' cannot be a tag of ghcr.io/o/api; give a git sha or tag.",
        ),
    ],
)
def test_what_cannot_be_released(repository: str, version: str, message: str) -> None:
    with pytest.raises(_registry.RegistryError) as error:
        _registry.released_name(repository, version)
    assert str(error.value) == message


def test_only_the_released_registries_get_the_login() -> None:
    login = {"username": "u", "password": "p"}
    assert _registry.authentication("ghcr.io/o/api:1", "u", "p", ["ghcr.io"]) == login
    assert _registry.authentication("postgres:16", "u", "p", ["ghcr.io"]) is None
    assert _registry.authentication("ghcr.io/o/api:1", "", "", ["ghcr.io"]) is None


IMAGE = "ghcr.io/o/api:abc"


@pytest.mark.parametrize(
    ("error", "username", "sentence"),
    [
        (
            "manifest unknown: manifest unknown",
            "u",
            "ghcr.io/o/api:abc does not exist in the registry ghcr.io; check the version, "
            "and that its build has pushed it.",
        ),
        (
            "unauthorized: authentication required",
            "u",
            "The registry ghcr.io refused ghcr.io/o/api:abc to the user u; check "
            "deploy_registry_username, deploy_registry_password and the right to read it.",
        ),
        (
            "denied: requested access to the resource is denied",
            "",
            "The registry ghcr.io refused ghcr.io/o/api:abc without a login; "
            "set deploy_registry_username and deploy_registry_password.",
        ),
        (
            'Get "https://ghcr.io/v2/": dial tcp: lookup ghcr.io: no such host',
            "u",
            'The registry ghcr.io cannot be reached from web1 (Get "https://ghcr.io/v2/": '
            "dial tcp: lookup ghcr.io: no such host); check its name, DNS and the firewall.",
        ),
        (
            "x509: certificate signed by unknown authority",
            "u",
            "The registry ghcr.io does not show a certificate that web1 trusts (x509: certificate "
            "signed by unknown authority); install its certificate, or list it in "
            "insecure-registries of the engine.",
        ),
        (
            "write /var/lib/docker/tmp/x: no space left on device",
            "u",
            "The disk of web1 became full while ghcr.io/o/api:abc was pulled; "
            "free space and run again.",
        ),
        (
            "toomanyrequests: You have reached your pull rate limit.",
            "",
            "The registry ghcr.io limits its requests and refused ghcr.io/o/api:abc; "
            "log in, or wait.",
        ),
        (
            "something\nelse.",
            "u",
            "ghcr.io/o/api:abc cannot be had from the registry ghcr.io: something else.",
        ),
    ],
)
def test_answers_become_sentences(error: str, username: str, sentence: str) -> None:
    assert _registry.explain(error, IMAGE, username, "web1") == sentence


def test_the_error_of_a_pull_is_in_its_stream() -> None:
    lines = ['{"status": "Pulling"}', "no json", '{"error": "no space left on device"}']
    assert _registry.stream_error(lines) == "no space left on device"
    assert _registry.stream_error(lines[:2]) == ""


def test_the_digest_is_that_of_the_same_repository() -> None:
    image = {"RepoDigests": [f"other/x@{DIGEST}", f"ghcr.io/o/api@{DIGEST}"]}
    assert _registry.digest_of(image, IMAGE) == DIGEST
    assert _registry.digest_of(image, "ghcr.io/o/web:abc") is None
    assert _registry.digest_of({}, IMAGE) is None
