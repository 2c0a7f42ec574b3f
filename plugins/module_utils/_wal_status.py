# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What is known of the receiver of the write-ahead log: a file for people, one for node-exporter.

The receiver writes both every few seconds, with the time. Files that nobody writes any more show an
old time, and an alert sees that.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from typing import Any

from . import _backup_metrics, _backups, _containers, _host, _wal_chain, _wal_store, _whole_file
from ._wal_store import Store

FOLDER = "wal"
FILE = "status.json"
METRICS = "carrental_wal.prom"
RECEIVING = "receiving"
WAITING = "waiting"
STOPPED = "stopped"
# The receiver says so every 15 s; what is older says that nobody is at work.
FRESH = 90.0
_HELP = {
    "carrental_wal_receiving": "1 while the write-ahead log is received.",
    "carrental_wal_checked_timestamp_seconds": "When the receiver last said so.",
    "carrental_wal_unbroken": "1 where the log has no gap since the newest base.",
    "carrental_wal_reachable_since_timestamp_seconds": "The oldest moment before the newest gap.",
    "carrental_wal_bytes": "Size of the log and of the bases on the server.",
}


@dataclass(frozen=True)
class Status:
    """What the receiver last said of itself."""

    state: str
    # Why it does not receive, as a sentence.
    why: str = ""
    at: float = 0.0
    system: str = ""

    @property
    def fresh(self) -> bool:
        return time.time() - self.at < FRESH


def path(state_dir: str) -> str:
    """Return where it lies."""
    return os.path.join(state_dir, FOLDER, FILE)


def read(state_dir: str) -> Status | None:
    """Return what the receiver last said; nothing where there never was one."""
    try:
        with open(path(state_dir), encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return None
    known = {one.name for one in fields(Status)}
    return Status(**{key: value for key, value in found.items() if key in known})


def write(state_dir: str, metrics_dir: str, status: Status, found: Store | None) -> None:
    """Say how it is.

    :raises OSError: a file cannot be written.
    """
    os.makedirs(os.path.dirname(path(state_dir)), mode=0o700, exist_ok=True)
    content = json.dumps(asdict(status), indent=1, sort_keys=True) + "\n"
    _whole_file.write(path(state_dir), content.encode())
    _backup_metrics.save(metrics_dir, METRICS, measure(status, found), _HELP)


def measure(status: Status, found: Store | None) -> dict[str, float]:
    """Return what there is to measure."""
    reaches = found.reaches() if found else []
    unbroken = [one for one in reaches if not one.gap]
    measured = {
        "carrental_wal_receiving": float(status.state == RECEIVING),
        "carrental_wal_checked_timestamp_seconds": status.at,
        "carrental_wal_unbroken": float(bool(unbroken)),
        "carrental_wal_bytes": float(found.size() if found else 0),
    }
    if unbroken:
        measured["carrental_wal_reachable_since_timestamp_seconds"] = min(
            one.since for one in unbroken
        )
    return measured


def forget(state_dir: str, metrics_dir: str) -> None:
    """Say nothing any more: what is switched off is no alarm."""
    for one in (os.path.join(metrics_dir, METRICS), path(state_dir)):
        with suppress(FileNotFoundError):
            os.unlink(one)


def as_result(directory: str, status: Status | None, now: float) -> dict[str, Any]:
    """Return what can be reached, as modules report it; nothing where there never was a log."""
    stores = _wal_store.stores(directory)
    if not stores:
        return {}
    found = next((one for one in stores if status and one.root.endswith(status.system)), stores[0])
    former = [one for one in stores if one != found]
    reaches = found.reaches()
    live = bool(status and status.state == RECEIVING and status.fresh)
    times = _wal_chain.spans(reaches)
    if live and times and _wal_chain.unbroken(reaches):
        # What is not there yet is fetched when it is asked for.
        times[-1] = (times[-1][0], max(times[-1][1], now))
    spans = [{"since": stamp(since), "until": stamp(until)} for since, until in times]
    return {
        "receiving": live,
        "why": _why(status, live=live),
        "unbroken": _wal_chain.unbroken(reaches),
        "spans": spans,
        "bases": [one.id for one in found.bases()],
        "bytes": found.size(),
        "former": [{"path": one.root, "bytes": one.size()} for one in former],
    }


def stamp(at: float) -> str:
    """Return a moment as people read it."""
    return _backups.stamp(datetime.fromtimestamp(at, timezone.utc))


def _why(status: Status | None, *, live: bool) -> str:
    if live:
        return ""
    if status is None:
        return "it is switched off"
    if not status.fresh:
        ago = _containers.duration(time.time() - status.at)
        return f"the receiver has said nothing for {ago}"
    return status.why or f"the receiver is {status.state}"


def line(found: dict[str, Any]) -> str:
    """Return what there is for an operator, as one line."""
    spans: Sequence[dict[str, str]] = found["spans"]
    reach = ", and ".join(f"{one['since']} to {one['until']}" for one in spans)
    said = f"any moment from {reach}" if reach else "no moment can be reached: there is no base"
    if spans and not found["unbroken"]:
        said += "; what came after has a gap, until the next base"
    if not found["receiving"]:
        said += f"; nothing is received: {found['why'].rstrip('.')}"
    for one in found["former"]:
        said += (
            f"; {one['path']} ({_host.size(one['bytes'])}) is of a database server that is gone: "
            "remove it when nobody needs it"
        )
    return f"point in time: {said}"
