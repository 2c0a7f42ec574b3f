# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Look at what a preflight judges. Nothing of it writes."""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import tarfile
from collections.abc import Collection, Mapping, Sequence

from . import _backups, _disk_space, _migrations
from ._docker import Container, Docker, DockerError
from ._engine import Engine
from ._preflight import Blocker, MemoryNeed, ProxyTest, SpaceNeed, dump_need

_MIB = 1024 * 1024
# Sessions of clients that hold a lock on a table in a transaction of some age.
_BLOCKERS = """
SET statement_timeout = '2s';
SELECT a.pid || ' ' || a.usename || ' '
       || extract(epoch FROM clock_timestamp() - a.xact_start)::bigint || ' '
       || string_agg(DISTINCT c.relname, ', ')
  FROM pg_stat_activity a
  JOIN pg_locks l ON l.pid = a.pid AND l.granted
  JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p')
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname !~ '^pg_'
 WHERE a.datname = current_database() AND a.backend_type = 'client backend'
   AND a.pid <> pg_backend_pid() AND a.xact_start < now() - interval '{seconds} s'
 GROUP BY a.pid, a.usename, a.xact_start ORDER BY a.xact_start
"""


def blockers(engine: Engine, database: Container, name: str, seconds: int) -> list[Blocker]:
    """Return the sessions that have held locks on tables for longer; none where nobody can tell."""
    statement = _BLOCKERS.format(seconds=int(seconds))
    try:
        rc, output = engine.execute(database.id, [*_migrations.psql(database, name), statement])
    except DockerError:
        return []
    return parse_blockers(output) if rc == 0 else []


def parse_blockers(output: str) -> list[Blocker]:
    """Return the sessions, one a line."""
    found = []
    for line in output.splitlines():
        words = line.strip().split(" ", 3)
        if len(words) == 4 and words[0].isdigit() and words[2].isdigit():
            found.append(Blocker(int(words[0]), words[1], int(words[2]), words[3]))
    return found


def proxy_test(
    docker: Engine, proxy: Container, command: str, project_src: str, absent: Collection[str]
) -> ProxyTest | None:
    """Let a running proxy judge its configuration; nothing where it has no such command."""
    try:
        rc, output = docker.execute(proxy.id, shlex.split(command))
    except DockerError as error:
        if "executable file not found" in str(error):
            return None
        raise
    if rc in (126, 127):
        return None
    return ProxyTest(
        command, rc, output.splitlines(), unseen(docker, proxy, project_src), sorted(absent)
    )


def unseen(docker: Engine, container: Container, project_src: str) -> list[str]:
    """Return the mounted files of the project that a container has in an older form.

    A single file is mounted by its inode. Who replaces it by rename, as most editors do, leaves
    the container with the old one.
    """
    found = []
    for source, inside in container.volumes:
        if not source.startswith(project_src.rstrip("/") + "/") or not os.path.isfile(source):
            continue
        try:
            with open(source, "rb") as stream:
                here = hashlib.sha256(stream.read()).digest()
            there = _digest(docker.archive(container.id, inside))
        except (OSError, DockerError, tarfile.TarError):
            continue
        if there is not None and here != there:
            found.append(os.path.relpath(source, project_src))
    return found


def _digest(archive: bytes | None) -> bytes | None:
    if archive is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                return hashlib.sha256(content.read()).digest()
    return None


def space_needs(docker_root: str, images_mb: int, backup_dir: str) -> list[SpaceNeed]:
    """Return what has to fit: the images of the release, and the next dump."""
    found = []
    if images_mb > 0:
        found.append(
            SpaceNeed(
                _disk_space.look(docker_root), images_mb * _MIB, "images (deploy_min_free_mb)"
            )
        )
    last = last_dump(backup_dir)
    if last:
        found.append(
            SpaceNeed(_disk_space.look(backup_dir), dump_need(last), "a dump, by the last one")
        )
    return found


def last_dump(directory: str) -> int:
    """Return the size of the newest dump; 0 where there is none."""
    try:
        dumps = [entry.stat() for entry in os.scandir(directory) if _backups.name(entry.name)]
    except OSError:
        return 0
    return max(dumps, key=lambda one: one.st_mtime).st_size if dumps else 0


def memory_needs(
    docker: Docker, containers: Sequence[Container], roll: Collection[str]
) -> list[MemoryNeed]:
    """Return what one more container of each service takes: its limit, or what it uses now."""
    found = []
    for container in containers:
        if container.service not in roll or not container.running:
            continue
        limit = int((container.raw.get("HostConfig") or {}).get("Memory") or 0)
        wanted = limit or used_memory(_stats(docker, container))
        found.append(MemoryNeed(container.service, wanted, bool(limit)))
    return found


def _stats(docker: Docker, container: Container) -> Mapping[str, object]:
    query = {"stream": "false", "one-shot": "true"}
    try:
        stats = docker.get(f"/containers/{container.id}/stats", **query)
    except DockerError:
        return {}
    found: Mapping[str, object] = stats.get("memory_stats") or {}
    return found


def used_memory(stats: Mapping[str, object]) -> int:
    """Return what a container uses without what the kernel can take back at once."""
    detail = stats.get("stats")
    cache = 0
    if isinstance(detail, Mapping):
        cache = int(detail.get("inactive_file") or detail.get("total_inactive_file") or 0)
    used = stats.get("usage")
    return max(int(used) - cache, 0) if isinstance(used, int) else 0


def available_memory() -> int:
    """Return what can be had without swapping, in bytes."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        for line in stream:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
