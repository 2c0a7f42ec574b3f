# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Restore a backup where nobody can be hurt, and take the time.

A container of the very image that runs, on no network and with a limit of memory, gets the backup
by the same steps as a restore. Its data lies in a volume of its own, which goes with it. What it
took is what a restore of the whole server will take: the recovery time, measured.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

from . import (
    _backup_database,
    _backup_metrics,
    _backup_verify,
    _backups,
    _exec_stream,
    _one_off,
    _operation_rules,
    _restore,
    _restore_load,
    _restore_source,
    _restore_sql,
    _restore_swap,
    _watchdog,
)
from ._backups import Backup, BackupError
from ._docker import DockerError
from ._engine import Engine
from ._operation_work import Operation

LABEL = "carrental.ops.drill"
_MB = 2**20
_LOOK = 0.25


class DrillError(BackupError):
    """A backup that could not be restored in a drill; the text is a whole sentence."""


@dataclass(frozen=True)
class Wish:
    """What is tried, and how much of the server it may take."""

    project: str
    database_service: str
    database: str
    directory: str
    backup: str = "latest"
    identity: str = ""
    memory_mb: int = 512
    jobs: int = 0
    start_timeout: float = 120.0
    min_free_mb: int = 512
    metrics_dir: str = ""


@dataclass(frozen=True)
class Drilled:
    """What a drill measured, as a manifest holds it."""

    at: str
    # From the first byte read to the last row counted.
    seconds: float
    read_s: float
    load_s: float
    check_s: float
    tables: int
    rows: int
    # ok, or why it was not run.
    amcheck: str
    image_id: str
    server_version: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as a manifest holds it."""
        return asdict(self)


def pick(wish: Wish) -> Backup:
    """Return the backup that is tried: by default the newest that is verified.

    :raises BackupError: there is none.
    """
    backup = _restore_source.pick(wish.directory, wish.backup)
    if backup.manifest is None:
        raise DrillError(
            f"{backup.id} has no manifest to compare with; make one with playbooks/backup.yml "
            f"-e backup_verify={backup.id}. Nothing was changed."
        )
    return backup


def leftovers(engine: Engine, project: str) -> list[str]:
    """Remove the containers of drills that nobody waits for any more; return their names."""
    return engine.remove_labelled(LABEL, project)


def definition(
    production: _backup_database.Source, wish: Wish, password: str, operation: str, preload: str
) -> dict[str, Any]:
    """Return the container of a drill: nothing of production's is in it but the image."""
    container = production.container
    labels = {LABEL: wish.project}
    if _operation_rules.kind_of(operation):
        labels[_one_off.OPERATION] = operation
    image_command = ["postgres"]
    if preload:
        # Extensions may need what production loads at its start.
        image_command += ["-c", f"shared_preload_libraries={preload}"]
    return {
        "Image": container.image_id,
        "Cmd": image_command,
        "Env": [
            f"POSTGRES_USER={production.user}",
            f"POSTGRES_PASSWORD={password}",
            "POSTGRES_DB=postgres",
        ],
        "Labels": labels,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "none",
            "Memory": wish.memory_mb * _MB,
            "MemorySwap": wish.memory_mb * _MB,
            "ShmSize": max(
                int((container.raw.get("HostConfig") or {}).get("ShmSize") or 0), 64 * _MB
            ),
            "RestartPolicy": {"Name": "no"},
        },
    }


def preload(production: _backup_database.Source) -> str:
    """Return what the server loads at its start; what a provider loads is in no image of ours."""
    if production.elsewhere:
        return ""
    (found,) = _restore_swap.Server(production).ask(
        "SELECT json_build_object('preload', current_setting('shared_preload_libraries'));"
    )
    return str(found["preload"])


def run(
    engine: Engine,
    production: _backup_database.Source,
    wish: Wish,
    backup: Backup,
    operation: Operation,
) -> Drilled:
    """Restore the backup in a container of its own, and record what was measured.

    :raises BackupError: it cannot be restored; that is recorded nowhere but in what is said.
    """
    operation.step("clean up")
    leftovers(engine, wish.project)
    _restore_load.leftovers(engine, wish.project)
    _restore_source.sweep(wish.directory)
    password = secrets.token_urlsafe(24)
    name = f"{wish.project}-drill-{uuid.uuid4().hex[:8]}"
    operation.step("start a container", container=name)
    engine.create(name, definition(production, wish, password, operation.id, preload(production)))
    with _watchdog.guarded(engine, name):
        engine.start(name)
        container = engine.inspect(name)
        source = replace(
            production, container=container, password=password, database="postgres", verb="drilled"
        )
        _wait(source, wish.start_timeout)
        drilled = _try(engine, source, wish, backup, operation)
    operation.step("record")
    _record(backup, drilled, wish)
    return drilled


