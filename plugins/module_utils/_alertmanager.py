# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Talk to an Alertmanager over its HTTP API."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from . import _http, _metrics

_GOOD = "alertmanager_config_last_reload_successful"
_HASH = "alertmanager_config_hash"
# Requests: alertmanager_notifications_total counts a notification before it is sent, and its
# failure only once all attempts are given up.
_TRIED = "alertmanager_notification_requests_total"
_FAILED = "alertmanager_notification_requests_failed_total"
_MAX_BODY = 8 * 1024 * 1024


def fingerprint(text: str) -> float:
    """Return what Alertmanager's metric says of a configuration: 48 bits of its MD5."""
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return float(int.from_bytes(digest[:6], "little"))


class AlertmanagerError(Exception):
    """No usable answer; the text is a whole sentence."""


@dataclass(frozen=True)
class Alertmanager:
    """An Alertmanager at an address."""

    host: str
    port: int = 9093
    timeout: float = 5.0

    def has_loaded(self, text: str) -> bool:
        """Return whether the configuration in force is this text, byte by byte.

        What ``/api/v2/status`` shows is written anew, with defaults and without secrets; the
        metric is made of the file.
        """
        metrics = self._ask("GET", "/metrics").body.decode("utf-8", "replace")
        found = _metrics.samples(metrics, (_GOOD, _HASH))
        return found.get((_GOOD, ())) == 1.0 and found.get((_HASH, ())) == fingerprint(text)

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """Return the alerts of a name that it has."""
        wanted = quote(f'alertname="{name}"')
        found: list[dict[str, Any]] = self._call("GET", f"/api/v2/alerts?filter={wanted}")
        return found

    def everything(self) -> list[dict[str, Any]]:
        """Return all alerts that fire, silenced and inhibited ones too."""
        found: list[dict[str, Any]] = self._call("GET", "/api/v2/alerts?active=true")
        return found

    def firing(self) -> list[dict[str, Any]]:
        """Return the alerts that fire and that nobody silenced."""
        found: list[dict[str, Any]] = self._call(
            "GET", "/api/v2/alerts?active=true&silenced=false&inhibited=false"
        )
        return found

    def silences(self) -> list[dict[str, Any]]:
        """Return the silences that are in force or will be."""
        listed = self._call("GET", "/api/v2/silences")
        return [one for one in listed if one["status"]["state"] != "expired"]

    def silence(
        self, matchers: Sequence[Mapping[str, Any]], seconds: int, who: str, comment: str
    ) -> str:
        """Create a silence, and return its id."""
        now = time.time()
        body = {
            "matchers": [dict(one) for one in matchers],
            "startsAt": _stamp(now),
            "endsAt": _stamp(now + seconds),
            "createdBy": who,
            "comment": comment,
        }
        return str(self._call("POST", "/api/v2/silences", body)["silenceID"])

    def expire(self, silence: str) -> None:
        """End a silence."""
        self._call("DELETE", f"/api/v2/silence/{quote(silence)}")

    def delivered(self) -> dict[str, tuple[float, float]]:
        """Return how many requests were made and how many of them failed, by integration."""
        text = self._ask("GET", "/metrics").body.decode("utf-8", "replace")
        counters = _metrics.samples(text, (_TRIED, _FAILED))
        found: dict[str, tuple[float, float]] = {}
        for (name, labels), value in counters.items():
            kind = dict(labels).get("integration", "")
            tried, failed = found.get(kind, (0.0, 0.0))
            found[kind] = (tried + value, failed) if name == _TRIED else (tried, failed + value)
        return found

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._ask(method, path, body)
        return answer.json if answer.body else None

    def _ask(self, method: str, path: str, body: Any = None) -> _http.Answer:
        wanted = _http.Request(
            self.host,
            self.port,
            path,
            timeout=self.timeout,
            max_body=_MAX_BODY,
            method=method,
            body=b"" if body is None else json.dumps(body).encode(),
        )
        try:
            answer = _http.request(wanted)
        except _http.HttpError as error:
            raise AlertmanagerError(f"Alertmanager does not answer: {error}.") from error
        if answer.status != 200:
            said = " ".join(answer.body.decode("utf-8", "replace").split())[:200]
            raise AlertmanagerError(
                f"Alertmanager at {self.host}:{self.port} answers {answer.status} to "
                f"{method} {path.partition('?')[0]}: {said}"
            )
        return answer


def _stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + ".000Z"
