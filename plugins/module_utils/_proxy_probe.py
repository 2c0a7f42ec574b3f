# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The checks of a proxy: that it serves, its certificate, and each service through it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _http, _tls
from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    FAIL,
    OK,
    Check,
    Subject,
    Thresholds,
)


@dataclass(frozen=True)
class Front:
    """How a proxy is reached; ``tls_port`` 0 means that it does not have to speak TLS."""

    host: str
    port: int
    tls_port: int
    hostname: str
    timeout: float
    thresholds: Thresholds
    deep: bool = True

    def request(self, path: str, tls: bool) -> _http.Request:
        """A request to it, in the name of the domain."""
        port = self.tls_port if tls else self.port
        return _http.Request(self.host, port, path, tls, self.hostname, self.timeout)


def check(subject: Subject, front: Front, path: str, status: list[int]) -> list[Check]:
    """The proxy itself, on both ports."""
    checks = []
    try:
        answer = _http.request(front.request(path, tls=False))
        found = _http.judge(answer, _http.Expected(status))
        evidence: dict[str, Any] = {"status_code": answer.status, "latency_ms": answer.latency_ms}
        if found.outcome == "ok":
            checks.append(subject.passed("http", url=answer.url, **evidence))
        else:
            checks.append(subject.down("http", found.reason, url=answer.url, **evidence))
    except _http.HttpError as error:
        checks.append(subject.down("http", str(error)))
    if not front.deep:
        return checks
    if not front.tls_port:
        return [*checks, subject.skipped("certificate", "no TLS: no domain, no published port")]
    try:
        # No request: what is behind the proxy has checks of its own.
        der = _http.handshake(front.request(path, tls=True))
    except _http.HttpError as error:
        return [*checks, subject.down("tls", str(error))]
    shown = certificate(subject, der, front.thresholds, front.hostname)
    return [*checks, subject.passed("tls"), shown]


def certificate(subject: Subject, der: bytes, thresholds: Thresholds, hostname: str) -> Check:
    """What the proxy shows to browsers."""
    try:
        found = _tls.parse(der)
    except _tls.CertificateError:
        return subject.down("certificate", "it shows a certificate that cannot be read")
    status, reason = _tls.judge(found, datetime.now(timezone.utc), thresholds, hostname)
    evidence: dict[str, Any] = {
        "names": list(found.names),
        "not_before": found.not_before.isoformat(),
        "not_after": found.not_after.isoformat(),
    }
    if status == OK:
        return subject.passed("certificate", reason, **evidence)
    if status == FAIL:
        return subject.down("certificate", reason, **evidence)
    return subject.finding("certificate", reason, **evidence)


def through(subject: Subject, front: Front, path: str, expected: _http.Expected) -> list[Check]:
    """A service as its users see it."""
    try:
        answer = _http.request(front.request(path, tls=bool(front.tls_port)))
        moved = answer.status in (301, 302, 307, 308)
        if moved and not front.tls_port and answer.headers.get("location", "")[:6] == "https:":
            secure = replace(front, tls_port=443)
            answer = _http.request(secure.request(path, tls=True))
    except _http.HttpError as error:
        return [subject.down("proxy", f"through the proxy: {error}")]
    evidence: dict[str, Any] = {
        "url": answer.url,
        "status_code": answer.status,
        "latency_ms": answer.latency_ms,
    }
    if answer.status == 429:
        return [
            subject.finding("proxy", "through the proxy: it limits our requests (429)", **evidence)
        ]
    found = _http.judge(answer, expected)
    if found.outcome == "ok":
        return [subject.passed("proxy", **evidence)]
    reason = f"through the proxy GET {path}: {found.reason}"
    if found.outcome == "degraded":
        # Its own answer said so already.
        return [subject.passed("proxy", reason, **evidence)]
    return [subject.down("proxy", reason, **evidence)]
