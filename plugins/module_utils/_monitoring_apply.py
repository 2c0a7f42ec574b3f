# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Give a running Prometheus or Alertmanager another configuration, and prove that it took it.

A reload tells nothing: the signal is always received. So the service is asked
what it has in force; when that is not what was written, the old files come back.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from . import _alertmanager, _configuration, _configuration_write, _prometheus, _whole_file
from ._docker import Container, DockerError
from ._engine import Engine
from ._monitoring import MonitoringError

PROMETHEUS, ALERTMANAGER, RESTART = "prometheus", "alertmanager", "restart"
_JOB = re.compile(r"^- job_name: [\"']?([^\"'\n]+)[\"']?$", re.MULTILINE)
_PAUSE = 0.5
# A bad configuration is said at once; a good one may have to wait for a scrape to end.
_REFUSED_AFTER = 5.0


@dataclass(frozen=True)
class Reader:
    """A service that reads files, and what it has to have in force afterwards.

    :param files: what it mounts, relative to the project.
    :param inside: where each of them is in its container.
    """

    service: str
    kind: str
    port: int
    files: tuple[str, ...]
    inside: Mapping[str, str]
    jobs: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()


@dataclass
class Applied:
    """What was done, in words."""

    actions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def keep_previous(changes: Sequence[_configuration.Change], folder: str) -> list[str]:
    """Keep the files that are about to change, and return where they lie."""
    kept = []
    for change in changes:
        if change.old is None or not change.content:
            continue
        place = os.path.join(folder, change.path)
        try:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            _whole_file.write(place, change.old)
        except OSError as error:
            raise MonitoringError(
                f"Cannot keep the old {change.path} at {place}: {error.strerror}; the disk needs "
                "space, and the directory has to belong to this user. Nothing was changed."
            ) from error
        kept.append(place)
    return kept


def stale(reader: Reader, container: Container, texts: Mapping[str, str], root: str) -> bool:
    """Return whether a running service has not read the files as they are."""
    try:
        if reader.kind == PROMETHEUS:
            good, loaded = _prometheus.Prometheus(container.address, reader.port).loaded()
            newest = max(os.stat(os.path.join(root, one)).st_mtime for one in reader.files)
            return not good or loaded < newest
        if reader.kind == ALERTMANAGER:
            manager = _alertmanager.Alertmanager(container.address, reader.port)
            return not manager.has_loaded(texts[reader.files[0]])
    except (OSError, _prometheus.PrometheusError, _alertmanager.AlertmanagerError):
        return True
    return False


def reload(
    engine: Engine, reader: Reader, container: Container, texts: Mapping[str, str], timeout: float
) -> str:
    """Let a service read its files and prove that it did; return what was done, in words.

    :raises MonitoringError: it has something else in force.
    """
    began = time.time()
    if reader.kind == RESTART:
        engine.restart(container.id)
        return f"restarted {container.name}"
    blind = [one for one in reader.files if not _sees(engine, reader, container, one, texts[one])]
    if blind:
        # Somebody replaced the file by another one: a mount of a single file stays with the old.
        engine.restart(container.id)
        done = f"restarted {container.name}, which still had a replaced {', '.join(blind)}"
    else:
        engine.signal(container.id, "HUP")
        done = f"reloaded {container.name}"
    why = _until(lambda: _wrong(engine, reader, container, texts, began), timeout)
    if why:
        raise MonitoringError(f"{container.name} did not take its new configuration: {why}")
    return done


def undo(proved: _configuration.Candidate, changes: Sequence[_configuration.Change]) -> None:
    """Put the old files back."""
    back = [
        replace(one, new=one.old, old=one.new, mode=one.old_mode or one.mode, old_mode=one.mode)
        for one in changes
    ]
    _configuration_write.apply(replace(proved, changes=back))


def _sees(engine: Engine, reader: Reader, container: Container, path: str, text: str) -> bool:
    inside = reader.inside[path]
    try:
        # Its own eyes: the engine would look at the place on the server, which is another file
        # after a rename.
        rc, seen = engine.execute(container.id, ["cat", inside])
        return seen == text if rc == 0 else engine.read_file(container.id, inside) == text
    except DockerError:
        return False


def _until(wrong: Callable[[], str], timeout: float) -> str:
    deadline = time.monotonic() + timeout
    while why := wrong():
        if time.monotonic() > deadline or why.startswith("it refuses"):
            return why
        time.sleep(_PAUSE)
    return ""


def _wrong(
    engine: Engine, reader: Reader, before: Container, texts: Mapping[str, str], began: float
) -> str:
    """Return why the files are not in force yet; empty when they are."""
    container = engine.inspect(before.id)
    if not container.running:
        return f"it does not run any more; see: docker logs {container.name}"
    if reader.kind == PROMETHEUS:
        return _prometheus_wrong(reader, container, began)
    if reader.kind == ALERTMANAGER:
        try:
            manager = _alertmanager.Alertmanager(container.address, reader.port)
            if not manager.has_loaded(texts[reader.files[0]]):
                return f"it has another one in force; see: docker logs {container.name}"
        except _alertmanager.AlertmanagerError as error:
            return str(error)
    return ""


def _prometheus_wrong(reader: Reader, container: Container, began: float) -> str:
    prometheus = _prometheus.Prometheus(container.address, reader.port)
    try:
        good, loaded = prometheus.loaded()
        if not good and time.time() - began > _REFUSED_AFTER:
            return f"it refuses it; see: docker logs {container.name}"
        if not good or loaded < began - 1:
            return "it has not loaded it"
        jobs = _JOB.findall(prometheus.config())
        if reader.jobs and sorted(jobs) != sorted(reader.jobs):
            return f"/api/v1/status/config has the jobs {', '.join(jobs)}"
        alerts = prometheus.alerts()
        if reader.alerts and alerts != sorted(reader.alerts):
            return f"/api/v1/rules has {len(alerts)} alerts instead of {len(reader.alerts)}"
    except _prometheus.PrometheusError as error:
        return str(error)
    return ""
