# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Remedies for data: sessions of PostgreSQL, its statistics, the files and keys of Redis."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _checks,
    _diagnosis_data,
    _docker,
    _one_off,
    _operation_info,
    _pg_server,
    _pg_titles,
    _redis,
    _service_probes,
    _services,
)
from ansible_collections.carrental.ops.plugins.module_utils._remedy import (
    Context,
    ForService,
    RemedyError,
)

_OURS = "^(carrental[.-]ops|pg_dump|pg_basebackup)"
# Only what is still so is ended: between the look and this a session may have gone on.
_IDLE = """
SELECT pid FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
   AND state LIKE 'idle in transaction%%' AND application_name !~ %s
   AND state_change < clock_timestamp() - make_interval(secs => %s)
 ORDER BY state_change
"""
_END = """
SELECT pid, pg_terminate_backend(pid) AS ended FROM pg_stat_activity
 WHERE pid = ANY(%s) AND state LIKE 'idle in transaction%%' AND application_name !~ %s
   AND state_change < clock_timestamp() - make_interval(secs => %s)
"""
_ALIVE = "SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)"
_WAITING = """
SELECT count(*) AS waiting FROM pg_stat_activity
 WHERE wait_event_type = 'Lock' AND %s = ANY(pg_blocking_pids(pid))
"""
_END_ONE = """
SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
 WHERE pid = %s AND backend_type = 'client backend' AND application_name !~ %s
"""
_STATEMENTS = "SELECT * FROM pg_stat_statements ORDER BY total_exec_time DESC"
_CHECK_SECONDS = 300.0
_MAX_KEYS = 1000
# Sessions that are ended from outside when nobody gets in, and how long that may take.
_ROOM = 4
_ROOM_SECONDS = 15.0
_LOOKS, _BETWEEN_LOOKS = 5, 2.0


class EndIdle:
    """End the sessions that forgot their transaction."""

    def refuse(self, context: Context) -> str:
        """Return why none is to be ended."""
        seconds = context.params["idle_in_transaction"]
        try:
            with context.database().session() as session:
                found = bool(session.rows(_IDLE, (_OURS, seconds)))
        except _pg_server.ServerError as error:
            if not _pg_titles.FULL.search(str(error)):
                raise
            found = bool(self._by_title(context))
        return "" if found else f"no session has been idle in its transaction for {seconds} s now"

    @staticmethod
    def _by_title(context: Context) -> list[int]:
        """Return such sessions where nobody gets in to ask, the oldest first.

        A title tells the age of the session and not how long it has been idle, so only what is
        idle in its transaction at every look counts. Whose it is nobody can tell: while a backup or
        another operation has a lock there is none.
        """
        holders = _operation_info.holders(context.params["state_dir"])
        beside = [one["id"] for one in holders if one["kind"] != "respond"]
        if beside:
            raise RemedyError(
                f"PostgreSQL lets nobody in, and {', '.join(beside)} is at work, whose sessions "
                "cannot be told from others there"
            )
        seconds = float(context.params["idle_in_transaction"])
        seen: list[int] | None = None
        for look in range(_LOOKS):
            if look:
                time.sleep(_BETWEEN_LOOKS)
            rows = _pg_titles.look(context.engine, context.database().container)
            old = [int(row["pid"]) for row in _diagnosis_data.forgotten(rows, seconds)]
            seen = old if seen is None else [pid for pid in seen if pid in old]
        return seen or []

    def _make_room(self, context: Context) -> list[str]:
        """End the oldest few from outside, so that one can get in and judge the others."""
        try:
            with context.database().session() as session:
                session.rows("SELECT 1")
            return []
        except _pg_server.ServerError as error:
            if not _pg_titles.FULL.search(str(error)):
                raise
        server = context.database()
        pids = self._by_title(context)[:_ROOM]
        if not pids or not _pg_titles.end(context.engine, server.container, pids):
            raise RemedyError("PostgreSQL lets nobody in, and no session could be ended outside")
        _pg_server.await_answer(server, _ROOM_SECONDS)
        return [f"ended {len(pids)} of the oldest from outside, for nobody got in to ask"]

    def act(self, context: Context) -> list[str]:
        """End them."""
        seconds = context.params["idle_in_transaction"]
        context.step("end idle transactions")
        done = self._make_room(context)
        with context.database().session() as session:
            pids = [row["pid"] for row in session.rows(_IDLE, (_OURS, seconds))]
            ended = [row["pid"] for row in session.rows(_END, (pids, _OURS, seconds))]
        context.memo["pids"] = ended
        shown = ", ".join(str(pid) for pid in ended[:20])
        more = f" and {len(ended) - 20} more" if len(ended) > 20 else ""
        said = f"ended {len(ended)} sessions that were idle in transaction (pids {shown}{more})"
        return [*done, said]

    def wrong(self, context: Context) -> str:
        """Return which of them are still there."""
        pids = context.memo.get("pids") or []
        with context.database().session() as session:
            alive = [row["pid"] for row in session.rows(_ALIVE, (pids,))]
        return f"sessions {', '.join(map(str, alive))} are still there" if alive else ""


