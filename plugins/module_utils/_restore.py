# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Restore a database without touching the live one until its successor is proved.

Each step begins with what the server shows. A run that finds a proved successor goes on with the
swap, one that finds a swap without a verdict verifies it, and anything half loaded is dropped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from . import (
    _backup_verify,
    _backups,
    _gap,
    _releases,
    _restore_load,
    _restore_migrations,
    _restore_names,
    _restore_source,
    _restore_sql,
    _restore_swap,
)
from ._backup_database import DatabaseError
from ._backups import Backup, BackupError
from ._docker import DockerError
from ._engine import Engine
from ._operation_work import Operation

if TYPE_CHECKING:
    from . import _restore_health

_MB = 2**20
# A database is larger than the SQL it was made from where it has indexes.
_GROWTH = 1.2
_OF_SQL = 2.0
_OF_ARCHIVE = 10
# A swap without a verdict is taken back for so long after its time to be verified.
_SETTLED_S = 600.0
# Two looks at one file system differ by no more than this.
_SAME_BYTES = 64 * _MB
_AVAILABLE = """
SELECT json_build_object('extensions', (SELECT json_agg(name) FROM pg_available_extensions),
                         'roles', (SELECT json_agg(rolname) FROM pg_roles));
"""
_ROWS = "SELECT json_build_object('rows', count(*)) FROM {}.{};"


class RestoreError(BackupError):
    """A restore that did not come about; the text is a whole sentence."""

    def __init__(
        self, message: str, *, rolled_back: bool = False, damaged: str = "", instead: str = ""
    ) -> None:
        """Say what happened.

        :param damaged: the backup in which damage was found.
        :param instead: the newest other one to rely on.
        """
        super().__init__(message)
        self.rolled_back = rolled_back
        self.damaged = damaged
        self.instead = instead


@dataclass(frozen=True)
class Wish:
    """What is to be restored, and what an operator allowed."""

    database: str
    directory: str
    backup: str
    project: str = ""
    # Where the records of releases are. Empty: nobody compares the migrations with theirs.
    state_dir: str = ""
    identity: str = ""
    jobs: int = 0
    other_server: bool = False
    other_database: bool = False
    min_free_mb: int = 256
    verify_timeout: float = 60.0


