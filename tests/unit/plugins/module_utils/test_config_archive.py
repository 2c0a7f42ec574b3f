# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to the configuration of a stack, and what an archive must not do."""

from __future__ import annotations

import io
import os
import sqlite3
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _config_archive as archive
from ansible_collections.carrental.ops.plugins.module_utils import _config_backup
from ansible_collections.carrental.ops.plugins.module_utils._backups import BackupError
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "carrental"
    for name, text in {
        ".env": "SECRET=1",
        "docker-compose.prod.yml": "services: {}",
        "nginx/ssl/privkey.pem": "key",
        "backups/car.dump": "data",
        ".git/HEAD": "ref",
        ".ops/releases/1.json": "{}",
        ".ops/journal/1.jsonl": "{}",
        "big.bin": "x" * 5000,
    }.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, mode in {".env": 0o600, "nginx": 0o750}.items():
        os.chmod(top / name, mode)
    os.symlink("docker-compose.prod.yml", top / "compose.yml")
    return top


def collected(root: Path) -> archive.Contents:
    return archive.collect(str(root), str(root / ".ops"), [str(root / "backups")], 4000)


def test_everything_that_is_no_data_belongs_to_it(root: Path) -> None:
    found = collected(root)
    assert found.files == [
        ".env",
        ".ops/releases/1.json",
        "compose.yml",
        "docker-compose.prod.yml",
        "nginx/ssl/privkey.pem",
    ]
    assert [line.split()[0] for line in found.skipped] == ["big.bin"]


def test_records_out_of_the_root_are_named(root: Path, tmp_path: Path) -> None:
    """They would come back to no place that anybody reads; recover_version says what ran then."""
    state = tmp_path / "state"
    (state / "releases").mkdir(parents=True)
    (state / "releases/1.json").write_text("{}")
    (root / "..odd").write_text("")
    found = archive.collect(str(root), str(state), [str(root / "backups")], 4000)
    assert f"{state}/releases (out of {root})" in found.skipped
    assert "..odd" in found.files


def test_it_comes_back_with_its_modes_and_what_was_brought_along(
    root: Path, tmp_path: Path
) -> None:
    packed, back = str(tmp_path / "a.tar.gz"), tmp_path / "back"
    archive.write(packed, str(root), collected(root), {"grafana/grafana.db": b"rows"})
    assert os.stat(packed).st_mode & 0o777 == 0o600
    names = archive.unpack(packed, str(back))
    assert (back / ".recover/grafana/grafana.db").read_bytes() == b"rows"
    assert (back / ".env").stat().st_mode & 0o777 == 0o600
    assert (back / "nginx").stat().st_mode & 0o777 == 0o750
    assert os.readlink(back / "compose.yml") == "docker-compose.prod.yml"
    assert (back / "nginx/ssl/privkey.pem").read_text() == "key"
    assert "big.bin" not in names


