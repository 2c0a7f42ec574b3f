# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Whether a stack can run on more than one server: what each part lacks, and why. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils._docker import Container

READY, MISSING = "ready", "missing"
# Short enough to tell two secrets apart and to tell nothing else.
_FINGERPRINT = 8
_ROUNDS = 200_000
_ASSET = re.compile(r"""(?:src|href)=["'](/[^"'?]+\.(?:js|css|woff2?|png|svg|jpg))["'?]""")
_MAX_AGE = re.compile(r"max-age=(\d+)")
_DAY = 86_400

_ELSEWHERE = {
    "database": "a second server needs the same database: a managed PostgreSQL (DATABASE_URL, "
    "health_endpoints), with read replicas for reports. A copy on this server would be no "
    "more available than this one",
    "cache": "a second server needs the same cache: a managed Redis (REDIS_URL). Sentinel takes "
    "three servers to agree that one is gone; on one server all three go with it",
    "object_store": "a second server needs the same objects: S3, or a store on several servers. "
    "A single-node MinIO cannot be made a distributed one in place, and several on one disk "
    "are lost together: mirror the bucket to the new store and switch the endpoint",
}


@dataclass(frozen=True)
class Check:
    """One thing that a second server needs."""

    name: str
    status: str
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as a result shows it."""
        return asdict(self)


def fingerprint(secret: str, project: str) -> str:
    """Return by what two servers can compare a secret that neither shows.

    A short part of a slow hash: many secrets have the same, so that none can be found by it.
    """
    derived = hashlib.pbkdf2_hmac("sha256", secret.encode(), project.encode(), _ROUNDS)
    return derived.hex()[:_FINGERPRINT]


def fingerprints(
    containers: Iterable[Container], names: Sequence[str], project: str
) -> dict[str, str]:
    """Return the fingerprints of variables that have to be the same on every server."""
    found: dict[str, str] = {}
    for container in containers:
        for name in names:
            value = container.environment.get(name)
            if value:
                found[f"{container.service}.{name}"] = fingerprint(value, project)
    return found


def unknown(found: Mapping[str, str], names: Sequence[str]) -> list[Check]:
    """Judge whether there is something to compare: what nobody has is not the same."""
    known = {one.rpartition(".")[2] for one in found}
    return [
        Check(
            f"{name}.known",
            MISSING,
            f"no stateless service has {name} in its environment, so that it cannot be compared; "
            "name what sessions are signed with in scaling_same",
        )
        for name in names
        if name not in known
    ]


def data(roles: Mapping[str, str], local: Iterable[str]) -> list[Check]:
    """Judge where the data is.

    :param roles: the role of each service.
    :param local: services that have a container of their own on this server.
    """
    here = set(local)
    checks = []
    for service, role in roles.items():
        if role in _ELSEWHERE:
            status = MISSING if service in here else READY
            detail = _ELSEWHERE[role] if service in here else "it has no container on this server"
            checks.append(Check(f"{service}.elsewhere", status, detail))
    return checks


def local_state(containers: Iterable[Container]) -> list[Check]:
    """Judge whether stateless services keep something on this server."""
    checks = []
    for container in containers:
        written = [
            str(mount.get("Destination"))
            for mount in container.raw.get("Mounts") or []
            if mount.get("RW") and mount.get("Type") in ("volume", "bind")
        ]
        checks.append(
            Check(
                f"{container.service}.no_local_state",
                MISSING if written else READY,
                f"{container.name} writes to {', '.join(written)}, which a second server does not "
                "have; keep it in the object store"
                if written
                else "it writes to no volume",
            )
        )
    return checks


def asset(page: str) -> str:
    """Return the path of a static file that a page refers to; empty without one."""
    found = _ASSET.search(page)
    return found[1] if found else ""


def caching(path: str, headers: Mapping[str, str]) -> Check:
    """Judge whether a network in front of the proxy may keep static files."""
    said = next((value for name, value in headers.items() if name.lower() == "cache-control"), "")
    age = _MAX_AGE.search(said)
    good = bool(age and int(age[1]) >= _DAY and "private" not in said and "no-store" not in said)
    return Check(
        "static_files.cached",
        READY if good else MISSING,
        f"{path} says Cache-Control: {said or '(nothing)'}"
        + ("" if good else "; a CDN keeps what says public, max-age=31536000, immutable"),
    )
