# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Load a backup into an empty database, and stop at the first error.

An archive is loaded by pg_restore with several jobs, which needs a file that it can seek in: it
runs beside the server's container, sees the file, and nothing is copied. SQL is read here and given
to psql; it has to be whole, for psql takes the end of a file that was cut for the end of the data.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from . import _backup_database, _beside, _exec_stream, _operation, _watchdog
from ._backups import BackupError
from ._engine import Engine

_LOOK = 0.2
_MOST_JOBS = 8
LABEL = "carrental.ops.restore"


class LoadError(BackupError):
    """A backup that could not be loaded; the text is a clause that says why."""


@dataclass(frozen=True)
class Load:
    """Where a backup is loaded to, and for whom."""

    engine: Engine
    source: _backup_database.Source
    database: str
    operation: str = ""
    project: str = ""

    @property
    def application(self) -> str:
        """The name of its sessions, by which another run finds them."""
        return _operation.application_name(self.operation or "restore")

    def options(self) -> str:
        """Return what its sessions set: no limit of a role may end them, and memory for indexes."""
        limit = int((self.source.container.raw.get("HostConfig") or {}).get("Memory") or 0)
        megabytes = max(64, min(1024, limit // 2**20 // 8)) if limit else 256
        settings = {
            "statement_timeout": "0",
            "lock_timeout": "0",
            "idle_in_transaction_session_timeout": "0",
            "default_transaction_read_only": "off",
            "maintenance_work_mem": f"{megabytes}MB",
            "synchronous_commit": "off",
        }
        return " ".join(f"-c {key}={value}" for key, value in settings.items())


def jobs(wanted: int, cores: int) -> int:
    """Return how many jobs pg_restore gets: as many as there are processors, if nobody says."""
    return max(1, min(wanted or cores, _MOST_JOBS))


def archive(load: Load, path: str, count: int) -> None:
    """Load an archive of pg_dump.

    :raises LoadError: pg_restore found an error, and stopped there.
    """
    engine = load.engine
    name = f"{load.project or 'carrental'}-restore-{uuid.uuid4().hex[:8]}"
    argv = ["pg_restore", "--exit-on-error", f"--jobs={count}", "--no-password"]
    definition = _beside.definition(
        load.source,
        [*argv, f"--dbname={load.database}", _beside.FILE],
        path,
        environment={"PGAPPNAME": load.application, "PGOPTIONS": load.options()},
        labels={LABEL: load.project},
        operation=load.operation,
        read_only=True,
    )
    engine.create(name, definition)
    with _watchdog.guarded(engine, name):
        engine.start(name)
        while True:
            found = engine.inspect(name)
            if not found.state.get("Running"):
                break
            time.sleep(_LOOK)
        code = int(found.state.get("ExitCode") or 0)
        if code != 0 or found.state.get("OOMKilled"):
            raise LoadError(explain("\n".join(engine.log(found, 50)), code))


def sql(load: Load, pieces: Iterable[bytes]) -> None:
    """Load SQL in one transaction.

    :raises LoadError: a statement failed, and nothing of it stays.
    """
    argv = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-o", "/dev/null"]
    argv += ["-U", load.source.user, "-d", load.database, "-f", "-"]
    environment = {"PGAPPNAME": load.application, "PGOPTIONS": load.options()}
    if load.source.password:
        environment["PGPASSWORD"] = load.source.password
    stream = _exec_stream.Stream(load.engine, load.source.container.id, argv, environment)
    try:
        for piece in pieces:
            stream.send(piece)
        stream.end_input()
        for _said in stream.output():
            continue
        code = stream.exit_code()
        if code != 0:
            raise LoadError(explain(stream.errors, code))
    finally:
        stream.close()


def leftovers(engine: Engine, project: str) -> list[str]:
    """Remove the containers of loads that nobody waits for any more; return their names."""
    return engine.remove_labelled(LABEL, project)


_CAUSES = [
    (r'role "(?P<what>[^"]*)" does not exist', "there is no role {what} on this server; create it"),
    (
        r'extension "(?P<what>[^"]*)" is not available|'
        r'could not open extension control file "[^"]*/(?P<file>[^"/]*)\.control"',
        "the server has no extension {what}{file}; use an image that has it",
    ),
    (
        r'unrecognized configuration parameter "(?P<what>[^"]*)"',
        "it sets {what}, which this server does not know: it was made by a newer pg_dump",
    ),
    (
        r"unsupported version \((?P<what>[^)]*)\) in file header",
        "its archive format {what} is newer than pg_restore of this server",
    ),
    (r"No space left on device", "the disk of the database is full"),
    (r"terminating connection|server closed the connection", "its session was ended by somebody"),
    (
        r'could not access file "(?P<what>[^"]*)"',
        "the server has no library {what}; use an image that has it",
    ),
]


def explain(message: str, code: int) -> str:
    """Return the cause in what pg_restore or psql said, as a clause."""
    flat = " ".join(message.split())
    for pattern, sentence in _CAUSES:
        match = re.search(pattern, flat, re.IGNORECASE)
        if match:
            known = {key: value or "" for key, value in match.groupdict().items()}
            return sentence.format(**{"what": "", "file": "", **known})
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    first = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
    return first.rstrip(".") or f"it ended with {code} and gave no reason"
