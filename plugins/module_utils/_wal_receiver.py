# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Receive the write-ahead log beside the server, for as long as the settings say so.

``pg_receivewal`` of the very image that runs works in a container that shares the network of the
server's, from where it is trusted. It ends with that one; this program begins another then. It also
keeps what is whole, and stops all of it before the disk is full.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from . import (
    _backup_database,
    _docker,
    _engine,
    _restore_source,
    _wal_server,
    _wal_status,
    _wal_store,
    _watchdog,
)
from ._backup_database import Source
from ._backups import BackupError
from ._engine import Engine
from ._wal_status import Status
from ._wal_store import Store

LABEL = "carrental.ops.wal"
EXPECTED = (BackupError, _docker.DockerError, OSError)
LOCK = "lock"
_LOOK = 2.0
_SAY_EVERY = 15.0
_AGAIN = 5.0
_MEMORY = 128 * 2**20
_MB = 2**20
# What was stopped for want of room begins again with this much more of it.
_RESUME = 1.25


class StoppedError(BackupError):
    """Nothing is received, and that does not pass by itself; the text is a whole sentence."""


@dataclass(frozen=True)
class Wish:
    """What is received, and where to."""

    project: str
    database_service: str
    database: str
    directory: str
    state_dir: str
    metrics_dir: str
    slot_max_mb: int = 1024
    min_free_mb: int = 2048


