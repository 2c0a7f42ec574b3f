# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a tune would do: computed and given settings against what is in force. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _memory_budget,
    _pg_settings,
    _tuning_peers,
)
from ansible_collections.carrental.ops.plugins.module_utils._memory_budget import (
    Demand,
    Demanded,
    Server,
)
from ansible_collections.carrental.ops.plugins.module_utils._pg_settings import Entry, Row, Step

STATEMENTS = "pg_stat_statements"
# They hold passwords, which would stand in the plan, in the result and in the journal.
_SECRET = re.compile(r"conninfo|passphrase", re.IGNORECASE)
# Where everybody finds the server, and it its data.
_PLACES = re.compile(
    r"port|listen_addresses|unix_socket_.*|(data|hba|ident|config)_(directory|file)"
)


# Nobody could book any more, though the server answers.
_STOPS_WRITES = ("default_transaction_read_only", "synchronous_standby_names")

_OFF = ("", "off", "false", "no", "0")


class PlanError(Exception):
    """A tune that cannot begin; the text is a whole sentence without its end."""


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    :param settings: by name, as the operator gave them.
    :param compute: whether the others come from the budget.
    :param statements: whether pg_stat_statements is to work.
    :param restart: whether the server may be restarted.
    :param tolerate: whether a budget that does not fit is only told.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    compute: bool = True
    statements: bool = True
    restart: bool = False
    tolerate: bool = False


@dataclass(frozen=True)
class Plan:
    """What would be done, and what it rests on.

    :param steps: settings that differ and that are changed now.
    :param left: settings that wait for a restart, which is not allowed.
    :param same: settings that are as wanted.
    :param fixed: computed settings that are fixed elsewhere.
    """

    steps: tuple[Step, ...]
    left: tuple[Step, ...]
    same: tuple[Step, ...]
    fixed: tuple[Step, ...]
    before: Demand | None
    after: Demand | None
    why: Mapping[str, str] = field(default_factory=dict)
    peers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shm: int = 0
    notes: tuple[str, ...] = ()

    @property
    def restarts(self) -> bool:
        """Whether a restart is needed for it."""
        return any(step.action == _pg_settings.RESTART for step in self.steps)


def build(rows: Mapping[str, Row], entries: Sequence[Entry], server: Server, wish: Wish) -> Plan:
    """Return the plan.

    :param server: its ``connections`` are those that are needed; ``limit`` 0 is unknown.
    :raises PlanError: it cannot be done, or would not fit.
    """
    _require_known(rows, wish.settings)
    server = _with_given_connections(rows, server, wish)
    computed: dict[str, str] = {}
    why: dict[str, str] = {}
    shm = 0
    if wish.compute:
        computed, why, shm = _computed(server)
    wanted: dict[str, str | None] = {**computed, **wish.settings}
    if wish.statements:
        current = wanted.get(_pg_settings.LIBRARIES) or rows[_pg_settings.LIBRARIES].setting
        wanted[_pg_settings.LIBRARIES] = _pg_settings.with_library(current, STATEMENTS)
    found = [(name, _step(rows, entries, name, value)) for name, value in wanted.items()]
    _refuse_blocked(step for name, step in found if name not in computed or name in wish.settings)
    every = [replace(step, why=step.why or why.get(name, "")) for name, step in found]
    return _sorted(rows, server, wish, every, why, shm)


def build_undo(
    rows: Mapping[str, Row],
    entries: Sequence[Entry],
    server: Server,
    before: Mapping[str, str | None],
    *,
    restart: bool,
) -> Plan:
    """Return the way back to settings from before; nothing takes a setting out."""
    every = [_step(rows, entries, name, value) for name, value in before.items()]
    _refuse_blocked(every)
    # What was in force before is not judged: it is what the operator wants back.
    wish = Wish(compute=False, statements=False, restart=restart, tolerate=True)
    return _sorted(rows, server, wish, every, {}, 0)


