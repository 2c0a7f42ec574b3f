# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the monitoring of a stack reads its files, by what compose makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _monitoring
from ansible_collections.carrental.ops.plugins.module_utils._monitoring import MonitoringError

ROOT = "/opt/carrental"


def bind(source: str, target: str) -> dict[str, Any]:
    return {"type": "bind", "source": f"{ROOT}/{source}", "target": target}


def prometheus(*volumes: dict[str, Any], command: Any = None) -> dict[str, Any]:
    return {"image": "prom/prometheus:v2.53", "volumes": list(volumes), "command": command}


SINGLE = (
    bind("monitoring/prometheus.yml", "/etc/prometheus/prometheus.yml"),
    bind("monitoring/alerts.yml", "/etc/prometheus/alerts.yml"),
)


def test_single_files_are_found() -> None:
    service = prometheus(*SINGLE)
    config = _monitoring.config_of("prometheus", service, ROOT)
    assert config == {
        "config": "monitoring/prometheus.yml",
        "config_inside": "/etc/prometheus/prometheus.yml",
    }
    assert _monitoring.rules_of(service, ROOT, config) == {
        "rules": "monitoring/alerts.yml",
        "rules_inside": "/etc/prometheus/alerts.yml",
    }


def test_a_directory_that_is_mounted_takes_the_rules_too() -> None:
    service = prometheus(bind("prometheus", "/etc/prometheus"))
    config = _monitoring.config_of("prometheus", service, ROOT)
    assert config["config"] == "prometheus/prometheus.yml"
    assert _monitoring.rules_of(service, ROOT, config)["rules"] == "prometheus/alerts.yml"


@pytest.mark.parametrize(
    "command",
    [["--config.file=/conf/p.yml"], ["--config.file", "/conf/p.yml"], "--config.file=/conf/p.yml"],
)
def test_the_command_says_where_the_configuration_is(command: Any) -> None:
    service = prometheus(bind("p.yml", "/conf/p.yml"), command=command)
    assert _monitoring.config_of("prometheus", service, ROOT)["config"] == "p.yml"


def test_a_file_called_rules_is_preferred_to_any_other() -> None:
    service = prometheus(
        bind("p.yml", "/etc/prometheus/prometheus.yml"),
        bind("web.yml", "/etc/prometheus/a-web.yml"),
        bind("r.yml", "/etc/prometheus/rules.yml"),
    )
    config = _monitoring.config_of("prometheus", service, ROOT)
    assert _monitoring.rules_of(service, ROOT, config)["rules"] == "r.yml"


@pytest.mark.parametrize(
    "volumes",
    [
        [],
        [{"type": "volume", "source": "data", "target": "/etc/prometheus"}],
        [{"type": "bind", "source": "/etc/elsewhere", "target": "/etc/prometheus"}],
    ],
)
def test_nothing_of_the_project_is_refused(volumes: list[dict[str, Any]]) -> None:
    with pytest.raises(MonitoringError, match="mount a file of the project"):
        _monitoring.config_of("prometheus", prometheus(*volumes), ROOT)


def test_no_place_for_rules_is_refused_with_the_line_to_add() -> None:
    service = prometheus(SINGLE[0])
    config = _monitoring.config_of("prometheus", service, ROOT)
    with pytest.raises(MonitoringError, match=r"alerts\.yml at /etc/prometheus/alerts\.yml"):
        _monitoring.rules_of(service, ROOT, config)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("prom/node-exporter:v1.9", "node"),
        ("quay.io/prometheuscommunity/postgres-exporter:v0.17.1", "postgres"),
        ("oliver006/redis_exporter@sha256:abc", "redis"),
        ("r.test:5000/blackbox-exporter", "blackbox"),
    ],
)
def test_exporters_are_told_by_their_images(image: str, kind: str) -> None:
    services = {"measure": {"image": image}, "api": {"build": {}}}
    assert _monitoring.exporters(services) == {kind: {"service": "measure", "image": image}}


def test_variables_that_nobody_fills_in_are_found_and_templates_are_not() -> None:
    text = "to: ${ALERT_TO}\n# ${IN_A_COMMENT}\ntext: '{{ $value }} $labels'\nfrom: $ALERT_FROM\n"
    assert _monitoring.unexpanded(text) == ["$ALERT_FROM", "${ALERT_TO}"]


def test_a_service_of_two_files_is_named_once() -> None:
    one = "services:\n  grafana:\n    image: x\n  api:\n    image: y\nvolumes:\n  data: {}\n"
    other = "services:\n  grafana:\n    image: x\nvolumes:\n  data: {}\n"
    (said,) = _monitoring.twice({"prod.yml": one, "monitoring.yml": other})
    assert said.startswith("The service grafana is in prod.yml and in monitoring.yml")
    assert _monitoring.twice({"prod.yml": one}) == []


def test_networks_have_the_names_of_the_engine() -> None:
    model = {
        "services": {"api": {"networks": {"backend": None}}},
        "networks": {"backend": {"name": "carrental_backend"}},
    }
    assert _monitoring.networks(model, "api") == ["carrental_backend"]
    assert _monitoring.networks(model, "gone") == []
