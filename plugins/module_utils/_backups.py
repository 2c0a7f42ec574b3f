# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The backups of a directory: their names, their manifests, and which one is meant.

A backup is a file, ``<prefix>_YYYYMMDD_HHMMSS.sql.gz``, ``.dump`` or ``.dump.zst`` (an archive
that was compressed by zstd outside of pg_dump), in UTC. Beside it stand ``<file>.json``, the
manifest, and ``<file>.sha256``, which ``sha256sum -c`` reads. One without a manifest is foreign:
the runbook's own script leaves such. Nothing is believed of it until it was read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from typing import Any

from . import _whole_file

VERSION = 1
PREFIX = "car_rental_backup"
FORMATS = ("dump", "sql.gz")
REASONS = ("manual", "scheduled", "deploy", "safety")
PARTIAL = ".partial"
MANIFEST = ".json"
CHECKSUM = ".sha256"
_STAMP = "%Y%m%d_%H%M%S"
_NAME = re.compile(
    r"(?P<prefix>[A-Za-z0-9][A-Za-z0-9_.-]*)_(?P<stamp>\d{8}_\d{6})"
    r"\.(?P<format>sql\.gz|dump)(?P<zstd>(?<=dump)\.zst)?(?:\.(?P<encryption>age|gpg))?"
)


class BackupError(Exception):
    """A backup that cannot be had; the text is a whole sentence."""


@dataclass(frozen=True)
class Name:
    """What the name of a backup's file says."""

    prefix: str
    at: datetime
    format: str
    encryption: str = ""
    # The archive lies in a stream of zstd; "zstd -dc" gives what pg_restore reads.
    zstd: bool = False

    @property
    def id(self) -> str:
        return f"{self.prefix}_{self.at.strftime(_STAMP)}"

    @property
    def file(self) -> str:
        zstd = ".zst" if self.zstd else ""
        return f"{self.id}.{self.format}{zstd}{'.' if self.encryption else ''}{self.encryption}"


def name(file: str) -> Name | None:
    """Return what a file name says; nothing if it is not that of a backup."""
    match = _NAME.fullmatch(file)
    if not match:
        return None
    try:
        at = datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    encryption = match["encryption"] or ""
    return Name(match["prefix"], at, match["format"], encryption, bool(match["zstd"]))


