# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of services as it comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils._services import (
    InputError,
    parse_table,
    read_secret,
)

TABLE: dict[str, Any] = {
    "api": {
        "title": "API",
        "probe": "http",
        "port": 3000,
        "severity": "P1",
        "says": {"ok": "fine"},
    },
    "redis": {"probe": "redis", "port": "6379", "severity": "P3"},
}


def test_a_description_is_completed() -> None:
    (api, redis), host = parse_table(TABLE, [], {})
    assert (api.subject.ok_text, api.subject.down_text) == ("fine", "API is not responding")
    assert (api.status, api.path, api.compose_service) == ([200], "/", "api")
    assert (redis.subject.title, redis.port, host) == ("redis", 6379, True)


def test_only() -> None:
    services, host = parse_table(TABLE, ["redis"], {})
    assert ([service.name for service in services], host) == (["redis"], False)
    services, host = parse_table(TABLE, ["host"], {})
    assert (services, host) == ([], True)


def test_an_endpoint_overrides(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\nsecond line\n")
    endpoint = {
        "host": "cache.example.com",
        "port": 6380,
        "password_file": str(secret),
        "tls": True,
    }
    (redis,), _host = parse_table(TABLE, ["redis"], {"redis": endpoint})
    assert (redis.port, redis.managed, redis.endpoint.tls) == (6380, True, True)
    assert redis.endpoint.password == "s3cret"
    assert "s3cret" not in repr(redis)


def test_the_table_may_hold_the_endpoint_and_what_is_given_beside_it_counts() -> None:
    told = {"host": "cache.example.com", "port": 6380}
    table = {**TABLE, "redis": {**TABLE["redis"], "endpoint": told}}
    (redis,), _host = parse_table(table, ["redis"], {})
    assert (redis.endpoint.host, redis.port, redis.managed) == ("cache.example.com", 6380, True)
    (redis,), _host = parse_table(table, ["redis"], {"redis": {"port": 6390}})
    assert (redis.endpoint.host, redis.port) == ("cache.example.com", 6390)


@pytest.mark.parametrize(
    ("table", "only", "endpoints", "message"),
    [
        (
            TABLE,
            ["rediss"],
            {},
            "Service rediss is not in the table of services; known are api, redis, host.",
        ),
        (TABLE, [], {"db": {}}, "endpoints names db, which is no service; known are api, redis."),
        (TABLE, [], {"api": "x"}, "endpoints.api is 'x', not a dictionary."),
        (
            TABLE,
            [],
            {"redis": {"password": "s3cret"}},
            "endpoints.redis has no key password; a password is given as password_file; known are "
            "host, port, user, password_file, database, bucket, region, tls, ca_file, hostname, "
            "validate_certs.",
        ),
        ({"api": "x"}, [], {}, "services.api is 'x', not a description."),
        (
            {"api": {"probe": "ping"}},
            [],
            {},
            "services.api.probe is 'ping'; it is one of http, postgres, redis, object_store, "
            "proxy, none.",
        ),
        (
            {"api": {"severity": "P9"}},
            [],
            {},
            "services.api.severity is 'P9'; it is one of P1, P2, P3, P4.",
        ),
        (
            {"api": {"probe": "http", "port": 70000}},
            [],
            {},
            "services.api.port is 70000; a port is a number from 1 to 65535.",
        ),
        (
            {"api": {"probe": "http"}},
            [],
            {},
            "services.api.port is None; a port is a number from 1 to 65535.",
        ),
        (
            TABLE,
            [],
            {"redis": {"password_file": "/nope"}},
            "Cannot read the password from /nope on the server: No such file or directory; "
            "check the path and its owner.",
        ),
    ],
)
def test_refusals(table: Any, only: list[str], endpoints: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_table(table, only, endpoints)
    assert str(caught.value) == f"{message} Nothing was changed."


def test_a_secret_is_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a b \r\nx")
    assert read_secret(str(tmp_path / "s")) == "a b "
