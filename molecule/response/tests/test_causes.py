# SPDX-License-Identifier: GPL-3.0-or-later
"""One fault of each kind, and respond.yml that is not told which: the cause that it names.

Diagnosis alone, so nothing of a fault is mended here but by the test. What has a remedy of its
own is in the other two files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from answers import cause, respond
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
from support import eventually, fetch, inspect, on_server, sql
from tiers import proof

pytestmark = proof

BACKUPS = "/opt/carrental/backups"
REDIS = "REDISCLI_AUTH=$REDIS_PASSWORD redis-cli"


@contextmanager
def engine_down() -> Iterator[None]:
    on_server("systemctl", "stop", "docker.socket", "docker")
    try:
        assert on_server("systemctl", "is-active", "docker", check=False) != "active"
        yield
    finally:
        on_server("systemctl", "start", "docker")


@contextmanager
def removed() -> Iterator[None]:
    on_server("docker", "rm", "--force", "redis")
    try:
        yield
    finally:
        up = "docker compose -f docker-compose.prod.yml up -d --no-deps redis"
        on_server("sh", "-c", f"cd /opt/carrental && {up}")


@contextmanager
def port_taken() -> Iterator[None]:
    """The proxy stopped, and somebody else at its port when it is started again."""
    image = inspect("web", "{{.Config.Image}}")
    on_server("docker", "stop", "nginx")
    on_server(
        *("docker", "run", "--detach", "--name", "squatter", "--publish", "443:1"),
        *("--entrypoint", "sleep", image, "300"),
    )
    on_server("docker", "start", "nginx", check=False)
    try:
        assert inspect("nginx", "{{.State.Running}}") == "false"
        yield
    finally:
        on_server("docker", "rm", "--force", "squatter")
        on_server("docker", "start", "nginx")


@contextmanager
def killed_again_and_again() -> Iterator[None]:
    """The process of a container killed from outside, each time that it is up again."""
    process, gone = "{{.State.Pid}}", ["0"]
    for _time in range(3):
        eventually(lambda: inspect("web", process) not in gone, "the engine starts it again")
        gone.append(inspect("web", process))
        on_server("kill", "-KILL", gone[-1])
    eventually(lambda: inspect("web", process) not in gone, "the engine starts it again")
    yield


@contextmanager
def cannot_save() -> Iterator[None]:
    """A directory in the place of the file that Redis writes."""

    def saved(state: str, made: str) -> None:
        script = f"{made}; {REDIS} BGSAVE; {REDIS} INFO persistence"
        told = ("docker", "exec", "-w", "/data", "redis", "sh", "-c", script)
        eventually(
            lambda: f"rdb_last_bgsave_status:{state}" in on_server(*told), f"saving: {state}"
        )

    saved("err", "rm -f dump.rdb; mkdir -p dump.rdb/in-use")
    try:
        yield
    finally:
        saved("ok", "test ! -d dump.rdb || rm -r dump.rdb")


@contextmanager
def no_inodes() -> Iterator[None]:
    on_server("mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=20", "tmpfs", BACKUPS)
    try:
        on_server("sh", "-c", f"for n in $(seq 30); do : >{BACKUPS}/$n; done", check=False)
        yield
    finally:
        on_server("umount", BACKUPS)


@contextmanager
def unverified_backup() -> Iterator[None]:
    """A file by the name that the runbook's script gives, in which nothing is."""
    path = f"{BACKUPS}/carrental_20260101_020000.sql.gz"
    on_server("sh", "-c", f"mkdir -p {BACKUPS} && : >{path}")
    try:
        yield
    finally:
        on_server("rm", path)


@contextmanager
def nothing_done() -> Iterator[None]:
    yield


