# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Recover a server to a moment where nobody can be hurt: in a container like that of a drill.

It has the very image that runs, no network, a limit of memory, and its data in a volume of its own,
which goes with it. It runs as the user that the log belongs to, and sees the log read-only. Once it
is promoted it is asked like any other server.
"""

from __future__ import annotations

import os
import re
import shlex
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from . import (
    _backup_database,
    _drill,
    _exec_stream,
    _wal_base,
    _watchdog,
)
from ._backups import BackupError
from ._engine import Engine
from ._operation_work import Operation
from ._wal_store import Base, Store

_DATA = "/var/lib/postgresql/data"
_SOCKETS = "/tmp"  # noqa: S108  # of the container, where nobody else is
_LOOK = 0.5
_READY = "ready"
# Seconds for a server to begin; how long it plays back is another matter.
_BEGIN = 5
_MB = 2**20
_LOG = f"{_SOCKETS}/recovery.log"
# What the server asks for is whole in the archive, or the last that was received of it.
_FETCH = (
    "if [ -f /wal/archive/%f.gz ]; then exec gunzip -c /wal/archive/%f.gz > %p; fi; "
    "for one in /wal/archive/%f /wal/receiving/%f /wal/archive/%f.partial "
    "/wal/receiving/%f.partial; do "
    "if [ -f $one ]; then exec cp $one %p; fi; done; "
    # The receiver may have packed it since.
    "if [ -f /wal/archive/%f.gz ]; then exec gunzip -c /wal/archive/%f.gz > %p; fi; exit 1"
)
# The last setting of a name counts. What production has for its size is of no use in here.
_SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{sockets}'
restore_command = '{fetch}'
recovery_target_time = '{moment}'
recovery_target_timeline = 'latest'
recovery_target_action = 'promote'
hot_standby = off
max_wal_size = '256MB'
min_wal_size = '64MB'
wal_keep_size = 0
primary_conninfo = ''
archive_mode = off
logging_collector = off
log_destination = 'stderr'
lc_messages = 'C'
log_timezone = 'UTC'
ssl = off
shared_buffers = '64MB'
huge_pages = off
shared_preload_libraries = '{preload}'
synchronous_standby_names = ''
fsync = off
full_page_writes = off
"""
_ENDED_BEFORE = "recovery ended before configured recovery target was reached"
_LAST = re.compile(r"last completed transaction was at log time (.+)")


class RecoverError(BackupError):
    """A moment that could not be come to; the text is a whole sentence."""


@dataclass(frozen=True)
class Target:
    """A moment, and what it is come to from."""

    store: Store
    base: Base
    moment: float

    @property
    def owner(self) -> os.stat_result:
        """Whose files these are."""
        return os.stat(self.store.archive)


@dataclass(frozen=True)
class Recovered:
    """A server as it was at a moment."""

    source: _backup_database.Source
    # When the last transaction ended that it has; empty where there was none since the base.
    last: str


@contextmanager
def recovered(
    engine: Engine,
    production: _backup_database.Source,
    target: Target,
    wish: _drill.Wish,
    operation: Operation,
) -> Iterator[Recovered]:
    """Give a server that was recovered to a moment; it is gone in the end.

    :param wish: what a drill may take of the server. ``start_timeout`` is for the recovery.
    :raises RecoverError: the moment cannot be come to.
    """
    operation.step("clean up")
    _drill.leftovers(engine, wish.project)
    preload = _drill.preload(production)
    name = f"{wish.project}-point-{uuid.uuid4().hex[:8]}"
    operation.step("start a container", container=name)
    engine.create(name, definition(production, wish, operation.id, target))
    with _watchdog.guarded(engine, name):
        engine.start(name)
        source = replace(production, container=engine.inspect(name), verb="recovered")
        operation.step("unpack the base", base=target.base.id)
        _unpack(engine, source, target)
        at = datetime.fromtimestamp(target.moment, timezone.utc).isoformat(sep=" ")
        operation.step("play the log back", until=at)
        _configure(source, at, preload)
        log = _play_back(engine, source, at, wish)
        last = _LAST.findall(log)
        yield Recovered(source, last[-1] if last else "")


def definition(
    production: _backup_database.Source,
    wish: _drill.Wish,
    operation: str,
    target: Target,
) -> dict[str, Any]:
    """Return the container: that of a drill, which waits for what it is told to do."""
    like = _drill.definition(production, wish, "", operation, "")
    return {
        **like,
        "Entrypoint": ["sleep"],
        "Cmd": ["infinity"],
        "User": f"{target.owner.st_uid}:{target.owner.st_gid}",
        "Env": [f"PGDATA={_DATA}", f"PGHOST={_SOCKETS}", f"HOME={_SOCKETS}"],
        "WorkingDir": "/",
        # The volume goes with the container, wherever the image has its own.
        "Volumes": {_DATA: {}},
        "HostConfig": {
            **like["HostConfig"],
            "Binds": [f"{os.path.realpath(target.store.root)}:/wal:ro"],
            # Something has to wait for the server, which nobody is the parent of.
            "Init": True,
        },
    }


