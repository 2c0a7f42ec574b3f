# SPDX-License-Identifier: GPL-3.0-or-later
"""monitor.yml: alerts that exist, fire, arrive and are routed, on the stack's own monitoring."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
import sinks
import yaml
from support import REPO, Run, eventually, inspect, on_server, playbook, release, tree
from tiers import proof

PROMETHEUS, ALERTMANAGER = "http://127.0.0.1:9090", "http://127.0.0.1:9093"
MONITORED = ["prometheus", "alertmanager", "grafana", "postgres", "redis", "minio"]
FILES = ["prometheus.yml", "alerts.yml", "alertmanager.yml"]
ROOT = "/opt/carrental"
OWN = f"{ROOT}/.ops/monitoring"
# What only later operations leave: the backup writes these, and the proof itself one.
LATER = [
    "carrental_backup_last_success_timestamp_seconds",
    "carrental_backup_last_verified_timestamp_seconds",
    "carrental_backup_last_drill_timestamp_seconds",
    "carrental_backup_drill_seconds",
    "carrental_backup_size_bytes",
    "carrental_backup_duration_seconds",
    "carrental_backup_last_offsite_timestamp_seconds",
    "carrental_wal_receiving",
    "carrental_wal_checked_timestamp_seconds",
    "carrental_wal_unbroken",
    'carrental_monitoring_proof{severity="P4"}',
]


def ask(base: str, path: str) -> Any:
    """A JSON document of Prometheus or Alertmanager, by curl on the server."""
    return json.loads(on_server("curl", "-s", "--max-time", "10", base + path))


def query(expression: str) -> list[dict[str, Any]]:
    answer = ask(PROMETHEUS, f"/api/v1/query?query={quote(expression)}")
    assert answer["status"] == "success", (expression, answer)
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def active_targets() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(PROMETHEUS, "/api/v1/targets?state=active")["data"][
        "activeTargets"
    ]
    return found


def unread() -> list[str]:
    """Targets that were not read the last time; a busy server may miss one."""
    return [one["lastError"] for one in active_targets() if one["health"] != "up"]


def in_force() -> str:
    return str(ask(PROMETHEUS, "/api/v1/status/config")["data"]["yaml"])


def firing() -> set[str]:
    return {one["metric"]["alertname"] for one in query('ALERTS{alertstate="firing"}')}


def started() -> dict[str, str]:
    """Which containers run since when; a reload changes neither."""
    return {name: inspect(name, "{{.Id}} {{.State.StartedAt}}") for name in MONITORED}


def written() -> dict[str, str]:
    return {name: on_server("cat", f"{ROOT}/monitoring/{name}") for name in FILES}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(written()["alerts.yml"])
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    """Every PromQL expression of the rules and of the dashboards."""
    found = [rule["expr"] for rule in rules()]
    for path in sorted((REPO / "roles/monitoring/files/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            found += [target["expr"] for target in panel["targets"]]
    return found


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    address = sinks.start()
    yield address
    on_server("systemctl", "stop", "sinks", check=False)


def channels(gateway: str) -> list[dict[str, Any]]:
    return [
        {
            "name": "mail",
            "type": "email",
            "to": "oncall@example.com",
            "from": "alerts@example.com",
            "host": gateway,
            "port": sinks.SMTP_PORT,
            "tls": False,
        },
        {
            "name": "hook",
            "type": "webhook",
            "url": f"http://{gateway}:{sinks.HTTP_PORT}/a-secret-path",
            "severities": ["P1", "P2"],
        },
    ]


def test_rules_and_jobs_are_in_force_and_every_target_is_read() -> None:
    active = ask(PROMETHEUS, "/api/v1/rules?type=alert")["data"]["groups"]
    loaded = sorted(rule["name"] for group in active for rule in group["rules"])
    assert loaded == sorted(rule["alert"] for rule in rules())
    assert {"HighErrorRate", "SlowQueryRate", "DiskSpaceLow", "Watchdog"} <= set(loaded)
    assert len(active_targets()) > 12
    eventually(lambda: not unread(), "every target is read")
    status = ask(ALERTMANAGER, "/api/v2/status")["config"]["original"]
    assert [one for one in ("P1", "P2", "P3", "P4") if f"name: {one}" not in status] == []
    assert 'alertname="Watchdog"' in status


def test_every_rule_says_what_an_operator_needs() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("P1", "P2", "P3", "P4"), rule
        assert rule["labels"]["response"], rule
        assert rule["annotations"]["summary"], rule
        assert "#" in rule["annotations"]["runbook_url"], rule


def proven(gateway: str) -> Run:
    # Read often, so that the test is short; nothing else differs.
    run = playbook(
        "monitor",
        carrental_channels=channels(gateway),
        monitoring_prove=True,
        monitoring_interval="3s",
    )
    assert run.code == 0, run.output
    return run


@proof
def test_a_test_alert_arrives_by_mail_and_by_webhook(gateway: str) -> None:
    sinks.forget()
    kept = started()
    run = proven(gateway)
    assert set(run.result["proof"]["P1"]) == {"email", "webhook"}, run.result
    mail, *later = [one for one in sinks.received("mail") if "MonitoringProof" in one["subject"]]
    assert [one for one in later if "is over" not in one["subject"]] == []
    assert mail["to"] == ["oncall@example.com"]
    assert mail["subject"].startswith("[P1]")
    hook = next(one["body"] for one in sinks.received("webhook") if one["body"].get("alerts"))
    assert hook["alerts"][0]["labels"]["alertname"] == "MonitoringProof"
    # Its address is a secret: it stands where Alertmanager alone reads it, and nowhere else.
    assert "a-secret-path" not in run.output + written()["alertmanager.yml"]
    assert started() == kept
    listed = on_server(
        "docker", "exec", "alertmanager", "ls", "-ln", "/alertmanager/carrental-secrets"
    )
    assert re.search(r"^-r--------\s+1 65534 .* hook$", listed, re.MULTILINE), listed


@proof
def test_a_proof_right_after_a_proof_is_told_too(gateway: str) -> None:
    sinks.forget()
    for _ in range(2):
        proven(gateway)
    begun = [
        one["subject"]
        for one in sinks.received("mail")
        if "MonitoringProof" in one["subject"] and "is over" not in one["subject"]
    ]
    assert len([one for one in begun if one.startswith("[P1]")]) == 2, begun


@proof
def test_a_receiver_that_is_dead_is_no_receiver(gateway: str) -> None:
    dead = {**channels(gateway)[1], "url": f"http://{gateway}:9/nobody"}
    run = playbook(
        "monitor",
        carrental_channels=[channels(gateway)[0], dead],
        monitoring_prove=True,
        monitoring_prove_timeout=90,
        monitoring_interval="3s",
    )
    assert run.code != 0, run.output
    assert "not delivered by webhook (1 channels" in run.result["headline"], run.result
    deaf = {**channels(gateway)[0], "severities": ["P3"]}
    run = playbook("monitor", carrental_channels=[deaf], monitor_prove="true")
    assert "Nobody hears of P1" in run.result["headline"], run.result


def test_every_rule_fires_and_stays_quiet_in_promtool() -> None:
    cases = yaml.safe_load(on_server("cat", f"{OWN}/rules/alerts_test.yml"))["tests"]
    names = {tuple(one["name"].split()) for one in cases}
    for rule in rules():
        own = (rule["alert"], rule["labels"]["severity"])
        assert (*own, "fires") in names, own
        # The dead man's switch has no quiet case.
        assert (*own, "quiet") in names or rule["alert"] == "Watchdog", own
    image = inspect("prometheus", "{{.Config.Image}}")
    argv = ["docker", "run", "--rm", "-v", f"{OWN}/rules:/rules:ro", "-w", "/rules"]
    said = on_server(
        *argv, "--user", "0", "--entrypoint", "promtool", image, "test", "rules", "alerts_test.yml"
    )
    assert "SUCCESS" in said and "FAILED" not in said, said


def test_every_expression_runs_and_every_metric_exists() -> None:
    path = f"{ROOT}/.ops/metrics/of-the-test.prom"
    on_server("tee", path, stdin="".join(f"{name} 1\n" for name in LATER))
    on_server("chmod", "644", path)
    try:
        eventually(lambda: bool(query("carrental_backup_size_bytes")), "the text file is read", 60)
        known = set(ask(PROMETHEUS, "/api/v1/label/__name__/values")["data"])
        missing: dict[str, str] = {}
        for expression in expressions():
            query(expression)
            bare = re.sub(r'"[^"]*"', '""', expression)
            # A name before a selector is a metric, whatever else the language has.
            for name in re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{", bare):
                if name not in known:
                    missing[name] = expression
        assert missing == {}
    finally:
        on_server("rm", "-f", path)


def files() -> list[str]:
    """What lies on the server, but for what the collector writes every minute."""
    return [line for line in tree().splitlines() if "/.ops/metrics" not in line]


def test_a_plan_leaves_no_trace_and_nothing_is_restarted() -> None:
    before, kept = files(), started()
    run = playbook("monitor", "--check", "--diff", monitoring_interval="20s")
    assert run.code == 0, run.output
    assert any("prometheus.yml" in line for line in run.result["changed"]), run.result
    assert files() == before
    assert started() == kept


def test_a_broken_rule_never_reaches_prometheus() -> None:
    before, kept = written(), started()
    bad = [{"name": "own", "rules": [{"alert": "Broken", "expr": "sum(((", "labels": {}}]}]
    run = playbook("monitor", monitoring_extra_groups=bad)
    assert run.code != 0
    assert "prometheus refuses" in run.result["headline"], run.result
    assert (written(), started()) == (before, kept)
    assert query("prometheus_config_last_reload_successful")[0]["value"][1] == "1"


@proof
def test_a_server_without_cron_is_refused_before_anything_is_changed() -> None:
    before = written()
    on_server("mv", "/usr/bin/crontab", "/usr/bin/crontab.away")
    try:
        run = playbook("monitor", monitoring_interval="20s")
    finally:
        on_server("mv", "/usr/bin/crontab.away", "/usr/bin/crontab")
    assert run.code != 0
    assert "run playbooks/bootstrap.yml" in run.result["headline"], run.result
    assert written() == before


@proof
def test_old_files_are_back_when_prometheus_does_not_take_new_ones() -> None:
    before, had = written(), in_force()
    # It stands still: it gets the signal and reads nothing.
    on_server("docker", "kill", "--signal", "STOP", "prometheus")
    try:
        run = playbook("monitor", monitoring_interval="20s", monitoring_reload_timeout=4)
    finally:
        on_server("docker", "kill", "--signal", "CONT", "prometheus")
    assert run.code != 0
    assert "The old files are back" in run.result["headline"], run.result
    assert written() == before
    eventually(lambda: in_force() == had, "it answers with what it had")


@proof
def test_a_release_leaves_the_monitoring_is_silent_and_is_told(gateway: str) -> None:
    before, kept = written(), started()
    sinks.forget()
    told = [
        *channels(gateway)[:1],
        {"name": "gone", "type": "webhook", "url": f"http://{gateway}:1/secret-of-nobody"},
    ]
    run = playbook(
        "deploy", deploy_version=release("v2"), deploy_watch=False, carrental_channels=told
    )
    assert run.code == 0, run.output
    assert written() == before
    assert started() == kept
    (mail,) = sinks.received("mail")
    assert "deploy ok" in mail["subject"]
    assert any(line.startswith("not told by gone") for line in run.result["lines"]), run.result
    assert "secret-of-nobody" not in run.output
    silences = ask(ALERTMANAGER, "/api/v2/silences")
    assert silences, "the deploy was not silent about what it causes"
    assert {one["status"]["state"] for one in silences} == {"expired"}
    # What monitor.yml wrote is no edit, and no reason for another release.
    again = playbook("deploy", deploy_version=release("v2"), deploy_watch=False)
    assert again.result["verdict"] == "no_change", again.result


@proof
def test_a_rollback_leaves_the_monitoring() -> None:
    before = written()
    run = playbook("rollback")
    assert run.code == 0, run.output
    assert written() == before


@contextmanager
def stopped(container: str) -> Iterator[None]:
    on_server("docker", "stop", "-t", "2", container)
    try:
        yield
    finally:
        on_server("docker", "start", container)


@pytest.mark.parametrize(
    ("container", "alert", "by_hook"),
    [
        ("redis", "RedisDown", False),
        ("redis-exporter", "RedisDown", False),
        ("postgres", "PostgresDown", True),
        ("node-exporter", "ExporterDown", True),
        ("api", "ApiDown", True),
        ("carrental-monitoring-blackbox-exporter-1", "WebDown", True),
    ],
)
@proof
def test_what_stops_is_told_to_those_who_hear_of_it(
    container: str, alert: str, by_hook: bool, gateway: str
) -> None:
    run = playbook("monitor", carrental_channels=channels(gateway), monitoring_group_wait="1s")
    assert run.code == 0, run.output
    # What stopped before this may have fired it too.
    eventually(lambda: alert not in firing(), f"{alert} does not fire", 300)
    sinks.forget()

    def mailed() -> bool:
        return any(alert in one["subject"] for one in sinks.received("mail"))

    def hooked() -> list[str]:
        return [
            one["labels"]["alertname"]
            for hook in sinks.received("webhook")
            for one in hook["body"].get("alerts", [])
        ]

    with stopped(container):
        eventually(mailed, f"{alert} is mailed", 300)
        if by_hook:
            eventually(lambda: alert in hooked(), f"{alert} is told by the webhook")
        else:
            assert alert not in hooked()
    eventually(lambda: alert not in firing(), f"{alert} ends", 300)


@proof
def test_a_replaced_file_is_found_by_what_alertmanager_says() -> None:
    """A mount of a single file stays with the old one after a rename."""
    path = f"{ROOT}/monitoring/alertmanager.yml"
    on_server(
        "sh",
        "-c",
        f"cp -p {path} {path}.new && echo '# by hand' >> {path}.new && mv {path}.new {path}",
    )
    run = playbook("monitor", carrental_channels=[], monitoring_group_wait="7s")
    assert run.code == 0, run.output
    assert any("restarted alertmanager" in line for line in run.result["changed"]), run.result
    told = ask(ALERTMANAGER, "/api/v2/status")["config"]["original"]
    assert "group_wait: 7s" in told


@proof
def test_traps_are_named() -> None:
    path = f"{ROOT}/monitoring/alertmanager.yml"
    kept = on_server("cat", path)
    on_server("tee", path, stdin=kept + "\n# one\nglobal: {smtp_from: '${ALERT_EMAIL_FROM}'}\n")
    run = playbook("monitor", "--check")
    on_server("tee", path, stdin=kept)
    assert any("${ALERT_EMAIL_FROM}" in line for line in run.result["lines"]), run.result


@proof
def test_a_stack_without_monitoring_gets_one(gateway: str) -> None:
    """The last one: it takes the stack's own away."""
    names = ["prometheus", "alertmanager", "grafana"]
    exporters = ["node-exporter", "postgres-exporter", "redis-exporter"]
    on_server("docker", "rm", "-f", *names, *exporters)
    without: dict[str, Any] = {
        "carrental_compose_files": ["docker-compose.prod.yml"],
        "carrental_services": {name: {"enabled": False} for name in names},
        "carrental_channels": channels(gateway),
    }
    run = playbook("monitor", monitoring_prove=True, **without)
    assert run.code == 0, run.output
    assert set(run.result["proof"]["P1"]) == {"email", "webhook"}, run.result
    eventually(lambda: not unread(), "every target is read")
    jobs = {one["labels"]["job"] for one in active_targets()}
    assert {"postgres", "redis", "node", "ops", "api"} <= jobs
    again = playbook("monitor", **without)
    assert (again.result["verdict"], again.changed) == ("no_change", 0), again.result