@contextmanager
def memory_short() -> Iterator[None]:
    """A process in the container that takes what is left below the limit, but for a little."""
    limit = int(inspect("web", "{{.HostConfig.Memory}}"))
    used = on_server("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", "web")
    wanted = int(limit * 0.95 - float(used.split("MiB")[0]) * 2**20)
    # dd has one block in memory, and nobody takes it away.
    hog = f"dd if=/dev/zero bs={wanted} count=1 2>/dev/null | sleep 90"
    on_server("docker", "exec", "-d", "web", "sh", "-c", hog)
    in_use = ("docker", "stats", "--no-stream", "--format", "{{.MemPerc}}", "web")
    eventually(lambda: float(on_server(*in_use).rstrip("%")) > 91, "memory is short")
    try:
        yield
    finally:
        on_server("docker", "restart", "web")


@contextmanager
def one_endpoint_fails() -> Iterator[None]:
    sql("ALTER TABLE bookings RENAME TO bookings_elsewhere")
    try:
        codes = [fetch("/api/v1/bookings")[0] for _ in range(8)]
        assert codes == [500] * 8
        yield
    finally:
        sql("ALTER TABLE bookings_elsewhere RENAME TO bookings")


# The fault, how the incident is called, and the service and the code that are to be named.
CASES: dict[str, tuple[Fault, str, tuple[str, str]]] = {
    # The first, for the log remembers the errors of others.
    "one endpoint": (one_endpoint_fails, "high_error_rate", ("api", "errors_at_one_place")),
    "nothing": (nothing_done, "diagnose", ("", "nothing_wrong")),
    "api stopped": (
        container("stop", "start", "api", "exited"),
        *("api_down", ("api", "container_stopped")),
    ),
    "api paused": (
        container("pause", "unpause", "api", "paused"),
        *("high_error_rate", ("api", "container_paused")),
    ),
    "proxy stopped": (
        container("stop", "start", "nginx", "exited"),
        *("api_down", ("nginx", "container_stopped")),
    ),
    "database paused": (
        container("pause", "unpause", "postgres", "paused"),
        *("api_down", ("postgres", "container_paused")),
    ),
    "store stopped": (
        container("stop", "start", "minio", "exited"),
        *("object_store", ("minio", "container_stopped")),
    ),
    "cache removed": (removed, "redis_down", ("redis", "container_missing")),
    "port taken": (port_taken, "proxy_down", ("nginx", "container_cannot_start")),
    "database off the network": (
        *(name_gone, "api_down"),
        ("postgres", "container_no_network"),
    ),
    "password of Redis": (redis_other_password, "redis_down", ("redis", "redis_password")),
    "Redis cannot save": (cannot_save, "redis_down", ("redis", "redis_cannot_save")),
    "bucket gone": (bucket_gone, "object_store", ("minio", "store_bucket_missing")),
    "connections at work": (
        *(full_connection_slots, "db_connections"),
        ("postgres", "connections_busy"),
    ),
    "database read-only": (
        *(read_only_database, "database_down"),
        ("postgres", "database_read_only"),
    ),
    "password of the database": (
        *(wrong_role_password, "database_down"),
        ("postgres", "database_password"),
    ),
    "disk full": (disk_full, "disk_space", ("host", "disk_other")),
    "inodes used up": (no_inodes, "disk_space", ("host", "disk_inodes")),
    "certificate expired": (
        *(expired_certificate, "certificate"),
        ("nginx", "certificate_expires"),
    ),
    "backup not verified": (unverified_backup, "backup_missing", ("host", "backup_missing")),
    "no drill": (nothing_done, "drill_missing", ("host", "drill_missing")),
    "memory short": (memory_short, "high_memory", ("web", "memory_near_limit")),
    "engine down": (engine_down, "api_down", ("host", "docker_down")),
    # The last one, for the engine remembers the deaths for some minutes.
    "crash loop": (killed_again_and_again, "web_down", ("web", "container_crash_loop")),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_named(name: str) -> None:
    fault, incident, (service, code) = CASES[name]
    eventually(is_well, "the stack is well before", 120)
    with fault():
        run = respond(incident)
    assert run.code == 0, run.output
    found = cause(run)
    assert found[1] == code, run.result["incidents"]
    assert not service or found[0] == service, run.result["incidents"]
