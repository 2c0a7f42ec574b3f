# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Ask Prometheus over its HTTP API, and say why it gave no answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from . import _http, _metrics

_GOOD = "prometheus_config_last_reload_successful"
_LOADED = "prometheus_config_last_reload_success_timestamp_seconds"
_MAX_BODY = 8 * 1024 * 1024


class PrometheusError(Exception):
    """No usable answer; the text says why, as the rest of a sentence."""


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus at an address."""

    host: str
    port: int = 9090
    prefix: str = ""
    tls: bool = False
    timeout: float = 3.0

    @classmethod
    def at(cls, url: str) -> Prometheus:
        """Return the one at an address as a browser takes it."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise PrometheusError(f"prometheus_url {url} is no address: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise PrometheusError(
                f"prometheus_url {parts.scheme}://{parts.hostname or ''} is not usable; give "
                "http or https, a host and no user, as in http://prometheus.example.com:9090"
            )
        tls = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if tls else 80), parts.path.rstrip("/"), tls)

    def ranges(self, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return the series of a query over a time, each with ``metric`` and ``values``."""
        return self._ask(
            "query_range", query=query, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{step:g}"
        )

    def instant(self, query: str) -> list[dict[str, Any]]:
        """Return the series of a query at this moment."""
        return self._ask("query", query=query)

    def config(self) -> str:
        """Return the configuration that it has in force, as it understands it."""
        return str(self._data("status/config")["yaml"])

    def alerts(self) -> list[str]:
        """Return the names of the alerts that it has rules for, each as often as it has one."""
        groups = self._data("rules", type="alert")["groups"]
        return sorted(str(rule["name"]) for group in groups for rule in group["rules"])

    def targets(self) -> list[dict[str, Any]]:
        """Return what it reads, each with ``labels``, ``health`` and ``lastError``."""
        found: list[dict[str, Any]] = self._data("targets", state="active")["activeTargets"]
        return found

    def alertmanagers(self) -> list[str]:
        """Return the addresses that it hands alerts to."""
        return [str(one["url"]) for one in self._data("alertmanagers")["activeAlertmanagers"]]

    def loaded(self) -> tuple[bool, float]:
        """Return whether the last configuration was good, and when one was loaded."""
        text = self._get(f"{self.prefix}/metrics").body.decode("utf-8", "replace")
        found = _metrics.samples(text, (_GOOD, _LOADED))
        return found.get((_GOOD, ()), 0.0) == 1.0, found.get((_LOADED, ()), 0.0)

    def _ask(self, kind: str, **query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._data(kind, **query)["result"]
        return found

    def _get(self, path: str) -> _http.Answer:
        wanted = _http.Request(
            self.host,
            self.port,
            path,
            tls=self.tls,
            timeout=self.timeout,
            verify=self.tls,
            max_body=_MAX_BODY,
        )
        try:
            return _http.request(wanted)
        except _http.HttpError as error:
            raise PrometheusError(f"Prometheus does not answer: {error}") from error

    def _data(self, kind: str, **query: str) -> Any:
        answer = self._get(f"{self.prefix}/api/v1/{kind}?{urlencode(query)}")
        body = answer.json
        if not isinstance(body, dict) or body.get("status") != "success":
            said = body.get("error", "") if isinstance(body, dict) else ""
            raise PrometheusError(
                f"Prometheus at {self.host}:{self.port} answers {answer.status}"
                + (f": {said}" if said else "")
            )
        return body["data"]


def points(series: list[dict[str, Any]]) -> dict[float, float]:
    """Return the values of the only series by their time; NaN stands for no value."""
    if not series:
        return {}
    found = {float(at): _metrics.number_of(value) for at, value in series[0]["values"]}
    return {at: value for at, value in found.items() if value is not None}


def newest(series: list[dict[str, Any]], since: float) -> _metrics.Counters:
    """Return how far each series had counted when it was last read, if not before ``since``."""
    found: _metrics.Counters = {}
    for one in series:
        labels = dict(one["metric"])
        name = labels.pop("__name__", "")
        at, value = one["values"][-1]
        number = _metrics.number_of(value)
        if float(at) >= since and number is not None:
            found[name, tuple(sorted(labels.items()))] = number
    return found
