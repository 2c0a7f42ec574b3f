# SPDX-License-Identifier: GPL-3.0-or-later
"""What a configuration, a hosts file and a process table of nginx say."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _proxy
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container

HOSTS = "127.0.0.1\tlocalhost\n172.19.0.4\t2f8ff9b4b1bb\n"


def test_pins_stand_beside_what_is_there_and_go_without_a_trace() -> None:
    pinned = _proxy.with_pins(HOSTS, {"api": ["10.0.0.9"], "web": ["10.0.0.8"]})
    assert pinned.startswith(HOSTS)
    assert _proxy.pinned(pinned) == {"api": {"10.0.0.9"}, "web": {"10.0.0.8"}}
    assert _proxy.with_pins(pinned, {}) == HOSTS


def test_names_of_one_address_share_a_line_and_replicas_have_one_each() -> None:
    pinned = _proxy.with_pins("", {"api": ["10.0.0.2", "10.0.0.1"], "backend": ["10.0.0.1"]})
    assert pinned.splitlines() == [
        "10.0.0.1 api backend # carrental.ops",
        "10.0.0.2 api # carrental.ops",
    ]


def test_pins_of_a_container_that_is_gone_go_with_its_service() -> None:
    pins = {"api": ["10.0.0.1"], "carrental-api-3": ["10.0.0.1"], "web": ["10.0.0.8"]}
    left = _proxy.of_others(pins, own=["api"], alive=["api", "web"])
    assert left == {"web": ["10.0.0.8"]}


def test_lines_of_others_are_no_pins() -> None:
    assert _proxy.pinned("10.0.0.1 api\n10.0.0.2 api # somebody\n") == {}


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ("upstream a { server api:3000; keepalive 32; }", "static"),
        ("upstream a { server api:3000 max_fails=3; }", "static"),
        ("location / { proxy_pass http://api:3000/v1; }", "static"),
        ("location / { proxy_pass http://car-api:3000; }", "no"),
        ("location / { proxy_pass http://api.example.org; }", "no"),
        ("# server api:3000;\nserver web:80;", "no"),
        ('resolver 127.0.0.11; set $up "http://api:3000"; proxy_pass $up;', "dynamic"),
        ("resolver 127.0.0.11; set $up api; proxy_pass http://$up:3000;", "dynamic"),
        ("upstream a { zone a 64k; server api:3000 resolve; }", "dynamic"),
        ("set $other http://api:3000; proxy_pass http://web;", "no"),
        ("grpc_pass grpc://api:50051;", "static"),
    ],
)
def test_how_a_configuration_leads_to_a_service(configuration: str, expected: str) -> None:
    assert _proxy.leads_to(configuration, ["api"]) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"], ["nginx", "-g", "daemon off;"]),
        (["nginx"], ["nginx"]),
        (
            ["nginx", "-q", "-c", "/conf/main.conf", "-g", "x"],
            ["nginx", *["-c", "/conf/main.conf", "-g", "x"]],
        ),
        (
            ["/bin/sh", "-c", "exec /usr/sbin/nginx -p /srv -g 'daemon off;'"],
            ["/usr/sbin/nginx", "-p", "/srv", "-g", "daemon off;"],
        ),
        (["/bin/sh", "-c", "nginx -g 'daemon off"], ["nginx", "-g", "'daemon"]),
        (["/start.sh"], ["nginx"]),
    ],
)
def test_nginx_is_called_as_the_one_that_runs(command: list[str], expected: list[str]) -> None:
    assert _proxy.program(command) == expected


def test_workers_that_only_finish_are_told_apart() -> None:
    found = _proxy.workers(
        [
            ("1", "nginx: master process nginx -g daemon off;"),
            ("7", "nginx: worker process"),
            ("8", "nginx: worker process is shutting down"),
            ("9", "nginx: cache manager process"),
        ]
    )
    assert (found.serving, found.finishing) == ({"7"}, {"8"})


def test_peers_are_read_from_both_tables() -> None:
    table = """  sl  local_address rem_address   st
   0: 0300000A:A4A5 0900000A:0BB8 01 00000000:00000000
   1: 00000000:0050 00000000:0000 0A 00000000:00000000
   2: 0000000000000000FFFF00000300000A:1F90 0000000000000000FFFF00000800000A:0BB8 06
"""
    assert {"10.0.0.9", "10.0.0.8"} <= _proxy.peers(table)


def test_names_of_a_container_are_those_of_its_service_and_its_aliases() -> None:
    networks = {"n": {"Aliases": ["backend", "4c27064f0f3c"], "DNSNames": ["api-1"]}}
    container = Container(
        {
            "Id": "4c27064f0f3c" + "0" * 52,
            "Name": "/api-1",
            "Config": {"Labels": {"com.docker.compose.service": "api"}},
            "NetworkSettings": {"Networks": networks},
        }
    )
    assert _proxy.names_of(container) == ["api", "api-1", "backend"]
