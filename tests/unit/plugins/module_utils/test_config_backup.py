# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup of the configuration is made when it has to be, and holds what it says."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _backup_encrypt,
    _backup_verify,
    _config_archive,
    _config_backup,
)
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine

NOW = datetime(2026, 11, 25, 2, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is encrypted: neither program has to be here."""

    def encrypt(path: str, program: str, recipients: tuple[str, ...]) -> str:
        return _backup_verify.sha256(path)

    monkeypatch.setattr(_backup_encrypt, "require", lambda *_given: None)
    monkeypatch.setattr(_backup_encrypt, "encrypt", encrypt)


class Containers:
    """An engine without containers."""

    def services(self, _project: str) -> list[SimpleNamespace]:
        return []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "carrental"
    (top / "backups").mkdir(parents=True)
    (top / ".env").write_text("SECRET=1")
    return top


def saved(
    root: Path,
    program: str = "age",
    recipients: tuple[str, ...] = ("age1a",),
    *,
    days: int = 0,
    engine: object = None,
    **more: Any,
) -> _config_backup.Outcome:
    given = (str(root), str(root / ".ops"), str(root / "backups"), program, recipients, "carrental")
    wish = _config_backup.Wish(*given, **more)

    def step(*_names: str, **_facts: Any) -> None:
        """Note nothing."""

    now = NOW + timedelta(days=days)
    return _config_backup.save(cast(Engine, engine or Containers()), wish, now, False, step)


def test_it_is_made_once_for_the_same_keys(root: Path) -> None:
    assert saved(root, recipients=("age1a", "age1b")).changed
    again = saved(root, recipients=("age1b", "age1a"), days=1)
    assert (again.changed, again.file) == (False, "config_backup_20261125_020000.tar.gz.age")


@pytest.mark.parametrize(("program", "recipients"), [("age", ("age1new",)), ("gpg", ("age1a",))])
def test_another_key_or_program_makes_it_anew(
    root: Path, program: str, recipients: tuple[str, ...]
) -> None:
    saved(root)
    assert saved(root, program, recipients, days=1).changed
    assert not saved(root, program, recipients, days=2).changed


def test_one_that_does_not_say_its_keys_is_made_anew(root: Path) -> None:
    saved(root)
    (manifest,) = (root / "backups").glob("*.json")
    told = json.loads(manifest.read_text())
    del told["keys"]
    manifest.write_text(json.dumps({**told, "recipients": 1}))
    assert saved(root, days=1).changed


class Grafana:
    """An engine with one container that has a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # What happens when a file is read.
        self.meanwhile: Callable[[str], None] = lambda _name: None

    def services(self, _project: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(service="grafana", id="g1")]

    def archive(self, _container: str, path: str) -> bytes | None:
        wanted = self.folder / Path(path).name
        if not wanted.exists():
            return None
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as found:
            found.add(wanted, wanted.name)
        self.meanwhile(wanted.name)
        return packed.getvalue()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Grafana, sqlite3.Connection]]:
    """A database that is open, all rows of which are in its log."""
    engine = Grafana(tmp_path / "grafana")
    engine.folder.mkdir()
    with closing(sqlite3.connect(engine.folder / "grafana.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE dashboard (id)")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        add(database, 500)
        yield engine, database


def add(database: sqlite3.Connection, count: int) -> None:
    database.executemany("INSERT INTO dashboard VALUES (?)", [(n,) for n in range(count)])
    database.commit()


DATABASES = {"grafana": "/var/lib/grafana/grafana.db"}


def rows(root: Path, folder: Path) -> int:
    """Rows of the database of the newest backup."""
    newest = max((root / "backups").glob("*.tar.gz.age"))
    _config_archive.unpack(str(newest), str(folder))
    with closing(sqlite3.connect(folder / ".recover/grafana/grafana.db")) as database:
        (count,) = database.execute("SELECT count(*) FROM dashboard").fetchone()
    return int(count)


def test_a_database_comes_with_what_is_in_its_log(
    root: Path, tmp_path: Path, live: tuple[Grafana, sqlite3.Connection]
) -> None:
    outcome = saved(root, engine=live[0], databases=DATABASES)
    assert outcome.skipped == []
    assert rows(root, tmp_path / "back") == 500


def test_a_log_that_begins_anew_meanwhile_is_read_again(
    root: Path, tmp_path: Path, live: tuple[Grafana, sqlite3.Connection]
) -> None:
    engine, database = live
    reads: list[str] = []

    def write(name: str) -> None:
        reads.append(name)
        if reads == ["grafana.db-wal", "grafana.db"]:
            # What the database was read without is not in the log any more.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            add(database, 1)

    engine.meanwhile = write
    saved(root, engine=engine, databases=DATABASES)
    assert rows(root, tmp_path / "back") == 501
    assert reads.count("grafana.db") == 2


def test_an_empty_file_is_no_database(root: Path, tmp_path: Path) -> None:
    (tmp_path / "grafana").mkdir()
    (tmp_path / "grafana/grafana.db").write_bytes(b"")
    outcome = saved(root, engine=Grafana(tmp_path / "grafana"), databases=DATABASES)
    (line,) = outcome.skipped
    assert line.endswith("(it does not hold still, or is damaged)")
    assert not _config_backup.is_whole(b"")


def test_a_name_that_is_no_text_is_kept_and_can_be_told(root: Path, tmp_path: Path) -> None:
    name = os.fsencode(str(root)) + b"/caf\xe9.conf"
    Path(os.fsdecode(name)).write_text("x")
    outcome = saved(root)
    assert outcome.files == [".env", "caf\\xe9.conf"]
    _config_archive.unpack(str(root / "backups" / outcome.file), str(tmp_path / "back"))
    assert sorted(os.listdir(os.fsencode(str(tmp_path / "back")))) == [b".env", b"caf\xe9.conf"]


def test_a_file_with_two_names_comes_back_under_both(root: Path, tmp_path: Path) -> None:
    os.link(root / ".env", root / ".env.bak")
    outcome = saved(root)
    back = tmp_path / "back"
    _config_archive.unpack(str(root / "backups" / outcome.file), str(back))
    assert (back / ".env").read_text() == (back / ".env.bak").read_text() == "SECRET=1"


@pytest.mark.parametrize("program", ["age", "gpg"])
def test_what_is_decrypted_lies_where_it_is_said_and_not_for_long(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    Path(os.fsdecode(os.fsencode(str(root)) + b"/caf\xe9.conf")).write_text("x")
    saved(root, program)
    memory = tmp_path / "memory"
    memory.mkdir()
    seen: list[str] = []

    def run(argv: list[str], **_how: Any) -> SimpleNamespace:
        seen.extend(one for one in argv if one.startswith(str(memory)))
        if "-d" in argv:
            packed = root / "backups" / Path(argv[-1]).name
            Path(argv[argv.index("-o") + 1]).write_bytes(packed.read_bytes())
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", run)
    choice = _config_backup.Choice(
        *(str(root / "backups"), "latest", str(tmp_path / "back"), "/key"),
        scratch_dir=str(memory),
    )

    def step(*_names: str, **_facts: Any) -> None:
        """Note nothing."""

    assert _config_backup.restore(choice, False, step).files == [".env", "caf\\xe9.conf"]
    assert (tmp_path / "back/.env").read_text() == "SECRET=1"
    assert {Path(one).name.partition("-")[0] for one in seen} == (
        {"configuration.tar.gz"} if program == "age" else {"configuration.tar.gz", "gpg"}
    )
    assert list(memory.iterdir()) == []
