# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A tune from its plan to its proof, and the way back from wherever it fails."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _gap,
    _memory_budget,
    _one_off,
    _pg_auto_conf,
    _pg_server,
    _pg_settings,
    _pg_trial,
    _tuning_plan,
    _tuning_state,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import DockerError
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine
from ansible_collections.carrental.ops.plugins.module_utils._pg_server import PgServer, ServerError
from ansible_collections.carrental.ops.plugins.module_utils._tuning_plan import (
    STATEMENTS,
    Plan,
    PlanError,
    Wish,
)

_PROBE = 0.05
_RELOADED_SECONDS = 10.0
_SETTLED_SECONDS = 2.0
_FAILURES = (
    ServerError,
    DockerError,
    _pg_auto_conf.AutoConfError,
    _tuning_state.StateError,
)


class UndoneError(Exception):
    """A tune that was taken back; the text is a whole sentence without its end.

    :param state: what is in force now.
    """

    def __init__(self, message: str, state: str, *, undone: bool) -> None:
        super().__init__(message)
        self.state = state
        self.undone = undone


@dataclass(frozen=True)
class Options:
    """What a tune is told besides its wish."""

    project: str
    service: str
    database: str
    state_dir: str
    memory_mb: int = 0
    connections: int = 0
    rotating: bool = False
    undo: bool = False
    start_timeout: float = 60.0
    stop_timeout: int = 120


@dataclass
class Story:
    """What became of it."""

    actions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: _gap.Measured | None = None
    shared_mb: int = 0