class EndBlocker:
    """End the session that keeps others waiting."""

    def refuse(self, context: Context) -> str:
        """Return why it is not to be ended."""
        pid = int(context.cause.facts.get("pid") or 0)
        with context.database().session() as session:
            waiting = int(session.rows(_WAITING, (pid,))[0]["waiting"])
        return "" if waiting else f"pid {pid} keeps nobody waiting any more"

    def act(self, context: Context) -> list[str]:
        """End it."""
        pid = int(context.cause.facts["pid"])
        context.step("end the blocker")
        with context.database().session() as session:
            ended = session.rows(_END_ONE, (pid, _OURS))
        if not ended:
            raise RemedyError(f"pid {pid} is gone, or belongs to a backup or to an operation")
        return [f"ended the session with pid {pid}"]

    def wrong(self, context: Context) -> str:
        """Return whether it is still there."""
        pid = int(context.cause.facts["pid"])
        with context.database().session() as session:
            return f"pid {pid} is still there" if session.rows(_ALIVE, ([pid],)) else ""


class ResetStatistics:
    """Save what pg_stat_statements counted, then let it begin anew."""

    def refuse(self, context: Context) -> str:
        """Return why nothing is reset."""
        if not context.kept:
            return "the statistics have nowhere to be saved to, for the evidence could not be kept"
        with context.database().session() as session:
            found = session.rows("SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements'")
        return "" if found else "pg_stat_statements is not in this database"

    def act(self, context: Context) -> list[str]:
        """Save and reset."""
        path = os.path.join(context.kept, "pg_stat_statements.json")
        context.step("save the statistics of statements")
        with context.database().session() as session:
            rows = session.rows(_STATEMENTS)
            with open(path, "w", encoding="utf-8") as stream:
                json.dump(rows, stream, default=str)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(path, 0o600)
            context.step("reset the statistics of statements")
            session.rows("SELECT pg_stat_statements_reset()")
        context.memo["path"], context.memo["rows"] = path, len(rows)
        return [f"saved {len(rows)} statements to {path}", "reset pg_stat_statements"]

    def wrong(self, context: Context) -> str:
        """Return whether the file lacks something."""
        with open(context.memo["path"], encoding="utf-8") as stream:
            saved = len(json.load(stream))
        return "" if saved == context.memo["rows"] else "the saved statistics are not complete"


class RepairRedis(ForService):
    """Copy the data of Redis, then repair its files."""

    def refuse(self, context: Context) -> str:
        """Return why nothing is repaired."""
        wrong = super().refuse(context)
        if wrong or _folder(context):
            return wrong
        return f"{context.service} has no volume"

    def act(self, context: Context) -> list[str]:
        """Stop it, for it restarts in a loop; copy, repair, start."""
        with _started_again(context):
            return self._repaired(context)

    @staticmethod
    def _repaired(context: Context) -> list[str]:
        done = _copied(context)
        folder = _folder(context)
        context.step("repair the files of Redis")
        script = (
            f"cd {folder} || exit 9; "
            "for f in appendonlydir/*.manifest appendonly.aof; do "
            '[ -e "$f" ] || continue; echo y | redis-check-aof --fix "$f" || exit 3; done; '
            'for f in dump.rdb; do [ -e "$f" ] || continue; '
            'redis-check-rdb "$f" >/dev/null || exit 4; done'
        )
        ended = _one_off.run(
            *(context.engine, context.project(), context.compose_service),
            *(["sh", "-c", script], _CHECK_SECONDS),
        )
        if ended.rc != 0:
            said = " ".join(_one_off.tail(ended.stdout + ended.stderr, 3))
            raise RemedyError(
                f"the files of Redis cannot be repaired ({said[:200]}); their copy is {done[-1]}"
            )
        context.engine.start(context.container().id)
        return [*done, f"repaired the files of {context.service}", "started it"]


class EmptyRedis(RepairRedis):
    """Let Redis begin empty; its damaged files are kept."""

    def act(self, context: Context) -> list[str]:
        """Stop, copy, put the files aside, start."""
        with _started_again(context):
            return self._emptied(context)

    @staticmethod
    def _emptied(context: Context) -> list[str]:
        done = _copied(context)
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        folder = _folder(context)
        context.step("put the files of Redis aside")
        script = (
            f"cd {folder} && mkdir damaged-{stamp} && "
            "for f in appendonlydir appendonly.aof dump.rdb; do "
            f'[ ! -e "$f" ] || mv "$f" damaged-{stamp}/ || exit 3; done'
        )
        ended = _one_off.run(
            *(context.engine, context.project(), context.compose_service),
            *(["sh", "-c", script], _CHECK_SECONDS),
        )
        if ended.rc != 0:
            said = " ".join(_one_off.tail(ended.stdout + ended.stderr, 3))
            raise RemedyError(f"the files of Redis cannot be put aside: {said[:200]}")
        context.engine.start(context.container().id)
        return [*done, f"put the files of {context.service} aside in damaged-{stamp}", "started it"]