def _sorted(  # noqa: PLR0917  # what two kinds of plans share
    rows: Mapping[str, Row],
    server: Server,
    wish: Wish,
    every: Sequence[Step],
    why: Mapping[str, str],
    shm: int,
) -> Plan:
    left = tuple(step for step in every if step.action == _pg_settings.RESTART and not wish.restart)
    steps = tuple(step for step in every if step.changes and step not in left)
    before = _demand(rows, server, ())
    after = _demand(rows, server, steps)
    notes = _judge(rows, server, wish, before, after)
    return Plan(
        steps=steps,
        left=left,
        same=tuple(step for step in every if step.action == _pg_settings.KEEP),
        fixed=tuple(step for step in every if step.action == _pg_settings.BLOCKED),
        before=before,
        after=after,
        why=why,
        peers=_peers(rows, server) if wish.compute else {},
        shm=shm,
        notes=tuple(notes),
    )


def _require_known(rows: Mapping[str, Row], given: Mapping[str, str]) -> None:
    for name in given:
        if _SECRET.search(name):
            raise PlanError(f"{name} can hold a password and is not set here; write it by hand")
        if _PLACES.fullmatch(name):
            raise PlanError(f"{name} says where the server is found, which is no matter of tuning")
        if name in _STOPS_WRITES and given[name].strip().lower() not in _OFF:
            raise PlanError(
                f"{name} of {given[name]!r} can stop every write of a server that still answers, "
                "which is no matter of tuning"
            )
        if name in rows or ("." in name and _pg_settings.is_name(name)):
            continue
        near = difflib.get_close_matches(name, rows, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise PlanError(f"PostgreSQL has no setting {name}{hint}")


def require_connections(rows: Mapping[str, Row], plan: Plan, opened: Demanded) -> None:
    """Refuse fewer connections than the services open.

    :param opened: what they open at any time.
    :raises PlanError: some of them would be turned away.
    """
    row = rows["max_connections"]
    wanted = next((step.wanted for step in plan.steps if step.name == row.name), None)
    if wanted is None:
        return
    count = int(_pg_settings.normal(row, wanted))
    if count < min(opened.needed, int(row.setting)):
        raise PlanError(
            f"max_connections of {count} is less than the services open: {opened.sentence}, "
            f"{opened.needed - count} too few. Lower connection_limit in DATABASE_URL first"
        )


def _with_given_connections(rows: Mapping[str, Row], server: Server, wish: Wish) -> Server:
    given = wish.settings.get("max_connections")
    if given is None:
        return server
    try:
        return replace(server, connections=int(_pg_settings.normal(rows["max_connections"], given)))
    except _pg_settings.SettingError as error:
        raise PlanError(str(error)) from error


def _computed(server: Server) -> tuple[dict[str, str], dict[str, str], int]:
    if not server.limit:
        raise PlanError(
            "The container has no memory limit, and a budget for it would be a guess; give it one "
            "(playbooks/scale.yml, scaling_limits), or say what it may use in tuning_memory_mb"
        )
    try:
        budget = _memory_budget.postgres(server)
    except _memory_budget.BudgetError as error:
        raise PlanError(str(error)) from error
    return budget.settings, budget.why, budget.shm


def _step(rows: Mapping[str, Row], entries: Sequence[Entry], name: str, value: str | None) -> Step:
    # Of an extension that is not loaded yet the server knows no setting.
    row = rows.get(name) or Row(name, "", "", "sighup", "string", "default")
    try:
        return _pg_settings.step(row, value, entries)
    except _pg_settings.SettingError as error:
        raise PlanError(str(error)) from error


def _refuse_blocked(steps: Any) -> None:
    blocked = [f"{step.name}: {step.why}" for step in steps if step.action == _pg_settings.BLOCKED]
    if blocked:
        raise PlanError("; ".join(blocked))


def _demand(rows: Mapping[str, Row], server: Server, steps: Sequence[Step]) -> Demand | None:
    """Return what the server needs with some settings changed; nothing without a limit."""
    if not server.limit:
        return None
    changed = {
        step.name: step.wanted for step in steps if step.wanted is not None and step.name in rows
    }

    def value(name: str) -> str:
        row = rows[name]
        return _pg_settings.normal(row, changed[name]) if name in changed else row.setting

    def size(name: str) -> float:
        return _pg_settings.megabytes(rows[name], value(name))

    return _memory_budget.demand(
        replace(
            server,
            connections=int(value("max_connections")),
            autovacuum_workers=int(value("autovacuum_max_workers")),
        ),
        shared_buffers=size("shared_buffers"),
        work_mem=size("work_mem"),
        maintenance_work_mem=size("maintenance_work_mem"),
        autovacuum_work_mem=size("autovacuum_work_mem"),
    )


def _judge(
    rows: Mapping[str, Row],
    server: Server,
    wish: Wish,
    before: Demand | None,
    after: Demand | None,
) -> list[str]:
    """Return what has to be said of the memory, or refuse."""
    if before is None or after is None:
        return ["the container has no memory limit, so that what the settings need is not judged"]
    shared = after.parts[0].mb + after.parts[1].mb
    if shared > before.parts[0].mb + before.parts[1].mb and shared >= after.usable:
        raise PlanError(
            f"shared_buffers of {after.parts[0].mb:.0f} MB do not fit into the container, which "
            f"may use {after.usable} MB of {server.limit} MB: the kernel would kill the server as "
            f"soon as it fills them; {server.limit // 4} MB is a quarter of the limit"
        )
    if not after.short:
        return []
    if after.total <= before.total:
        return [f"it still needs more at worst than it may use: {after.sentence}"]
    if wish.tolerate:
        return [f"it needs more at worst than it may use, as accepted: {after.sentence}"]
    connections = max(int(after.parts[2].how.split(" ")[0]), 1)
    room = after.usable - (after.total - after.parts[2].mb)
    fitting = int(room * 1024 / connections)
    hint = (
        f"work_mem of {fitting} kB would fit {connections} connections"
        if fitting >= 64
        else "lower max_connections, or shared_buffers"
    )
    raise PlanError(
        f"The settings need {after.short} MB more at worst than the container may use: "
        f"{after.sentence}. {hint}; raise its limit, or accept it with tuning_over_budget=warn"
    )


def _peers(rows: Mapping[str, Row], server: Server) -> dict[str, dict[str, str]]:
    """Return what others would set, beside what is in force."""
    if not server.limit:
        return {}
    theirs = {
        "pgtune": _tuning_peers.pgtune(server),
        "timescaledb_tune": _tuning_peers.timescaledb_tune(server),
    }
    ours = _memory_budget.postgres(server).settings
    return {
        name: {
            "now": _pg_settings.shown(rows[name], rows[name].setting),
            "ours": ours.get(name, ""),
            **{who: values.get(name, "") for who, values in theirs.items()},
        }
        for name in dict.fromkeys([*ours, *theirs["pgtune"]])
        if name in rows
    }


def lines(plan: Plan) -> list[str]:
    """Return a plan for an operator, a line a setting."""
    found = []
    for step in plan.steps:
        what = "taken out" if step.wanted is None else step.wanted
        others = plan.peers.get(step.name, {})
        beside = ", ".join(
            f"{who.replace('_', '-')} {value}"
            for who, value in others.items()
            if who not in ("now", "ours") and value
        )
        found.append(
            f"{step.name}: {step.now or '(empty)'} -> {what}, {step.action} "
            f"[{step.governed_by}]{f'; {beside}' if beside else ''}"
        )
    found += [
        f"{step.name}: {step.now or '(empty)'} -> {step.wanted or 'taken out'} needs a restart, "
        "which tuning_restart=never forbids; left as it is"
        for step in plan.left
    ]
    found += [f"{step.name} is left alone: {step.why}" for step in plan.fixed]
    return found
