# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Back up the configuration of a stack, encrypted, and bring it back."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from . import _backup_encrypt, _backup_verify, _config_archive, _whole_file
from ._backups import BackupError
from ._engine import Engine

PREFIX = "config_backup"
_NAME = re.compile(rf"{PREFIX}_(?P<stamp>\d{{8}}_\d{{6}})\.tar\.gz\.(?P<encryption>age|gpg)")
_PARTIAL = re.compile(rf"{PREFIX}_\d{{8}}_\d{{6}}\.tar\.gz\.(age|gpg)\.partial.*")
_STAMP = "%Y%m%d_%H%M%S"
_TRIES = 3
# What a write-ahead log of SQLite begins with: other salts when it begins anew.
_WAL_HEAD = 32
# What SQLite writes beside a database that is open.
_BESIDE_SQLITE = ("-wal", "-shm", "-journal")


# Of a backup, as the documentation of config_backup describes them.
OPTIONS: dict[str, Any] = {
    "root": {"type": "path", "required": True},
    "directory": {"type": "path", "default": ""},
    "project": {"type": "str", "default": "carrental"},
    "databases": {"type": "dict", "default": {}},
    "encryption": {"type": "str", "choices": ["age", "gpg"]},
    "recipients": {"type": "list", "elements": "str", "default": []},
    "keep_days": {"type": "int", "default": 30},
    "keep_least": {"type": "int", "default": 3},
    "max_file_mb": {"type": "int", "default": 16},
}


@dataclass(frozen=True)
class Wish:
    """What is backed up, where to, and for whom."""

    root: str
    state_dir: str
    directory: str
    encryption: str
    recipients: tuple[str, ...]
    project: str
    # Files of containers, by service: databases of SQLite that no other backup has.
    databases: Mapping[str, str] = field(default_factory=dict)
    keep_days: int = 30
    keep_least: int = 3
    max_file_mb: int = 16


def wish(params: Mapping[str, Any], state_dir: str) -> Wish:
    """Return the backup that arguments describe."""
    return Wish(
        root=params["root"],
        state_dir=state_dir or os.path.join(params["root"], ".ops"),
        directory=params["directory"],
        encryption=params["encryption"] or "",
        recipients=tuple(params["recipients"]),
        project=params["project"],
        databases={str(name): str(path) for name, path in params["databases"].items()},
        keep_days=params["keep_days"],
        keep_least=params["keep_least"],
        max_file_mb=params["max_file_mb"],
    )


@dataclass
class Outcome:
    """What came of it."""

    file: str = ""
    changed: bool = False
    files: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    bytes: int = 0


def listing(directory: str) -> list[str]:
    """Return the files of backups of a configuration that have a manifest, oldest first."""
    try:
        found = os.listdir(directory)
    except FileNotFoundError:
        return []
    return complete(found)


def complete(found: Collection[str]) -> list[str]:
    """Return the backups of a configuration among files that have a manifest, oldest first."""
    return sorted(name for name in found if _NAME.fullmatch(name) and f"{name}.json" in found)


