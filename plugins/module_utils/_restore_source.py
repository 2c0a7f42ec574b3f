# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What is restored: a backup of the directory, or any dump on the server, in a form to be read."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import IO

from . import _backup_verify, _backups, _restore_sql
from ._backups import Backup, BackupError

_KINDS = re.compile(
    r"(?P<head>.*)\.(?P<format>sql\.gz|dump)(?P<zstd>(?<=dump)\.zst)?(?:\.(?P<encryption>age|gpg))?"
)
SCRATCH = ".restore-"
_PIECE = 1024 * 1024
# What is decrypted is as large as what is encrypted; something else may write meanwhile.
_DECRYPTED = 1.2
_FROM = re.compile(rb"^-- Dumped from database version (\S+)", re.MULTILINE)
_BY = re.compile(rb"^-- Dumped by pg_dump version (\S+)", re.MULTILINE)


def pick(directory: str, wanted: str) -> Backup:
    """Return what is meant: as :func:`_backups.find` says, or the path of any dump.

    :raises BackupError: there is none.
    """
    if not os.path.isabs(wanted):
        known = _backups.listing(directory)
        if wanted == "latest" or wanted.startswith("before="):
            known = [one for one in known if not one.put_aside]
        return _backups.find(known, wanted)
    file = os.path.basename(wanted)
    if _backups.name(file):
        return _backups.load(wanted)
    match = _KINDS.fullmatch(file)
    if not match:
        raise BackupError(
            f"{wanted} is neither .sql.gz nor .dump nor .dump.zst; give it the name of what it is. "
            "Nothing was changed."
        )
    try:
        status = os.stat(wanted)
    except OSError as error:
        raise BackupError(
            f"{wanted} cannot be read: {error.strerror}. Nothing was changed."
        ) from error
    at = datetime.fromtimestamp(int(status.st_mtime), timezone.utc)
    called = _backups.Name(
        "foreign", at, match["format"], match["encryption"] or "", bool(match["zstd"])
    )
    return Backup(wanted, called, status.st_size)


def instead(directory: str, damaged: Backup, wanted: str, database: str) -> str:
    """Return the id of the newest other backup to rely on; empty: there is none.

    :param damaged: in place of which it is. A dump of somewhere else has no substitute here.
    :param wanted: what was asked for. Where that is ``before=TIME``, nothing later will do.
    """
    if os.path.realpath(os.path.dirname(damaged.path)) != os.path.realpath(directory):
        return ""
    others = [
        one for one in _backups.listing(directory) if one.path != damaged.path and not one.put_aside
    ]
    if wanted.startswith("before="):
        limit = _backups.moment(wanted.removeprefix("before="))
        others = [one for one in others if one.at < limit]
    newest = _backups.newest_verified(others, database)
    return newest.id if newest else ""


def room(directory: str) -> int:
    """Return the bytes that a file system has for this user."""
    try:
        found = os.statvfs(directory)
    except OSError as error:
        raise BackupError(
            f"{directory} cannot be looked at: {error.strerror}. Nothing was changed."
        ) from error
    return found.f_bavail * found.f_frsize


@contextmanager
def scratch(directory: str, suffix: str) -> Iterator[str]:
    """Give the path of a file that is gone in the end."""
    handle, path = tempfile.mkstemp(dir=directory, prefix=SCRATCH, suffix=suffix)
    os.close(handle)
    try:
        yield path
    finally:
        os.unlink(path)


def sweep(directory: str) -> list[str]:
    """Remove what a killed run left; return the names."""
    try:
        names = [one for one in os.listdir(directory) if one.startswith(SCRATCH)]
    except OSError:
        return []
    for one in names:
        os.unlink(os.path.join(directory, one))
    return names


