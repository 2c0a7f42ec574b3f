# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Read from a registry without the engine, which can only pull: that is, write.

The protocol is the distribution specification of the OCI: manifests and blobs by GET, with a
login by Basic, or by a token that another address gives for it.
"""

from __future__ import annotations

import base64
import glob
import http.client
import io
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from . import _registry

_HUB = "registry-1.docker.io"
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_DOCUMENT_BYTES = 8 * 1024 * 1024
_TIMEOUT = 20.0


class ReadError(Exception):
    """Why a registry cannot be read; a clause."""


def is_insecure(registry: str, info: Mapping[str, Any]) -> bool:
    """Return whether the engine talks to a registry without a trusted certificate."""
    host = registry.rpartition(":")[0] or registry
    known = ((info.get("RegistryConfig") or {}).get("IndexConfigs") or {}).get(registry) or {}
    return known.get("Secure") is False or host == "localhost" or host.startswith("127.")


class Client:
    """One repository of a registry.

    :param login: user and password, if any.
    :param insecure: any certificate will do, and none as well.
    """

    def __init__(
        self,
        reference: _registry.Reference,
        login: Mapping[str, str] | None,
        *,
        insecure: bool = False,
    ) -> None:
        host = _HUB if reference.registry == _registry.DOCKER_HUB else reference.registry
        self.reference = reference
        self.login = login or {}
        self.schemes = ["https", "http"] if insecure else ["https"]
        self.host = host
        self.authorization = ""
        context = ssl.create_default_context()
        for path in sorted(glob.glob(f"/etc/docker/certs.d/{reference.registry}/*.crt")):
            context.load_verify_locations(path)
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def manifest(self, architecture: str) -> dict[str, Any]:
        """Return the manifest of the image for an architecture."""
        found = self._document(f"manifests/{self.reference.digest or self.reference.tag}")
        for one in found.get("manifests") or []:
            platform = one.get("platform") or {}
            if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
                return self._document(f"manifests/{one['digest']}")
        if "manifests" in found:
            raise ReadError(f"the registry has no image for {architecture}")
        return found

    def document(self, digest: str) -> dict[str, Any]:
        """Return a blob that is a JSON document."""
        return self._document(f"blobs/{digest}")

    def blob(self, digest: str) -> http.client.HTTPResponse:
        """Open a blob for reading."""
        return self._open(f"blobs/{digest}")

    def _document(self, path: str) -> dict[str, Any]:
        with self._open(path) as answer:
            content = answer.read(_DOCUMENT_BYTES)
        try:
            found: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise ReadError(f"the registry answers no JSON for {path}") from error
        return found

    def _open(self, path: str) -> http.client.HTTPResponse:
        try:
            return self._request(path)
        except urllib.error.HTTPError as error:
            with error:
                challenge = error.headers.get("WWW-Authenticate", "")
            if error.code != 401 or self.authorization:
                raise ReadError(f"the registry answers {error.code} for {path}") from error
        self.authorization = self._authorize(challenge)
        try:
            return self._request(path)
        except urllib.error.HTTPError as error:
            with error:
                raise ReadError(f"the registry answers {error.code} for {path}") from error

    def _request(self, path: str) -> http.client.HTTPResponse:
        last: Exception | None = None
        for scheme in list(self.schemes):
            url = f"{scheme}://{self.host}/v2/{self.reference.repository}/{path}"
            request = urllib.request.Request(  # noqa: S310  # schemes are fixed
                url, headers={"Accept": ", ".join(_MANIFESTS)}
            )
            if self.authorization:
                # A blob may lie elsewhere; whoever keeps it there must not see the login.
                request.add_unredirected_header("Authorization", self.authorization)
            try:
                answer: http.client.HTTPResponse = self.opener.open(request, timeout=_TIMEOUT)
            except urllib.error.HTTPError:
                self.schemes = [scheme]
                raise
            except (OSError, http.client.HTTPException) as error:
                last = error
                continue
            self.schemes = [scheme]
            return answer
        reason = getattr(last, "reason", None) or last
        raise ReadError(f"the registry cannot be read ({reason})")

    def _authorize(self, challenge: str) -> str:
        kind, _space, rest = challenge.partition(" ")
        basic = ""
        if self.login:
            pair = f"{self.login['username']}:{self.login['password']}"
            basic = f"Basic {base64.b64encode(pair.encode()).decode()}"
        if kind.lower() == "basic" and basic:
            return basic
        wanted = dict(_PARAMETER.findall(rest))
        realm = wanted.pop("realm", "")
        if kind.lower() != "bearer" or not realm.startswith(("https://", "http://")):
            raise ReadError("the registry demands a login")
        if realm.startswith("http://") and "http" not in self.schemes:
            raise ReadError("the registry wants the login sent in clear")
        wanted.setdefault("scope", f"repository:{self.reference.repository}:pull")
        request = urllib.request.Request(f"{realm}?{urlencode(wanted)}")  # noqa: S310
        if basic:
            request.add_unredirected_header("Authorization", basic)
        try:
            with self.opener.open(request, timeout=_TIMEOUT) as answer:
                found = json.load(io.BytesIO(answer.read(_DOCUMENT_BYTES)))
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ReadError(f"the registry gives no token ({reason})") from error
        return f"Bearer {found.get('token') or found.get('access_token') or ''}"