def _wait(source: _backup_database.Source, timeout: float) -> None:
    """Wait until the server takes connections over TCP; while it is set up it takes none."""
    argv = [
        "psql",
        "-XAtq",
        "-h",
        "127.0.0.1",
        "-U",
        source.user,
        "-d",
        "postgres",
        "-c",
        "SELECT 1",
    ]
    deadline = time.monotonic() + timeout
    while True:
        said = ""
        try:
            code, _output, said = _exec_stream.run(
                source.docker, source.container.id, argv, source.environment()
            )
            if code == 0:
                return
        except DockerError as error:
            said = str(error)
        if time.monotonic() > deadline:
            raise DrillError(
                f"The server of the drill did not start within {timeout:g} s: "
                f"{' '.join(said.split())[:200]}"
            )
        time.sleep(_LOOK)


def _try(
    engine: Engine,
    source: _backup_database.Source,
    wish: Wish,
    backup: Backup,
    operation: Operation,
) -> Drilled:
    server = _restore_swap.Server(source, operation.id)
    restore = _restore.Restore(
        engine,
        server,
        _restore.Wish(
            database=str((backup.manifest or _none()).database.get("name") or wish.database),
            directory=wish.directory,
            backup=backup.path,
            project=wish.project,
            jobs=wish.jobs,
            other_server=True,
            other_database=True,
            min_free_mb=wish.min_free_mb,
        ),
        operation,
    )
    began = time.monotonic()
    with (
        _backup_verify.distrusting(backup),
        _restore_source.readable(backup, wish.identity, wish.directory) as plain,
    ):
        operation.step("read the backup")
        proof = restore.read(plain)
        with server.session() as session:
            session.begin(lock_timeout=10)
            facts = {**session.facts(), "database": {}}
        restore.judge(replace(plain, manifest=backup.manifest), proof, facts)
        name, _mark = restore.load(backup, plain, proof, facts, proof.sha256)
    seconds = time.monotonic() - began
    operation.step("check the indexes")
    began = time.monotonic()
    amcheck = _amcheck(source, name)
    report = restore.report
    return Drilled(
        at=_backups.stamp(datetime.now(timezone.utc)),
        seconds=round(seconds, 2),
        read_s=report.read_s,
        load_s=report.load_s,
        check_s=round(time.monotonic() - began, 2),
        tables=report.tables,
        rows=report.rows,
        amcheck=amcheck,
        image_id=source.container.image_id,
        server_version=str(facts["server_version"]),
    )


def _none() -> _backups.Manifest:
    raise AssertionError("a drill begins with a manifest")


def _amcheck(source: _backup_database.Source, database: str) -> str:
    """Compare tables and indexes with each other; return ``ok`` or why that was not done.

    :raises DrillError: they contradict each other.
    """
    (found,) = _restore_swap.Server(source).ask(
        "SELECT json_build_object('there', EXISTS (SELECT FROM pg_available_extensions "
        "WHERE name = 'amcheck'));"
    )
    if not found["there"]:
        return "the image has no amcheck"
    argv: Sequence[str] = [
        *("pg_amcheck", "--install-missing", "--heapallindexed", "--no-password"),
        *("-U", source.user, _plain_name(database)),
    ]
    try:
        code, output, errors = _exec_stream.run(
            source.docker, source.container.id, argv, source.environment()
        )
    except DockerError as error:
        return f"pg_amcheck did not run: {error}"
    said = " ".join((errors or output).split())
    if "executable file not found" in f"{said} {output}" or code in (126, 127):
        return "the image has no pg_amcheck"
    if code != 0:
        raise DrillError(f"What was restored contradicts itself, says pg_amcheck: {said[:300]}.")
    return "ok"


def _plain_name(database: str) -> str:
    """Return a name that a program of PostgreSQL does not take for a connection string."""
    if "=" in database or database.startswith(("postgres://", "postgresql://")):
        return f"dbname={_restore_sql.text(database)}"
    return database


def _record(backup: Backup, drilled: Drilled, wish: Wish) -> None:
    """Write what was measured into the manifest, and for node-exporter."""
    now = _backups.load(backup.path)
    if now.manifest is None:
        raise DrillError(
            f"The manifest of {backup.id} is gone; what was measured is in the report."
        )
    _backups.save_manifest(backup.path, replace(now.manifest, drill=drilled.as_dict()))
    if wish.metrics_dir:
        _backup_metrics.write(wish.metrics_dir, _backups.listing(wish.directory))