@dataclass
class Report:
    """What was found and done."""

    backup: dict[str, Any] = field(default_factory=dict)
    # loaded, swapped: a run before came that far. Empty: everything is to be done.
    resume: str = ""
    live: bool = True
    previous: str = ""
    tables: int = 0
    rows: int = 0
    read_s: float = 0.0
    load_s: float = 0.0
    interruption_s: float = 0.0
    outages: dict[str, dict[str, Any]] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    migrations: dict[str, Any] = field(default_factory=lambda: _restore_migrations.Gap().as_dict())
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a module returns it."""
        return asdict(self)


class Restore:
    """One restore, from a look at the server to the verdict of the application."""

    def __init__(
        self,
        engine: Engine,
        server: _restore_swap.Server,
        wish: Wish,
        operation: Operation,
        application: _restore_health.Application | None = None,
    ) -> None:
        """Prepare.

        :param application: who is asked after a swap. A drill swaps nothing.
        """
        self.engine = engine
        self.server = server
        self._application = application
        self.wish = wish
        self.operation = operation
        self.report = Report()
        self._created_roles: list[str] = []

    @property
    def _database(self) -> str:
        return self.wish.database

    @property
    def _pg_restore(self) -> list[str]:
        return ["docker", "exec", "-i", self.server.source.container.id, "pg_restore"]

    @property
    def application(self) -> _restore_health.Application:
        if self._application is None:
            raise AssertionError("nobody is to be asked")
        return self._application

    # Looking.

    def plan(self, *, marks: bool = False) -> Report:
        """Look at everything, and change nothing.

        :param marks: a backup that is damaged is marked as such.
        :raises BackupError: it would be refused.
        """
        backup = _restore_source.pick(self.wish.directory, self.wish.backup)
        found = self.server.find(self._database)
        with self._distrusting(backup, marks=marks):
            proof = self._read_for_plan(backup)
        facts = self._facts(found)
        loaded = found.ready(self._sha256(backup, proof)) is not None
        self.judge(backup, proof, facts, loaded=loaded)
        self._foresee(backup, found, proof, facts)
        return self.report

    def _read_for_plan(self, backup: Backup) -> _backup_verify.Proof | None:
        if backup.name.encryption:
            self.report.lines.append("it is encrypted, so its content was not read")
            return None
        proof = self.read(backup)
        self.report.after = dict(proof.tables)
        return proof

    def _foresee(
        self,
        backup: Backup,
        found: _restore_names.Found,
        proof: _backup_verify.Proof | None,
        facts: Mapping[str, Any],
    ) -> None:
        report = self.report
        report.live = found.live is not None
        held = None
        if found.unverified and found.live and found.live.mark:
            report.resume = "swapped"
            swapped = found.live.mark.backup
            report.lines.append(f"a run before swapped in {swapped} and came to no verdict")
            if swapped != _called(backup):
                report.lines.append("that is settled first; the command has to be run again then")
        elif found.ready(self._sha256(backup, proof)):
            report.resume = "loaded"
        for repair in _restore_names.repairs(self._database, found):
            report.actions.append(repair.said)
        report.actions += [
            f"load {_called(backup)} into a new database",
            "swap it with the live one",
        ]
        if found.live and found.live.allows:
            with self.server.session(self._database) as session:
                session.begin(lock_timeout=10)
                report.before = session.count()
                held = session.migrations()
            users = self.server.sessions(self._database)
            report.lines.append(
                f"{len(users)} sessions of {self._database} are ended at the swap: "
                f"{', '.join(sorted(set(users))) or 'none'}"
            )
            report.lines.append(
                f"{self._database} has {found.live.size_bytes // _MB} MB and "
                f"{sum(report.before.values())} rows; it stays as "
                f"{_restore_names.beside(_restore_names.new_name(self._database), 'before')}"
            )
        if backup.manifest and backup.manifest.tables:
            report.after = dict(backup.manifest.tables)
        if backup.manifest and backup.manifest.database.get("owner"):
            report.lines += _restore_sql.differences(
                backup.manifest.database, facts.get("database") or {}
            )
        head = backup.manifest.migrations_head if backup.manifest else ""
        report.lines += self._tell_migrations(
            lambda releases: _restore_migrations.foresee(releases, held, head)
        )
        report.lines.append("the database is away for about a second, whatever its size")
        report.kept = _kept(found)

    def _tell_migrations(
        self, compared: Callable[[list[_releases.Release]], _restore_migrations.Gap]
    ) -> list[str]:
        """Report how the migrations differ from those of the release that runs, and say it."""
        if not self.wish.state_dir:
            return []
        try:
            gap = compared(_releases.load(self.wish.state_dir))
        except _releases.ReleaseError as error:
            return [f"its migrations are not compared with the release: {error}"]
        self.report.migrations = gap.as_dict()
        return gap.lines()

    def _migrations(self, name: str) -> tuple[str, ...] | None:
        """Return the migrations of a database; nothing where nobody can tell."""
        if not name:
            return None
        try:
            with self.server.session(name) as session:
                return session.migrations()
        except (BackupError, DockerError):
            # The restore is over: it does not fail for want of a line.
            return None

    def _facts(self, found: _restore_names.Found) -> dict[str, Any]:
        """Return what a manifest would say of the live database, or of the server alone."""
        name = self._database if found.live and found.live.allows else self.server.beside
        with self.server.session(name) as session:
            session.begin(lock_timeout=10)
            facts = session.facts()
        if name != self._database:
            facts["database"] = {}
        return facts

    @staticmethod
    def _sha256(backup: Backup, proof: _backup_verify.Proof | None) -> str:
        if backup.manifest:
            return backup.manifest.sha256
        return proof.sha256 if proof else ""

    def judge(
        self,
        backup: Backup,
        proof: _backup_verify.Proof | None,
        facts: Mapping[str, Any],
        *,
        loaded: bool = False,
    ) -> None:
        """Refuse what cannot come to a good end.

        :param loaded: a run before loaded it, so that it needs no room.
        :raises RestoreError: what is in the way.
        """
        if facts.get("in_recovery"):
            raise self._refused("the server is a standby, which takes no writes; go to its primary")
        if not backup.name.encryption:
            old = _restore_source.newer(backup, self._pg_restore, facts["server_version"])
            if old:
                raise RestoreError(f"{old} Nothing was changed.")
        manifest = backup.manifest
        self._name(backup)
        if backup.problem:
            self.report.lines.append(f"it is not trusted: {backup.problem}")
        if manifest is None:
            self.report.lines.append(
                f"{os.path.basename(backup.path)} has no manifest: what is in it is compared with "
                "what was read of it"
            )
        else:
            self._judge_manifest(manifest, facts)
        if not loaded:
            self._require_space(backup, proof)

    def _judge_manifest(self, manifest: _backups.Manifest, facts: Mapping[str, Any]) -> None:
        name = str(manifest.database.get("name", ""))
        if name and name != self._database and not self.wish.other_database:
            raise self._refused(
                f"{manifest.id} is a backup of the database {name}, and not of {self._database}; "
                "if that is meant, add -e restore_other_database=true"
            )
        here = str(facts["system_identifier"])
        if manifest.system_identifier not in ("", here):
            if not self.wish.other_server:
                raise self._refused(
                    f"{manifest.id} was made on another server of PostgreSQL "
                    f"({manifest.system_identifier}; this one is {here}); if that is meant, add "
                    "-e restore_other_server=true"
                )
            self.report.lines.append(f"it was made on another server, {manifest.host}")
        (known,) = self.server.ask(_AVAILABLE)
        available = set(known["extensions"] or [])
        lacking = sorted(set(manifest.extensions) - available)
        if lacking:
            raise self._refused(
                f"{manifest.id} needs the extension {', '.join(lacking)}, which the server does "
                "not have; use an image that has it"
            )
        roles = set(known["roles"] or [])
        missing = sorted(set(manifest.roles) - roles)
        _statements, unknown = _restore_sql.roles(manifest.globals, missing)
        if unknown:
            raise self._refused(
                f"{manifest.id} needs the role {', '.join(unknown)}, which is neither on the "
                "server nor in the backup; create it first"
            )
        if missing:
            self.report.lines.append(
                f"the role {', '.join(missing)} is created, without a password: set one"
            )

    def _require_space(self, backup: Backup, proof: _backup_verify.Proof | None) -> None:
        manifest = backup.manifest
        if manifest and manifest.database.get("size_bytes"):
            needed = int(int(manifest.database["size_bytes"]) * _GROWTH)
        else:
            needed = int(proof.text_bytes * _OF_SQL) if proof else 0
            # An archive that was counted before is not turned into SQL again.
            needed = needed or backup.bytes * _OF_ARCHIVE
        container = self.server.source.container
        if self.server.source.elsewhere:
            # Its disk is not the one of the container that has the tools.
            self.report.lines.append("how much room the database has elsewhere cannot be seen")
            return
        path = container.environment.get("PGDATA") or "/var/lib/postgresql/data"
        code, output = self.engine.execute(container.id, ["df", "-Pk", path])
        fields = output.strip().splitlines()[-1].split() if code == 0 and output.strip() else []
        if len(fields) < 4 or not fields[3].isdigit():
            self.report.lines.append("how much room the database has could not be seen")
            return
        free = int(fields[3]) * 1024
        scratch = self._unpacked(backup, proof)
        room = _restore_source.room(self.wish.directory) if scratch else 0
        if scratch and room < scratch + self.wish.min_free_mb * _MB:
            raise self._refused(
                f"unpacking {os.path.basename(backup.path)} takes about {scratch // _MB} MB in "
                f"{self.wish.directory}, which has {room // _MB} MB free, and "
                f"{self.wish.min_free_mb} MB stay free (restore_min_free_mb); free space first"
            )
        if scratch and abs(room - free) < _SAME_BYTES:
            # One file system takes both.
            needed += scratch
        self.report.lines.append(
            f"a second database takes about {needed // _MB} MB, and {free // _MB} MB are free"
        )
        if free < needed + self.wish.min_free_mb * _MB:
            raise self._refused(
                f"the database has {free // _MB} MB free, and a second one takes about "
                f"{needed // _MB} MB beside the {self.wish.min_free_mb} MB that stay free "
                "(restore_min_free_mb); free space first, restore_drop_previous for example"
            )

    @staticmethod
    def _unpacked(backup: Backup, proof: _backup_verify.Proof | None) -> int:
        """Return the bytes that an archive in a stream of zstd takes while it is loaded."""
        if not backup.name.zstd:
            return 0
        verified = backup.manifest.verified if backup.manifest else {}
        known = int(verified.get("text_bytes") or 0) or (proof.text_bytes if proof else 0)
        return known or backup.bytes * _OF_ARCHIVE

    def _name(self, backup: Backup) -> None:
        self.report.backup = {**backup.as_dict(), "id": _called(backup)}

    def _refused(self, why: str) -> RestoreError:
        return RestoreError(f"{self._database} is not restored: {why}. Nothing was changed.")

    # Acting.

    def run(self, *, swap: bool = True) -> Report:
        """Restore.

        :param swap: without it, stop when the successor is proved and waits.
        :raises BackupError: it did not come about. The live database is as it was.
        """
        report, operation = self.report, self.operation
        operation.step("look")
        self._clean_up()
        found = self.server.find(self._database)
        for repair in _restore_names.repairs(self._database, found):
            self._repair(repair)
            found = self.server.find(self._database)
        backup = _restore_source.pick(self.wish.directory, self.wish.backup)
        if found.unverified and found.live and found.live.mark:
            mark = found.live.mark
            report.resume = "swapped"
            self._name(backup)
            report.lines.append(f"a run before swapped in {mark.backup} and came to no verdict")
            self._settle(mark)
            if _called(backup) == mark.backup:
                return self._done(mark)
            # No backup was made of what is live, for that was what the run before restored.
            raise RestoreError(
                f"A run before had swapped in {mark.backup} and come to no verdict. It works, and "
                f"is settled now. {_called(backup)} was not restored: run the same command again "
                "for that."
            )
        with (
            self._distrusting(backup, marks=True),
            _restore_source.readable(backup, self.wish.identity, self.wish.directory) as plain,
        ):
            operation.step("read the backup")
            proof = self.read(plain)
            sha256 = self._sha256(backup, proof)
            self._compare(backup, proof.tables, "in the file")
            facts = self._facts(found)
            made = found.ready(sha256)
            judged = replace(plain, manifest=backup.manifest)
            self.judge(judged, proof, facts, loaded=made is not None)
            self._name(backup)
            for other in found.made:
                if made is None or other.name != made.name:
                    operation.step("drop what was half loaded")
                    self.server.drop(other.name)
                    report.actions.append(f"drop {other.name}, which a run before half loaded")
            if made and made.mark:
                report.resume, mark = "loaded", made.mark
                report.lines.append(f"a run before loaded and proved it as {made.name}")
                report.tables, report.rows = len(proof.tables), mark.rows
                name = made.name
            else:
                name, mark = self.load(backup, plain, proof, facts, sha256)
        if not swap:
            report.kept = _kept(found)
            return report
        before = self.application.failed() if found.live else []
        mark = self._swap(name, mark, found, before)
        self._verify(mark)
        return self._done(mark)

    def _settle(self, mark: _restore_names.Mark) -> None:
        """Come to the verdict that a run before did not come to.

        :raises RestoreError: it was rolled back; or the swap is long ago, so that what is live has
            been written to, and nothing is put back by itself.
        """
        age = time.time() - mark.swapped_at if mark.swapped_at else 0.0
        if age < self.wish.verify_timeout + _SETTLED_S:
            self._verify(mark)
            return
        failed = [one for one in self.application.failed() if not _known(one, mark.failing)]
        self.server.ask(_restore_swap.comment(self._database, mark.comment))
        if failed:
            raise RestoreError(
                f"A run before had swapped in {mark.backup} {round(age / 3600, 1)} h ago and come "
                f"to no verdict. The application does not work now ({'; '.join(failed[:3])}). What "
                f"was written since is in {self._database}, so {mark.previous or 'nothing'} is not "
                "put back by itself. The swap counts as settled: run the same command again to "
                "restore."
            )

    def _clean_up(self) -> None:
        """End what a killed run left at work."""
        gone = _restore_load.leftovers(self.engine, self.wish.project)
        self.report.actions += [f"remove the container {one}" for one in gone]
        _restore_source.sweep(self.wish.directory)

    def _repair(self, repair: _restore_names.Repair) -> None:
        self.operation.step("repair")
        if repair.kind == "return":
            _restore_swap.rename(self.server, [(repair.database, self._database)])
        self.server.ask(
            f"ALTER DATABASE {_restore_sql.name(self._database)} ALLOW_CONNECTIONS true;"
        )
        self.report.actions.append(repair.said)

    @contextmanager
    def _distrusting(self, backup: Backup, *, marks: bool) -> Iterator[None]:
        """Say of a damaged backup which one there is instead.

        :param marks: mark it, so that nobody relies on it any more.
        :raises RestoreError: it is damaged.
        """
        try:
            with _backup_verify.distrusting(backup, marks=marks):
                yield
        except BackupError as error:
            if _backup_verify.damage(error) is None:
                raise
            text = str(error)
            if not isinstance(error, RestoreError):
                text += f" {self._database} is not restored. Nothing was changed."
            known = backup.manifest.database if backup.manifest else {}
            raise RestoreError(
                text,
                # A dump without a manifest has nothing to mark, and nobody relies on it.
                damaged=_called(backup) if backup.manifest else "",
                instead=_restore_source.instead(
                    self.wish.directory,
                    backup,
                    self.wish.backup,
                    str(known.get("name") or self._database),
                ),
            ) from error

    def read(self, backup: Backup) -> _backup_verify.Proof:
        """Read a backup to its end.

        :raises RestoreError: it is damaged.
        """
        began = time.monotonic()
        try:
            proof = _backup_verify.verify(backup, self._pg_restore)
        except BackupError as error:
            text = str(error).rstrip(".").replace(backup.name.file, os.path.basename(backup.path))
            raise RestoreError(
                f"{text}. {self._database} is not restored. Nothing was changed."
            ) from error
        self.report.read_s = round(time.monotonic() - began, 2)
        return proof

    def _compare(self, backup: Backup, found: Mapping[str, int], where: str) -> None:
        """Refuse rows that are not those of the manifest."""
        manifest = backup.manifest
        if manifest is None or not manifest.tables:
            return
        difference = _backup_verify.compare(manifest.tables, dict(found))
        if difference:
            raise RestoreError(
                f"{backup.id} does not hold what its manifest says, {where}: {difference}. "
                f"{self._database} is not restored. Nothing was changed."
            )

    def load(
        self,
        backup: Backup,
        plain: Backup,
        proof: _backup_verify.Proof,
        facts: Mapping[str, Any],
        sha256: str,
    ) -> tuple[str, _restore_names.Mark]:
        """Make a database of the backup and prove it; return its name and mark."""
        name = _restore_names.new_name(self._database)
        known = backup.manifest.database if backup.manifest else {}
        like = dict(known if known.get("owner") else facts.get("database") or {})
        mark = _restore_names.Mark(
            _restore_names.LOADING, _called(backup), sha256, operation=self.operation.id
        )
        try:
            self.operation.step("create the database")
            self._create_roles(backup)
            self.server.ask(_restore_sql.create(name, like))
            self.server.say(name, mark)
            self.operation.step("load", database=name)
            began = time.monotonic()
            self._fill(name, plain)
            self.operation.step("analyze")
            self.server.ask("ANALYZE;", name)
            self.report.load_s = round(time.monotonic() - began, 2)
            self.operation.step("count")
            rows = self._count(name, backup, proof)
            self.operation.step("privileges and settings")
            for statement in _restore_sql.outside(name, like):
                self.server.ask(statement)
            mark = mark.at(_restore_names.READY, rows=sum(rows.values()))
            self.server.say(name, mark)
        except BackupError as error:
            raise self._undone(name, backup, error) from error
        except BaseException:
            # Told to stop: nobody has to find this before the disk is full.
            self._drop(name)
            raise
        self.report.tables, self.report.rows = len(rows), sum(rows.values())
        self.report.actions.append(f"load {_called(backup)} into {name}")
        return name, mark

    def _create_roles(self, backup: Backup) -> None:
        if backup.manifest is None:
            return
        (known,) = self.server.ask(_AVAILABLE)
        missing = set(backup.manifest.roles) - set(known["roles"] or [])
        statements, _unknown = _restore_sql.roles(backup.manifest.globals, missing)
        if statements:
            self.server.ask("BEGIN;\n" + "\n".join(statements) + "\nCOMMIT;")
            self._created_roles = sorted(missing)
            self.report.actions.append(f"create the role {', '.join(sorted(missing))}")

    def _fill(self, name: str, plain: Backup) -> None:
        load = _restore_load.Load(
            self.engine,
            self.server.source,
            name,
            self.operation.id,
            self.wish.project,
        )
        if plain.name.format == "sql.gz":
            _restore_load.sql(load, _backup_verify.pieces(plain, self._pg_restore))
            return
        count = _restore_load.jobs(self.wish.jobs, os.cpu_count() or 1)
        with _restore_source.seekable(plain, self.wish.directory) as path:
            _restore_load.archive(load, path, count)

    def _count(self, name: str, backup: Backup, proof: _backup_verify.Proof) -> dict[str, int]:
        """Count what was loaded, and refuse what is not what was expected."""
        with self.server.session(name) as session:
            session.begin(lock_timeout=10)
            rows = session.count()
            if backup.manifest and backup.manifest.tables:
                lost = sorted(set(backup.manifest.tables) - set(rows))
                if lost:
                    raise _restore_load.LoadError(f"the table {', '.join(lost[:5])} is not there")
                self._compare(backup, rows, "after it was loaded")
                return rows
            found = {table: rows[table] for table in proof.tables if table in rows}
            for table in proof.tables:
                if table not in rows:
                    schema, _dot, relation = table.partition(".")
                    statement = _ROWS.format(_restore_sql.name(schema), _restore_sql.name(relation))
                    found[table] = int(session.ask(statement)[0]["rows"])
        difference = _backup_verify.compare(proof.tables, found)
        if difference:
            raise _restore_load.LoadError(f"other rows arrived than were read: {difference}")
        return rows

    def _undone(self, name: str, backup: Backup, error: BackupError) -> RestoreError:
        """Remove what was begun, and say what production is now."""
        why = str(error).rstrip(".")
        if not self._drop(name):
            return RestoreError(
                f"{os.path.basename(backup.path)} could not be loaded: {why}. {self._database} was "
                f"not touched. What was loaded could not be dropped: {name} stays, and the same "
                "command drops it."
            )
        if isinstance(error, RestoreError):
            return error
        return RestoreError(
            f"{os.path.basename(backup.path)} could not be loaded: {why}. {self._database} was not "
            "touched, and the half that was loaded is dropped. Nothing was changed."
        )

    def _drop(self, name: str) -> bool:
        """Drop what was begun, and the roles made for it; return whether nothing of it is left."""
        try:
            self.server.drop(name)
            for role in self._created_roles:
                self.server.ask(f"DROP ROLE IF EXISTS {_restore_sql.name(role)};")
        except (BackupError, DockerError):
            # The server itself may be what failed; the next run looks again.
            return False
        return True

    def _swap(
        self,
        name: str,
        mark: _restore_names.Mark,
        found: _restore_names.Found,
        before: list[str],
    ) -> _restore_names.Mark:
        """Put it in the place of the live database.

        :param before: the checks that fail already, each with its line.
        """
        previous = _restore_names.beside(name, "before") if found.live else ""
        comment = found.live.comment if found.live else ""
        mark = mark.at(
            _restore_names.SWAPPED,
            previous=previous,
            comment=comment,
            swapped_at=time.time(),
            failing=[one.partition(":")[0] for one in before],
        )
        pairs = [(name, self._database)]
        if previous:
            pairs.insert(0, (self._database, previous))
        with self.application.watched() as probers:
            self.operation.step("swap", previous=previous)
            try:
                away = _restore_swap.rename(
                    self.server,
                    pairs,
                    _restore_swap.comment(self._database, mark.text()),
                    lambda: self.operation.step("between the renames"),
                )
            except DatabaseError as error:
                raise RestoreError(
                    f"{self._database} could not be swapped: {error} It is live as before; what "
                    f"was loaded waits as {name}, and the same command goes on with it."
                ) from error
            self.server.ask("SELECT json_build_object('is', true);", self._database)
            self.report.interruption_s = round(away, 2)
            _wait_for(probers)
        self.report.outages = {
            service: prober.measured.as_dict() for service, prober in probers.items()
        }
        self.report.previous = previous
        self.report.actions.append(
            f"swap {name} with {self._database}"
            + (f", which stays as {previous}" if previous else "")
        )
        return mark

    def _verify(self, mark: _restore_names.Mark) -> None:
        """Ask the application; on a no, give it back what it had.

        :raises RestoreError: it was rolled back.
        """
        self.operation.step("verify")
        outcome = self.application.settle(mark.failing, self.wish.verify_timeout)
        if outcome.passed:
            self.operation.step("finish")
            self.server.ask(_restore_swap.comment(self._database, mark.comment))
            return
        why = "; ".join(outcome.problems[:3])
        if not mark.previous:
            raise RestoreError(f"{self._database} is restored, and does not work: {why}.")
        self.operation.step("rename back")
        failed = mark.previous.replace("_before_", "_failed_")
        _restore_swap.rename(
            self.server,
            [(self._database, failed), (mark.previous, self._database)],
            _restore_swap.comment(failed, ""),
        )
        again = self.application.settle(mark.failing, self.wish.verify_timeout)
        state = "which works again" if again.passed else "which does not work either"
        differs = "".join(
            f" As for its schema, {one}." for one in self._gap(self._database, failed)
        )
        raise RestoreError(
            f"{mark.backup} was restored and the application did not work with it ({why}); the "
            f"database from before is back, {state}. What was restored is kept as {failed}."
            f"{differs}",
            rolled_back=True,
        )

    def _gap(self, live: str, restored: str) -> list[str]:
        """Compare the migrations of two databases; return what an operator has to know of it."""
        of_live, of_restored = self._migrations(live), self._migrations(restored)
        return self._tell_migrations(
            lambda releases: _restore_migrations.compare(releases, of_live, of_restored)
        )

    def _dropped_as_empty(self, name: str) -> bool:
        """Drop what was live before if it holds nothing, as that of a new server does."""
        if not name:
            return False
        with self.server.session(name) as session:
            session.begin(lock_timeout=10)
            if session.facts()["table_count"]:
                return False
        self.server.drop(name)
        self.report.actions.append(f"drop {name}, which had no table")
        return True

    def _done(self, mark: _restore_names.Mark) -> Report:
        report = self.report
        report.lines += self._gap(mark.previous, self._database)
        report.previous = "" if self._dropped_as_empty(mark.previous) else mark.previous
        report.rows = report.rows or mark.rows
        report.kept = _kept(self.server.find(self._database))
        return report


def _called(backup: Backup) -> str:
    """Return what people call it: of one that we did not name, the file."""
    file = os.path.basename(backup.path)
    return backup.id if _backups.name(file) else file


def _known(line: str, failing: Sequence[str]) -> bool:
    return line.partition(":")[0] in failing


def _wait_for(probers: Mapping[str, _gap.Prober], seconds: float = 15.0) -> None:
    """Go on watching until each answers again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if all(not prober.last for prober in probers.values()):
            return


def _kept(found: _restore_names.Found) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "size_bytes": one.size_bytes, "live_before": one in found.previous}
        for one in found.kept()
    ]


def drop_previous(
    server: _restore_swap.Server, database: str, wanted: str, operation: Operation, *, act: bool
) -> list[str]:
    """Drop databases that a restore kept; return their names.

    :param wanted: the name of one, or ``all``.
    :raises RestoreError: there is none of that name, or the restore has no verdict yet.
    """
    found = server.find(database)
    if found.live is None or found.unverified or not found.live.allows:
        raise RestoreError(
            f"The last restore of {database} has come to no verdict; run it again first, for until "
            "then the database from before is needed. Nothing was changed."
        )
    names = [one.name for one in found.kept()]
    if wanted != "all" and wanted not in names:
        raise RestoreError(
            f"{wanted} is no database that a restore of {database} kept; there are "
            f"{', '.join(names) or 'none'}. Nothing was changed."
        )
    chosen = names if wanted == "all" else [wanted]
    for name in chosen if act else []:
        operation.step("drop", database=name)
        server.drop(name)
    return chosen
