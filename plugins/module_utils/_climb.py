# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Climb the ladder of remedies: gate, precondition, note, action, check, outcome."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _firing,
    _guards,
    _ledger,
    _pg_server,
    _remedies,
    _remedy_containers,
    _remedy_data,
    _remedy_disk,
    _services,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import DockerError
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine
from ansible_collections.carrental.ops.plugins.module_utils._incidents import Cause
from ansible_collections.carrental.ops.plugins.module_utils._redis import RedisError
from ansible_collections.carrental.ops.plugins.module_utils._releases import ReleaseError
from ansible_collections.carrental.ops.plugins.module_utils._remedy import (
    WELL,
    Action,
    Context,
    ForService,
    RemedyError,
)

KILL_SWITCH = "response.off"
_POLL = 1.0
_CONNECTIONS_SHARE = 0.8

ACTIONS: dict[str, Action] = {
    "start_container": _remedy_containers.Start(),
    "unpause_container": _remedy_containers.Unpause(),
    "restart_container": _remedy_containers.Restart(),
    "restart_database": _remedy_containers.RestartDatabase(),
    "recreate_container": _remedy_containers.Recreate(),
    "repull_image": _remedy_containers.Repull(),
    "raise_memory": _remedy_containers.RaiseMemory(),
    "reload_proxy": _remedy_containers.ReloadProxy(),
    "end_idle_transactions": _remedy_data.EndIdle(),
    "end_blocker": _remedy_data.EndBlocker(),
    "reset_statistics": _remedy_data.ResetStatistics(),
    "repair_redis": _remedy_data.RepairRedis(),
    "empty_redis": _remedy_data.EmptyRedis(),
    "flush_prefix": _remedy_data.FlushPrefix(),
    "rotate_logs": _remedy_disk.RotateLogs(),
    "prune_build_cache": _remedy_disk.PruneBuildCache(),
    "prune_images": _remedy_disk.PruneImages(),
    "grow_filesystem": _remedy_disk.Grow(),
}
_FAILURES = (
    DockerError,
    RedisError,
    ReleaseError,
    RemedyError,
    _pg_server.ServerError,
    _services.InputError,
    OSError,
)
# What a role does: the module only looks whether the service answers again.
_BY_ROLE = type("ByRole", (ForService,), {"act": lambda _self, _context: []})()


@dataclass(frozen=True)
class Attempt:
    """A remedy that was tried.

    :param verdict: ``fixed``, ``ineffective``, or ``failed`` when it could not be carried out.
    :param over: what was wrong is over by it.
    """

    remedy: str
    service: str
    cause: str
    verdict: str
    said: str
    actions: list[str]
    seconds: float
    over: bool


