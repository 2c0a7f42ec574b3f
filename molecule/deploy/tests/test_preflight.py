# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops a deploy before it begins: found for real, told with its reason, nothing touched."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support import SERVER, Run, inspect, on_server, playbook, release, serving, sql, tree
from tiers import proof

NGINX_CONF = "/opt/carrental/nginx/nginx.conf"
DESTRUCTIVE = "20260401090000_customer_full_name"
NOTE = "20260301090000_booking_note"


def containers() -> dict[str, str]:
    """Id and start of every container of the server."""
    listed = on_server("docker", "ps", "-aq", "--no-trunc").split()
    return {one: inspect(one, "{{.State.StartedAt}}") for one in sorted(listed)}


def images() -> set[str]:
    return set(on_server("docker", "images", "-aq", "--no-trunc").split())


def records() -> list[str]:
    return on_server("sh", "-c", "ls /opt/carrental/.ops/releases/*.json | sort").splitlines()


def deploy(name: str, *argv: str, **extra: Any) -> Run:
    return playbook("deploy", *argv, deploy_version=release(name), deploy_watch=False, **extra)


def refused(run: Run, *says: str) -> None:
    assert run.code != 0
    assert run.result["verdict"] == "refused", run.output
    for text in says:
        assert text in run.result["headline"], run.result["headline"]


@contextmanager
def changed_nginx_conf(line: str) -> Iterator[None]:
    """Somebody adds a line on the server, in place, as the container sees it."""
    on_server("cp", "-p", NGINX_CONF, "/root/nginx.conf.good")
    on_server("sh", "-c", f"cat >> {NGINX_CONF}", stdin=line + "\n")
    try:
        yield
    finally:
        on_server("sh", "-c", f"cat /root/nginx.conf.good > {NGINX_CONF}")


def test_a_destructive_migration_is_refused_before_anything_is_touched() -> None:
    before, files, seen = serving(), tree(reports=False), containers()
    run = deploy("v3")
    refused(
        run,
        f"{DESTRUCTIVE} is destructive",
        "ALTER TABLE customers RENAME COLUMN name TO full_name",
        "ALTER TABLE customers DROP COLUMN phone",
        "deploy_allow_destructive_migration=true",
    )
    assert any(f"{DESTRUCTIVE}: destructive" in line for line in run.result["lines"])
    assert serving() == before
    assert containers() == seen
    # The lock and the journal of the refused operation are no part of the stack.
    changed = set(tree(reports=False).splitlines()) ^ set(files.splitlines())
    assert not [line for line in changed if "/.ops" not in line]
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'customers'"
    assert "phone" in sql(columns).split()


def test_a_proxy_that_refuses_its_configuration_stops_a_deploy() -> None:
    before, seen = serving(), containers()
    with changed_nginx_conf("no_such_directive on;"):
        tested = on_server("sh", "-c", "docker exec nginx nginx -t 2>&1", check=False)
        assert 'unknown directive "no_such_directive"' in tested
        run = deploy("v1" if before == release("v2") else "v2")
        refused(run, "proxy: nginx -t: ", 'unknown directive "no_such_directive"', NGINX_CONF[-10:])
        assert serving() == before
    assert containers() == seen


@proof
def test_check_mode_tells_of_a_destructive_migration_and_writes_nothing() -> None:
    files, seen, there = tree(), containers(), images()
    begun = on_server("date", "+%s.%N")
    run = deploy("v3", "--check", "--diff")
    refused(run, f"{DESTRUCTIVE} is destructive")
    wanted = ["container=create", "container=destroy", "container=start", "image=pull"]
    events = on_server(
        *("docker", "events", "--since", begun, "--until", on_server("date", "+%s.%N")),
        *(word for one in wanted for word in ("--filter", f"event={one.partition('=')[2]}")),
    )
    assert events == ""
    assert tree() == files
    assert containers() == seen
    assert images() == there


@proof
def test_check_mode_names_an_additive_migration() -> None:
    if NOTE in sql("SELECT migration_name FROM _prisma_migrations").split():
        forget_the_note()
    run = deploy("v2", "--check")
    assert run.code == 0, run.output
    assert f"pending migration {NOTE}: additive" in run.result["lines"]
    assert deploy("v2").code == 0


def forget_the_note() -> None:
    """Take back the migration of v2."""
    assert deploy("v1").code == 0
    sql("ALTER TABLE bookings DROP COLUMN note")
    sql("DELETE FROM _prisma_migrations WHERE migration_name LIKE '%_booking_note'")


