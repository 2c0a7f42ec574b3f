# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of an inventory by looking at containers."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _discovery
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container

TABLE: dict[str, dict[str, Any]] = {
    "api": {"role": "stateless", "port": 3000, "severity": "P1"},
    "postgres": {"role": "database", "port": 5432, "severity": "P1"},
}
WHOLE: dict[str, dict[str, Any]] = {
    "api": TABLE["api"],
    "web": {"role": "stateless", "port": 3000, "severity": "P1"},
    "postgres": TABLE["postgres"],
    "redis": {"role": "cache", "port": 6379, "severity": "P3"},
    "nginx": {"role": "proxy", "port": 80, "severity": "P1"},
}
ROOT = "/opt/carrental"


def container(service: str, image: str, env: tuple[str, ...] = (), labels: Any = None) -> Container:
    prefix = "com.docker.compose"
    own = {
        f"{prefix}.service": service,
        f"{prefix}.project": "carrental",
        f"{prefix}.project.working_dir": ROOT,
        f"{prefix}.project.config_files": ",".join(
            f"{ROOT}/{name}"
            for name in (
                *("docker-compose.prod.yml", "docker-compose.monitoring.yml"),
                "compose.release.yml",
            )
        ),
    }
    settings = {"Image": image, "Env": list(env), "Labels": {**own, **(labels or {})}}
    return Container({"Id": service, "Name": f"/own-{service}", "Config": settings, "State": {}})


API = container("api", "ghcr.io/org/backend:1")
DB = container("postgres", "postgres:16", ("POSTGRES_DB=carrental", "POSTGRES_PASSWORD=hunter2"))


def test_what_is_as_assumed_is_no_variable() -> None:
    found = _discovery.describe("carrental", [API, DB], TABLE, "server_name rental.example.com;")
    assert found.variables == {
        "carrental_images": {"api": "ghcr.io/org/backend"},
        "carrental_domain": "rental.example.com",
    }
    assert found.notes == []


def test_other_names_and_what_is_not_there() -> None:
    db = container("db", "registry.example.com:5000/timescale/timescaledb:2", ("POSTGRES_DB=rent",))
    found = _discovery.describe("carrental", [API, db, container("worker", "w:1")], TABLE)
    assert found.variables["carrental_services"] == {"postgres": {"compose_service": "db"}}
    assert found.variables["carrental_database"] == "rent"
    assert any("worker" in note for note in found.notes)
    without = _discovery.describe("carrental", [API], TABLE)
    assert without.variables["carrental_services"] == {"postgres": {"enabled": False}}
    assert without.left_out == ["postgres"]
    assert any("postgres: no container of it was found" in note for note in without.notes)


def test_other_places() -> None:
    prefix = "com.docker.compose.project"
    moved = container(
        "api",
        "carrental-api",
        labels={f"{prefix}.working_dir": "/srv/x", f"{prefix}.config_files": "/srv/x/compose.yml"},
    )
    found = _discovery.describe("rent", [moved], {"api": TABLE["api"]})
    assert found.variables == {
        "carrental_root": "/srv/x",
        "carrental_project": "rent",
        "carrental_compose_files": ["compose.yml"],
    }
    assert any("built on the server" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("server_name _;", None),
        ("server_name ~^x$ localhost *.a.com www.a.com;", "www.a.com"),
        ("# server_name x.com;", None),
        ("server_name 192.0.2.1;", "192.0.2.1"),
        ("server_name [2001:db8::1];", "[2001:db8::1]"),
        ("server_name {{lookup('pipe','id')}};", None),
        ("server_name fe80::1%{{lookup('pipe','id')}};", None),
        ("server_name a.com\u2028x:1;", "a.com"),
        ("server_name -a.com;", None),
    ],
)
def test_domain(text: str, domain: str | None) -> None:
    found = _discovery.describe("carrental", [API, DB], TABLE, text)
    assert found.variables.get("carrental_domain") == domain


EVIL = "{{lookup('pipe','id')}}"


@pytest.mark.parametrize(
    ("variable", "containers", "proxy"),
    [
        ("carrental_domain", [API, DB], f"server_name {EVIL};"),
        (
            "carrental_database",
            [API, container("postgres", "postgres:16", (f"POSTGRES_DB={EVIL}",))],
            "",
        ),
        (
            "carrental_bucket",
            [API, container("postgres", "postgres:16", (f"MINIO_BUCKET={EVIL}",))],
            "",
        ),
        ("carrental_images", [container("api", f"example.com/{EVIL}:1".replace("'", "")), DB], ""),
        (
            "carrental_root",
            [
                container(
                    "api", "x/api:1", labels={f"{_discovery.PROJECT}.working_dir": f"/srv/{EVIL}"}
                )
            ],
            "",
        ),
        (
            "carrental_compose_files",
            [
                container(
                    "api", "x/api:1", labels={f"{_discovery.PROJECT}.config_files": f"/srv/{EVIL}"}
                )
            ],
            "",
        ),
    ],
)
def test_what_is_no_name_is_not_written(
    variable: str, containers: list[Container], proxy: str
) -> None:
    found = _discovery.describe("carrental", containers, TABLE, proxy)
    assert variable not in found.variables
    assert [note for note in found.notes if variable in note]
    assert "lookup" not in f"{found.variables}{found.notes}"