def _folder(context: Context) -> str:
    """Return where Redis keeps its files, as its container sees it."""
    for _source, target in context.container().volumes:
        if re.fullmatch(r"/[\w./-]+", target) and not target.endswith(".conf"):
            return target
    return ""


@contextmanager
def _started_again(context: Context) -> Iterator[None]:
    """Start a container again whatever fails: how it dies is what the next look goes by."""
    try:
        yield
    except BaseException:
        with suppress(_docker.DockerError):
            context.engine.start(context.container().id)
        raise


def _copied(context: Context) -> list[str]:
    """Stop Redis and copy its files out of it; return what was done, the copy's path last.

    The engine copies out of a container that does not run, too.
    """
    one = context.container()
    if not context.kept:
        raise RemedyError("there is nowhere to copy the files to, for no evidence could be kept")
    context.step(f"copy the files of {one.name}")
    context.engine.stop(one.id)
    path = os.path.join(context.kept, f"{one.name}-data.tar")
    try:
        with open(path, "wb", opener=_private) as stream:
            copied = subprocess.run(
                ["docker", "cp", f"{one.id}:{_folder(context)}", "-"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.PIPE,
                timeout=_CHECK_SECONDS,
                check=False,
            )
            os.fsync(stream.fileno())
        with tarfile.open(path) as archive:
            files = sum(member.isfile() for member in archive)
    except (OSError, tarfile.TarError, subprocess.TimeoutExpired) as error:
        raise RemedyError(f"the files of {one.name} cannot be copied: {error}") from error
    if copied.returncode != 0:
        said = copied.stderr.decode(errors="replace").strip()[:200]
        raise RemedyError(f"the files of {one.name} cannot be copied: {said}")
    return [f"stopped {one.name}", f"copied {files} files of it to {path}"]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class FlushPrefix:
    """Remove the keys with a prefix, bit by bit, so that others are served meanwhile."""

    def _login(self, context: Context) -> _redis.Login:
        one = context.container()
        entry = context.params["services"][context.service]
        subject = _checks.Subject(context.service, "Redis", "P3", "", "")
        service = _services.Service(
            name=context.service,
            subject=subject,
            role="cache",
            probe="redis",
            port=int(entry.get("port") or 6379),
            container=one.name,
            compose_service=context.compose_service,
            endpoint=_services.Endpoint(),
        )
        place = _service_probes.Place(service, one.address, one, context.engine)
        return _service_probes.redis_login(place, _service_probes.Settings())

    def refuse(self, context: Context) -> str:
        """Return why nothing is removed."""
        if not context.params["flush_prefix"]:
            return (
                "response_flush_prefix is empty; name the keys of the cache, as cache:, and never "
                "those of sessions or queues"
            )
        return ""

    def act(self, context: Context) -> list[str]:
        """Remove them."""
        prefix = str(context.params["flush_prefix"])
        context.step(f"remove the keys {prefix}*")
        login, removed = self._login(context), 0
        with _opened(login) as connection:
            for keys in _scan(connection, prefix):
                if keys:
                    removed += int(str(connection.command("UNLINK", *keys)))
        return [f"removed {removed} keys {prefix}*"]

    def wrong(self, context: Context) -> str:
        """Return how many are left."""
        prefix = str(context.params["flush_prefix"])
        with _opened(self._login(context)) as connection:
            left = sum(len(keys) for keys in _scan(connection, prefix))
        # What the application writes again meanwhile is no failure.
        return f"{left} keys {prefix}* are left" if left > _MAX_KEYS else ""


def _opened(login: _redis.Login) -> _redis.Connection:
    connection = _redis.Connection(login)
    with suppress(_redis.RedisError):
        if login.password:
            words = [login.user, login.password] if login.user else [login.password]
            connection.command("AUTH", *words)
    return connection


def _scan(connection: _redis.Connection, prefix: str) -> Any:
    """Yield the keys with a prefix, some hundreds at a time."""
    pattern = re.sub(r"([\[\]*?\\^])", r"\\\1", prefix) + "*"
    cursor = "0"
    while True:
        answer = connection.command("SCAN", cursor, "MATCH", pattern, "COUNT", "500")
        if not isinstance(answer, list):
            raise RemedyError("Redis does not list its keys")
        cursor = str(answer[0])
        yield [str(key) for key in answer[1] if str(key).startswith(prefix)]
        if cursor == "0":
            return