def _run(source: _backup_database.Source, script: str, pieces: Iterable[bytes] = ()) -> str:
    """Run a few commands in the container; return what they printed.

    :raises RecoverError: they failed.
    """
    stream = _exec_stream.Stream(source.docker, source.container.id, ["sh", "-c", script])
    try:
        for piece in pieces:
            stream.send(piece)
        stream.end_input()
        output = b"".join(bytes(piece) for piece in stream.output()).decode(errors="replace")
        code = stream.exit_code()
    finally:
        stream.close()
    if code != 0:
        said = " ".join((stream.errors or output).split())[-300:]
        raise RecoverError(f"{source.container.name} failed: {said or f'it ended with {code}'}.")
    return output


def _unpack(engine: Engine, source: _backup_database.Source, target: Target) -> None:
    """Have the files of the base in the volume."""
    owner, store = target.owner, target.store
    own = f"chown {owner.st_uid}:{owner.st_gid} {_DATA} && chmod 700 {_DATA}"
    code, output = engine.execute(source.container.id, ["sh", "-c", own], user="0")
    if code != 0:
        raise RecoverError(f"{_DATA} of {source.container.name} cannot be used: {output.strip()}.")
    _run(source, f"tar -x -f - -C {_DATA}", _wal_base.unpacked(store.base_path(target.base)))


def _configure(source: _backup_database.Source, at: str, preload: str) -> None:
    text = _SETTINGS.format(
        sockets=_SOCKETS, fetch=_FETCH, moment=at, preload=preload.replace("'", "''")
    )
    script = f"cat >> {_DATA}/postgresql.auto.conf && touch {_DATA}/recovery.signal"
    _run(source, script, (text.encode(),))


def _play_back(engine: Engine, source: _backup_database.Source, at: str, wish: _drill.Wish) -> str:
    """Have the server recover, be promoted and take sessions; return its log.

    The log that ends before the moment is never enough: what was received late or is damaged looks
    the same as a server that had nothing to do.

    :raises RecoverError: it did not come to that.
    """
    deadline = time.monotonic() + wish.start_timeout
    # It need not answer by then: what counts is that it has begun, and did not end again.
    script = (
        f"pg_ctl -D {_DATA} -w -t {_BEGIN} -l {_LOG} start >/dev/null; "
        f"test -f {_DATA}/postmaster.pid"
    )
    while True:
        try:
            ready = _run(source, script).strip() == _READY
        except RecoverError:
            raise RecoverError(_explain(_log(source), at, wish.start_timeout)) from None
        if ready:
            return _log(source)
        if time.monotonic() > deadline:
            raise RecoverError(_explain(_log(source), at, wish.start_timeout))
        _require_room(engine, wish)
        # To pg_ctl a server that still recovers is one that runs, so it is asked for sessions, too.
        script = (
            f"if pg_isready -q -U {shlex.quote(source.user)}; then echo {_READY}; "
            f"else pg_ctl -D {_DATA} status >/dev/null; fi"
        )
        time.sleep(_LOOK)


def _log(source: _backup_database.Source) -> str:
    return _run(source, f"cat {_LOG}")


def _require_room(engine: Engine, wish: _drill.Wish) -> None:
    """Stop before the disk is full, which production has its files on.

    :raises RecoverError: it nearly is.
    """
    free = engine.disk().free // _MB
    if free < wish.min_free_mb:
        raise RecoverError(
            f"the log that was played back took more room than was thought: {free} MB are free, "
            f"and {wish.min_free_mb} MB stay free (restore_min_free_mb); free space first"
        )


def _explain(log: str, at: str, timeout: float) -> str:
    if _ENDED_BEFORE in log:
        last = _LAST.findall(log)
        advice = (
            f"the last commit in it is of {last[-1]}; the time of it, rounded down to the second, "
            "can be given, and leaves out what was committed in that second"
            if last
            else "no commit is in it since the base; restore a backup"
        )
        return (
            f"what there is of the log ends before {at}, and whether more was committed until then "
            f"is not known: the rest was never received, or is damaged; {advice}"
        )
    causes = [line for line in log.splitlines() if re.search(r"(FATAL|PANIC): ", line)]
    if not causes:
        return (
            f"The log was not played back within {timeout:g} s (restore_point_timeout); the last "
            f"that was said is: {(log.splitlines() or ['nothing'])[-1]}"
        )
    return f"The log cannot be played back: {re.split('(?:FATAL|PANIC):', causes[-1])[-1].strip()}."
