# SPDX-License-Identifier: GPL-3.0-or-later
"""health.yml on the real stack: green when it is, and right about what is broken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from faults import (
    Fault,
    bucket_gone,
    container,
    disk_full,
    expired_certificate,
    full_connection_slots,
    is_well,
    name_gone,
    read_only_database,
    redis_other_password,
    wrong_role_password,
)
from support import eventually, on_server, playbook, sql, tree
from tiers import proof

SERVICES = [
    "API is healthy",
    "Web is healthy",
    "PostgreSQL is ready",
    "Redis is responding",
    "MinIO is healthy",
    "Nginx is serving",
    "Prometheus is healthy",
    "Grafana is healthy",
    "Alertmanager is healthy",
]


@pytest.fixture(autouse=True)
def green() -> None:
    """Every test begins with a stack that is well, asked another way than health.yml asks."""
    eventually(is_well, "the stack is well before the test")


def test_all_ok_ends_0() -> None:
    run = playbook("health")
    assert run.code == 0, run.output
    for text in SERVICES:
        assert "[OK] " in run.line(text), run.output
    assert re.search(r"\[OK\] Disk usage at \d+%", run.output)
    assert "[FAIL]" not in run.output
    assert "[WARN]" not in run.output
    assert run.changed == 0
    assert run.result["verdict"] == "ok"


def test_report_on_the_server_is_the_result() -> None:
    run = playbook("health")
    newest = on_server(
        "sh", "-c", "ls /opt/carrental/.ops/reports/*-health.json | sort | tail -n 1"
    )
    assert on_server("stat", "-c", "%a %U", newest) == "600 deploy"
    kept = json.loads(on_server("cat", newest))
    assert kept["checks"] == run.result["checks"]


def test_check_mode_leaves_no_trace() -> None:
    before = tree()
    objects = sql("SELECT count(*) FROM pg_stat_user_tables")
    run = playbook("health", "--check", "--diff")
    assert run.code == 0, run.output
    assert tree() == before
    assert sql("SELECT count(*) FROM pg_stat_user_tables") == objects


def test_no_secret_at_vvv() -> None:
    secrets = set(
        re.findall(
            r"^(?:\w*(?:PASSWORD|SECRET)\w*)=(.+)$",
            on_server("cat", "/opt/carrental/.env"),
            re.MULTILINE,
        )
    )
    assert len(secrets) >= 4
    run = playbook("health", "-vvv")
    assert not [secret for secret in secrets if secret in run.output]
    reports = on_server("sh", "-c", "cat /opt/carrental/.ops/reports/*")
    assert not [secret for secret in secrets if secret in reports]


def case(  # noqa: PLR0917  # a row of the table below
    name: str, fault: Fault, line: str, says: str, code: int, tier: bool = False
) -> object:
    """One fault: what is printed for it, and how the run ends."""
    return pytest.param(fault, line, says, code, id=name, marks=[proof] if tier else [])


@pytest.mark.parametrize(
    ("fault", "line", "says", "code"),
    [
        case(
            "redis stopped",
            container("stop", "start", "redis", "exited"),
            "[WARN] Redis is down (fallback cache active)",
            "stopped by hand",
            0,
        ),
        case(
            "api stopped",
            container("stop", "start", "api", "exited"),
            "[FAIL] API is not responding",
            "stopped by hand",
            2,
        ),
        case(
            "postgres paused",
            container("pause", "unpause", "postgres", "paused"),
            "[FAIL] PostgreSQL is not ready",
            "paused",
            2,
        ),
        case(
            "wrong role password",
            wrong_role_password,
            "[FAIL] PostgreSQL is not ready",
            "password",
            2,
        ),
        case("bucket gone", bucket_gone, "[FAIL] MinIO", "bucket carrental", 2),
        case(
            "disk full",
            disk_full,
            "[FAIL] Disk usage at 100%",
            "/opt/carrental/backups",
            2,
        ),
        case(
            "read-only database",
            read_only_database,
            "[FAIL] PostgreSQL",
            "read-only",
            2,
            tier=True,
        ),
        case(
            "no connection slots",
            full_connection_slots,
            "[FAIL] PostgreSQL",
            "connection",
            2,
            tier=True,
        ),
        case(
            "redis wants another password",
            redis_other_password,
            "[WARN] Redis",
            "password",
            0,
            tier=True,
        ),
        case(
            "expired certificate",
            expired_certificate,
            "[FAIL] Nginx",
            "expired",
            2,
            tier=True,
        ),
        case(
            "name gone",
            name_gone,
            "[FAIL] PostgreSQL is not ready",
            "no network",
            2,
            tier=True,
        ),
        case(
            "web paused",
            container("pause", "unpause", "web", "paused"),
            "[FAIL] Web is not responding",
            "paused",
            2,
            tier=True,
        ),
        case(
            "minio killed",
            container("kill", "start", "minio", "exited"),
            "[FAIL] MinIO is not responding",
            "by hand",
            2,
            tier=True,
        ),
        case(
            "grafana stopped",
            container("stop", "start", "grafana", "exited"),
            "[WARN] Grafana is not responding",
            "stopped by hand",
            0,
            tier=True,
        ),
    ],
)
def test_one_fault(fault: Fault, line: str, says: str, code: int) -> None:
    with fault():
        run = playbook("health")
    printed = run.line(line)
    assert says in run.output.split(line, 1)[1].split("[", 1)[0], printed
    assert run.code == code, run.output
    assert run.result["verdict"] == ("failed" if code else "ok")
    # The module's own time, with what hangs: below its deadline of 10 s.
    assert run.result["numbers"]["duration_ms"] < 10_500


def test_unknown_service_is_refused() -> None:
    run = playbook("health", health_only=["databse"])
    assert run.code == 2
    assert "databse" in run.output
    assert "postgres" in run.line("databse")
    assert run.result["verdict"] == "refused"


@proof
def test_services_without_a_tier_may_be_down_at_once() -> None:
    absent = {"role": "stateless", "probe": "none", "severity": "P2"}
    run = playbook(
        "health", carrental_services={"billing": absent, "worker": absent}, health_depth="quick"
    )
    assert run.code == 2
    assert "[FAIL] billing is not responding: there is no container of it" in run.output
    assert run.result["next"].startswith("Begin with billing:")


def test_what_was_edited_since_the_release_is_told_before_a_restart_reads_it() -> None:
    env = "/opt/carrental/.env"
    on_server("sed", "-i.before", "$ a # by hand", env)
    try:
        run = playbook("health", health_depth="quick")
    finally:
        on_server("mv", f"{env}.before", env)
    assert run.code == 0, run.output
    assert "[WARN] Edited since the release: .env: " in run.line("Edited since")
    assert playbook("health", health_depth="quick").result["verdict"] == "ok"


def test_server_that_does_not_answer_is_reported() -> None:
    run = playbook("health", "-e", "ansible_port=1")
    assert run.code != 0
    assert run.result["verdict"] == "unknown"


def test_limit_does_not_hide_a_failure() -> None:
    """--limit leaves out the play on localhost that ends with the exit code otherwise."""
    well = playbook("health", "--limit", "test")
    assert well.code == 0, well.output
    assert "[OK] API is healthy" in well.line("API is")
    with container("stop", "start", "api", "exited")():
        run = playbook("health", "--limit", "test")
    assert run.code != 0
    assert "[FAIL] API is not responding" in run.line("API is")
    gone = playbook("health", "--limit", "test", "-e", "ansible_port=1")
    assert gone.code != 0


def test_junit_has_a_case_for_every_check(tmp_path: Path) -> None:
    run = playbook("health", "-e", "health_junit=true", carrental_report_dir=str(tmp_path))
    assert run.code == 0, run.output
    suite = ElementTree.parse(tmp_path / "health-test.junit.xml").getroot()
    checks = json.loads((tmp_path / "health-test.json").read_text())["checks"]
    assert [case.get("name") for case in suite] == [check["name"] for check in checks]
    assert suite.get("failures") == "0"
