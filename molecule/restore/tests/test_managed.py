# SPDX-License-Identifier: GPL-3.0-or-later
"""A database that is managed elsewhere: the stack has its tools, and nothing of the server."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import REPO, Run, eventually, fetch, inspect, on_server, playbook, release
from tiers import proof
from variants import replace_once

NAME = "managed"
COMPOSE = "docker-compose.prod.yml"
DATA = "    volumes:\n      - postgres_data:/var/lib/postgresql/data\n"
BACKUPS = "/opt/carrental/backups"
ENV = "/opt/carrental/.env"
PASSWORD = "/home/deploy/.database-password"
PROJECT = "carrental-monitoring"
OWN = "/opt/carrental/.ops/monitoring"
EXPORTER = f"{PROJECT}-postgres-exporter-1"
EXPORTERS = ("node", "postgres", "redis")
# No superuser: what docs/managed.md says is enough.
ROLE = """
CREATE ROLE carrental LOGIN CREATEDB PASSWORD '{password}';
GRANT pg_monitor, pg_signal_backend TO carrental;
CREATE DATABASE carrental OWNER carrental;
"""


def sql(statement: str, database: str = "carrental") -> str:
    """Ask the server elsewhere, in its own container."""
    ask = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "carrental", "-d", database)
    return on_server("docker", "exec", NAME, *ask, "-c", statement)


def backup(**extra: Any) -> Run:
    return playbook("backup", backup_objects=False, backup_schedule=False, **extra)


def address() -> str:
    return inspect(NAME, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")


def endpoints() -> dict[str, Any]:
    """What the inventory says of it."""
    login = {"user": "carrental", "password_file": PASSWORD, "database": "carrental"}
    return {"postgres": {"host": address(), **login}}


def exported() -> str:
    """What the brought exporter says within the time of a scrape, asked at its own address."""
    networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    address = inspect(EXPORTER, networks).split()[0]
    asked = f"http://{address}:9187/metrics"
    return on_server("curl", "-s", "--max-time", "10", asked, check=False)


def deploy(folder: str) -> Run:
    return playbook(
        "deploy",
        health_endpoints=endpoints(),
        deploy_version=release("v1"),
        deploy_config_dir=folder,
        deploy_stateful="postgres",
        deploy_watch=False,
    )


def start(network: str) -> None:
    """Start a server outside the stack, with its data, and a role as a provider gives one."""
    env = on_server("cat", ENV)
    password = re.search(r"^POSTGRES_PASSWORD=(.+)$", env, re.MULTILINE)
    assert password
    options = [f"--network={network}", f"--env=POSTGRES_PASSWORD={password[1]}"]
    on_server("docker", "run", "-d", f"--name={NAME}", *options, "postgres:16")
    ready = ("docker", "exec", NAME, "pg_isready", "-h", "127.0.0.1")
    eventually(lambda: "accepting" in on_server(*ready, check=False), "the other server answers")
    as_provider = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres"]
    role = ROLE.format(password=password[1].replace("'", "''"))
    on_server("docker", "exec", "-i", NAME, *as_provider, stdin=role)
    load = f"docker exec -i {NAME} psql -XqU carrental -v ON_ERROR_STOP=1 carrental"
    on_server("sh", "-c", f"docker exec postgres pg_dump -U carrental carrental | {load}")
    on_server("install", "-m", "600", "-o", "deploy", "/dev/stdin", PASSWORD, stdin=password[1])


@pytest.fixture(scope="module", autouse=True)
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have the database of the stack elsewhere, and in the stack again in the end."""
    networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
    folder: Path = tmp_path_factory.mktemp("managed") / "stack"
    shutil.copytree(REPO / "demo/stack", folder)
    try:
        start(inspect("postgres", networks).split()[0])
        file = folder / COMPOSE
        replace_once(file, "@postgres:5432/", f"@{address()}:5432/")
        replace_once(file, DATA, "    entrypoint: [sleep, infinity]\n    init: true\n")
        user = "      POSTGRES_USER: ${POSTGRES_USER:?}\n"
        login = "      PGPASSWORD: ${POSTGRES_PASSWORD:?}\n"
        replace_once(file, user, f"      PGHOST: {address()}\n{login}{user}")
        run = deploy(str(folder))
        assert run.code == 0, run.output
        assert inspect("postgres", "{{json .Config.Entrypoint}}") == '["sleep","infinity"]'
        yield
    finally:
        back = deploy(str(REPO / "demo/stack"))
        on_server("docker", "rm", "-f", "-v", NAME)
        on_server("rm", "-f", PASSWORD)
        assert back.code == 0, back.output


