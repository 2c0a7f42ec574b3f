# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""One memory budget for what runs in containers: pure arithmetic, each formula with its source.

A container that needs more than its limit is not slow, it is killed, and takes every
session with it. So what PostgreSQL may need at worst has to fit, and where it does not,
the budget says by how much. All sizes are MiB unless a name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_KB_OF_MB = 1024

# The kernel charges page tables, the page cache that cannot be dropped at once, and /dev/shm to
# the container too.
USABLE = 0.9
# What shared memory holds besides the buffers. Measured with "postgres -C shared_memory_size" of
# PostgreSQL 16: 143 for 128 of shared_buffers, and about a fortieth of larger ones.
_SHARED_BESIDES = 15
_SHARED_FRACTION = 40
_WORK_FLOOR_KB = 1024
_PGTUNE_FLOOR_KB = 4096
_MAINTENANCE_FLOOR = 16
# Docker's own default, with which a parallel hash join or VACUUM fails early.
SHM_DEFAULT = 64
_SHM_FLOOR = 256
# PostgreSQL keeps these connections for superusers, and so do we for a look and for a backup.
_SUPERUSERS = 3
_OPERATIONS = 5
_EXPORTER = 3
# Memory of the server that no container may be promised: kernel, Docker, ssh, the page cache.
HOST_RESERVE = 512


class BudgetError(Exception):
    """A budget that does not fit; the text is a whole sentence."""


@dataclass(frozen=True)
class Pool:
    """Connections that a service may open.

    :param size: of the pool in one container.
    :param replicas: how many containers it has.
    """

    service: str
    size: int
    replicas: int = 1
    known: bool = True


@dataclass(frozen=True)
class Server:
    """What a PostgreSQL server is given, and what it has to serve.

    :param limit: memory of its container.
    :param cores: it may use; 0.5 is half a core.
    :param connections: for which the budget is made (``max_connections``).
    :param database: size of its data; 0 where nobody knows.
    :param disk: size of the file system of its data; 0 where nobody knows.
    :param version: major version.
    """

    limit: int
    cores: float
    connections: int
    database: int = 0
    disk: int = 0
    version: int = 16
    autovacuum_workers: int = 3
    rotating: bool = False


@dataclass(frozen=True)
class Part:
    """One line of the arithmetic."""

    name: str
    mb: float
    how: str


@dataclass(frozen=True)
class Budget:
    """Settings and the arithmetic that they come from.

    :param settings: value of each, as ALTER SYSTEM takes it.
    :param why: the formula behind each, with its source.
    :param shm: size that /dev/shm of the container should have.
    """

    settings: dict[str, str]
    why: dict[str, str]
    demand: Demand
    shm: int


@dataclass(frozen=True)
class Demand:
    """What a server may need at worst, against what it may use."""

    parts: tuple[Part, ...]
    usable: int
    limit: int

    @property
    def total(self) -> float:
        """The sum of the parts."""
        return sum(part.mb for part in self.parts)

    @property
    def short(self) -> int:
        """By how much it does not fit; 0 when it does."""
        return max(0, math.ceil(self.total - self.usable))

    @property
    def sentence(self) -> str:
        """The arithmetic in one line."""
        parts = " + ".join(f"{part.name} {_short(part.mb)} ({part.how})" for part in self.parts)
        end = f"{self.short} MB too much" if self.short else f"{int(self.usable - self.total)} free"
        return (
            f"{parts} = {_short(self.total)} of {self.usable} MB "
            f"({USABLE:.0%} of the limit of {self.limit} MB): {end}"
        )


def _short(mb: float) -> str:
    return f"{mb:.0f}" if mb == int(mb) else f"{mb:.1f}"


def amount(kb: int) -> str:
    """Return kilobytes in the largest unit that holds them whole."""
    for unit, size in (("GB", 1024**2), ("MB", 1024)):
        if kb and kb % size == 0:
            return f"{kb // size}{unit}"
    return f"{kb}kB"


def connections(pools: Iterable[Pool], exporters: int, *, overlap: bool = True) -> Demanded:
    """Return the connections that a server has to offer.

    :param overlap: a release is switched with a second container beside each old one, so that
        for a while twice as many pools are open.
    """
    parts = []
    total = 0
    for pool in pools:
        times = pool.replicas * (2 if overlap else 1)
        total += pool.size * times
        said = f"{pool.service} {pool.replicas} x {pool.size}"
        parts.append(f"{said} x 2 while a release is switched" if overlap else said)
    total += exporters * _EXPORTER + _OPERATIONS + _SUPERUSERS
    if exporters:
        parts.append(f"{exporters} exporter x {_EXPORTER}")
    parts += [f"operations {_OPERATIONS}", f"superuser {_SUPERUSERS}"]
    return Demanded(total, math.ceil(total / 10) * 10, " + ".join(parts) + f" = {total}")


