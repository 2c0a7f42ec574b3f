# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The table of services as it comes in, checked, and what may override it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils._checks import Subject

PROBES = ("http", "postgres", "redis", "object_store", "proxy", "none")
SEVERITIES = ("P1", "P2", "P3", "P4")
_ENDPOINT_KEYS = {
    "host": str,
    "port": int,
    "user": str,
    "password_file": str,
    "database": str,
    "bucket": str,
    "region": str,
    "tls": bool,
    "ca_file": str,
    "hostname": str,
    "validate_certs": bool,
}


class InputError(ValueError):
    """What was asked for cannot be done; the text is a whole sentence."""


@dataclass(frozen=True)
class Endpoint:
    """How to reach a service that is not where its container is, or not as it says."""

    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    bucket: str = ""
    region: str = ""
    tls: bool = False
    ca_file: str = ""
    hostname: str = ""
    validate_certs: bool = True


@dataclass(frozen=True)
class Service:
    """One entry of the table."""

    name: str
    subject: Subject
    role: str
    probe: str
    port: int
    container: str
    compose_service: str
    endpoint: Endpoint
    path: str = "/"
    status: list[int] = field(default_factory=lambda: [200])
    json: dict[str, Any] = field(default_factory=dict)
    json_degraded: dict[str, Any] = field(default_factory=dict)
    version_key: str = ""
    proxy_path: str = ""
    tls_port: int = 0

    @property
    def managed(self) -> bool:
        """Lives elsewhere: no container is expected."""
        return bool(self.endpoint.host)


def parse_table(
    table: Mapping[str, Any], only: list[str], endpoints: Mapping[str, Any]
) -> tuple[list[Service], bool]:
    """The services that are asked for, in the order of the table, and whether the host is one.

    :param only: names of services, or ``host``; empty means everything.
    """
    known = ", ".join([*table, "host"])
    for name in only:
        if name not in table and name != "host":
            raise InputError(
                f"Service {name} is not in the table of services; known are {known}. "
                "Nothing was changed."
            )
    for name in endpoints:
        if name not in table:
            raise InputError(
                f"endpoints names {name}, which is no service; known are {', '.join(table)}. "
                "Nothing was changed."
            )
    services = [
        _service(name, entry, _endpoint(name, _asked_at(entry, endpoints.get(name))))
        for name, entry in table.items()
        if not only or name in only
    ]
    return services, not only or "host" in only


def _asked_at(entry: Any, given: Any) -> Any:
    """What the table says of the endpoint of a service, and what was given beside it."""
    told = entry.get("endpoint") if isinstance(entry, Mapping) else None
    if isinstance(told, Mapping) and isinstance(given, Mapping):
        return {**told, **given}
    return given or told or {}


def _service(name: str, entry: Any, endpoint: Endpoint) -> Service:
    if not isinstance(entry, Mapping):
        raise InputError(f"services.{name} is {entry!r}, not a description. Nothing was changed.")
    title = str(entry.get("title") or name)
    probe = _one_of(name, "probe", entry.get("probe", "none"), PROBES)
    severity = _one_of(name, "severity", entry.get("severity", "P2"), SEVERITIES)
    says = entry.get("says") or {}
    subject = Subject(
        name,
        title,
        severity,
        str(says.get("ok") or f"{title} is healthy"),
        str(says.get("down") or f"{title} is not responding"),
    )
    status = entry.get("status") or [200]
    return Service(
        name=name,
        subject=subject,
        role=str(entry.get("role") or ""),
        probe=probe,
        port=endpoint.port or _port(name, "port", entry.get("port"), probe != "none"),
        container=str(entry.get("container") or name),
        compose_service=str(entry.get("compose_service") or name),
        endpoint=endpoint,
        path=str(entry.get("path") or "/"),
        status=[int(code) for code in (status if isinstance(status, list) else [status])],
        json=dict(entry.get("json") or {}),
        json_degraded=dict(entry.get("json_degraded") or {}),
        version_key=str(entry.get("version_key") or ""),
        proxy_path=str(entry.get("proxy_path") or ""),
        tls_port=_port(name, "tls_port", entry.get("tls_port"), False),
    )


def _one_of(service: str, key: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise InputError(
            f"services.{service}.{key} is {value!r}; it is one of {', '.join(choices)}. "
            "Nothing was changed."
        )
    return str(value)


def _port(service: str, key: str, value: Any, required: bool) -> int:
    if value in (None, "") and not required:
        return 0
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = 0
    if not 0 < port < 65536:
        raise InputError(
            f"services.{service}.{key} is {value!r}; a port is a number from 1 to 65535. "
            "Nothing was changed."
        )
    return port


def _endpoint(service: str, given: Any) -> Endpoint:
    if not isinstance(given, Mapping):
        raise InputError(
            f"endpoints.{service} is {given!r}, not a dictionary. Nothing was changed."
        )
    for key in given:
        if key not in _ENDPOINT_KEYS:
            hint = "; a password is given as password_file" if "password" in key else ""
            raise InputError(
                f"endpoints.{service} has no key {key}{hint}; known are "
                f"{', '.join(_ENDPOINT_KEYS)}. Nothing was changed."
            )
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key == "password_file":
            values["password"] = read_secret(str(value))
        elif key == "port":
            values["port"] = _port(service, "port", value, True)
        elif _ENDPOINT_KEYS[key] is bool:
            values[key] = value in (True, "true", "True", "yes", 1)
        else:
            values[key] = str(value)
    return Endpoint(**values)


def read_secret(path: str) -> str:
    """The first line of a file on the server that holds a secret."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as stream:
            return stream.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"Cannot read the password from {path} on the server: {reason}; "
            "check the path and its owner. Nothing was changed."
        ) from error
