# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way, with an engine on a real socket and services on loopback."""

from __future__ import annotations

import json
import socket
import socketserver
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _container_names,
    _operation,
    _running,
    _services,
    _stack_findings,
)
from ansible_collections.carrental.ops.plugins.module_utils._checks import Check, Subject
from ansible_collections.carrental.ops.plugins.module_utils._docker import (
    PROJECT,
    SERVICE,
    Container,
    DockerDeniedError,
)
from ansible_collections.carrental.ops.plugins.module_utils._running import Project
from ansible_collections.carrental.ops.plugins.module_utils._services import InputError
from ansible_collections.carrental.ops.plugins.module_utils._stack import (
    Health,
    Request,
    check_stack,
)
from serving import serving

API = Subject("api", "API", "P1", "API is healthy", "API is not responding")
IMAGE, OTHER_IMAGE = "sha256:" + "a" * 64, "sha256:" + "b" * 64


class Engine(BaseHTTPRequestHandler):
    """A Docker engine that knows the containers in ``server.containers``."""

    def address_string(self) -> str:
        return "socket"

    def do_GET(self) -> None:
        containers = self.server.containers  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        if path == "/containers/json":
            answer: Any = [
                {"Id": raw["Id"], "Names": [raw["Name"]], "Labels": raw["Config"]["Labels"]}
                for raw in containers
            ]
        elif path == "/info":
            answer = {"ServerVersion": "26.1", "DockerRootDir": "/"}
        elif path == "/images/json":
            answer = [{"Id": raw["Image"], "RepoTags": []} for raw in containers]
        elif path == "/events":
            answer = ""
        else:
            identity = path.split("/")[2]
            answer = next(raw for raw in containers if raw["Id"] == identity)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode() if answer != "" else b"")

    def log_message(self, *_words: Any) -> None:
        pass