def checksum(directory: str, name: str) -> str:
    """Return the sha256 that the manifest of a backup names; empty where it names none."""
    try:
        with open(os.path.join(directory, f"{name}.json"), encoding="utf-8") as stream:
            return str(json.load(stream)["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def save(
    engine: Engine, wish: Wish, now: datetime, check: bool, step: Callable[..., None]
) -> Outcome:
    """Back up the configuration where it is another one than in the newest backup.

    :raises BackupError, OSError, DockerError: nothing is left that looks like a backup then.
    """
    _backup_encrypt.require(wish.encryption, wish.recipients)
    step("look at the configuration")
    beside, skipped = _databases(engine, wish)
    contents = _config_archive.collect(
        wish.root, wish.state_dir, [wish.directory], wish.max_file_mb * 2**20
    )
    if not contents.files:
        raise BackupError(
            f"There is no configuration in {wish.root}; check carrental_root. Nothing was changed."
        )
    name = f"{PREFIX}_{now.strftime(_STAMP)}.tar.gz.{wish.encryption}"
    files = [_config_archive.shown(one) for one in contents.files]
    files += [f"{_config_archive.BESIDE}/{one}" for one in sorted(beside)]
    outcome = Outcome(name, True, files, contents.skipped + skipped)
    mark = _config_archive.fingerprint(wish.root, contents, beside)
    newest = _newest(wish)
    if newest and newest["fingerprint"] == mark and newest.get("keys") == _keys(wish):
        outcome.file, outcome.changed, outcome.bytes = newest["file"], False, newest["bytes"]
    if check:
        return outcome
    if outcome.changed:
        step("write the configuration", file=name, files=len(files))
        outcome.bytes = _write(wish, outcome, contents, beside, mark)
    outcome.removed = _prune(wish, now)
    return outcome


def _keys(wish: Wish) -> str:
    """Return a hash of what it is encrypted with: after another key it has to be made anew."""
    told = json.dumps([wish.encryption, sorted(one.strip() for one in wish.recipients)])
    return hashlib.sha256(told.encode()).hexdigest()


def _newest(wish: Wish) -> dict[str, Any]:
    for name in reversed(listing(wish.directory)):
        try:
            with open(os.path.join(wish.directory, f"{name}.json"), encoding="utf-8") as stream:
                told: dict[str, Any] = json.load(stream)
            if told["sha256"] == _backup_verify.sha256(os.path.join(wish.directory, name)):
                return told
        except (OSError, ValueError, KeyError):
            continue
    return {}


def _write(
    wish: Wish,
    outcome: Outcome,
    contents: _config_archive.Contents,
    beside: Mapping[str, bytes],
    mark: str,
) -> int:
    name = outcome.file
    os.makedirs(wish.directory, mode=0o700, exist_ok=True)
    _sweep(wish.directory)
    path = os.path.join(wish.directory, name)
    partial = f"{path}.partial"
    try:
        _config_archive.write(partial, wish.root, contents, beside)
        _config_archive.members(partial)
        digest = _backup_encrypt.encrypt(partial, wish.encryption, wish.recipients)
        size = os.path.getsize(partial)
        told = {
            "file": name,
            "bytes": size,
            "sha256": digest,
            "fingerprint": mark,
            "keys": _keys(wish),
            "files": outcome.files,
            "skipped": outcome.skipped,
        }
        os.rename(partial, path)
        checksum = f"{digest}  {name}\n".encode()
        _whole_file.write(f"{path}.sha256", checksum)
        _whole_file.write(f"{path}.json", (json.dumps(told, indent=2) + "\n").encode())
    finally:
        if os.path.exists(partial):
            os.unlink(partial)
    return size


def _sweep(directory: str) -> None:
    """Remove what a killed run left: it holds every secret of the stack, not encrypted yet."""
    for left in os.listdir(directory):
        if _PARTIAL.match(left):
            os.unlink(os.path.join(directory, left))


def _databases(engine: Engine, wish: Wish) -> tuple[dict[str, bytes], list[str]]:
    """Return the databases of SQLite that containers hold, and which could not be had."""
    found: dict[str, bytes] = {}
    missing = []
    running = {one.service: one.id for one in engine.services(wish.project)}
    for service, path in wish.databases.items():
        if service not in running:
            missing.append(f"{path} of {service} (it does not run)")
            continue
        content = _database(engine, running[service], path)
        if content is None:
            missing.append(f"{path} of {service} (there is none)")
        elif not content:
            missing.append(f"{path} of {service} (it does not hold still, or is damaged)")
        else:
            found[f"{service}/{os.path.basename(path)}"] = content
    return found, missing


def _database(engine: Engine, container: str, path: str) -> bytes | None:
    """Return a database of SQLite as it is now; nothing where it is not, no byte of a torn one.

    What was committed last may be in its write-ahead log alone. A log that began anew while the
    database was read has lost what was not in there yet.
    """
    for _attempt in range(_TRIES):
        before = _file(engine, container, f"{path}-wal") or b""
        content = _file(engine, container, path)
        if content is None:
            return None
        log = _file(engine, container, f"{path}-wal") or b""
        if before[:_WAL_HEAD] != log[:_WAL_HEAD]:
            continue
        content = merged(content, log) if log else content
        if is_whole(content):
            return content
    return b""


def _file(engine: Engine, container: str, path: str) -> bytes | None:
    archived = engine.archive(container, path)
    if archived is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(archived)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                return content.read()
    return None


def merged(content: bytes, log: bytes) -> bytes:
    """Return a database of SQLite with what its write-ahead log has; nothing of a damaged one."""
    with tempfile.TemporaryDirectory(prefix="carrental-sqlite-") as folder:
        path = os.path.join(folder, "database")
        for name, data in ((path, content), (f"{path}-wal", log)):
            with open(name, "wb") as stream:
                stream.write(data)
        try:
            with closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            return b""
        with open(path, "rb") as stream:
            return stream.read()


def is_whole(content: bytes) -> bool:
    """Return whether a database of SQLite is one that can be read to its end."""
    if not content:
        # To SQLite it is one without tables.
        return False
    with tempfile.NamedTemporaryFile(prefix="carrental-sqlite-") as file:
        file.write(content)
        file.flush()
        try:
            with closing(sqlite3.connect(f"file:{file.name}?immutable=1", uri=True)) as database:
                answer = database.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.Error:
            return False
    return answer is not None and answer[0] == "ok"


def _prune(wish: Wish, now: datetime) -> list[str]:
    if not wish.keep_days:
        return []
    names = listing(wish.directory)
    old = [
        name
        for name in names[: -max(wish.keep_least, 1)]
        if now - moment(name) > timedelta(days=wish.keep_days)
    ]
    for name in old:
        # The manifest first: without it the rest is no backup.
        for suffix in (".json", ".sha256", ""):
            path = os.path.join(wish.directory, f"{name}{suffix}")
            if os.path.exists(path):
                os.unlink(path)
    return old


def moment(name: str) -> datetime:
    """Return when a backup of a configuration was made, by its name."""
    match = _NAME.fullmatch(name)
    stamp = match["stamp"] if match else ""
    return datetime.strptime(stamp, _STAMP).replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Choice:
    """Which backup comes back, where to, and with which key."""

    directory: str
    file: str
    root: str
    identity: str
    # What is there was unpacked by a run that did not come to its end.
    overwrite: bool = False
    # Where the plain archive and the keyring of gpg are for a while; empty is that of the system.
    scratch_dir: str = ""


def restore(choice: Choice, check: bool, step: Callable[..., None]) -> Outcome:
    """Bring a configuration back to a server that has none.

    :raises BackupError, ArchiveError: nothing was changed.
    """
    directory, root = choice.directory, choice.root
    names = listing(directory)
    name = names[-1] if choice.file == "latest" and names else choice.file
    if name not in names:
        raise BackupError(
            f"There is no backup {choice.file!r} of a configuration in {directory}; there are "
            f"{', '.join(names) or 'none'}. Nothing was changed."
        )
    path = os.path.join(directory, name)
    with open(f"{path}.json", encoding="utf-8") as stream:
        told = json.load(stream)
    if told["sha256"] != _backup_verify.sha256(path):
        raise BackupError(
            f"{name} is not what was written (sha256); take another one of {', '.join(names)}. "
            "Nothing was changed."
        )
    if os.path.exists(os.path.join(root, ".env")) and not choice.overwrite:
        raise BackupError(
            f"{root} has a configuration already (.env); move it away first, for it would be "
            "overwritten. Nothing was changed."
        )
    outcome = Outcome(name, True, told["files"], told["skipped"], bytes=told["bytes"])
    if check:
        return outcome
    with tempfile.TemporaryDirectory(
        prefix="carrental-config-", dir=choice.scratch_dir or None
    ) as scratch:
        plain = os.path.join(scratch, "configuration.tar.gz")
        _decrypt(path, plain, name.rpartition(".")[2], choice.identity)
        step("unpack the configuration", file=name)
        outcome.files = [_config_archive.shown(one) for one in _config_archive.unpack(plain, root)]
    return outcome


def restore_databases(
    engine: Engine, wish: Wish, check: bool, step: Callable[..., None]
) -> Outcome:
    """Give containers the databases of SQLite that came with the configuration.

    A container is stopped for it, and started again whatever happens. What was brought is
    removed from the root of the stack in the end.

    :raises BackupError: what was brought is damaged. :raises DockerError: the engine refuses.
    """
    outcome = Outcome()
    brought = os.path.join(wish.root, _config_archive.BESIDE)
    running = {one.service: one.id for one in engine.services(wish.project)}
    for service, path in sorted(wish.databases.items()):
        source = os.path.join(brought, service, os.path.basename(path))
        if not os.path.isfile(source):
            outcome.skipped.append(f"{path} of {service} (it is not in the backup)")
            continue
        if service not in running:
            outcome.skipped.append(f"{path} of {service} (it is not there; it waits as {source})")
            continue
        outcome.files.append(f"{service}/{os.path.basename(path)}")
        outcome.changed = True
        if not check:
            step("give back a database", service=service, path=path)
            _give_back(engine, running[service], source, path)
            os.unlink(source)
    if outcome.changed and not outcome.skipped and not check:
        shutil.rmtree(brought)
    return outcome


def _give_back(engine: Engine, container: str, source: str, path: str) -> None:
    with open(source, "rb") as stream:
        content = stream.read()
    if not is_whole(content):
        raise BackupError(f"{source} is no whole database of SQLite; take another backup.")
    folder = os.path.dirname(path)
    like = _about(engine, container, path) or _about(engine, container, folder)
    member = tarfile.TarInfo(os.path.basename(path))
    member.size, member.mode, member.mtime = len(content), 0o640, int(time.time())
    if like is not None:
        member.uid, member.gid = like.uid, like.gid
    # The journal of the database before would be played into this one.
    emptied = [tarfile.TarInfo(f"{member.name}{end}") for end in _BESIDE_SQLITE]
    emptied = [one for one in emptied if _about(engine, container, f"{folder}/{one.name}")]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
        for one in emptied:
            one.uid, one.gid, one.mode = member.uid, member.gid, member.mode
            archive.addfile(one)
    engine.stop(container)
    try:
        engine.unpack(container, folder, packed.getvalue())
    finally:
        engine.start(container)


def _about(engine: Engine, container: str, path: str) -> tarfile.TarInfo | None:
    """Return who owns a file or folder of a container; nothing where it is not."""
    archived = engine.archive(container, path)
    if archived is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(archived)) as archive:
        return archive.next()


def _decrypt(path: str, plain: str, program: str, identity: str) -> None:
    if shutil.which(program) is None:
        raise BackupError(f"{program} is not on this server; install it. Nothing was changed.")
    if program == "age":
        _run(["age", "-d", "-i", identity, "-o", plain, path])
        return
    # Beside what it is decrypted to: it holds the private key.
    folder = os.path.dirname(plain)
    with tempfile.TemporaryDirectory(prefix="gpg-", dir=folder) as home:
        quiet = ["gpg", "--homedir", home, "--batch", "--quiet", "--no-tty"]
        _run([*quiet, "--import", identity])
        _run([*quiet, "-o", plain, "-d", path])
        # Its agent would live on with the key.
        subprocess.run(
            ["gpgconf", "--homedir", home, "--kill", "gpg-agent"], capture_output=True, check=False
        )


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise BackupError(
            f"{argv[0]} could not decrypt the configuration: "
            f"{(lines or ['no reason given'])[0].strip()}; is it the right key? "
            "Nothing was changed."
        )