class Tuner:
    """One call of the tune.

    :ivar step: called before each step with its name.
    """

    def __init__(self, engine: Engine, options: Options, wish: Wish) -> None:
        self.engine = engine
        self.options = options
        self.wish = wish
        self.step: Callable[..., None] = _silent
        self.operation = ""
        self.story = Story()
        self.server = PgServer(engine, options.project, options.service, options.database)
        self.pending = _tuning_state.pending(options.state_dir)
        self.last = _tuning_state.last(options.state_dir)
        # With the second container that a switch brings, and what is open at any time.
        self.demanded, self.opened = self._connections()
        self._prober: _gap.Prober | None = None

    def _connections(self) -> tuple[_memory_budget.Demanded, _memory_budget.Demanded]:
        options = self.options
        if options.connections:
            said = f"{options.connections}, as given"
            found = _memory_budget.Demanded(options.connections, options.connections, said)
            return found, found
        pools, exporters = _pg_server.pools(self.engine, options.project, options.service)
        if not pools:
            raise PlanError(
                f"No service of {options.project} says how many connections it opens (a "
                "postgresql:// URL in its environment); give tuning_connections"
            )
        for pool in pools:
            if not pool.known:
                self.story.notes.append(
                    f"{pool.service} has no connection_limit in its URL: {pool.size} are assumed, "
                    "Prisma's own default"
                )
        connections = _memory_budget.connections
        return connections(pools, exporters), connections(pools, exporters, overlap=False)

    # The plan.

    def found(self) -> list[str]:
        """Return what an interrupted tune left, in words."""
        if not self.pending:
            return []
        return [
            f"a tune of {self.pending.service} that began at {self.pending.at} did not end; its "
            f"settings ({', '.join(self.pending.names)}) are taken back first"
        ]

    def plan(self) -> Plan:
        """Look, and return what would be done.

        :raises PlanError: it cannot be done.
        """
        with self.server.session() as session:
            rows, entries, facts = session.settings(), session.entries(), session.facts()
            own = session.own_settings(dict.fromkeys([*self.wish.settings, "work_mem"]))
        self.story.notes += own
        if not facts["superuser"]:
            raise PlanError(
                f"{facts['user']} is no superuser of {self.options.service}, and ALTER SYSTEM "
                "takes one"
            )
        self._folder = str(facts["folder"])
        self._started = float(facts["started"])
        self._rows = rows
        self._fixed = [
            f"{row.name}={row.setting}" for row in rows.values() if row.source == "command line"
        ]
        server = self._described(facts)
        if self.options.undo:
            if self.last is None:
                return _tuning_plan.build_undo(rows, entries, server, {}, restart=False)
            return _tuning_plan.build_undo(
                rows, entries, server, self.last.before, restart=self.wish.restart
            )
        plan = _tuning_plan.build(rows, entries, server, self.wish)
        _tuning_plan.require_connections(rows, plan, self.opened)
        return plan

    def _described(self, facts: Mapping[str, Any]) -> _memory_budget.Server:
        limit, cores = _pg_server.limits(self.server.container, self.engine)
        return _memory_budget.Server(
            limit=self.options.memory_mb or limit,
            cores=cores,
            connections=self.demanded.rounded,
            database=int(facts["database_mb"] or 0),
            disk=self.server.disk_mb(str(facts["folder"])),
            version=int(facts["version"]),
            rotating=self.options.rotating,
        )

    def extension_due(self, plan: Plan) -> bool:
        """Return whether pg_stat_statements has to be created in the database."""
        if self.options.undo or not self.wish.statements:
            return False
        if any(step.name == _pg_settings.LIBRARIES for step in plan.left):
            return False
        with self.server.session() as session:
            return not session.rows("SELECT 1 FROM pg_extension WHERE extname = %s", (STATEMENTS,))

    def extension_goes(self, plan: Plan) -> bool:
        """Return whether an undo takes pg_stat_statements out of the database."""
        return bool(self.options.undo and self.last and self.last.extension and not plan.left)

    def try_settings(self, plan: Plan) -> None:
        """Let the server's own program judge the settings, in a container of its own.

        :raises PlanError: it would not start, or asks for more memory than there is.
        """
        # What a reload takes the next start takes, too, and would fail on.
        if not plan.restarts and (self.options.undo or not plan.steps):
            return
        kept = _pg_auto_conf.read(self.engine, self.server.id, self._folder)
        container = self.server.container
        wanted = {step.name: step.wanted for step in plan.steps if step.wanted is not None}
        for step in plan.steps:
            if step.wanted is None and step.name in self._rows:
                # Taken out of a file that the copy still has: its value by itself is tried.
                wanted[step.name] = self._rows[step.name].boot_val
        try:
            _one_off.leftovers(self.engine, self.options.project)
            shared = _pg_trial.shared_memory(
                *(self.engine, container, self.options.project, self._folder, kept.owner),
                {name: value for name, value in wanted.items() if value},
                self._fixed,
            )
        except _pg_trial.TrialError as error:
            raise PlanError(
                f"{self.options.service} would not start with these settings: {error}"
            ) from error
        except (_pg_trial.NoTrialError, _one_off.OneOffError) as error:
            self.story.notes.append(f"not tried before: {error}")
            return
        self.story.shared_mb = shared
        limit = self.options.memory_mb or _pg_server.limits(container, self.engine)[0]
        usable = int(limit * _memory_budget.USABLE)
        if limit and shared >= usable:
            raise PlanError(
                f"{self.options.service} would ask for {shared} MB of shared memory, and its "
                f"container may use {usable} MB of {limit} MB; {shared - usable} MB too much"
            )

    # The work.

    def perform(self, plan: Plan) -> None:
        """Change the settings, prove them, and take them back when that fails.

        :raises UndoneError: they were taken back, or could not be.
        """
        create, drop = self.extension_due(plan), self.extension_goes(plan)
        if not plan.steps and not create and not drop:
            if self.options.undo and self.last and not plan.left:
                _tuning_state.forget(self.options.state_dir)
            return
        kept = _pg_auto_conf.read(self.engine, self.server.id, self._folder)
        self.step("keep the settings from before")
        self._begin(kept, plan)
        restarted = False
        prober = _gap.Prober(self.server.ask, _PROBE)
        try:
            with prober:
                try:
                    self._alter(plan)
                    self._reload(plan)
                    if plan.restarts:
                        restarted = True
                        self._restart()
                    self.step("verify the settings")
                    self._verify(plan)
                    if create:
                        self._create_extension()
                    if drop:
                        self._drop_extension()
                except _FAILURES as error:
                    self._undo(kept, error, restarted=restarted)
        finally:
            self.story.measured = prober.measured
        self.step("remember the way back")
        try:
            self._end(kept, plan, create)
        except _tuning_state.StateError as error:
            raise UndoneError(
                str(error),
                "The new settings are in force, and the next tune takes them back, for this one "
                "could not note its end",
                undone=False,
            ) from error

    def _begin(self, kept: _pg_auto_conf.AutoConf, plan: Plan) -> None:
        try:
            _pg_auto_conf.keep(self.engine, self.server.id, kept)
            _tuning_state.begin(
                self.options.state_dir,
                _tuning_state.Pending(
                    self.options.service,
                    self._folder,
                    base64.b64encode(kept.archive).decode(),
                    [step.name for step in plan.steps],
                    _now(),
                    self.operation,
                ),
            )
        except _FAILURES as error:
            with suppress(DockerError):
                _pg_auto_conf.drop_copy(self.engine, self.server.id, self._folder)
            raise PlanError(str(error).rstrip(".")) from error

    def _alter(self, plan: Plan) -> None:
        from psycopg2 import sql  # noqa: PLC0415  # its absence is told by the module

        for step in plan.steps:
            if not step.write:
                continue
            self.step(f"alter {step.name}", value=step.wanted or "taken out")
            with self.server.session() as session:
                name = sql.SQL(".").join([sql.Identifier(one) for one in step.name.split(".")])
                if step.wanted is None:
                    statement = sql.SQL("ALTER SYSTEM RESET {}").format(name)
                else:
                    values = _pg_settings.literals(step.name, step.wanted)
                    listed = sql.SQL(", ").join([sql.Literal(one) for one in values])
                    statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(name, listed)
                session.run(statement)  # type: ignore[arg-type]  # psycopg2 composes it
            said = "took out" if step.wanted is None else f"set to {step.wanted}"
            self.story.actions.append(f"{step.name}: {said}")

    def _reload(self, plan: Plan) -> None:
        self.step("reload the settings")
        with self.server.session() as session:
            wrong = [
                f"{entry.name}: {entry.error} ({entry.sourcefile} line {entry.sourceline})"
                for entry in session.entries()
                if entry.error and not _waits(entry, self._rows)
            ]
            if wrong:
                raise ServerError("; ".join(wrong))
            session.run("SELECT pg_reload_conf()")
        wanted = [step for step in plan.steps if step.action == _pg_settings.RELOAD]
        self._until_in_force(wanted)

    def _until_in_force(self, steps: list[_pg_settings.Step]) -> None:
        deadline = time.monotonic() + _RELOADED_SECONDS
        while True:
            wrong = self._not_in_force(steps)
            if not wrong:
                return
            if time.monotonic() > deadline:
                raise ServerError(f"not in force after the reload: {'; '.join(wrong)}")
            time.sleep(0.1)

    def _not_in_force(self, steps: list[_pg_settings.Step]) -> list[str]:
        with self.server.session() as session:
            rows, entries = session.settings(), session.entries()
        wrong = []
        for step in steps:
            row = rows.get(step.name)
            if step.wanted is None:
                if _pg_settings.last(entries, step.name, automatic=True):
                    wrong.append(f"{step.name} still stands in {_pg_settings.AUTO_FILE}")
            elif row is None:
                wrong.append(f"{step.name} is unknown to the server")
            elif not _pg_settings.equal(row, row.setting, step.wanted):
                found = _pg_settings.shown(row, row.setting)
                wrong.append(f"{step.name} is {found}, not {step.wanted} [{row.governed_by}]")
            if row is not None and row.pending_restart:
                wrong.append(f"{step.name} waits for a restart")
        return wrong

    def _restart(self) -> None:
        self.step("write what is dirty before the restart")
        with self.server.session() as session:
            # What is on disk already need not be written while nobody is served.
            session.run("CHECKPOINT")
            started = float(session.facts()["started"])
        self.step("restart the server")
        self.engine.restart(self.server.id, self.options.stop_timeout)
        self.story.actions.append(f"restarted {self.options.service}")
        _pg_server.await_answer(
            self.server, self.options.start_timeout, started_after=started, fresh=True
        )

    def _verify(self, plan: Plan) -> None:
        wrong = self._not_in_force(list(plan.steps))
        if wrong:
            raise ServerError("; ".join(wrong))

    def _create_extension(self) -> None:
        self.step(f"create the extension {STATEMENTS}")
        with self.server.session() as session:
            session.run(f"CREATE EXTENSION IF NOT EXISTS {STATEMENTS}")
            # Created without its library it exists and does not work.
            session.rows(f"SELECT count(*) FROM {STATEMENTS}")  # noqa: S608  # a constant
        self.story.actions.append(f"created {STATEMENTS} in {self.options.database}")

    def _drop_extension(self) -> None:
        self.step(f"drop the extension {STATEMENTS}")
        with self.server.session() as session:
            session.run(f"DROP EXTENSION IF EXISTS {STATEMENTS}")
        self.story.actions.append(f"dropped {STATEMENTS} from {self.options.database}")

    # The end, and the way back.

    def _end(self, kept: _pg_auto_conf.AutoConf, plan: Plan, created: bool) -> None:
        state_dir = self.options.state_dir
        if self.options.undo:
            if plan.left:
                self.story.notes.append("what is left goes back with tuning_restart=if_needed")
            else:
                _tuning_state.forget(state_dir)
        else:
            written = _pg_settings.parse_auto(kept.text)
            now = _tuning_state.Last(
                self.options.service,
                self.options.database,
                {step.name: written.get(step.name) for step in plan.steps},
                _now(),
                self.operation,
                created,
                {step.name: step.wanted for step in plan.steps},
                [step.name for step in plan.left],
            )
            _tuning_state.keep(state_dir, _continued(_tuning_state.last(state_dir), now))
        self._forget_pending()

    def _forget_pending(self) -> None:
        with suppress(DockerError):
            _pg_auto_conf.drop_copy(self.engine, self.server.id, self._folder)
        _tuning_state.end(self.options.state_dir)

    def _undo(self, kept: _pg_auto_conf.AutoConf, error: Exception, *, restarted: bool) -> None:
        why = str(error).rstrip(".")
        self.step("put the settings from before back", why=why)
        try:
            self._put_back(kept, restart=restarted)
        except _FAILURES as again:
            raise UndoneError(
                why,
                f"Putting the settings from before back failed too: {str(again).rstrip('.')}. "
                f"The file as it was lies in {self.options.state_dir}/tuning; the same command "
                "tries again",
                undone=False,
            ) from error
        self._forget_pending()
        raise UndoneError(
            why,
            f"{self.options.service} answers with the settings from before",
            undone=True,
        ) from error

    def _put_back(self, kept: _pg_auto_conf.AutoConf, *, restart: bool) -> None:
        """Put the file back and let the server follow it.

        :param restart: whether values that only a start takes may be in force.
        """
        if not restart and self.server.container.running:
            # A session that fails, or a server that is busy, is no reason to stop it.
            _pg_auto_conf.put_back(self.engine, self.server.id, kept)
            self.engine.signal(self.server.id, "HUP")
            with suppress(ServerError):
                _pg_server.await_answer(self.server, _RELOADED_SECONDS)
                return
        if not self.server.ask():
            _pg_auto_conf.put_back(self.engine, self.server.id, kept)
            self.engine.restart(self.server.id, self.options.stop_timeout)
        else:
            # The engine would start it again in the middle of the writing.
            self._stop()
            _pg_auto_conf.put_back(self.engine, self.server.id, kept)
            self.engine.start(self.server.id)
        _pg_server.await_answer(self.server, self.options.start_timeout, fresh=True)

    def _stop(self) -> None:
        """Stop a server that does not answer.

        The script that starts it in its container does not hear the signal: sent in that moment
        it would be lost, and the server killed when the time to stop is over.
        """
        deadline = time.monotonic() + _SETTLED_SECONDS
        while self.server.container.running and time.monotonic() < deadline:
            time.sleep(0.1)
        self.engine.stop(self.server.id, self.options.stop_timeout)

    def recover(self) -> list[str]:
        """End a tune that was killed: take back what it wrote; return what was done.

        What it had in force already stays so until the new plan says otherwise, so that the same
        tune once more needs no second restart.
        """
        pending = self.pending
        if pending is None:
            return []
        self.step("take back a tune that was killed", began=pending.at)
        kept = _pg_auto_conf.AutoConf(pending.folder, pending.packed)
        self._folder = pending.folder
        if self.server.container.running:
            # It may be in the middle of its start.
            with suppress(ServerError):
                _pg_server.await_answer(self.server, self.options.start_timeout)
        self._put_back(kept, restart=False)
        if self.options.undo and self.wish.restart and self._wait_for_restart(pending.names):
            self._restart()
        self._forget_pending()
        self.pending = None
        return [f"took back the tune of {pending.at}, which had not ended"]

    def _wait_for_restart(self, names: list[str]) -> bool:
        with self.server.session() as session:
            rows = session.settings()
        return any(name in rows and rows[name].pending_restart for name in names)


def _waits(entry: _pg_settings.Entry, rows: Mapping[str, _pg_settings.Row]) -> bool:
    """Return whether a line is only not applied because it takes a restart."""
    row = rows.get(entry.name)
    return bool(row and row.context == "postmaster" and "could not be applied" in entry.error)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _silent(_name: str, **_facts: Any) -> None:
    """Stand in where no operation is held."""


def _continued(before: _tuning_state.Last | None, now: _tuning_state.Last) -> _tuning_state.Last:
    """Return the way back of a tune, with that of the one that it finishes.

    The second of two does what waited for a restart, or only brings the extension back: going
    back means to where the first began.
    """
    same = before and (before.service, before.database) == (now.service, now.database)
    if not before or not same or not now.before.keys() <= set(before.left):
        return now
    return replace(
        now,
        before={**now.before, **before.before},
        after={**before.after, **now.after},
        extension=now.extension or before.extension,
    )
