# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Turn a service and its container into probes, with the credentials it was started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from ansible_collections.carrental.ops.plugins.module_utils import (
    _http,
    _object_store,
    _postgres,
    _proxy_probe,
    _redis,
    _web_probe,
)
from ansible_collections.carrental.ops.plugins.module_utils._checks import Thresholds
from ansible_collections.carrental.ops.plugins.module_utils._docker import (
    Container,
    Docker,
    DockerError,
)
from ansible_collections.carrental.ops.plugins.module_utils._masking import Masker
from ansible_collections.carrental.ops.plugins.module_utils._probes import Probe
from ansible_collections.carrental.ops.plugins.module_utils._services import Service


@dataclass(frozen=True)
class Settings:
    """What is the same for all services."""

    deep: bool = True
    canary: bool = True
    thresholds: Thresholds = field(default_factory=Thresholds)
    domain: str = ""
    database: str = ""
    bucket: str = ""
    released: str = ""
    # Leaves a probe time to say itself what went wrong, before it is killed.
    timeout: float = 2.5


@dataclass(frozen=True)
class Place:
    """A service where it was found: in a container, or at an endpoint that was given."""

    service: Service
    host: str
    container: Container | None = None
    docker: Docker | None = None

    @property
    def port(self) -> int:
        return self.service.port

    @property
    def environment(self) -> dict[str, str]:
        return self.container.environment if self.container else {}

    def secret(self, *names: str) -> str:
        """The first of some variables that is set, or the file that ``<name>_FILE`` names."""
        for name in names:
            value = self.environment.get(name)
            if value:
                return value
            path = self.environment.get(f"{name}_FILE")
            if path and self.container and self.docker:
                try:
                    return self.docker.read_file(self.container.id, path).strip()
                except DockerError:
                    continue
        return ""


def probes(place: Place, settings: Settings, masker: Masker) -> list[Probe]:
    """The probes of one service at one place; secrets that were found are made known."""
    service = place.service
    target = f"{service.subject.title} at {place.host}:{place.port}"
    hint = "it accepts connections and hangs, or nothing passes between"
    if service.probe == "http":
        wanted = _web_probe.Wanted(
            _http.Request(
                place.host,
                place.port,
                service.path,
                service.endpoint.tls,
                service.endpoint.hostname,
                settings.timeout,
                verify=service.endpoint.tls and service.endpoint.validate_certs,
                ca_file=service.endpoint.ca_file,
            ),
            _http.Expected(service.status, service.json, service.json_degraded),
            service.version_key,
            settings.released,
            settings.thresholds,
        )
        return [
            Probe(
                service.subject,
                "http",
                target,
                partial(_web_probe.check, service.subject, wanted),
                hint,
            )
        ]
    if service.probe == "proxy":
        front = proxy(place, settings)
        run = partial(_proxy_probe.check, service.subject, front, service.path, service.status)
        return [Probe(service.subject, "http", target, run, hint)]
    if service.probe == "postgres":
        login = postgres_login(place, settings)
        masker.add(login.password)
        options = _postgres.Options(settings.deep, settings.canary, settings.thresholds)
        run = partial(_postgres.check, service.subject, login, options)
        return [Probe(service.subject, "login", target, run, hint)]
    if service.probe == "redis":
        cache = redis_login(place, settings)
        masker.add(cache.password)
        run = partial(_redis.check, service.subject, cache, settings.deep, settings.canary)
        return [Probe(service.subject, "ping", target, run, hint)]
    if service.probe == "object_store":
        store = store_login(place, settings)
        masker.add(store.secret_key)
        run = partial(_object_store.check, service.subject, store, settings.deep, settings.canary)
        return [Probe(service.subject, "live", target, run, hint)]
    return []


def proxy(place: Place, settings: Settings) -> _proxy_probe.Front:
    """How the proxy is reached, and whether it has to speak TLS."""
    service = place.service
    published = place.container.published if place.container else set()
    expected = service.endpoint.tls or bool(settings.domain) or service.tls_port in published
    return _proxy_probe.Front(
        place.host,
        place.port,
        service.tls_port if expected else 0,
        settings.domain or service.endpoint.hostname,
        settings.timeout,
        settings.thresholds,
        settings.deep,
    )


def postgres_login(place: Place, settings: Settings) -> _postgres.Login:
    """The role of the application: what the image was told to create."""
    given = place.service.endpoint
    user = given.user or place.secret("POSTGRES_USER", "POSTGRESQL_USERNAME") or "postgres"
    named = place.secret("POSTGRES_DB", "POSTGRESQL_DATABASE")
    return _postgres.Login(
        place.host,
        place.port,
        user,
        given.password or place.secret("POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD"),
        given.database or settings.database or named or user,
        given.tls,
        given.ca_file,
    )


def redis_login(place: Place, settings: Settings) -> _redis.Login:
    """The password that the server was started with."""
    given = place.service.endpoint
    password, source = given.password, "given in endpoints" if given.password else ""
    if not password and place.container:
        command = place.container.command
        environment: Mapping[str, str] = place.environment
        password, source = _redis.password_of(command, environment, _redis_config(place, command))
    return _redis.Login(
        place.host,
        place.port,
        password,
        given.user,
        source,
        given.tls,
        given.ca_file,
        settings.timeout,
    )


def _redis_config(place: Place, command: list[str]) -> str:
    path = _redis.config_file(command)
    if not path or not place.container or not place.docker:
        return ""
    try:
        return place.docker.read_file(place.container.id, path)
    except DockerError:
        return ""


def store_login(place: Place, settings: Settings) -> _object_store.Login:
    """The root account of the store, under its new or its old names."""
    given = place.service.endpoint
    return _object_store.Login(
        place.host,
        place.port,
        given.user or place.secret("MINIO_ROOT_USER", "MINIO_ACCESS_KEY"),
        given.password or place.secret("MINIO_ROOT_PASSWORD", "MINIO_SECRET_KEY"),
        given.bucket or settings.bucket,
        given.tls,
        given.ca_file,
        region=given.region or "us-east-1",
        timeout=settings.timeout,
    )