@dataclass(frozen=True)
class Manifest:
    """What is known of a backup: what it holds, how it was made, and what was proved since."""

    id: str
    file: str
    format: str
    bytes: int
    sha256: str
    started_at: str
    ended_at: str
    seconds: float
    codec: str = "gzip"
    encryption: str = ""
    reason: str = "manual"
    # The moment that its data is of, where it was recovered to one. Empty: that of its beginning.
    point_in_time: str = ""
    who: str = ""
    host: str = ""
    operation_id: str = ""
    # name, oid, size_bytes, owner, encoding, collate, ctype, locale_provider, icu_locale,
    # connection_limit; acl: none, or a list of grantee (empty: PUBLIC), privilege, grantable;
    # settings: a list of role (empty: all), name, value.
    database: dict[str, Any] = field(default_factory=dict)
    server_version: str = ""
    dump_version: str = ""
    system_identifier: str = ""
    # Rows by "schema.table", counted in the snapshot that was dumped.
    tables: dict[str, int] = field(default_factory=dict)
    extensions: dict[str, str] = field(default_factory=dict)
    # Roles that own something of it or were granted something.
    roles: list[str] = field(default_factory=list)
    # SQL of the roles and tablespaces of the server, without passwords unless asked for.
    globals: str = ""
    migrations_head: str = ""
    release: str = ""
    objects_inventory: str = ""
    # level (read), at, seconds, tables. Empty: not verified.
    verified: dict[str, Any] = field(default_factory=dict)
    # at, seconds, ... of the newest drill that restored it.
    drill: dict[str, Any] = field(default_factory=dict)
    offsite: dict[str, Any] = field(default_factory=dict)
    # Why it is not trusted although it is whole: much less in it than in the one before.
    suspect: str = ""
    # What was found when it was read again; gone once it is read whole.
    damage: str = ""
    # It was made by something else, and this was written when it was verified.
    foreign: bool = False
    version: int = VERSION

    def as_json(self) -> str:
        """Return it as it lies beside the backup."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @property
    def rows(self) -> int:
        return sum(self.tables.values())


def parse(text: str, path: str) -> Manifest:
    """Return the manifest that a text holds.

    :raises BackupError: it is none, or of a later version of this collection.
    """
    try:
        found = json.loads(text)
        version = int(found["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path} is no manifest of a backup ({error}).") from error
    if version > VERSION:
        raise BackupError(
            f"{path} is a manifest of version {version}, and this collection reads {VERSION}; "
            "update the collection."
        )
    known = {item.name for item in fields(Manifest)}
    try:
        return Manifest(**{key: value for key, value in found.items() if key in known})
    except TypeError as error:
        raise BackupError(f"{path} is no manifest of a backup ({error}).") from error


def checksum_line(sha256: str, file: str) -> str:
    """Return a line as ``sha256sum -c`` reads it."""
    return f"{sha256}  {file}\n"


@dataclass(frozen=True)
class Backup:
    """A backup as it lies in its directory. One that something else made is foreign."""

    path: str
    name: Name
    bytes: int
    manifest: Manifest | None = None
    # Why it is no backup to rely on, in words: its manifest is unreadable, its size is another.
    problem: str = ""

    @property
    def id(self) -> str:
        return self.name.id

    @property
    def put_aside(self) -> bool:
        """Whether it is what a restore replaced, which is restored only by its id."""
        return bool(self.manifest and self.manifest.reason == "safety")

    @property
    def at(self) -> datetime:
        """The moment whose data it holds."""
        if self.manifest is None:
            return self.name.at
        return moment(self.manifest.point_in_time or self.manifest.started_at)

    @property
    def foreign(self) -> bool:
        return self.manifest is None or self.manifest.foreign

    @property
    def verified(self) -> bool:
        """It was read to its end when it was made or since, and nothing speaks against it now."""
        return bool(self.manifest and self.manifest.verified and not self.problem)

    @property
    def drilled(self) -> bool:
        """It was restored once."""
        return self.verified and bool(self.manifest and self.manifest.drill)

    def age(self, now: datetime | None = None) -> float:
        """Return the seconds since the moment whose data it holds."""
        return ((now or datetime.now(timezone.utc)) - self.at).total_seconds()

    def as_dict(self) -> dict[str, Any]:
        """Return it in short, as modules report it."""
        manifest = self.manifest
        return {
            "id": self.id,
            "path": self.path,
            "at": stamp(self.at),
            "format": self.name.format,
            "encryption": self.name.encryption,
            "bytes": self.bytes,
            "foreign": self.foreign,
            "verified": self.verified,
            "drilled": self.drilled,
            "reason": manifest.reason if manifest else "",
            "database": str(manifest.database.get("name", "")) if manifest else "",
            "tables": len(manifest.tables) if manifest else None,
            "rows": manifest.rows if manifest else None,
            "release": manifest.release if manifest else "",
            "offsite": bool(manifest and manifest.offsite),
            "problem": self.problem,
        }


def stamp(at: datetime) -> str:
    """Return a moment as it stands in a manifest."""
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """Return the moment that a text names, in UTC unless it says otherwise.

    :raises BackupError: it names none.
    """
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except (ValueError, AttributeError) as error:
        # What a manifest has in its place may be no text at all.
        raise BackupError(
            f"{text!r} is no time; write it like 2026-11-25T14:30:00Z. Nothing was changed."
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def load(path: str) -> Backup:
    """Return the backup of a file.

    :raises BackupError: it is not there, or its name is not that of a backup.
    """
    known = name(os.path.basename(path))
    if known is None:
        raise BackupError(
            f"{os.path.basename(path)!r} is not the name of a backup; names look like "
            f"{PREFIX}_20261125_020000.dump."
        )
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise BackupError(f"There is no backup {path}: {error.strerror}.") from error
    backup = Backup(path, known, size)
    try:
        with open(path + MANIFEST, encoding="utf-8") as stream:
            manifest = parse(stream.read(), path + MANIFEST)
        # A manifest that was damaged must not be found out about in the middle of a listing.
        moment(manifest.point_in_time or manifest.started_at)
    except FileNotFoundError:
        return backup
    except (OSError, UnicodeDecodeError) as error:
        return replace(backup, problem=f"its manifest cannot be read: {error}")
    except BackupError as error:
        return replace(backup, problem=str(error))
    return replace(backup, manifest=manifest, problem=_problem(backup, manifest))


def _problem(backup: Backup, manifest: Manifest) -> str:
    if manifest.file != os.path.basename(backup.path):
        return f"its manifest is that of {manifest.file}"
    if manifest.bytes != backup.bytes:
        return f"it has {backup.bytes} bytes, and had {manifest.bytes} when it was made"
    return manifest.damage or manifest.suspect


def listing(directory: str) -> list[Backup]:
    """Return the backups of a directory, newest first; none where there is no directory.

    :raises BackupError: the directory cannot be read.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BackupError(
            f"The backups in {directory} cannot be read: {error.strerror}; connect as the user "
            "that deploys."
        ) from error
    found = []
    for file in names:
        if name(file) is None:
            continue
        try:
            found.append(load(os.path.join(directory, file)))
        except BackupError:
            # It was removed meanwhile.
            continue
    return sorted(found, key=lambda one: (one.at, one.id), reverse=True)


