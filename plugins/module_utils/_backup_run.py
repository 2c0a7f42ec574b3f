# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Make a backup: look, dump, read it all again, say what it holds, give it its name.

Until the last step the file ends in ``.partial``, and this process holds a kernel lock on it. One
that nobody holds is what a killed run left, and is removed by the next.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import IO, Any

from . import (
    _backup_beside,
    _backup_database,
    _backup_dump,
    _backup_encrypt,
    _backup_space,
    _backup_verify,
    _backups,
    _lock_file,
    _operation_rules,
    _releases,
)
from ._backup_database import Source
from ._backups import Backup, BackupError, Manifest, Name
from ._operation_work import Operation

_NAMES_TRIED = 60
# After the name of the file that is written: out of the container that dumps.
_PIPE = ".pipe"
_UNCHANGED = " Nothing was changed."


class EmptyError(BackupError):
    """The database has no table: a backup would hold nothing."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of a backup."""

    directory: str
    state_dir: str = ""
    format: str = "dump"
    prefix: str = _backups.PREFIX
    reason: str = "manual"
    who: str = ""
    host: str = ""
    # Less than this part of the rows or tables of the backup before is not believed.
    min_ratio: float = 0.5
    reserve_mb: int = 512
    lock_timeout: int = 60
    globals_passwords: bool = False
    encryption: str = ""
    recipients: tuple[str, ...] = ()
    # The moment that the data is of, where that is not the one of the backup.
    point_in_time: str = ""


