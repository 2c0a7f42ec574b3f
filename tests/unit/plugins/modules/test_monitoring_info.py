# SPDX-License-Identifier: GPL-3.0-or-later
"""On which networks the monitoring has to be."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.modules import monitoring_info

NAMED = {"frontend": {"name": "p_frontend"}, "backend": {"name": "p_backend"}}


def model(**networks: list[str]) -> dict[str, Any]:
    services = {name: {"networks": dict.fromkeys(keys)} for name, keys in networks.items()}
    return {"services": services, "networks": NAMED}


FOUND = {
    "prometheus": {"service": "prometheus"},
    "alertmanager": {"service": "alertmanager"},
    "exporters": {"redis": {"service": "redis-exporter"}},
}


@pytest.mark.parametrize(
    ("own", "missing"),
    [(["frontend", "backend"], []), (["backend"], []), (["frontend"], ["p_backend"])],
)
def test_a_network_that_prometheus_is_not_on(own: list[str], missing: list[str]) -> None:
    made = model(
        prometheus=own,
        alertmanager=["backend"],
        api=["frontend", "backend"],
        **{"redis-exporter": ["backend"]},
    )
    assert monitoring_info.reach(made, FOUND, ["api"]) == {
        "networks": {"backend": "p_backend", "frontend": "p_frontend"},
        "missing_networks": missing,
    }


def test_without_prometheus_nothing_is_missing() -> None:
    found: dict[str, Any] = {"prometheus": {}, "alertmanager": {}, "exporters": {}}
    reached = monitoring_info.reach(model(api=["backend"]), found, ["api"])
    assert reached == {"networks": {"backend": "p_backend"}, "missing_networks": []}