@proof
def test_a_migration_gives_up_on_a_lock_and_blocks_nothing() -> None:
    forget_the_note()
    held = "BEGIN; LOCK TABLE bookings IN ACCESS SHARE MODE; SELECT pg_sleep(600)"
    argv = ["docker", "exec", SERVER, "docker", "exec", "postgres"]
    argv += ["psql", "-U", "carrental", "-d", "carrental", "-c", held]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as session:
        try:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK TABLE%'"
            while sql(waiting) != "1":
                time.sleep(0.2)
            time.sleep(6)
            run = deploy("v2", deploy_migrate_lock_timeout=3)
        finally:
            kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE "
            sql(f"{kill} 'BEGIN; LOCK TABLE%' AND pid <> pg_backend_pid()")
            session.wait(timeout=30)
    assert run.code != 0
    assert "lock timeout" in run.result["headline"], run.result["headline"]
    assert "marked as rolled back" in run.result["headline"], run.result["headline"]
    assert any("holds locks on bookings" in line for line in run.result["lines"])
    assert serving() == release("v1")
    assert deploy("v2").code == 0
    assert serving() == release("v2")


@proof
def test_a_waiver_needs_a_reason_and_is_recorded() -> None:
    target = "v1" if serving() == release("v2") else "v2"
    much = {"deploy_min_free_mb": 2**40}
    refused(deploy(target, **much), "space: ", "deploy_min_free_mb", "deploy_waive")
    refused(deploy(target, deploy_waive={"space": ""}, **much), "no reason for space")
    refused(deploy(target, deploy_waive={"spcae": "a typo"}, **much), "spcae")
    run = deploy(target, deploy_waive={"space": "the disk grows tonight"}, **much)
    assert run.code == 0, run.output
    assert any("(waived: the disk grows tonight)" in line for line in run.result["lines"])
    record = json.loads(on_server("cat", records()[-1]))
    assert record["version"] == release(target)
    assert record["waived"] == {"space": "the disk grows tonight"}


@proof
def test_the_checks_are_listed_and_nothing_happens() -> None:
    seen = containers()
    run = playbook("deploy", deploy_preflight_list=True)
    assert run.code == 0, run.output
    assert run.result["verdict"] == "no_change"
    for name in ("health", "database", "proxy", "space", "memory", "ci", "outside"):
        assert any(line.startswith(f"{name}: ") for line in run.result["lines"])
    assert containers() == seen


@proof
def test_a_database_that_takes_no_writes_stops_a_deploy() -> None:
    before = serving()
    sql("ALTER SYSTEM SET default_transaction_read_only = on")
    sql("SELECT pg_reload_conf()")
    try:
        assert sql("SHOW default_transaction_read_only") == "on"
        refused(deploy("v1" if before == release("v2") else "v2"), "database: ")
    finally:
        sql("ALTER SYSTEM RESET default_transaction_read_only")
        sql("SELECT pg_reload_conf()")
    assert serving() == before


@proof
def test_a_broken_api_does_not_stop_the_deploy_that_mends_it() -> None:
    on_server("docker", "stop", "-t", "1", "api")
    run = deploy("v2")
    assert run.code == 0, run.output
    assert any("this deploy replaces api" in line for line in run.result["lines"]) or any(
        "api does not run" in line for line in run.result["lines"]
    )
    assert serving() == release("v2")


class Github:
    """What the API of GitHub says of a commit."""

    def __init__(self) -> None:
        self.conclusion = "success"
        self.asked: list[tuple[str, str]] = []
        github = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                github.asked.append((self.path, self.headers.get("Authorization", "")))
                runs = [{"name": "test", "status": "completed", "conclusion": github.conclusion}]
                body = {"check_runs": runs} if "check-runs" in self.path else {"statuses": []}
                content = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@proof
def test_a_commit_that_did_not_pass_is_refused_and_the_token_is_shown_nowhere() -> None:
    token, github = "ghp_0123456789abcdef", Github()
    ci = {
        "deploy_ci_url": github.url,
        "deploy_ci_repository": "example/car-rental",
        "deploy_ci_token": token,
    }
    # It never runs, so that there is something to release whatever came before.
    candidate = "exits"
    github.conclusion = "failure"
    run = deploy(candidate, "-vvv", **ci)
    refused(run, "ci: example/car-rental at", "test is failure")
    assert token not in run.output
    assert {one[1] for one in github.asked} == {f"Bearer {token}"}
    path = github.asked[0][0].partition("?")[0]
    assert path == f"/repos/example/car-rental/commits/{release(candidate)}/status"
    github.conclusion = "success"
    assert deploy(candidate, "--check", **ci).code == 0