def partials(directory: str) -> list[str]:
    """Return the files of backups that were never finished."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return sorted(
        os.path.join(directory, file)
        for file in names
        if file.endswith(PARTIAL) and name(file.removesuffix(PARTIAL)) is not None
    )


def distrust(backup: Backup, why: str) -> None:
    """Take the proof away from a backup that turned out to be damaged: nobody relies on it then."""
    if backup.manifest:
        save_manifest(backup.path, replace(backup.manifest, verified={}, damage=why))


def newest_verified(backups: Iterable[Backup], database: str = "") -> Backup | None:
    """Return the newest backup to rely on, of one database if it is named."""
    usable = [
        one
        for one in backups
        if one.verified and (not database or _database(one) in ("", database))
    ]
    return max(usable, key=lambda one: (one.at, one.id), default=None)


def last_drill(backups: Iterable[Backup], now: datetime | None = None) -> dict[str, Any]:
    """Return when a backup was last restored in a drill, and how long it took; empty: never."""
    found = [
        (moment(str(one.manifest.drill["at"])), one)
        for one in backups
        if one.manifest and one.manifest.drill.get("at")
    ]
    if not found:
        return {}
    at, backup = max(found, key=lambda one: one[0])
    age = ((now or datetime.now(timezone.utc)) - at).total_seconds()
    seconds = backup.manifest.drill.get("seconds") if backup.manifest else None
    return {"id": backup.id, "at": stamp(at), "age_s": round(age), "seconds": seconds}


def _database(backup: Backup) -> str:
    return str(backup.manifest.database.get("name", "")) if backup.manifest else ""


def find(backups: list[Backup], wanted: str) -> Backup:
    """Return the backup that is meant: an id, a file name, ``latest`` or ``before=TIME``.

    ``latest`` and ``before`` mean verified ones; an id or a file name means what it names.

    :raises BackupError: there is none.
    """
    if wanted == "latest":
        newest = newest_verified(backups)
        if newest is None:
            raise BackupError(_none("verified backup", backups))
        return newest
    if wanted.startswith("before="):
        limit = moment(wanted.removeprefix("before="))
        newest = newest_verified(one for one in backups if one.at < limit)
        if newest is None:
            raise BackupError(_none(f"verified backup from before {stamp(limit)}", backups))
        return newest
    matching = [one for one in backups if wanted in (one.id, os.path.basename(one.path), one.path)]
    if len(matching) > 1:
        files = ", ".join(os.path.basename(one.path) for one in matching)
        raise BackupError(f"{wanted} may be {files}; give the file. Nothing was changed.")
    if not matching:
        raise BackupError(_none(f"backup {wanted!r}", backups))
    return matching[0]


def _none(what: str, backups: list[Backup]) -> str:
    if not backups:
        return f"There is no {what}: there are no backups at all. Nothing was changed."
    known = ", ".join(one.id for one in backups[:5])
    return f"There is no {what}; the newest ones are {known}. Nothing was changed."


def save_manifest(backup_path: str, manifest: Manifest) -> None:
    """Write the manifest beside its backup, whole or not at all.

    :raises OSError: it cannot be written.
    """
    _whole_file.write(backup_path + MANIFEST, manifest.as_json().encode())


def save_checksum(backup_path: str, sha256: str) -> None:
    """Write the checksum beside its backup, whole or not at all.

    :raises OSError: it cannot be written.
    """
    line = checksum_line(sha256, os.path.basename(backup_path))
    _whole_file.write(backup_path + CHECKSUM, line.encode())
