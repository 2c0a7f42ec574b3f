# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Read the SQL of a dump from its first to its last byte: is it whole, and which rows are in it.

A dump that was cut in the middle of COPY restores without an error, for psql takes the end of the
file as the end of the data. So the last line that pg_dump writes is demanded, and rows are counted
table by table. The text passes through in pieces; nothing is kept of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TRAILER = b"-- PostgreSQL database dump complete"
# pg_restore writes the same line; pg_dumpall writes another, and is no backup of one database.
_COPY = re.compile(rb"^COPY (?P<table>.+?) (?:\(.*\) )?FROM stdin;$", re.MULTILINE)
_TABLE = re.compile(rb"^CREATE (?:UNLOGGED |FOREIGN )?TABLE ", re.MULTILINE)
# What psql would do itself. Those of a dump of one database are the two that fence it in.
_COMMAND = re.compile(rb"^\\(?!restrict |unrestrict |\.)(?P<name>\S+)", re.MULTILINE)
_END = b"\\.\n"
_TAIL = 4096


@dataclass
class Scan:
    """What was read by now."""

    rows: dict[str, int] = field(default_factory=dict)
    created: int = 0
    length: int = 0
    # Stands between a COPY and its end; empty elsewhere.
    table: str = ""
    # A command of psql outside of the data; empty if there is none.
    command: str = ""
    _count: int = 0
    _rest: bytes = b""
    _tail: bytes = b""

    def feed(self, data: bytes) -> None:
        """Go on with the next piece of the text."""
        self.length += len(data)
        self._tail = (self._tail + data)[-_TAIL:] if len(data) < _TAIL else data[-_TAIL:]
        at = 0
        data = self._rest + data
        while at < len(data):
            after = self._data(data, at) if self.table else self._statements(data, at)
            if after is None:
                break
            at = after
        self._rest = data[at:]

    def _statements(self, data: bytes, at: int) -> int | None:
        """Pass over statements up to the next COPY; return where its data begins."""
        match = _COPY.search(data, at)
        # Only whole lines are looked at; a COPY whose line end is not there yet waits.
        if match and match.end() < len(data):
            self._look(data, at, match.start())
            self.table, self._count = _plain(match["table"].decode(errors="replace")), 0
            return match.end() + 1
        end = data.rfind(b"\n", at) + 1
        if end <= at:
            return None
        self._look(data, at, end)
        return end

    def _look(self, data: bytes, at: int, end: int) -> None:
        """Take note of what stands in whole lines of statements."""
        self.created += len(_TABLE.findall(data, at, end))
        found = None if self.command else _COMMAND.search(data, at, end)
        if found:
            self.command = found["name"].decode(errors="replace")

    def _data(self, data: bytes, at: int) -> int | None:
        """Count rows up to the line that ends them; return where the statements go on."""
        if data.startswith(_END, at):
            end = at
        else:
            found = data.find(b"\n" + _END, at)
            if found < 0:
                # The mark may be cut: all but the last whole line is surely data.
                last = data.rfind(b"\n", at, len(data) - len(_END)) + 1
                if last <= at:
                    return None
                self._count += data.count(b"\n", at, last)
                return last
            end = found + 1
        self._count += data.count(b"\n", at, end)
        self.rows[self.table] = self.rows.get(self.table, 0) + self._count
        self.table = ""
        return end + len(_END)

    @property
    def complete(self) -> bool:
        """The last line that pg_dump writes was there, after all data."""
        if self.table:
            return False
        lines = [line for line in self._tail.splitlines() if line.strip(b"- ")]
        # Newer ones end with a line \unrestrict and a key.
        ends = [line for line in lines if not line.startswith(b"\\unrestrict ")]
        return bool(ends) and ends[-1].startswith(TRAILER)

    def problem(self) -> str:
        """Return why this is no whole dump, in words; empty if it is one."""
        if not self.length:
            return "it is empty"
        if self.table:
            return f"it ends in the middle of the rows of {self.table}"
        if not self.complete:
            return f'its last line is not "{TRAILER.decode()}": it was cut, or pg_dump died'
        if not self.created and not self.rows:
            return "it holds no table"
        if self.command:
            return (
                f"it holds the command \\{self.command}, which leads psql elsewhere; dump one "
                "database, without --create"
            )
        return ""


def _plain(table: str) -> str:
    """Return a name as SQL writes it without the quotes that it does not need."""
    parts = re.findall(r'"((?:[^"]|"")*)"|([^.\s"]+)', table)
    return ".".join(quoted.replace('""', '"') if quoted else bare for quoted, bare in parts)
