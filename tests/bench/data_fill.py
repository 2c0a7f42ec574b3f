# SPDX-License-Identifier: GPL-3.0-or-later
"""A database that is worth measuring: accounts as pgbench makes them, and bookings as JSON."""

from __future__ import annotations

from support import on_server, sql

_BOOKINGS = """
CREATE TABLE bench_bookings AS
SELECT g AS id, md5(g::text) AS ref,
       jsonb_build_object('car', g % 500, 'city', (ARRAY['Paris', 'Rome', 'Oslo'])[1 + g % 3],
                          'note', repeat(md5((g * 7)::text), 3)) AS body,
       timestamptz '2026-11-01' - g * interval '1 min' AS at
  FROM generate_series(1, {rows}) g
"""
# One million bookings, which there are at most, have more than 300 MB with their index; a scale
# of pgbench has 15 MB.
_ROWS = 1_000_000
_MB_OF_ROWS = 300
_MB_OF_SCALE = 15


def fill(megabytes: int) -> int:
    """Have a database of at least so many megabytes; return its size."""
    if _size() < megabytes * 1_000_000:
        scale = max((megabytes - _MB_OF_ROWS) // _MB_OF_SCALE + 2, 1)
        print(f"  filling the database to {megabytes} MB ...", flush=True)
        on_server(
            *("docker", "exec", "postgres", "pgbench", "-U", "carrental", "-i", "-q"),
            *("-s", str(scale), "carrental"),
        )
        sql("DROP TABLE IF EXISTS bench_bookings")
        sql(_BOOKINGS.format(rows=min(_ROWS, _ROWS * megabytes // _MB_OF_ROWS)))
        sql("ALTER TABLE bench_bookings ADD PRIMARY KEY (id)")
        sql("CHECKPOINT")
    size = _size()
    assert size >= megabytes * 1_000_000, f"{size} bytes are fewer than {megabytes} MB"
    return size


def empty() -> None:
    """Take away what was filled in."""
    sql(
        "DROP TABLE IF EXISTS bench_bookings, pgbench_history, pgbench_accounts, "
        "pgbench_tellers, pgbench_branches"
    )


def _size() -> int:
    return int(sql("SELECT pg_database_size(current_database())"))
