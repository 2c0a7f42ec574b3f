# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What pgtune and timescaledb-tune would say to the same server, to be shown beside ours.

Both ask the machine for its memory, not the container; here they are given the limit.
"""

from __future__ import annotations

import math

from ansible_collections.carrental.ops.plugins.module_utils._memory_budget import (
    Server,
    amount,
    worker_processes,
)

_GB_KB = 1024**2
_MB_KB = 1024


def pgtune(server: Server) -> dict[str, str]:
    """Return pgtune's values for a web application on Linux with an SSD.

    Source: github.com/le0pard/pgtune, src/features/configuration/configurationSlice.js.
    """
    total = server.limit * _MB_KB
    buffers = total // 4
    workers = worker_processes(server.cores)
    work = (total - buffers) / ((server.connections + workers) * 3)
    if server.database:
        work *= 1.3 if server.database < server.limit else 0.9
    wal_buffers = min(max(3 * buffers // 100, 32), 16 * _MB_KB)
    found = {
        "shared_buffers": amount(buffers),
        "effective_cache_size": amount(total * 3 // 4),
        "maintenance_work_mem": amount(min(total // 16, 8 * _GB_KB)),
        "work_mem": amount(int(max(work, 4 * _MB_KB))),
        "max_connections": str(server.connections),
        "wal_buffers": amount(16 * _MB_KB if wal_buffers > 14 * _MB_KB else wal_buffers),
        "min_wal_size": "1GB",
        "max_wal_size": "4GB",
        "random_page_cost": "4" if server.rotating else "1.1",
        "effective_io_concurrency": "2" if server.rotating else "200",
        "huge_pages": "try" if buffers >= 2 * _GB_KB else "off",
        "jit": "off",
    }
    if server.cores >= 4:
        half = str(min(math.ceil(server.cores / 2), 4))
        found |= {
            "max_worker_processes": str(math.floor(server.cores)),
            "max_parallel_workers": str(math.floor(server.cores)),
            "max_parallel_workers_per_gather": half,
            "max_parallel_maintenance_workers": half,
        }
    return found


def timescaledb_tune(server: Server) -> dict[str, str]:
    """Return the values of timescaledb-tune, which is given the number of connections.

    Source: github.com/timescale/timescaledb-tune, pkg/pgtune.
    """
    total = server.limit * _MB_KB
    gigabytes = server.limit / 1024
    halves = max(round(server.cores / 2), 1)
    work = gigabytes * (400 * _MB_KB / max(server.connections, 1)) / halves
    wal_disk = int(server.disk * 0.6) // 16 * 16
    most_wal = wal_disk * _MB_KB if wal_disk else _GB_KB
    return {
        "shared_buffers": amount(total // 4),
        "effective_cache_size": amount(total * 3 // 4),
        "maintenance_work_mem": amount(int(min(gigabytes * 128, 2047) * _MB_KB)),
        "work_mem": amount(int(max(work, 64))),
        "max_connections": str(server.connections),
        "wal_buffers": amount(
            int(gigabytes * 7864) if server.limit < 2048 else 16 * _MB_KB,
        ),
        "min_wal_size": amount(most_wal // 2),
        "max_wal_size": amount(most_wal),
        "random_page_cost": "1.1",
        "effective_io_concurrency": "256",
        "max_parallel_workers_per_gather": str(halves),
        "jit": "off",
    }
