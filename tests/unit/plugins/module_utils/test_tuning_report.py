# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody else should change, and what a trial of the settings said."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _pg_trial, _tuning_report
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container


def container(*command: str, env: tuple[str, ...] = ()) -> Container:
    config = {"Labels": {"com.docker.compose.service": "it"}, "Env": list(env)}
    return Container(
        {"Name": "/it", "Config": config, "Path": command[0], "Args": list(command[1:])}
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (container("node", "server.js"), "no bound for its heap"),
        (container("node", "--max-old-space-size=512", "x.js"), "a heap of 512 MB"),
        (container("node", "x.js", env=("NODE_OPTIONS=--max-old-space-size=384",)), ""),
        (container("docker-entrypoint.sh", "/usr/local/bin/node", "x.js"), "no bound for its heap"),
        (container("nginx"), ""),
        (container("/bin/node_exporter", "--path.rootfs=/host"), ""),
    ],
)
def test_the_heap_of_node_against_its_limit(given: Container, said: str) -> None:
    found = _tuning_report._heap(given, 512)
    assert bool(found) == bool(said)
    assert said in "".join(found)
    assert not found or "--max-old-space-size=384 leaves room" in found[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (container("redis-server", "--maxmemory", "128mb"), ""),
        (container("redis-server", "--maxmemory", "1gb"), "maxmemory 1024 MB"),
        (container("redis-server"), "no maxmemory on its command line"),
        (container("node"), ""),
    ],
)
def test_the_memory_of_redis_against_its_limit(given: Container, said: str) -> None:
    found = _tuning_report._cache(given, 192)
    assert bool(found) == bool(said)
    assert said in "".join(found)


def test_a_trial_says_how_much_shared_memory_is_asked_for() -> None:
    assert _pg_trial._judge(0, ["LOG:  something", "143"]) == 143


def test_a_trial_says_why_the_server_would_not_start() -> None:
    lines = [
        '2026-01-01 FATAL:  could not access file "typo": No such file or directory',
        "2026-01-01 LOG:  database system is shut down",
    ]
    with pytest.raises(_pg_trial.TrialError, match='could not access file "typo"'):
        _pg_trial._judge(1, lines)


def test_a_trial_that_could_not_be_made_is_no_verdict() -> None:
    with pytest.raises(_pg_trial.NoTrialError, match="exec: postgres: not found"):
        _pg_trial._judge(127, ["sh: 9: exec: postgres: not found"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, "on"), (False, "off"), (1.1, "1.1"), ("16MB", "16MB")],
)
def test_values_of_yaml(value: object, expected: str) -> None:
    assert _tuning_report.text(value) == expected