@dataclass(frozen=True)
class Demanded:
    """Connections that are needed, a round number above, and the arithmetic."""

    needed: int
    rounded: int
    sentence: str


def demand(
    server: Server,
    *,
    shared_buffers: float,
    work_mem: float,
    maintenance_work_mem: float,
    autovacuum_work_mem: float = -1,
) -> Demand:
    """Return what a server may need at worst: every session sorts once, every worker vacuums.

    A query can sort more than once, so this is no proof that nothing is killed; a budget that
    fails it is a promise that something will be.
    """
    cleaning = maintenance_work_mem if autovacuum_work_mem < 0 else autovacuum_work_mem
    workers = server.autovacuum_workers
    parts = (
        Part("shared_buffers", shared_buffers, "taken at start"),
        Part(
            "other shared memory",
            _SHARED_BESIDES + int(shared_buffers / _SHARED_FRACTION),
            "as measured",
        ),
        Part(
            "sessions",
            server.connections * work_mem,
            f"{server.connections} x work_mem {_short(work_mem)}",
        ),
        Part("autovacuum", workers * cleaning, f"{workers} x {_short(cleaning)}"),
    )
    return Demand(parts, int(server.limit * USABLE), server.limit)


def postgres(server: Server) -> Budget:
    """Return the settings of a server.

    :raises BudgetError: when even the least does not fit.
    """
    buffers = max(server.limit // 4, 16)
    maintenance = max(min(server.limit // 16, 2048), _MAINTENANCE_FLOOR)
    work_kb, work_why = _work_mem(server, buffers)
    work_kb, maintenance, squeezed = _squeeze(server, buffers, work_kb, maintenance)
    needs = demand(
        server,
        shared_buffers=buffers,
        work_mem=work_kb / _KB_OF_MB,
        maintenance_work_mem=maintenance,
    )
    if needs.short:
        raise BudgetError(
            f"PostgreSQL with {server.connections} connections does not fit into its limit of "
            f"{server.limit} MB: {needs.sentence}. Give the container "
            f"{_limit_for(server)} MB, or it fewer connections"
        )
    settings = {
        "shared_buffers": amount(buffers * _KB_OF_MB),
        "effective_cache_size": amount(server.limit * 3 // 4 * _KB_OF_MB),
        "maintenance_work_mem": amount(maintenance * _KB_OF_MB),
        "work_mem": amount(work_kb),
        "max_connections": str(server.connections),
        **_disk(server),
        **_processors(server),
        # A plan of an OLTP query is over before it would be compiled (pgtune, oltp and web).
        "jit": "off",
    }
    why = {
        "shared_buffers": f"a quarter of {server.limit} MB (pgtune, PostgreSQL manual 20.4.1)",
        "effective_cache_size": f"three quarters of {server.limit} MB (pgtune)",
        "maintenance_work_mem": f"a sixteenth of {server.limit} MB, 2 GB at most (pgtune)",
        "work_mem": f"{work_why}{squeezed}",
        "max_connections": "what the services, the exporters and the operations may open",
        "max_wal_size": "4 GB (pgtune, web), a tenth of the disk at most",
        "min_wal_size": "a quarter of max_wal_size (pgtune, web)",
        "random_page_cost": "disk that seeks (pgtune)" if server.rotating else "SSD (pgtune)",
        "effective_io_concurrency": "hdd (pgtune)" if server.rotating else "ssd (pgtune)",
        "jit": "off for short queries (pgtune, web)",
        "max_worker_processes": "cores (pgtune, 4 and more)",
        "max_parallel_workers": "cores (pgtune, 4 and more)",
        "max_parallel_workers_per_gather": "half the cores, 4 at most (pgtune, 4 and more)",
        "max_parallel_maintenance_workers": "half the cores, 4 at most (pgtune, 4 and more)",
    }
    gather = int(settings.get("max_parallel_workers_per_gather", 2))
    shm = shm_size(server, gather, work_kb / _KB_OF_MB, maintenance)
    return Budget(settings, {name: why[name] for name in settings}, needs, shm)


def _work_mem(server: Server, buffers: int) -> tuple[int, str]:
    """Return kilobytes by pgtune's formula, which divides what the buffers leave."""
    workers = worker_processes(server.cores)
    kb = (server.limit - buffers) * _KB_OF_MB / ((server.connections + workers) * 3)
    factor = _cached(server)
    found = int(max(kb * factor, _PGTUNE_FLOOR_KB))
    said = f"({server.limit} - {buffers}) / (({server.connections} + {workers}) x 3)"
    more = f" x {factor:g}" if factor != 1 else ""
    return found, f"{said}{more}, 4 MB at least (pgtune)"


def _cached(server: Server) -> float:
    """Return how much more or less a session gets by whether the data fits in memory (pgtune)."""
    if not server.database:
        return 1
    return 1.3 if server.database < server.limit else 0.9


def worker_processes(cores: float) -> int:
    """Return pgtune's number of worker processes."""
    return math.floor(cores) if cores >= 4 else 8


def _squeeze(server: Server, buffers: int, work_kb: int, maintenance: int) -> tuple[int, int, str]:
    """Take from sessions and maintenance what does not fit, and say so."""
    said = ""
    for smaller in (maintenance, maintenance // 2, _MAINTENANCE_FLOOR):
        rest = demand(
            server, shared_buffers=buffers, work_mem=0, maintenance_work_mem=max(smaller, 1)
        )
        fits_kb = int((rest.usable - rest.total) * _KB_OF_MB / max(server.connections, 1))
        maintenance = min(maintenance, max(smaller, _MAINTENANCE_FLOOR))
        if fits_kb >= min(work_kb, _PGTUNE_FLOOR_KB):
            break
    if fits_kb < work_kb:
        work_kb = max(fits_kb // 256 * 256, _WORK_FLOOR_KB)
        said = f", {amount(work_kb)} so that {server.connections} sessions fit into the limit"
    return work_kb, maintenance, said


def _limit_for(server: Server) -> int:
    """Return the smallest limit, in steps of 64, into which these connections fit."""
    floor = server.connections * _WORK_FLOOR_KB / _KB_OF_MB
    rest = server.autovacuum_workers * _MAINTENANCE_FLOOR + _SHARED_BESIDES
    share = USABLE - 0.25 * (1 + 1 / _SHARED_FRACTION)
    return math.ceil((floor + rest) / share / 64) * 64


def _disk(server: Server) -> dict[str, str]:
    found = {
        "random_page_cost": "4" if server.rotating else "1.1",
        "effective_io_concurrency": "2" if server.rotating else "200",
    }
    if server.disk:
        wal = min(max(server.disk // 10 // 1024, 1), 4)
        found["max_wal_size"] = f"{wal}GB"
        found["min_wal_size"] = f"{wal * 256}MB" if wal % 4 else f"{wal // 4}GB"
    return found


def _processors(server: Server) -> dict[str, str]:
    cores = math.floor(server.cores)
    if cores < 4:
        return {}
    half = str(min(math.ceil(cores / 2), 4))
    return {
        "max_worker_processes": str(cores),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": half,
        "max_parallel_maintenance_workers": half,
    }


def shm_size(server: Server, gather: int, work_mem: float, maintenance: int) -> int:
    """Return the size that /dev/shm should have: shared hash tables of parallel queries lie there.

    Each of them may take twice the memory of a session (``hash_mem_multiplier``) for each of its
    processes, and as many run at once as there are cores.
    """
    hashes = (gather + 1) * work_mem * 2 * max(server.cores, 1)
    return int(min(max(_SHM_FLOOR, hashes, maintenance), server.limit // 2))


def node_heap(limit: int) -> int:
    """Return ``--max-old-space-size`` for the limit of a container.

    It bounds V8's old space alone: buffers, code and stacks come on top. With a heap as large
    as the limit the kernel kills the process before the garbage collector begins to work.
    """
    return int(limit * (0.75 if limit >= 512 else 0.6))


def redis_maxmemory(limit: int, *, persistent: bool) -> int:
    """Return ``maxmemory`` for the limit of a container.

    A server that writes a snapshot or its log anew does so from a copy, which costs what is
    written to meanwhile.
    """
    return int(limit * (0.6 if persistent else 0.75))


def host(total: int, limits: Mapping[str, int], besides: int = 0) -> str:
    """Return why limits do not fit into a server's memory; nothing when they do.

    :param limits: memory by container.
    :param besides: what containers without a limit use now.
    """
    promised = sum(limits.values()) + besides + HOST_RESERVE
    if promised <= total:
        return ""
    largest = sorted(limits.items(), key=lambda one: -one[1])
    shown = " + ".join(f"{name} {mb}" for name, mb in largest)
    more = f" + {besides} used by containers without a limit" if besides else ""
    return (
        f"{shown}{more} + {HOST_RESERVE} for the system = {promised} MB, and the server has "
        f"{total} MB: {promised - total} MB too much"
    )
