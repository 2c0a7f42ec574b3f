# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Ask a PostgreSQL what it counts of itself. Reads only, each question by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _pg_diagnosis as diagnosis
from ansible_collections.carrental.ops.plugins.module_utils import _pg_server
from ansible_collections.carrental.ops.plugins.module_utils._pg_diagnosis import Finding, Limits

_SERVER = """
SELECT current_setting('server_version') AS version, current_database()::text AS database,
       current_setting('max_connections')::int AS max_connections
"""
# Statements that are not normalised (ALTER ROLE ... PASSWORD) stay out. The one who asks, too.
_STATEMENTS = """
SELECT s.queryid::text AS queryid, s.calls::bigint AS calls, s.total_exec_time AS total_ms,
       s.mean_exec_time AS mean_ms, s.rows::bigint AS rows, s.shared_blks_hit AS hit,
       s.shared_blks_read AS read, s.temp_blks_written AS temp, s.query
  FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
 WHERE d.datname = current_database()
   AND s.query ~* '^\\s*(select|insert|update|delete|with|merge)\\M'
   AND s.query !~ 'pg_(stat_|catalog|settings|file_settings|db_role_setting|is_in_recovery)'
"""
_STATEMENTS_SINCE = "SELECT stats_reset::text AS since FROM pg_stat_statements_info"
_SESSIONS = """
SELECT pid, usename::text AS usename, application_name, state, query,
       extract(epoch FROM clock_timestamp() - xact_start)::float AS transaction_s,
       extract(epoch FROM clock_timestamp() - state_change)::float AS state_s,
       extract(epoch FROM clock_timestamp() - query_start)::float AS query_s,
       CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) END AS blocked_by
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
 LIMIT 5000
"""
_DATABASE = """
SELECT blks_hit AS hit, blks_read AS read, temp_files, temp_bytes / 1048576 AS temp_mb,
       coalesce(stats_reset::text, 'its creation') AS since
  FROM pg_stat_database WHERE datname = current_database()
"""
# Sizes are those of the last ANALYZE: to ask for the size of now waits for a table that is locked.
_TABLES = """
SELECT format('%I.%I', s.schemaname, s.relname) AS name, s.seq_scan, s.seq_tup_read, s.idx_scan,
       s.n_live_tup AS live, s.n_dead_tup AS dead,
       c.relpages::bigint * 8 / 1024 AS mb,
       greatest(s.last_vacuum, s.last_autovacuum)::text AS cleaned,
       (SELECT c.reltuples * (sum(t.avg_width) + 28) / 1048576.0
          FROM pg_stats t
         WHERE t.schemaname = s.schemaname AND t.tablename = s.relname)::float AS needed_mb
  FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
 ORDER BY c.relpages DESC LIMIT 500
"""
_UNUSED = """
SELECT format('%I.%I', s.schemaname, s.indexrelname) AS name,
       format('%I.%I', s.schemaname, s.relname) AS table,
       c.relpages::bigint * 8 / 1024 AS mb,
       coalesce((SELECT stats_reset::text FROM pg_stat_database
                  WHERE datname = current_database()), 'its creation') AS since
  FROM pg_stat_user_indexes s JOIN pg_index i ON i.indexrelid = s.indexrelid
  JOIN pg_class c ON c.oid = s.indexrelid
 WHERE s.idx_scan = 0 AND NOT i.indisunique AND i.indisvalid
   AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = s.indexrelid)
"""
_INVALID = """
SELECT format('%I.%I', n.nspname, c.relname) AS name, i.indrelid::regclass::text AS table
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT i.indisvalid
"""
_FOREIGN_KEYS = """
SELECT c.conrelid::regclass::text AS name, c.confrelid::regclass::text AS target,
       (SELECT r.relpages::bigint * 8 / 1024 FROM pg_class r WHERE r.oid = c.conrelid) AS mb,
       (SELECT string_agg(a.attname, ', ' ORDER BY k.at)
          FROM unnest(c.conkey) WITH ORDINALITY AS k(attnum, at)
          JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum) AS columns
  FROM pg_constraint c
 WHERE c.contype = 'f'
   AND NOT EXISTS (
     SELECT 1 FROM pg_index i
      WHERE i.indrelid = c.conrelid AND i.indisvalid
        AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)
"""


@dataclass
class Diagnosis:
    """What was found, and what it rests on."""

    facts: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)


def look(session: _pg_server.Session, limits: Limits) -> Diagnosis:
    """Ask everything.

    :raises ServerError: it does not answer at all.
    """
    facts = session.rows(_SERVER)[0]
    facts["at"] = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    found = Diagnosis(facts)

    def ask(what: str, statement: str) -> list[dict[str, Any]]:
        # Each by itself: a role that may not see one thing still sees the others.
        try:
            return session.rows(statement)
        except session.error as error:
            found.notes.append(f"{what} cannot be seen: {str(error).splitlines()[0]}")
            return []

    sessions = ask("sessions", _SESSIONS)
    found.states = diagnosis.states(sessions)
    found.findings += diagnosis.blocking(sessions, limits)
    _statements(found, ask, session, limits)
    found.findings += diagnosis.connections(sessions, int(facts["max_connections"]))
    found.findings += diagnosis.idle(sessions, limits)
    for row in ask("the counters of the database", _DATABASE):
        found.findings += diagnosis.database(row)
    tables = ask("tables", _TABLES)
    found.findings += diagnosis.missing_indexes(tables, limits)
    found.findings += diagnosis.foreign_keys(ask("foreign keys", _FOREIGN_KEYS), limits)
    found.findings += diagnosis.dead_rows(tables, limits)
    found.findings += diagnosis.bloat(tables, limits)
    found.findings += diagnosis.unused_indexes(ask("indexes", _UNUSED), limits)
    found.findings += diagnosis.invalid_indexes(ask("indexes", _INVALID))
    return found


def _statements(found: Diagnosis, ask: Any, session: _pg_server.Session, limits: Limits) -> None:
    if not session.rows("SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements'"):
        found.notes.append(
            "Slow statements cannot be seen: pg_stat_statements is not in this database; "
            "playbooks/tune.yml -e tuning_restart=if_needed brings it"
        )
        return
    rows = ask("slow statements", _STATEMENTS)
    total = sum(row["total_ms"] for row in rows)
    found.findings += diagnosis.statements(rows, total, limits)
    for row in ask("the age of the statistics", _STATEMENTS_SINCE):
        found.notes.append(
            f"Statements are counted since {row['since']}; they have no percentiles, which come "
            "from the histogram of the API"
        )
