# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The check of a service that speaks HTTP: its answer, and the version that it tells."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _http, _proxy_probe
from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    FAIL,
    Check,
    Subject,
    Thresholds,
)


@dataclass(frozen=True)
class Wanted:
    """What is asked, and what a good answer is."""

    request: _http.Request
    expected: _http.Expected
    version_key: str = ""
    released: str = ""
    thresholds: Thresholds = field(default_factory=Thresholds)


def check(subject: Subject, wanted: Wanted) -> list[Check]:
    """Ask once, and judge the answer and the version in it."""
    try:
        answer = _http.request(wanted.request)
    except _http.HttpError as error:
        return [subject.down("http", str(error), url=wanted.request.url)]
    checks = [judge(subject, answer, wanted.expected)]
    if answer.certificate:
        name = wanted.request.hostname or wanted.request.host
        hostname = name if wanted.request.verify else ""
        checks.append(
            _proxy_probe.certificate(subject, answer.certificate, wanted.thresholds, hostname)
        )
    if wanted.version_key and isinstance(answer.json, dict):
        found = answer.json.get(wanted.version_key)
        checks.append(version(subject, "" if found is None else str(found), wanted.released))
    return checks


def judge(subject: Subject, answer: _http.Answer, expected: _http.Expected) -> Check:
    """The answer as a check."""
    found = _http.judge(answer, expected)
    evidence: dict[str, Any] = {
        "url": answer.url,
        "status_code": answer.status,
        "server": answer.headers.get("server", ""),
        "body": _body(answer),
        "latency_ms": answer.latency_ms,
    }
    if found.outcome == "ok":
        return subject.passed("http", **evidence)
    if found.outcome == "degraded":
        return subject.finding("http", found.reason, **evidence)
    return subject.down("http", found.reason, **evidence)


def _body(answer: _http.Answer) -> object:
    """What it said, as far as it is a document of states and not a page."""
    body = answer.json
    if isinstance(body, (dict, list)) and len(answer.body) <= 4096:
        return body
    return json.dumps(answer.body[:200].decode(errors="replace"))


def version(subject: Subject, found: str, released: str) -> Check:
    """What it says it is against what was released; a short form of a sha counts."""
    evidence: dict[str, Any] = {"version": found, "released": released}
    if not released:
        return subject.skipped("version", "no release is recorded", **evidence)
    if found == released or same_sha(found, released):
        return subject.passed("version", **evidence)
    shown = found or "none"
    return subject.says(
        "version",
        FAIL,
        f"{subject.title} answers version {shown}, but {released} is released",
        "a deploy is under way or was cut off (playbooks/lock.yml tells), or somebody changed it "
        "outside a deploy; deploy the version that is wanted, which ends what was begun",
        **evidence,
    )


def same_sha(one: str, other: str) -> bool:
    """Whether one is a short form of the other."""
    length = min(len(one), len(other))
    return length >= 7 and one[:length] == other[:length]