@pytest.mark.parametrize("service", [EVIL, "a\nb: c", "a\u2028b: c"])
def test_a_service_without_a_proper_name_is_not_looked_at(service: str) -> None:
    found = _discovery.describe("carrental", [API, container(service, "postgres:16")], TABLE)
    assert found.services == ["api"]
    assert found.variables["carrental_services"] == {"postgres": {"enabled": False}}
    assert not [note for note in found.notes if service in note]
    assert any("1 containers belong to services with names" in note for note in found.notes)


def test_a_project_without_a_proper_name_is_none() -> None:
    assert _discovery.projects(listed(**{EVIL: ["api"], "a": ["api"]})) == {"a": {"api"}}


def told(*containers: Container) -> tuple[_discovery.Found, dict[str, Any]]:
    found = _discovery.describe("shop", containers, WHOLE)
    return found, found.variables.get("carrental_services", {})


NGINX = container("nginx", "nginx:1")


def test_what_may_be_several_is_named_and_stays_in_health() -> None:
    found, services = told(
        API,
        container("web", "x/web:1"),
        container("db", "postgres:16"),
        container("db-replica", "postgres:16"),
        container("cache", "redis:7"),
        container("queue", "redis:7"),
        NGINX,
    )
    assert services == {}
    assert found.left_out == ["postgres"]
    assert [note for note in found.notes if "may be it" in note] == [
        "postgres: db and db-replica may be it. Set the right one, as in carrental_services: "
        "{postgres: {compose_service: db}}; until then health does not find it",
        "redis: cache and queue may be it. Set the right one, as in carrental_services: "
        "{redis: {compose_service: cache}}; until then health does not find it",
    ]
    assert not [note for note in found.notes if "no container of it" in note]


@pytest.mark.parametrize(
    ("url", "chosen"),
    [
        ("DATABASE_URL=postgresql://u:hunter2@db:5432/x?schema=public", "db"),
        ("DATABASE_URL=postgresql://u:hunter2@own-db-replica/x", "db-replica"),
        ("DATABASE_URL=postgresql://u:hunter2@pooler/x", None),
        ("DATABASE_URL=postgresql://u:hunter2@[db/x", None),
        ("OTHER_URL=postgresql://u:hunter2@db/x", None),
    ],
)
def test_the_database_that_the_api_uses(url: str, chosen: str | None) -> None:
    api = container("backend", "ghcr.io/org/backend:1", (url,))
    found, services = told(
        api, container("db", "postgres:16"), container("db-replica", "postgres:16")
    )
    assert services.get("postgres") == ({"compose_service": chosen} if chosen else None)
    assert "hunter2" not in f"{found}"


def test_the_exact_name_is_certain() -> None:
    _found, services = told(DB, container("postgres-replica", "postgres:16"))
    assert "postgres" not in services


def test_replicas_are_one_service() -> None:
    store = container("backend", "shop-store")
    found, services = told(
        store, store, container("db", "postgres:16"), container("db", "postgres:16")
    )
    assert services["api"] == {"compose_service": "backend"}
    assert services["postgres"] == {"compose_service": "db"}
    assert found.services == ["backend", "db"]


@pytest.mark.parametrize(
    ("name", "service", "image"),
    [
        ("api", "backend", "shop-one"),
        ("api", "server", "shop-one"),
        ("api", "app", "ghcr.io/org/backend:1"),
        ("api", "app", "shop-server"),
        ("web", "frontend", "shop-one"),
        ("web", "client", "shop-one"),
        ("web", "next", "shop-one"),
        ("web", "site", "ghcr.io/org/shop/web:1"),
        ("web", "site", "shop_next"),
    ],
)
def test_usual_names_of_the_application(name: str, service: str, image: str) -> None:
    found, services = told(container(service, image))
    assert services[name] == {"compose_service": service}
    assert name not in found.left_out


def test_a_worker_with_the_image_of_the_api_is_not_the_api() -> None:
    image = "ghcr.io/org/backend:1"
    _found, services = told(container("worker", image), container("backend", image))
    assert services["api"] == {"compose_service": "backend"}


def test_another_server_is_not_the_api() -> None:
    found, services = told(container("olap", "clickhouse/clickhouse-server:1"))
    assert services["api"] == {"enabled": False}
    assert found.left_out == ["api", "web", "postgres", "nginx"]


def test_a_proxy_that_is_called_web_is_the_proxy() -> None:
    _found, services = told(container("web", "nginx:1"), container("frontend", "shop-one"))
    assert services["nginx"] == {"compose_service": "web"}
    assert services["web"] == {"compose_service": "frontend"}


def listed(**projects: list[str]) -> list[dict[str, Any]]:
    prefix = "com.docker.compose"
    return [
        {"Labels": {f"{prefix}.project": project, f"{prefix}.service": service}}
        for project, services in projects.items()
        for service in services
    ]


def test_the_project_that_is_most_like_the_stack() -> None:
    found = _discovery.projects([*listed(a=["api", "postgres"], b=["postgres"]), {"Labels": None}])
    assert _discovery.choose(found, TABLE, "") == "a"
    assert _discovery.choose(found, TABLE, "b") == "b"


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        ({}, "", "there are: none"),
        ({"a": {"api"}, "b": {"api"}}, "", "there are: a, b"),
        ({"a": {"other"}}, "", "init_project"),
        ({"a": {"api"}}, "c", "no compose project c"),
    ],
)
def test_a_project_that_cannot_be_told(found: dict[str, set[str]], wanted: str, said: str) -> None:
    with pytest.raises(_discovery.DiscoveryError, match=said):
        _discovery.choose(found, TABLE, wanted)
