# SPDX-License-Identifier: GPL-3.0-or-later
"""What Alertmanager's counters say of a delivery."""

from __future__ import annotations

from typing import Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _alertmanager, _monitoring
from ansible_collections.carrental.ops.plugins.modules import monitoring_prove


class Manager:
    """Says one thing after the other, and the last one for good."""

    def __init__(self, *said: dict[str, tuple[float, float]], proof: str = "now") -> None:
        self.said = list(said)
        self.proof = proof

    def alerts(self, name: str) -> list[dict[str, Any]]:
        return [{"labels": {"alertname": name, "severity": "P1", "proof": self.proof}}]

    def delivered(self) -> dict[str, tuple[float, float]]:
        return self.said.pop(0) if len(self.said) > 1 else self.said[0]


def wait(
    *said: dict[str, tuple[float, float]], proof: str = "now", **params: Any
) -> dict[str, float]:
    return monitoring_prove.wait(
        cast(_alertmanager.Alertmanager, Manager(*said, proof=proof)),
        "now",
        "P1",
        ["email", "webhook"],
        before={"email": (7, 1), "webhook": (40, 0)},
        began=monitoring_prove.time.monotonic(),
        params={"timeout": 0.2, "shared": [], **params},
    )


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring_prove, "_PAUSE", 0.01)


def test_what_every_integration_took_is_delivered() -> None:
    assert set(wait({}, {"email": (8, 1)}, {"email": (8, 1), "webhook": (41, 0)})) == {
        "email",
        "webhook",
    }


def test_a_second_attempt_counts_where_nobody_else_is_told() -> None:
    assert set(wait({"email": (8, 2), "webhook": (41, 0)}, {"email": (9, 2), "webhook": (41, 0)}))


def test_a_receiver_that_is_dead_got_nothing() -> None:
    # The failure is counted a moment after the request.
    with pytest.raises(_monitoring.MonitoringError, match=r"by email \(1 channels, 1 failures\)"):
        wait(
            {"email": (8, 1), "webhook": (41, 0)},
            {"email": (8, 2), "webhook": (41, 0)},
        )


def test_the_success_of_somebody_else_hides_no_failure() -> None:
    with pytest.raises(_monitoring.MonitoringError, match="by webhook"):
        wait({"email": (8, 1), "webhook": (42, 1)}, shared=["webhook"])


def test_the_alert_of_a_proof_before_is_not_that_of_this_one() -> None:
    with pytest.raises(_monitoring.MonitoringError, match="did not reach Alertmanager"):
        wait({"email": (8, 1), "webhook": (41, 0)}, proof="before")


def test_a_severity_that_nobody_hears_of_is_refused() -> None:
    params = {"metrics_dir": "/nowhere", "expected": {"P1": [], "P2": ["email"]}}
    manager = cast(_alertmanager.Alertmanager, Manager({}))
    with pytest.raises(_monitoring.MonitoringError, match="Nobody hears of P1"):
        monitoring_prove.prove(manager, {**params, "severities": ["P1", "P2"]})