@proof
def test_the_tools_log_in_as_no_superuser() -> None:
    assert sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'carrental'") == "f"


@proof
def test_it_is_backed_up_and_restored_by_the_tools_in_the_stack() -> None:
    count = sql("SELECT count(*) FROM bookings")
    run = backup()
    assert run.code == 0, run.output
    made = run.result["backup"]
    manifest = json.loads(on_server("sh", "-c", f"cat {BACKUPS}/{made}.*.json"))
    identifier = sql("SELECT system_identifier FROM pg_control_system()")
    assert manifest["system_identifier"] == identifier

    sql("CREATE TABLE wrong AS SELECT 1")
    sql("DELETE FROM bookings")
    run = playbook("restore", restore_from=made, restore_confirm="carrental")
    assert run.code == 0, run.output
    assert sql("SELECT to_regclass('wrong') IS NULL") == "t"
    assert sql("SELECT count(*) FROM bookings") == count
    kept = run.result["previous"]
    assert sql("SELECT count(*) FROM wrong", kept) == "1"
    assert fetch("/api/v1/health")[0] == 200


@proof
def test_a_backup_of_it_can_be_restored_in_a_drill() -> None:
    run = playbook("drill", drill_schedule=False)
    assert run.code == 0, run.output


@proof
def test_the_server_is_asked_and_not_the_container_of_the_tools() -> None:
    run = playbook("health", health_endpoints=endpoints())
    assert run.code == 0, run.output
    run.line("[OK] PostgreSQL is ready")
    run = playbook("status", status_all=True, health_endpoints=endpoints())
    assert run.code == 0, run.output
    assert [
        one for one in run.result["checks"] if one["service"] == "postgres" and one["down"]
    ] == []
    run = playbook("tune", "--check")
    assert run.result["verdict"] == "refused", run.output
    assert "is managed elsewhere" in run.result["headline"]
    asked = endpoints()
    on_server("docker", "stop", NAME)
    try:
        run = playbook("health", health_endpoints=asked)
        assert run.code == 2
        run.line("[FAIL] PostgreSQL is not ready")
    finally:
        on_server("docker", "start", NAME)
        eventually(lambda: fetch("/api/v1/health")[0] == 200, "the API has its database again")


@proof
def test_the_exporter_that_is_brought_asks_the_server_elsewhere() -> None:
    kinds = ["prometheus", "alertmanager", "grafana"]
    on_server("docker", "rm", "-f", *kinds, *[f"{one}-exporter" for one in EXPORTERS])
    asked = endpoints()
    try:
        run = playbook(
            "monitor",
            carrental_compose_files=[COMPOSE],
            carrental_services={name: {"enabled": False} for name in kinds},
            health_endpoints=asked,
        )
        assert run.code == 0, run.output
        assert re.search(r"^pg_up 1$", exported(), re.MULTILINE)
        # Where the container of the tools was asked nobody would answer.
        on_server("docker", "stop", NAME)
        eventually(lambda: "\npg_up 0\n" in exported(), "the exporter misses the server")
        shown = on_server("docker", "inspect", EXPORTER) + on_server("cat", f"{OWN}/compose.yml")
        assert on_server("cat", PASSWORD) not in shown
    finally:
        on_server("docker", "start", NAME)
        ours = f"label=com.docker.compose.project={PROJECT}"
        on_server("sh", "-c", f"docker ps -aq --filter {ours} | xargs -r docker rm -f")


@proof
def test_its_log_is_that_of_its_provider() -> None:
    run = backup(backup_point_in_time=True)
    try:
        assert run.code == 2
        assert "is not a server of this stack" in run.result["headline"]
        assert sql("SELECT count(*) FROM pg_replication_slots") == "0"
    finally:
        assert backup().code == 0