@dataclass
class Outcome:
    """What was made, and what was swept away before."""

    backup: Backup
    actions: list[str] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a backup would take, as check mode shows it."""

    size_bytes: int
    needed_bytes: int
    free_bytes: int
    format: str
    codec: str
    dump_version: str
    facts: dict[str, Any]


def plan(source: Source, wish: Wish) -> Plan:
    """Look whether a backup can be made; nothing is written.

    :raises BackupError: it cannot. The sentence ends with "Nothing was changed."
    """
    try:
        return _plan(source, wish)
    except BackupError as error:
        said = str(error).removesuffix(_UNCHANGED)
        raise type(error)(f"{said}{_UNCHANGED}") from error


def _plan(source: Source, wish: Wish) -> Plan:
    _backup_encrypt.require(wish.encryption, wish.recipients)
    chosen = _backup_dump.way(source, wish.format)
    version = _backup_dump.version(source)
    with _backup_database.Session(source) as session:
        facts = session.facts()
    size = int(facts["database"]["size_bytes"])
    if not facts["table_count"]:
        raise EmptyError(
            f"{source.place} has no table: a backup of it holds nothing; check carrental_database."
        )
    backups = _backups.listing(wish.directory)
    needed = _backup_space.wanted(size, backups, source.database, bool(wish.encryption))
    free = _backup_space.require(wish.directory, needed, wish.reserve_mb)
    return Plan(size, needed, free, wish.format, chosen.codec, version, facts)


def make(source: Source, wish: Wish, operation: Operation) -> Outcome:
    """Make a backup and prove it.

    :raises BackupError: nothing is left that looks like a backup then.
    """
    operation.step("look at the database")
    actions = sweep(source, wish)
    planned = _plan(source, wish) if actions else plan(source, wish)
    _make_directory(wish.directory)
    chosen = _backup_dump.way(source, wish.format)
    began = time.monotonic()
    numbers: dict[str, float] = {}
    # Sessions are known by it, and ended by it.
    label = operation.id or f"{os.getpid()}"
    with ExitStack() as stack:
        name, at, path, out = stack.enter_context(_partial(wish, chosen.zstd))
        operation.step("dump the database", size_bytes=planned.size_bytes, file=name.file)

        def say(read: int, written: int) -> None:
            seconds = time.monotonic() - began
            operation.step("dump the database", read=read, written=written, seconds=round(seconds))

        with (
            _backup_database.Session(source, label, guards=True) as session,
            _backup_database.Session(source, label) as counter,
        ):
            snapshot = session.begin(wish.lock_timeout)
            facts = session.facts()
            counter.begin_to_count(snapshot, wish.lock_timeout)
            text_bytes = _backup_dump.dump(
                source,
                chosen,
                out,
                snapshot=snapshot,
                operation=label,
                lock_timeout=wish.lock_timeout,
                size_bytes=planned.size_bytes,
                pipe=path + _PIPE,
                say=say,
            )
            os.fsync(out.fileno())
            numbers["dump_s"] = round(time.monotonic() - began, 2)
            tables = counter.counted()
        roles = _backup_dump.roles(source, passwords=wish.globals_passwords)
        numbers["count_s"] = round(time.monotonic() - began - numbers["dump_s"], 2)
        operation.step("read the backup", bytes=os.fstat(out.fileno()).st_size)
        written = Backup(path, name, os.fstat(out.fileno()).st_size)
        proof = _backup_verify.verify(written, restore_command(source), tables)
        numbers["verify_s"] = round(proof.seconds, 2)
        digest = proof.sha256
        kept = replace(name, encryption=wish.encryption)
        if wish.encryption:
            operation.step("encrypt the backup")
            path = stack.enter_context(_encrypted(path, kept.file, wish))
            digest = _backup_verify.sha256(path)
        ended = datetime.now(timezone.utc)
        manifest = Manifest(
            id=name.id,
            file=kept.file,
            format=name.format,
            bytes=os.stat(path).st_size,
            sha256=digest,
            started_at=_backups.stamp(at),
            ended_at=_backups.stamp(ended),
            seconds=round(time.monotonic() - began, 2),
            codec=chosen.codec,
            encryption=wish.encryption,
            reason=wish.reason,
            point_in_time=wish.point_in_time,
            who=wish.who,
            host=wish.host,
            operation_id=operation.id,
            database=facts["database"],
            server_version=facts["server_version"],
            dump_version=planned.dump_version,
            system_identifier=facts["system_identifier"],
            tables=tables,
            extensions=facts["extensions"],
            roles=facts["roles"] or [],
            globals=roles,
            migrations_head=facts["migrations_head"],
            # The one that runs now is not the one that wrote what a moment had.
            release="" if wish.point_in_time else _release(wish.state_dir),
            verified={**proof.as_verified(_backups.stamp(ended)), "text_bytes": text_bytes},
        )
        suspicion = _suspicion(manifest, wish)
        if suspicion:
            manifest = replace(manifest, suspect=suspicion, verified={})
        operation.step("keep the backup", id=name.id)
        final = os.path.join(wish.directory, kept.file)
        _settle(path, final, manifest)
    numbers["total_s"] = round(time.monotonic() - began, 2)
    backup = _backups.load(final)
    if suspicion:
        raise SuspectError(
            f"{name.id} was made and is not trusted: {suspicion}. If that is right, accept it with "
            "-e backup_min_ratio=0; what is older stays.",
            backup,
        )
    return Outcome(backup, [*actions, f"back up {source.database} to {kept.file}"], numbers)


class SuspectError(BackupError):
    """A backup that is whole, and holds much less than the one before."""

    def __init__(self, message: str, backup: Backup) -> None:
        super().__init__(message)
        self.backup = backup


def _suspicion(manifest: Manifest, wish: Wish) -> str:
    """Return why a backup may be that of the wrong or of an emptied database."""
    database = manifest.database["name"]
    before = _backups.newest_verified(_backups.listing(wish.directory), database)
    if before is None or before.manifest is None or wish.min_ratio <= 0:
        return ""
    for what, now, then in (
        ("tables", len(manifest.tables), len(before.manifest.tables)),
        ("rows", manifest.rows, before.manifest.rows),
    ):
        if now < then * wish.min_ratio:
            return f"{database} has {now} {what}, and had {then} in {before.id}"
    return ""


def _release(state_dir: str) -> str:
    """Return the release that runs; a backup does not fail for want of it."""
    if not state_dir:
        return ""
    try:
        targets = _releases.targets(_releases.load(state_dir))
    except _releases.ReleaseError:
        return ""
    return targets[0]["id"] if targets else ""


def _make_directory(directory: str) -> None:
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        if os.stat(directory).st_uid == os.geteuid():
            os.chmod(directory, 0o700)
    except OSError as error:
        raise BackupError(
            f"{directory} cannot be used for backups: {error.strerror}; run "
            "playbooks/bootstrap.yml, and connect as the user that deploys. Nothing was changed."
        ) from error


@contextmanager
def _partial(wish: Wish, zstd: bool) -> Iterator[tuple[Name, datetime, str, IO[bytes]]]:
    """Open a file that is no backup yet; what is left of it at the end is removed."""
    name, at, handle = _unused(wish, zstd)
    path = os.path.join(wish.directory, name.file + _backups.PARTIAL)
    try:
        with os.fdopen(handle, "wb") as out:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield name, at, path, out
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


@contextmanager
def _encrypted(path: str, file: str, wish: Wish) -> Iterator[str]:
    """Write the encrypted form beside, no backup yet either; what is left at the end is removed."""
    partial = os.path.join(wish.directory, file + _backups.PARTIAL)
    try:
        handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as out:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _backup_encrypt.write(path, out, wish.encryption, wish.recipients)
            os.fsync(out.fileno())
            yield partial
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)


def _unused(wish: Wish, zstd: bool) -> tuple[Name, datetime, int]:
    """Return a name of this moment that nobody has."""
    at = datetime.now(timezone.utc).replace(microsecond=0)
    for _attempt in range(_NAMES_TRIED):
        name = Name(wish.prefix, at, wish.format, "", zstd)
        taken = any(one.startswith(f"{name.id}.") for one in os.listdir(wish.directory))
        path = os.path.join(wish.directory, name.file + _backups.PARTIAL)
        try:
            if not taken:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
                return name, at, os.open(path, flags, 0o600)
        except FileExistsError:
            # Somebody took it meanwhile; the next second is tried.
            at += timedelta(seconds=1)
            continue
        except OSError as error:
            raise BackupError(
                f"{wish.directory} cannot be written: {error.strerror}. Nothing was changed."
            ) from error
        at += timedelta(seconds=1)
    raise BackupError(f"{wish.directory} has a backup of every second; the clock is wrong.")


def _settle(partial: str, final: str, manifest: Manifest) -> None:
    """Give a proven backup its name. Its manifest comes first: one without it would be foreign."""
    written = [final + _backups.MANIFEST, final + _backups.CHECKSUM]
    try:
        _backups.save_manifest(final, manifest)
        _backups.save_checksum(final, manifest.sha256)
        os.rename(partial, final)
    except BaseException:
        for path in written:
            with suppress(FileNotFoundError):
                os.unlink(path)
        raise
    handle = os.open(os.path.dirname(final), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(source: Source, wish: Wish) -> list[str]:
    """Remove what killed runs left: files that nobody writes, sessions that nobody owns."""
    done = []
    for path in _backups.partials(wish.directory):
        if _remove_if_dead(path):
            done.append(f"remove {os.path.basename(path)}, which a killed run left")
    for path in _orphan_files(wish.directory):
        with suppress(FileNotFoundError):
            os.unlink(path)
            done.append(f"remove {os.path.basename(path)}, which has no backup")
    done += [f"remove {name}" for name in _backup_beside.leftovers(source.docker, source)]
    if wish.state_dir:
        for operation in _backup_database.orphans(source, lambda: _alive(wish.state_dir)):
            done.append(f"end the database sessions of {operation}, which is over")
    return done


def _alive(state_dir: str) -> list[str]:
    """Return the operations that have a lock."""
    records = [
        _lock_file.peek(_operation_rules.path(state_dir, lane)) for lane in _operation_rules.lanes()
    ]
    return [record.id for record in records if record]


def _remove_if_dead(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                os.unlink(path + _PIPE)
            os.unlink(path)
    except OSError:
        # Somebody writes it, or it is gone.
        return False
    return True


def _orphan_files(directory: str) -> list[str]:
    """Return manifests and checksums whose backup was never renamed, or was removed by hand."""
    try:
        names = set(os.listdir(directory))
    except OSError:
        return []
    being_written = {file.split(".")[0] for file in names if file.endswith(_backups.PARTIAL)}
    found = []
    for file in names:
        for suffix in (_backups.MANIFEST, _backups.CHECKSUM):
            stem = file.removesuffix(suffix)
            known = _backups.name(stem) if file.endswith(suffix) else None
            if known and stem not in names and known.id not in being_written:
                found.append(os.path.join(directory, file))
    return sorted(found)


def restore_command(source: Source) -> list[str]:
    """Return the command that runs pg_restore in the container of the database."""
    return ["docker", "exec", "-i", source.container.id, "pg_restore"]


def as_result(outcome: Outcome) -> dict[str, Any]:
    """Return what a module or the journal says of a backup. Roles may hold passwords: left out."""
    manifest = outcome.backup.manifest
    return {
        "backup": outcome.backup.as_dict(),
        "manifest": {**asdict(manifest), "globals": ""} if manifest else {},
        "actions": outcome.actions,
        "numbers": outcome.numbers,
    }


def prove(backup: Backup, source: Source | None, operation: Operation) -> Outcome:
    """Read a backup to its end, and note that beside it; a foreign one gets its manifest now.

    Of an encrypted one only the checksum is compared; what was proved before still holds.

    :raises BackupError: it is not to be relied on, or that could not be found out.
    """
    operation.step("read the backup", id=backup.id)
    if backup.name.encryption:
        return _compared(backup)
    if backup.name.format == "dump" and source is None:
        raise BackupError(
            f"{backup.name.file} is an archive, and pg_restore runs in the container of the "
            "database, which does not run. Nothing was changed."
        )
    with _backup_verify.distrusting(backup):
        proof = _backup_verify.verify(backup, restore_command(source) if source else [])
    now = _backups.stamp(datetime.now(timezone.utc))
    manifest = backup.manifest or Manifest(
        id=backup.id,
        file=backup.name.file,
        format=backup.name.format,
        bytes=backup.bytes,
        sha256=proof.sha256,
        started_at=_backups.stamp(backup.at),
        ended_at=_backups.stamp(backup.at),
        seconds=0,
        codec="zstd" if backup.name.zstd else "gzip",
        tables=proof.tables,
        foreign=True,
    )
    operation.step("note the proof", id=backup.id)
    _backups.save_manifest(
        backup.path, replace(manifest, verified=proof.as_verified(now), damage="")
    )
    _backups.save_checksum(backup.path, proof.sha256)
    numbers = {"verify_s": round(proof.seconds, 2)}
    return Outcome(_backups.load(backup.path), [f"verify {backup.id}"], numbers)


def _compared(backup: Backup) -> Outcome:
    """Compare the checksum of an encrypted backup, which was read before it was encrypted."""
    began, file = time.monotonic(), backup.name.file
    if backup.manifest is None:
        raise BackupError(
            f"{file} is encrypted and has no manifest, so there is nothing to compare it with; "
            "restore it with its private key to see what it holds. Nothing was changed."
        )
    with _backup_verify.distrusting(backup):
        _backup_verify.require_checksum(backup)
    if not backup.verified:
        raise BackupError(
            f"{file} has the sha256 of when it was made, and that is no proof of it: it is "
            f"{backup.problem or 'not verified'}. It is encrypted; playbooks/drill.yml reads it "
            "with its private key. Nothing was changed."
        )
    numbers = {"verify_s": round(time.monotonic() - began, 2)}
    did = f"compare the checksum of {backup.id}, which is encrypted; nothing else of it was read"
    return Outcome(_backups.load(backup.path), [did], numbers)