def test_any_change_makes_another_fingerprint(root: Path) -> None:
    def mark() -> str:
        return archive.fingerprint(str(root), collected(root), {})

    marks = {mark()}
    (root / ".env").write_text("SECRET=2")
    marks.add(mark())
    os.chmod(root / ".env", 0o640)
    marks.add(mark())
    (root / "new.yml").write_text("")
    marks.add(mark())
    marks.add(archive.fingerprint(str(root), collected(root), {"a": b""}))
    assert len(marks) == 5


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x"])
def test_an_archive_writes_nowhere_else(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.tar.gz"
    with tarfile.open(path, "w:gz") as bad:
        bad.addfile(tarfile.TarInfo("fine"), io.BytesIO())
        bad.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(archive.ArchiveError, match="does not belong"):
        archive.unpack(str(path), str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("target", ["/etc", "../../etc"])
def test_no_link_leads_out_of_it(tmp_path: Path, target: str) -> None:
    path = tmp_path / "bad.tar.gz"
    member = tarfile.TarInfo("link")
    member.type, member.linkname = tarfile.SYMTYPE, target
    with tarfile.open(path, "w:gz") as bad:
        bad.addfile(member)
    with pytest.raises(archive.ArchiveError, match="does not belong"):
        archive.unpack(str(path), str(tmp_path / "back"))


def test_an_archive_that_was_cut_anywhere_is_none(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    archive.write(str(path), str(root), collected(root), {})
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(archive.ArchiveError):
            archive.members(str(path))


def test_a_database_that_was_torn_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "grafana.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE dashboard (id integer primary key, data text)")
        database.executemany("INSERT INTO dashboard (data) VALUES (?)", [("x" * 500,)] * 200)
    database.close()
    whole = path.read_bytes()
    assert _config_backup.is_whole(whole)
    assert not _config_backup.is_whole(whole[: len(whole) // 2])
    assert not _config_backup.is_whole(b"no database at all" * 100)


class Container:
    """An engine with one container that has a folder; it remembers what was done to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def services(self, _project: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(service="grafana", id="g1")]

    def archive(self, _container: str, path: str) -> bytes | None:
        wanted = self.folder / Path(path).name if Path(path).suffix else self.folder
        if not wanted.exists():
            return None
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as found:
            member = tarfile.TarInfo(wanted.name)
            member.uid, member.gid = 472, 0
            found.addfile(member)
        return packed.getvalue()

    def stop(self, _container: str) -> None:
        self.said.append("stop")

    def start(self, _container: str) -> None:
        self.said.append("start")

    def unpack(self, _container: str, _folder: str, data: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(data)) as found:
            for member in found:
                content = found.extractfile(member)
                (self.folder / member.name).write_bytes(content.read() if content else b"")
                self.said.append(f"{member.name} of {member.uid}, {member.mode:o}")


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    """A root with a database that came with the configuration."""
    source = tmp_path / "root/.recover/grafana/grafana.db"
    source.parent.mkdir(parents=True)
    with sqlite3.connect(source) as database:
        database.execute("CREATE TABLE dashboard (title)")
    database.close()
    (tmp_path / "grafana").mkdir()
    return source


def given_back(brought: Path, engine: Container, check: bool = False) -> _config_backup.Outcome:
    root = str(brought.parents[2])
    wish = _config_backup.Wish(
        *(root, f"{root}/.ops", "", "", (), "carrental"),
        databases={"grafana": "/var/lib/grafana.d/grafana.db", "other": "/x.db"},
    )

    def step(*_names: str, **_facts: Any) -> None:
        """Note nothing."""

    return _config_backup.restore_databases(cast(Engine, engine), wish, check, step)


def test_a_database_comes_back_as_its_owners_and_without_an_old_journal(brought: Path) -> None:
    engine = Container(brought.parents[3] / "grafana")
    (engine.folder / "grafana.db").write_text("of the new server")
    (engine.folder / "grafana.db-wal").write_text("journal of that")
    content = brought.read_bytes()
    plan = given_back(brought, engine, check=True)
    assert (plan.files, engine.said) == (["grafana/grafana.db"], [])
    done = given_back(brought, engine)
    assert done.skipped == ["/x.db of other (it is not in the backup)"]
    assert engine.said == [
        *("stop", "grafana.db of 472, 640", "grafana.db-wal of 472, 640", "start"),
    ]
    assert (engine.folder / "grafana.db").read_bytes() == content
    assert (engine.folder / "grafana.db-wal").read_bytes() == b""
    assert not given_back(brought, engine).changed


def test_a_torn_database_stops_no_container(brought: Path) -> None:
    brought.write_bytes(brought.read_bytes()[:100])
    engine = Container(brought.parents[3] / "grafana")
    with pytest.raises(BackupError, match="is no whole database of SQLite"):
        given_back(brought, engine)
    assert engine.said == []


def test_the_content_of_a_link_that_leads_out_is_kept(root: Path, tmp_path: Path) -> None:
    """As certbot makes them: without it the certificate would be missing after a recovery."""
    outside = tmp_path / "letsencrypt" / "archive"
    outside.mkdir(parents=True)
    (outside / "fullchain1.pem").write_text("certificate")
    (outside / "fullchain1.pem").chmod(0o640)
    os.symlink(outside / "fullchain1.pem", root / "nginx/ssl/fullchain.pem")
    os.symlink(outside, root / "nginx/live")
    os.symlink("ssl", root / "nginx/certificates")
    found = collected(root)
    assert "nginx/ssl/fullchain.pem" in found.files
    assert "nginx/certificates" in found.files
    (led,) = [line for line in found.skipped if line.startswith("nginx/live")]
    assert "out of the configuration" in led
    mark = archive.fingerprint(str(root), found, {})
    path = str(tmp_path / "archive.tar.gz")
    archive.write(path, str(root), found, {})
    archive.members(path)
    back = tmp_path / "back"
    archive.unpack(path, str(back))
    chain = back / "nginx/ssl/fullchain.pem"
    assert (chain.read_text(), chain.is_symlink()) == ("certificate", False)
    assert chain.stat().st_mode & 0o777 == 0o640
    assert os.readlink(back / "nginx/certificates") == "ssl"
    (outside / "fullchain1.pem").write_text("renewed")
    assert archive.fingerprint(str(root), found, {}) != mark
