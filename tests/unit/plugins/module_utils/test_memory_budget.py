# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory budget beside what pgtune and timescaledb-tune publish for the same server."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _memory_budget as budget
from ansible_collections.carrental.ops.plugins.module_utils import _tuning_peers as peers

NAMES = ("shared_buffers", "effective_cache_size", "maintenance_work_mem", "work_mem")

# limit, cores, connections; then ours, pgtune's, timescaledb-tune's for NAMES.
TABLE = [
    (
        (512, 1, 50),
        ("128MB", "384MB", "32MB", "4MB"),
        ("128MB", "384MB", "32MB", "4MB"),
        ("128MB", "384MB", "64MB", "4MB"),
    ),
    (
        # The runbook's server, 7.2.
        (2048, 2, 100),
        ("512MB", "1536MB", "128MB", "4854kB"),
        ("512MB", "1536MB", "128MB", "4854kB"),
        ("512MB", "1536MB", "256MB", "8MB"),
    ),
    (
        (2048, 2, 200),
        ("512MB", "1536MB", "128MB", "4MB"),
        ("512MB", "1536MB", "128MB", "4MB"),
        ("512MB", "1536MB", "256MB", "4MB"),
    ),
    (
        (2048, 2, 25),
        ("512MB", "1536MB", "128MB", "15887kB"),
        ("512MB", "1536MB", "128MB", "15887kB"),
        ("512MB", "1536MB", "256MB", "32MB"),
    ),
    (
        (16384, 8, 200),
        ("4GB", "12GB", "1GB", "20164kB"),
        ("4GB", "12GB", "1GB", "20164kB"),
        ("4GB", "12GB", "2047MB", "8MB"),
    ),
]


@pytest.mark.parametrize(("given", "ours", "pgtune", "timescale"), TABLE)
def test_beside_the_peers(
    given: tuple[int, float, int],
    ours: tuple[str, ...],
    pgtune: tuple[str, ...],
    timescale: tuple[str, ...],
) -> None:
    server = budget.Server(*given)
    found = budget.postgres(server)
    assert tuple(found.settings[name] for name in NAMES) == ours
    assert tuple(peers.pgtune(server)[name] for name in NAMES) == pgtune
    assert tuple(peers.timescaledb_tune(server)[name] for name in NAMES) == timescale
    assert found.demand.short == 0


@pytest.mark.parametrize("limit", [256, 384, 512, 768, 1024, 2048, 4096, 8192, 65536])
@pytest.mark.parametrize("connections", [20, 50, 100, 200, 400])
def test_what_is_given_out_fits_or_is_refused(limit: int, connections: int) -> None:
    server = budget.Server(limit, 2, connections)
    try:
        found = budget.postgres(server)
    except budget.BudgetError as error:
        assert "MB too much" in str(error)
        wanted = int(str(error).split("Give the container ")[1].split(" ")[0])
        assert wanted > limit
        assert budget.postgres(budget.Server(wanted, 2, connections)).demand.short == 0
    else:
        assert found.demand.total <= found.demand.usable
        assert set(found.why) == set(found.settings)


def test_the_runbooks_four_values_do_not_fit_into_its_own_container() -> None:
    found = budget.demand(
        budget.Server(2048, 2, 100),
        shared_buffers=512,
        work_mem=16,
        maintenance_work_mem=128,
    )
    # 512 + 27 + 100 x 16 + 3 x 128 against nine tenths of 2048.
    assert (found.total, found.usable, found.short) == (2523, 1843, 680)
    assert "680 MB too much" in found.sentence


def test_sessions_give_way_before_the_server_is_killed() -> None:
    found = budget.postgres(budget.Server(512, 1, 100))
    assert found.settings["work_mem"] == "2560kB"
    assert "so that 100 sessions fit" in found.why["work_mem"]


@pytest.mark.parametrize(
    ("database", "work_mem"), [(0, "4854kB"), (1000, "6310kB"), (9000, "4369kB")]
)
def test_data_that_fits_in_memory_gives_sessions_more(database: int, work_mem: str) -> None:
    server = budget.Server(2048, 2, 100, database=database)
    assert budget.postgres(server).settings["work_mem"] == work_mem
    assert peers.pgtune(server)["work_mem"] == work_mem


@pytest.mark.parametrize(
    ("disk", "most", "least"),
    [(8000, "1GB", "256MB"), (30000, "2GB", "512MB"), (99999, "4GB", "1GB")],
)
def test_wal_never_takes_more_than_a_tenth_of_the_disk(disk: int, most: str, least: str) -> None:
    found = budget.postgres(budget.Server(2048, 2, 50, disk=disk)).settings
    assert (found["max_wal_size"], found["min_wal_size"]) == (most, least)


def test_connections_count_the_second_container_of_a_switch() -> None:
    pools = [budget.Pool("api", 20, 2), budget.Pool("worker", 5)]
    found = budget.connections(pools, exporters=1)
    assert (found.needed, found.rounded) == (2 * 2 * 20 + 2 * 5 + 3 + 5 + 3, 110)
    assert "api 2 x 20 x 2 while a release is switched" in found.sentence
    assert budget.connections(pools, 1, overlap=False).needed == 56


@pytest.mark.parametrize(("limit", "heap"), [(256, 153), (512, 384), (1024, 768)])
def test_the_heap_of_node_leaves_room_below_the_limit(limit: int, heap: int) -> None:
    assert budget.node_heap(limit) == heap
    assert heap < 0.8 * limit


def test_redis_keeps_room_for_the_copy_it_writes_from() -> None:
    assert budget.redis_maxmemory(192, persistent=True) == 115
    assert budget.redis_maxmemory(192, persistent=False) == 144


def test_limits_that_do_not_fit_into_the_server_say_by_how_much() -> None:
    assert budget.host(4096, {"postgres": 2048, "api": 1024}) == ""
    said = budget.host(3000, {"postgres": 2048, "api": 1024}, 100)
    assert said.endswith("= 3684 MB, and the server has 3000 MB: 684 MB too much")


def test_shared_memory_of_the_container_is_more_than_dockers_default() -> None:
    found = budget.postgres(budget.Server(2048, 2, 50))
    assert found.shm == 256
    assert budget.postgres(budget.Server(256, 1, 20)).shm == 128