@contextmanager
def readable(backup: Backup, identity: str, directory: str) -> Iterator[Backup]:
    """Give a backup that can be read; of an encrypted one, a copy that is gone in the end.

    :param identity: file with the private key. It is read by the program that decrypts.
    :raises DamageError: it is not what was encrypted.
    :raises BackupError: it cannot be decrypted.
    """
    if not backup.name.encryption:
        yield backup
        return
    file = os.path.basename(backup.path)
    if backup.name.encryption == "age" and not identity:
        raise BackupError(
            f"{file} is encrypted; name the file with the private key (restore_identity). "
            "Nothing was changed."
        )
    _backup_verify.require_checksum(backup)
    if room(directory) < backup.bytes * _DECRYPTED:
        raise BackupError(
            f"{file} cannot be decrypted: that takes {backup.bytes // 2**20} MB in {directory}, "
            f"which has {room(directory) // 2**20} MB free. Nothing was changed."
        )
    suffix = f".{backup.name.format}" + (".zst" if backup.name.zstd else "")
    with scratch(directory, suffix) as path:
        with open(path, "wb") as out:
            _decrypt(backup, identity, out)
        # Its manifest tells of the encrypted file; what is in it is compared by rows.
        plain = replace(backup.name, encryption="")
        yield Backup(path, plain, os.stat(path).st_size)


def _decrypt(backup: Backup, identity: str, out: IO[bytes]) -> None:
    if backup.name.encryption == "age":
        argv = ["age", "--decrypt", "--identity", identity, backup.path]
    else:
        argv = ["gpg", "--batch", "--quiet", "--decrypt", "--output", "-"]
        argv += ["--no-default-recipient", "--pinentry-mode", "error"]
        argv += ["--", backup.path]
    file = os.path.basename(backup.path)
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as home:
        environment = dict(os.environ)
        try:
            if backup.name.encryption == "gpg" and identity:
                environment["GNUPGHOME"] = home
                _import(identity, environment)
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=said,
                env=environment,
                check=False,
            )
        except FileNotFoundError as error:
            raise BackupError(
                f"{file} cannot be decrypted: {argv[0]} is not on this server. Nothing was changed."
            ) from error
        if done.returncode != 0:
            said.seek(0)
            lines = said.read(4096).decode(errors="replace").splitlines()
            raise BackupError(
                f"{file} cannot be decrypted: {(lines or ['no reason given'])[0].rstrip('.')}. "
                "Nothing was changed."
            )


def _import(identity: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["gpg", "--batch", "--quiet", "--import", "--", identity],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        raise BackupError(f"gpg does not take the private key in {identity}. Nothing was changed.")


@contextmanager
def seekable(backup: Backup, directory: str) -> Iterator[str]:
    """Give the path of the archive itself; one in a stream of zstd is unpacked for a while."""
    if not backup.name.zstd:
        yield backup.path
        return
    with scratch(directory, ".dump") as path:
        with open(path, "wb") as out, _backup_verify.opened(backup) as stream:
            while piece := stream.read(_PIECE):
                out.write(piece)
        yield path


def versions(backup: Backup, restore: Sequence[str]) -> tuple[str, str]:
    """Return the versions of the server and of pg_dump that a dump names; empty if it does not."""
    if backup.manifest and backup.manifest.server_version:
        return backup.manifest.server_version, backup.manifest.dump_version
    head = b""
    for piece in _backup_verify.pieces(backup, restore):
        head += piece
        if len(head) > _PIECE or _BY.search(head):
            break
    found = [pattern.search(head) for pattern in (_FROM, _BY)]
    server, dump = (match[1].decode(errors="replace") if match else "" for match in found)
    return server, dump


def newer(backup: Backup, restore: Sequence[str], server_version: str) -> str:
    """Return why a server is too old for a dump, as a sentence; empty if it is not."""
    wanted_server, wanted_dump = versions(backup, restore)
    here = _restore_sql.major(server_version)
    if _restore_sql.major(wanted_server) > here:
        made = f"it was dumped from PostgreSQL {wanted_server}"
    elif _restore_sql.major(wanted_dump) > here:
        made = f"it was dumped by pg_dump {wanted_dump}"
    else:
        return ""
    return (
        f"{os.path.basename(backup.path)} cannot be restored here: {made}, and the server is "
        f"{server_version}; restore it to a newer server, or dump it by pg_dump {here}."
    )