class Site(BaseHTTPRequestHandler):
    """An API whose health document is in ``server.document``."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(json.dumps(self.server.document).encode())  # type: ignore[attr-defined]

    def log_message(self, *_words: Any) -> None:
        pass


def raw(service: str, project: str = "carrental", **changes: Any) -> dict[str, Any]:
    return {
        "Id": changes.pop("identity", f"{service}0123456789"),
        "Name": f"/{service}",
        "Image": IMAGE,
        "Created": "2026-11-23T09:00:00Z",
        "State": {"Status": "running", "Running": True, "StartedAt": "2026-11-23T09:00:00Z"},
        "Config": {
            "Image": "ghcr.io/your-org/carrental/backend:1",
            "Labels": {PROJECT: project, SERVICE: service},
            "Env": ["JWT_SECRET=very-secret-value"],
        },
        # The host's network: then a container's address is loopback, where our services are.
        "HostConfig": {"NetworkMode": "host", "RestartPolicy": {"Name": "always"}},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
        **changes,
    }


class World:
    """An engine, an API, and what is asked about them."""

    def __init__(self, folder: Path, site: ThreadingHTTPServer) -> None:
        self.folder = folder
        self.site: Any = site
        self.containers: list[dict[str, Any]] = [raw("api")]
        self.table: dict[str, Any] = {
            "api": {
                "title": "API",
                "role": "monitor",
                "probe": "http",
                "port": site.server_address[1],
                "severity": "P1",
                "path": "/health",
                "json": {"status": "ok"},
                "json_degraded": {"status": "degraded"},
                "version_key": "version",
            }
        }

    def check(self, **changes: Any) -> Health:
        settings: dict[str, Any] = {
            "only": ["api"],
            "state_dir": str(self.folder / "ops"),
            "docker_socket": str(self.folder / "docker.sock"),
            "probe_timeout": 1.0,
            "deadline": 5.0,
            **changes,
        }
        project = Project(
            settings.pop("project", "carrental"), str(self.folder), ("docker-compose.prod.yml",)
        )
        return check_stack(Request(project, self.table, **settings))

    def release(self, version: str, image_id: str = IMAGE) -> None:
        folder = self.folder / "ops" / "releases"
        folder.mkdir(parents=True)
        record = {
            "schema": 1,
            "id": "20261123T215350Z-x",
            "verdict": "ok",
            "version": version,
            "services": {"api": {"image_id": image_id}},
        }
        (folder / "20261123T215350Z-x.json").write_text(json.dumps(record))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    engine = socketserver.ThreadingUnixStreamServer(str(tmp_path / "docker.sock"), Engine)
    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    found = World(tmp_path, site)
    engine.containers = found.containers  # type: ignore[attr-defined]
    found.site.status = 200
    found.site.document = {"status": "ok", "version": "2.0"}
    with serving(engine), serving(site):
        yield found


def test_all_is_well(world: World) -> None:
    world.release("2.0")
    health = world.check()
    assert (health.lines, health.verdict, health.failed) == (["[OK] API is healthy"], "ok", [])
    assert health.release == {"id": "20261123T215350Z-x", "version": "2.0"}
    assert health.docker_version == "26.1"


def test_the_host_is_part_of_everything(world: World) -> None:
    health = world.check(only=[], deep=False)
    assert any(line.partition("] ")[2].startswith("Disk usage at ") for line in health.lines)


def test_degraded(world: World) -> None:
    world.site.document = {"status": "degraded", "cache": {"status": "down"}, "version": "2.0"}
    assert world.check().lines == [
        "[WARN] API is healthy: it says that it is degraded (cache is down)"
    ]


def test_another_version_than_released(world: World) -> None:
    world.release("1.0")
    health = world.check()
    assert health.failed == ["api.version"]
    assert health.lines[0].startswith("[FAIL] API answers version 2.0, but 1.0 is released: ")


def test_another_image_than_released(world: World) -> None:
    world.release("2.0", OTHER_IMAGE)
    assert world.check().lines == [
        "[WARN] API is healthy: container api runs aaaaaaaaaaaa "
        "(ghcr.io/your-org/carrental/backend:1), but release 20261123T215350Z-x has bbbbbbbbbbbb: "
        "a deploy is under way or was cut off (playbooks/lock.yml tells), or somebody changed it "
        "outside a deploy; deploy again"
    ]


def test_a_switch_at_work_excuses_what_is_not_recorded_yet(world: World) -> None:
    world.release("1.0", OTHER_IMAGE)
    state = str(world.folder / "ops")
    begun = _operation.acquire(state, _operation.Request("deploy", who="anna"))
    inside, outside = world.check(), world.check(excuse_switch=True)
    assert inside.failed == ["api.version"]
    assert (outside.verdict, outside.failed) == ("warn", [])
    assert all(f"deploy {begun.id} by anna is at work" in line for line in outside.lines)


def test_an_operation_that_switches_nothing_excuses_nothing(world: World) -> None:
    world.release("1.0")
    _operation.acquire(str(world.folder / "ops"), _operation.Request("tune"))
    assert world.check(excuse_switch=True).failed == ["api.version"]


def test_a_deploy_that_died_excuses_nothing(world: World) -> None:
    world.release("1.0")
    _operation.acquire(str(world.folder / "ops"), _operation.Request("deploy", ttl=0.001))
    time.sleep(0.2)
    assert world.check(excuse_switch=True).failed == ["api.version"]


def test_a_record_that_cannot_be_read_is_told_with_the_host(world: World) -> None:
    world.release("2.0")
    (world.folder / "ops" / "releases" / "20261123T215350Z-x.json").write_text("{")
    lines = world.check(only=["api", "host"], deep=False).lines
    assert any(
        line.startswith("[WARN] The record of the release cannot be read: ") for line in lines
    )


def test_it_is_back_when_a_service_accepts_and_never_answers(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        world.table["api"]["port"] = silent.getsockname()[1]
        started = time.monotonic()
        health = world.check()
    assert time.monotonic() - started < 2
    assert health.lines == [
        f"[FAIL] API is not responding: 127.0.0.1:{silent_port(world)} gave no answer within 0.5 s"
    ]


def silent_port(world: World) -> int:
    return int(world.table["api"]["port"])


def test_no_secret_of_a_container_is_returned(world: World) -> None:
    world.site.document = {"status": "error", "error": "bad token very-secret-value"}
    health = world.check()
    assert "very-secret-value" not in json.dumps([health.checks, health.lines])
    assert "********" in json.dumps(health.checks)


def test_no_container(world: World) -> None:
    world.containers[0] = raw("web")
    (world.folder / "docker-compose.prod.yml").write_text("services:\n  api:\n    build: .\n")
    assert world.check().lines == [
        "[FAIL] API is not responding: there is no container of it in project carrental; create it "
        f"with: cd {world.folder} && docker compose -f docker-compose.prod.yml up -d api"
    ]
    (world.folder / "compose.release.yml").touch()
    assert world.check().lines[0].endswith("-f compose.release.yml up -d api")


def test_a_service_that_no_compose_file_names(world: World) -> None:
    world.containers[0] = raw("web")
    (world.folder / "docker-compose.prod.yml").write_text("services:\n  web:\n    build: .\n")
    assert world.check().lines == [
        "[FAIL] API is not responding: there is no container of it in project carrental, and no "
        "compose file names it; take it out of the table of services with carrental_services: "
        "api: enabled: false"
    ]
    with pytest.raises(InputError) as caught:
        world.check(known_only=True)
    assert str(caught.value) == (
        "There is no service api in project carrental: no container, and not in "
        f"docker-compose.prod.yml of {world.folder}; check its name. Nothing was changed."
    )


def test_a_stack_that_is_down_is_no_mistake(world: World) -> None:
    world.containers.clear()
    (world.folder / "docker-compose.prod.yml").write_text("services:\n  api:\n    build: .\n")
    assert world.check().failed == ["api.container"]


def test_no_such_project(world: World) -> None:
    world.containers[0] = raw("api", project="other")
    with pytest.raises(InputError) as caught:
        world.check()
    assert str(caught.value) == (
        "There is no compose project carrental: Docker has no container of it (it knows: other) "
        f"and {world.folder} does not hold docker-compose.prod.yml; check project_name and "
        "project_src, or deploy first. Nothing was changed."
    )


def test_the_project_has_another_name(world: World) -> None:
    labels = world.containers[0]["Config"]["Labels"]
    labels["com.docker.compose.project.working_dir"] = str(world.folder)
    with pytest.raises(InputError) as caught:
        world.check(project="typo")
    assert str(caught.value) == (
        f"The containers of {world.folder} belong to the compose project carrental, not to typo; "
        "set project_name to carrental. Nothing was changed."
    )


def test_docker_is_down(world: World) -> None:
    health = world.check(docker_socket=str(world.folder / "gone.sock"), only=["api", "host"])
    # The cause first, then what follows from it.
    assert health.lines[:2] == [
        f"[FAIL] Docker does not answer: there is no {world.folder}/gone.sock; start it with: "
        "sudo systemctl start docker, and see: sudo journalctl -u docker",
        "[FAIL] API is not responding: Docker does not answer",
    ]


def test_a_managed_service_needs_no_docker(world: World) -> None:
    health = world.check(
        docker_socket=str(world.folder / "gone.sock"), endpoints={"api": {"host": "127.0.0.1"}}
    )
    assert health.lines == ["[OK] API is healthy"]


def test_docker_may_not_be_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_socket: socket.socket, _path: str) -> None:
        raise PermissionError(13, "Permission denied")

    # Root may use any socket: the refusal itself cannot be had for real here.
    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(DockerDeniedError, match=r"may not use Docker: permission denied on "):
        world.check()


def test_one_of_two_containers(world: World) -> None:
    stopped = {"Status": "exited", "ExitCode": 1, "FinishedAt": "0001-01-01T00:00:00Z"}
    world.containers.append(raw("api", identity="second", State=stopped))
    health = world.check()
    assert health.verdict == "warn"
    assert health.lines[0].startswith(
        "[WARN] API is healthy: 1 of 2 containers: container api was "
    )


def test_what_runs_besides(world: World) -> None:
    exporter = raw("redis-exporter")
    world.containers += [exporter, raw("node-exporter")]
    one_off = raw("api", identity="one-off", Name="/api-surge")
    one_off["Config"]["Labels"]["com.docker.compose.oneoff"] = "True"
    world.containers.append(one_off)
    lines = world.check(only=[], deep=False).lines
    assert lines[1] == "[OK] Other containers are running: node-exporter, redis-exporter"
    assert any(
        line.startswith("[WARN] One-off container api-surge has been running for ")
        for line in lines
    )
    exporter["State"] = {"Status": "paused", "Paused": True}
    lines = world.check(only=[], deep=False).lines
    assert lines[1:3] == [
        "[WARN] redis-exporter is not running: container redis-exporter is paused; go on with: "
        "docker unpause redis-exporter",
        "[OK] Other containers are running: node-exporter",
    ]


def test_what_a_rollout_left_is_no_other_container(world: World) -> None:
    surge = raw("api", identity="surge", Name="/api-surge")
    surge["Config"]["Labels"] = {
        "carrental.ops.surge": "api",
        "carrental.ops.project": "carrental",
        "com.docker.compose.project": "carrental-surge",
    }
    world.containers.append(surge)
    health = world.check(only=[], deep=False)
    assert health.lines[0] == "[OK] API is healthy"
    assert "host.surge:api-surge" in [check["name"] for check in health.checks]
    assert not any("One-off" in line or "Other" in line for line in health.lines)


def test_image_of_a_container_besides_is_compared_too(world: World) -> None:
    world.release("2.0")
    path = next((world.folder / "ops" / "releases").iterdir())
    record = json.loads(path.read_text())
    record["services"]["node-exporter"] = {"image_id": IMAGE}
    record["services"]["redis-exporter"] = {"image_id": OTHER_IMAGE}
    path.write_text(json.dumps(record))
    world.containers += [raw("redis-exporter"), raw("node-exporter")]
    lines = world.check(only=[], deep=False).lines
    assert "[OK] Other containers are running: node-exporter" in lines
    assert any(
        line.startswith("[WARN] redis-exporter is running: container redis-exporter runs aaaaaaaa")
        for line in lines
    )


def networked(name: str, *networks: str, env: str = "") -> Container:
    found = raw(name, HostConfig={}, NetworkSettings={"Networks": {}})
    found["NetworkSettings"]["Networks"] = {net: {"IPAddress": "10.0.0.9"} for net in networks}
    found["Config"]["Env"] = [f"URL={env}"]
    return Container(found)


def test_peers() -> None:
    api = networked("api", "front", env="postgresql://u:p@postgres:5432/x")
    others = {
        "api": [api],
        "web": [networked("web", "front")],
        "postgres": [networked("postgres", "back")],
        "redis": [networked("redis", "back")],
        "lost": [networked("lost")],
    }
    assert _container_names.peers(api, others) == (["web"], ["postgres"])


def test_names_that_are_not_found() -> None:
    output = "172.18.0.4      postgres\n172.18.0.2      redis  alias\n"
    good = _container_names.judge(API, "api", ["postgres", "redis"], output)
    bad = _container_names.judge(API, "api", ["a", "b", "c", "d", "redis"], output)
    assert good.status == "ok"
    assert bad.line == (
        "[FAIL] API cannot resolve a, b, c and 1 more: DNS does not work in container api; see: "
        "docker exec api cat /etc/resolv.conf, and recreate the container"
    )


def proxied(code: int, direct: str) -> list[Check]:
    http = API.passed("http") if direct == "ok" else API.down("http", "refused")
    return [http, API.down("proxy", "through the proxy GET /: it answers 502", status_code=code)]


def test_a_stale_address_in_the_proxy_is_named() -> None:
    (_http, proxy) = _stack_findings.conclude([], proxied(502, "ok"))
    assert proxy.detail == (
        "through the proxy GET /: it answers 502, although it answers itself: nginx looks its "
        "address up once, at start; have it look again with: docker exec nginx nginx -s reload"
    )


def test_the_proxy_is_called_by_its_name() -> None:
    edge = _services.parse_table({"edge": {"probe": "proxy", "port": 80}}, [], {})[0]
    checks = [edge[0].subject.passed("container", container="shop-edge-1"), *proxied(502, "ok")]
    assert (
        "docker exec shop-edge-1 nginx -s reload"
        in _stack_findings.conclude(edge, checks)[-1].detail
    )


def test_what_follows_from_a_dead_service_is_not_told_twice() -> None:
    (_http, proxy) = _stack_findings.conclude([], proxied(502, "down"))
    assert (proxy.status, proxy.detail) == ("fail", "")


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("ghcr.io/your-org/backend:1", "ghcr.io"),
        ("registry.example.com:5000/a/b@sha256:1", "registry.example.com"),
        ("localhost/a", "localhost"),
        ("redis:7", ""),
        ("minio/minio:x", ""),
        ("sha256:abc", ""),
    ],
)
def test_registry_host(name: str, host: str) -> None:
    assert _stack_findings.registry_host(name) == host


def test_names_to_resolve() -> None:
    running = _running.Running(None)  # type: ignore[arg-type]
    local = raw("web")
    local["Config"]["Image"] = "10.0.0.1:5000/web"
    running.others = [Container(raw("api")), Container(local)]
    assert _stack_findings.names_to_resolve(running, "rental.example.org") == [
        "ghcr.io",
        "rental.example.org",
    ]
    assert _stack_findings.names_to_resolve(running, "carrental.test") == ["ghcr.io"]