@dataclass
class Climbed:
    """How far it came.

    :param skipped: remedies that were not tried, and why.
    :param left: what is left to do, by people or with their consent.
    :param role: a remedy that a role has to carry out now; its attempt is noted already.
    :param rest: what comes after that.
    """

    attempts: list[Attempt] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    left: list[dict[str, str]] = field(default_factory=list)
    role: str = ""
    rest: list[dict[str, Any]] = field(default_factory=list)
    over: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as a module does."""
        return asdict(self)


def rungs(given: Sequence[Mapping[str, Any]]) -> list[_remedies.Rung]:
    """Return the ladder that a diagnosis returned.

    :raises RemedyError: it names what is not known.
    """
    found = []
    for one in given:
        try:
            cause = one["cause"]
            found.append(
                _remedies.Rung(
                    _remedies.REMEDIES[str(one["name"])],
                    Cause(
                        str(cause["code"]),
                        str(cause["service"]),
                        str(cause.get("detail", "")),
                        int(cause.get("rank", 50)),
                        dict(cause.get("facts") or {}),
                    ),
                    bool(one["confirmed"]),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RemedyError(f"{one!r} is no rung of a ladder: {error}") from error
    return found


class Climb:
    """One climb.

    :param params: of the module.
    :param step: of the operation.
    """

    def __init__(
        self,
        engine: Engine,
        params: Mapping[str, Any],
        step: Callable[..., None],
        *,
        check_mode: bool = False,
    ) -> None:
        self.engine = engine
        self.params = params
        self.step = step
        self.check_mode = check_mode
        self.limits = _guards.Limits(
            params["cooldown"],
            params["per_hour"],
            params["per_day"],
            params["total_per_hour"],
            params["breaker"],
        )
        self.state_dir = params["state_dir"]
        self.done = Climbed()
        self._over: dict[tuple[str, str], bool] = {}
        self._halted: set[tuple[str, str]] = set()
        # Attempts of this climb.
        self._own: set[str] = set()

    def climb(self, ladder: Sequence[_remedies.Rung]) -> Climbed:
        """Try what may be tried, until what is wrong is over."""
        for place, rung in enumerate(ladder):
            what = (rung.cause.code, rung.cause.service)
            if self._over.setdefault(what, False):
                continue
            if rung.remedy.by_hand:
                self._leave(rung, "by hand")
                continue
            if not rung.confirmed:
                self._leave(
                    rung,
                    f'needs confirmation: -e \'{{"response_confirm": ["{rung.remedy.name}"]}}\'',
                )
                continue
            if what in self._halted:
                continue
            why = self._kept_away(rung)
            if why:
                # A heavier remedy is no way around a lighter one that has to rest.
                self._halted.add(what)
            why = why or self._refused(rung)
            if why.endswith(WELL):
                # Another remedy helped it, too.
                self._over[what] = True
                continue
            if why:
                self.done.skipped.append(
                    {"remedy": rung.remedy.name, "service": rung.cause.service, "why": why}
                )
                continue
            if rung.remedy.by_role and not self.check_mode:
                self._note(rung, _ledger.new_id())
                self.done.role = rung.remedy.name
                self.done.rest = [one.as_dict() for one in ladder[place:]]
                break
            self._over[what] = self._try(rung)
        self.done.over = bool(self._over) and all(self._over.values())
        return self.done

    def check(self, ladder: Sequence[_remedies.Rung]) -> Climbed:
        """Look at the effect of what a role did, the first rung; then go on with the others."""
        first, rest = ladder[0], ladder[1:]
        began = time.monotonic()
        attempt = self._last(first)
        self._own.add(attempt)
        context = self._context(first)
        wrong = self._await(context, _BY_ROLE)
        self._end(first, attempt, wrong, [], began)
        what = (first.cause.code, first.cause.service)
        self._over[what] = not wrong
        return self.climb(rest)

    def _last(self, rung: _remedies.Rung) -> str:
        for line in reversed(_ledger.read(self.state_dir)):
            own = (line.get("remedy"), line.get("service"))
            if line.get("event") == "attempt" and own == (rung.remedy.name, rung.cause.service):
                return str(line.get("id", ""))
        return ""

    def _leave(self, rung: _remedies.Rung, why: str) -> None:
        remedy = rung.remedy
        self.done.left.append(
            {
                "remedy": remedy.name,
                "service": rung.cause.service,
                "why": why,
                "title": remedy.title,
                "detail": rung.cause.detail if remedy.by_hand else remedy.blast,
            }
        )

    def _context(self, rung: _remedies.Rung) -> Context:
        return Context(self.engine, self.params, rung.cause, self.step, self.params["evidence"])

    def _kept_away(self, rung: _remedies.Rung) -> str:
        """Return which guard rail keeps a remedy away now."""
        switch = os.path.join(self.state_dir, KILL_SWITCH)
        if os.path.lexists(switch):
            return f"{switch} is there: responses are switched off"
        keys = self.params["alerts"]
        if keys:
            found = _firing.look(
                self.engine,
                self.params["monitor_projects"],
                self.params["alertmanager_service"],
                self.params["alertmanager_port"],
            )
            why = _firing.still_firing(found, keys)
            if why:
                return why
        reasons = _guards.judge(
            _ledger.read(self.state_dir),
            rung.remedy.name,
            rung.cause.service,
            time.time(),
            self.limits,
            climb=self._own,
        )
        return "; ".join(reasons)

    def _refused(self, rung: _remedies.Rung) -> str:
        """Return which precondition of a remedy does not hold now."""
        if rung.remedy.by_role:
            return ""
        try:
            return ACTIONS[rung.remedy.name].refuse(self._context(rung))
        except _FAILURES as error:
            return str(error).rstrip(".")

    def _note(self, rung: _remedies.Rung, attempt: str) -> None:
        self._own.add(attempt)
        _ledger.note(
            self.state_dir,
            "attempt",
            id=attempt,
            remedy=rung.remedy.name,
            service=rung.cause.service,
            cause=rung.cause.code,
            incident=self.params["incident"],
            operation=self.params["operation_id"],
            alerts=list(self.params["alerts"]),
        )

    def _try(self, rung: _remedies.Rung) -> bool:
        """Carry out one remedy and see its effect; return whether what was wrong is over."""
        context = self._context(rung)
        began = time.monotonic()
        if self.check_mode:
            self.done.attempts.append(
                Attempt(
                    *(rung.remedy.name, rung.cause.service, rung.cause.code, "would be tried"),
                    *("", [rung.remedy.title], 0.0, False),
                )
            )
            return False
        action, attempt = ACTIONS[rung.remedy.name], _ledger.new_id()
        self._note(rung, attempt)
        try:
            actions = action.act(context)
        except _FAILURES as error:
            said = str(error).rstrip(".")
            _ledger.note(self.state_dir, "outcome", id=attempt, **self._facts(rung, "failed", said))
            seconds = round(time.monotonic() - began, 1)
            self.done.attempts.append(
                Attempt(
                    *(rung.remedy.name, rung.cause.service, rung.cause.code, "failed"),
                    *(said, [], seconds, False),
                )
            )
            return False
        wrong = self._await(context, action)
        self._end(rung, attempt, wrong, actions, began)
        return not wrong and self._is_over(context, rung)

    def _end(
        self, rung: _remedies.Rung, attempt: str, wrong: str, actions: list[str], began: float
    ) -> None:
        verdict = _guards.INEFFECTIVE if wrong else _guards.FIXED
        _ledger.note(self.state_dir, "outcome", id=attempt, **self._facts(rung, verdict, wrong))
        over = not wrong and self._is_over(self._context(rung), rung)
        self.done.attempts.append(
            Attempt(
                *(rung.remedy.name, rung.cause.service, rung.cause.code, verdict),
                *(wrong, actions, round(time.monotonic() - began, 1), over),
            )
        )

    @staticmethod
    def _facts(rung: _remedies.Rung, verdict: str, said: str) -> dict[str, str]:
        return {
            "remedy": rung.remedy.name,
            "service": rung.cause.service,
            "verdict": verdict,
            "said": said[:300],
        }

    def _await(self, context: Context, action: Action) -> str:
        """Wait for the effect until the deadline; return what is missing of it then."""
        deadline = time.monotonic() + float(self.params["deadline"])
        good = 0
        wanted = int(self.params["consecutive"]) if isinstance(action, ForService) else 1
        while True:
            try:
                wrong = action.wrong(context)
            except _FAILURES as error:
                wrong = str(error).rstrip(".")
            good = 0 if wrong else good + 1
            if good >= wanted:
                return ""
            if time.monotonic() > deadline:
                return wrong or "it answered, but not often enough in a row"
            time.sleep(_POLL)

    def _is_over(self, context: Context, rung: _remedies.Rung) -> bool:
        """Return whether a remedy that had its effect was enough."""
        cause = rung.cause
        if cause.code.startswith("disk_"):
            found = os.statvfs(str(cause.facts.get("point") or "/"))
            used = found.f_blocks - found.f_bfree
            warn = int(self.params["thresholds"]["disk_warn"])
            return used * 100 <= warn * (used + found.f_bavail)
        if cause.code.startswith("connections_"):
            with context.database().session() as session:
                row = session.rows(
                    "SELECT count(*) AS used, current_setting('max_connections')::int AS most "
                    "FROM pg_stat_activity WHERE backend_type = 'client backend'"
                )[0]
            return int(row["used"]) < int(row["most"]) * _CONNECTIONS_SHARE
        return rung.remedy.name != "reset_statistics"