def main(argv: Sequence[str]) -> int:
    """Receive until the settings are others, or gone; return the exit code.

    :param argv: the path of the settings.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    os.umask(0o077)
    with open(argv[-1], encoding="utf-8") as stream:
        wish = Wish(**json.load(stream))
    with alone(wish.state_dir):
        Receiver(wish, argv[-1]).run()
    return 0


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


@contextmanager
def alone(state_dir: str, seconds: float = 0.0) -> Iterator[None]:
    """Have the receiver's own lock: whoever has it may make and drop the slot.

    :raises BackupError: somebody else has it for longer than so many seconds.
    """
    path = os.path.join(state_dir, _wal_status.FOLDER, LOCK)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    deadline = time.monotonic() + seconds
    with open(path, "a", encoding="utf-8") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise BackupError(
                        f"The receiver of the write-ahead log did not end within {seconds:g} s; "
                        "see systemctl status of its service."
                    ) from error
                time.sleep(0.2)
        yield


class Receiver:
    """One receiver, from its settings to their end."""

    def __init__(self, wish: Wish, config: str) -> None:
        self.wish = wish
        self._files = (config, sys.argv[0])
        self._known = self._looked_at()
        self._said = ("", "")
        self._stopped = False

    def _looked_at(self) -> list[tuple[int, int]]:
        found = []
        for path in self._files:
            with suppress(OSError):
                status = os.stat(path)
                found.append((status.st_ino, status.st_mtime_ns))
        return found

    @property
    def _wanted(self) -> bool:
        """Whether the settings and the program are those that this began with."""
        return self._looked_at() == self._known

    def run(self) -> None:
        """Receive, and again whenever it ended."""
        while self._wanted:
            try:
                self._receive()
            except StoppedError as error:
                self._say(Status(_wal_status.STOPPED, str(error), time.time()))
            except EXPECTED as error:
                self._say(Status(_wal_status.WAITING, str(error), time.time()))
            if self._wanted:
                time.sleep(_AGAIN)

    def _say(self, status: Status, store: Store | None = None) -> None:
        """Tell the journal what changed, and the files what is."""
        # The same with other numbers is no news.
        news = (status.state, re.sub(r"\d+", "", status.why))
        if news != self._said:
            _tell(f"{status.state}. {status.why}".rstrip())
            self._said = news
        if store is None:
            store = next(iter(_wal_store.stores(self.wish.directory)), None)
        with suppress(OSError):
            _wal_status.write(self.wish.state_dir, self.wish.metrics_dir, status, store)

    def _receive(self) -> None:
        """Receive for as long as it works.

        :raises BackupError: it does not.
        """
        wish, engine = self.wish, _engine.Engine()
        engine.remove_labelled(LABEL, wish.project)
        source = _backup_database.source(engine, wish.project, wish.database_service, wish.database)
        if source.elsewhere:
            raise StoppedError(
                f"{source.elsewhere} is not a server of this stack; have its provider keep its "
                "log, and leave backup_point_in_time off."
            )
        known = _wal_server.facts(source)
        store = _wal_store.store(wish.directory, known.system)
        store.prepare(known.segment_bytes)
        # The one that is received is the first of all.
        os.utime(store.root)
        self._require_room(source, store)
        _wal_server.bound(source, known, wish.slot_max_mb)
        known = _wal_server.have_slot(source, known)
        store.collect()
        for left in store.leave_behind(known.held()):
            _tell(f"gap after {left}: the server has it no more")
        name = f"{wish.project}-wal-{uuid.uuid4().hex[:8]}"
        engine.create(name, definition(source, store, wish.project))
        with _watchdog.guarded(engine, name):
            engine.start(name)
            self._stopped = False
            self._supervise(engine, name, source, store, known.system)

    def _require_room(self, source: Source, store: Store) -> None:
        """Stop before the disk is full: then the server shall keep nothing for us either.

        :raises StoppedError: it is too full.
        """
        enough = int(self.wish.min_free_mb * _RESUME)
        free = _restore_source.room(store.root) // _MB
        if free >= (enough if self._stopped else self.wish.min_free_mb):
            return
        _wal_server.drop_slot(source)
        self._stopped = True
        raise StoppedError(
            f"{self.wish.directory} has {free} MB free, and {self.wish.min_free_mb} MB are to stay "
            "free (backup_wal_min_free_mb), so the write-ahead log is not received and the slot is "
            f"dropped; free space: with {enough} MB it goes on by itself, with a gap up to the "
            "next base."
        )

    def _supervise(
        self, engine: Engine, name: str, source: Source, store: Store, system: str
    ) -> None:
        said = 0.0
        while self._wanted:
            # First, for one that is refused ends at once, and was never one that receives.
            time.sleep(_LOOK)
            found = engine.inspect(name)
            if not found.running:
                lines = engine.log(found, 5) or ["it gave no reason"]
                raise BackupError(f"pg_receivewal has ended: {lines[-1].rstrip('.')}.")
            store.collect()
            if time.monotonic() - said > _SAY_EVERY:
                self._require_room(source, store)
                known = _wal_server.facts(source)
                # Somebody may have taken the settings of the server back.
                _wal_server.bound(source, known, self.wish.slot_max_mb)
                self._say(Status(_wal_status.RECEIVING, "", time.time(), system), store)
                said = time.monotonic()


def _tell(text: str) -> None:
    """Say something to the journal of systemd."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def definition(source: Source, store: Store, project: str) -> dict[str, Any]:
    """Return the container of the receiver. A password, if it needs one, is in no command line."""
    owner = os.stat(store.receiving)
    environment = {"PGUSER": source.user, **source.environment()}
    return {
        "Image": source.container.image_id,
        "Entrypoint": ["pg_receivewal"],
        "Cmd": [
            *("--directory=/wal", f"--slot={_wal_server.SLOT}", "--no-loop"),
            *("--host=127.0.0.1", "--no-password"),
        ],
        "User": f"{owner.st_uid}:{owner.st_gid}",
        "Env": [f"{key}={value}" for key, value in environment.items()],
        "Labels": {LABEL: project},
        "WorkingDir": "/",
        "Healthcheck": {"Test": ["NONE"]},
        # It ends by itself at this signal, with what it has on disk.
        "StopSignal": "SIGINT",
        "HostConfig": {
            "NetworkMode": f"container:{source.container.id}",
            "Binds": [f"{os.path.realpath(store.receiving)}:/wal"],
            "ReadonlyRootfs": True,
            "Memory": _MEMORY,
            "RestartPolicy": {"Name": "no"},
        },
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
