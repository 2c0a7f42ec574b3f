# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Put one database in the place of another, in one transaction.

``ALTER DATABASE ... RENAME`` takes the lock that every new session of that database waits for, and
then waits up to five seconds for the sessions that are there. So sessions are ended from beside
while it waits, nobody gets in between, and there is no moment at which a crash leaves a database
without its name or closed. Whoever waited finds the new one at the next attempt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from . import _backup_database, _operation, _restore_names, _restore_sql
from ._restore_names import Mark

# Neither a limit of the role nor one of the database may end a restore half-way.
_FREE = """
SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
SET default_transaction_read_only = off; SET application_name = {};
"""
_DATABASES = """
SELECT json_build_object('name', d.datname, 'oid', d.oid::bigint, 'allows', d.datallowconn,
                         'size_bytes', pg_database_size(d.oid),
                         'comment', shobj_description(d.oid, 'pg_database'))
  FROM pg_database d WHERE NOT d.datistemplate;
"""
_SESSIONS = """
SELECT json_build_object('pid', pid, 'who', usename, 'as', application_name)
  FROM pg_stat_activity WHERE datname = {} AND backend_type = 'client backend';
"""
_END = """
SELECT json_build_object('ended', count(pg_terminate_backend(pid)))
  FROM pg_stat_activity WHERE datname IN ({}) AND pid <> pg_backend_pid();
"""
_EVERY = 0.02
_PATIENCE = 10.0


@dataclass(frozen=True)
class Server:
    """A server of PostgreSQL, asked from a database that is not restored."""

    source: _backup_database.Source
    operation: str = ""

    @property
    def beside(self) -> str:
        """A database that always exists and is not the one that is restored."""
        return "template1" if self.source.database == "postgres" else "postgres"

    def session(self, database: str = "") -> _backup_database.Session:
        """Begin a session; others of the same operation go on when it ends."""
        session = _backup_database.Session(self.source, database=database or self.beside)
        name = _operation.application_name(self.operation or "restore")
        try:
            session.ask(_FREE.format(_restore_sql.text(name)))
        except BaseException:
            session.close()
            raise
        return session

    def ask(self, statements: str, database: str = "") -> list[dict[str, Any]]:
        """Run statements in a session of their own."""
        with self.session(database) as session:
            return session.ask(statements)

    def find(self, database: str) -> _restore_names.Found:
        """Return what the server shows of a database and of restores of it."""
        return _restore_names.find(database, self.ask(_DATABASES))

    def sessions(self, database: str) -> list[str]:
        """Return who is connected to a database, for an operator."""
        rows = self.ask(_SESSIONS.format(_restore_sql.text(database)))
        return sorted(f"{row['who']} ({row['as'] or 'no name'})" for row in rows)

    def end(self, *databases: str) -> None:
        """End all sessions of databases."""
        self.ask(_ending(databases))

    def drop(self, database: str) -> None:
        """Remove a database for good."""
        self.ask(f"DROP DATABASE IF EXISTS {_restore_sql.name(database)} WITH (FORCE);")

    def say(self, database: str, mark: Mark) -> None:
        """Write into the comment of a database how far it is."""
        self.ask(comment(database, mark.text()))


def comment(database: str, said: str) -> str:
    """Return the statement that writes a comment; an empty one is none."""
    value = _restore_sql.text(said) if said else "NULL"
    return f"COMMENT ON DATABASE {_restore_sql.name(database)} IS {value};"


def _ending(databases: Sequence[str]) -> str:
    return _END.format(", ".join(_restore_sql.text(one) for one in databases))


def rename(
    server: Server,
    pairs: Sequence[tuple[str, str]],
    also: str = "",
    between: Callable[[], None] = lambda: None,
) -> float:
    """Rename databases in one transaction while their sessions are ended; return the seconds.

    :param pairs: old and new names, in order.
    :param also: statements of the same transaction.
    :param between: called after the first rename, before the others; for tests.
    :raises DatabaseError: it did not come about, and everything is as before.
    """
    over = threading.Event()
    busy = [old for old, _new in pairs]
    # Both sessions are there before anybody is cut off.
    with server.session() as session, server.session() as other:
        session.ask("BEGIN;")

        def end_sessions() -> None:
            # When it fails the renames fail too, for the sessions stay; they say so.
            with suppress(_backup_database.DatabaseError):
                while not over.is_set():
                    other.ask(_ending(busy))
                    over.wait(_EVERY)

        thread = threading.Thread(target=end_sessions, name="end sessions", daemon=True)
        began = time.monotonic()
        thread.start()
        try:
            for at, (old, new) in enumerate(pairs):
                if at == 1:
                    between()
                session.ask(
                    f"ALTER DATABASE {_restore_sql.name(old)} RENAME TO {_restore_sql.name(new)};"
                )
        finally:
            # Before the names mean something else: nobody may be ended who found the new one.
            over.set()
            thread.join(_PATIENCE)
        if thread.is_alive():
            raise _backup_database.DatabaseError(
                f"No session was ended within {_PATIENCE:g} s; try when the server has less to do."
            )
        session.ask(f"{also}\nCOMMIT;")
        # What follows is the end of our own sessions, which nobody waits for.
        return time.monotonic() - began


def for_restore(source: _backup_database.Source) -> _backup_database.Source:
    """Return a source whose errors speak of a restore."""
    return replace(source, verb="restored")
