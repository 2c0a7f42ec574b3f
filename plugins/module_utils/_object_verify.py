# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Prove a snapshot: every file of it read, and every key that the database refers to in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from . import _object_inventory, _object_spill, _postgres
from ._object_entry import Stored
from ._object_return import file_hash
from ._object_snapshots import Snapshots
from ._object_workers import Workers

_NAMED = 20
_ROWS = 5000
# A query that runs away must not run for ever.
_QUERY_MS = 10 * 60 * 1000


class KeysError(Exception):
    """The database cannot be asked for its keys; the text is a whole sentence."""


@dataclass
class Found:
    """How many of something, and the first of them by name."""

    number: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one."""
        self.number += 1
        if len(self.first) < _NAMED:
            self.first.append(name)


def damaged(
    snapshots: Snapshots, name: str, workers: int, *, give_up: bool
) -> tuple[int, Found, int]:
    """Read every file of a snapshot; return how many, and those that are not what was saved.

    :param give_up: whether the next snapshot shall fetch those anew; the last number says how
        many of them it will.
    :raises InventoryError: the inventory cannot be read.
    """
    folder = snapshots.path(name)
    identity = _object_inventory.summary(folder).id

    def whole(tool: None, one: Stored) -> bool:
        return file_hash(os.path.join(folder, one.path)) == one.sha256

    pool: Workers[None] = Workers(workers, nullcontext)
    read, found, given_up = 0, Found(), 0
    for one, came in pool.run(_object_inventory.read(folder), whole, ()):
        read += 1
        if came is not True:
            found.add(one.key)
            given_up += give_up and snapshots.give_up(name, identity, one)
    return read, found, given_up


def keys(login: _postgres.Login, query: str, scratch: str) -> str:
    """Ask the database for the keys that it refers to; return the path of the sorted list.

    :raises KeysError: it cannot be asked, or does not answer with keys.
    """
    try:
        import psycopg2  # noqa: PLC0415  # only who asks a database needs it
    except ImportError as error:
        raise KeysError(
            f"The database cannot be asked for keys: {_postgres.missing_library()}."
        ) from error
    try:
        connection = psycopg2.connect(**_postgres.parameters(login))
        try:
            connection.set_session(readonly=True, isolation_level="REPEATABLE READ")
            return _object_spill.sort(_rows(connection, query), scratch, "keys")
        finally:
            connection.close()
    except psycopg2.Error as error:
        raise KeysError(
            "The database cannot be asked for the keys that it refers to: "
            f"{_postgres.explain(str(error), login)}; the query is: {query}"
        ) from error


def _rows(connection: Any, query: str) -> Iterator[list[Any]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {_QUERY_MS}")
    # A cursor of the server: the answer may be larger than memory.
    with connection.cursor("carrental_ops_keys") as cursor:
        cursor.itersize = _ROWS
        cursor.execute(query)
        for row in cursor:
            if len(row) != 1 or not isinstance(row[0], (str, type(None))):
                raise KeysError(
                    "The query for the keys that the database refers to has to return one column "
                    f"of texts, and returned {row!r}; the query is: {query}"
                )
            if row[0] is not None:
                yield [row[0]]


def missing(path: str, inventory: Iterator[Stored]) -> tuple[int, Found]:
    """Return how many keys a list has, and which of them are not in an inventory."""
    found, asked = Found(), 0
    one = next(inventory, None)
    for (key,) in _object_spill.read(path):
        asked += 1
        while one is not None and one.key < key:
            one = next(inventory, None)
        if one is None or one.key != key:
            found.add(key)
    return asked, found
