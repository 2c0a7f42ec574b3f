# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A switch from its arguments to its result: which way it can go, the gap, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from . import (
    _compose,
    _failed_container,
    _gap,
    _http,
    _plan,
    _proxy,
    _rollout,
    _service_table,
    _switch,
    _verification,
)
from ._docker import Container, DockerError
from ._engine import Engine


class RolloutError(Exception):
    """A switch that cannot begin; the text is a whole sentence."""


class Rollout:
    """One call of the switch, for services that are described by a table.

    :ivar step: called before each step with its name; journals it, and ends a run that has lost
        its lock.
    """

    def __init__(
        self, engine: Engine, project: _compose.Project, params: Mapping[str, Any]
    ) -> None:
        """Look at everything that decides the way; nothing is changed.

        :param params: the options of the module, see C(compose_rollout).
        """
        self.engine = engine
        self.project = project
        self.params = params
        self.step: Callable[..., None] = _silent
        self.services: list[str] = list(params["services"])
        self.described = _service_table.by_alias(params["table"])
        self.front = _service_table.front(params["table"], params["domain"])
        self.model = project.model()[0]
        self._require_services()
        self.proxies = _switch.proxies_of(engine, project.name, self.front)
        self.found = _switch.leftovers(engine, project.name, self.proxies)
        self.ways = {name: self._gap_reason(name) for name in self.services}
        self.timing = _switch.Timing(
            healthy=float(params["healthy_timeout"]),
            drain=float(params["drain_timeout"]),
            consecutive=int(params["consecutive"]),
            interval=float(params["interval"]),
        )

    def _require_services(self) -> None:
        known = _compose.services(self.model)
        unknown = [name for name in self.services if name not in known]
        if unknown or not self.services:
            raise RolloutError(
                f"services is [{', '.join(self.services)}]; name services of the project, which "
                f"has {', '.join(known)}. Nothing was changed."
            )

    def _gap_reason(self, name: str) -> str:
        """Return why a service cannot be switched without a gap; nothing when it can."""
        one = self.described.get(name, {})
        if not one.get("overlap", True):
            return f"{name} must not run twice (overlap: false)"
        if not self.proxies:
            return "no proxy runs that could be led" if self.front else "the stack has no proxy"
        service = _compose.services(self.model)[name]
        names = {name, service.get("container_name") or name}
        _fit, reasons = _switch.fit(self.proxies, sorted(names))
        return "; ".join(reasons)

    def _wanted(self, name: str) -> _switch.Wanted:
        image = _compose.image_name(self.model, self.project.name, name)
        local = self.engine.image(image)
        if local is None:
            raise RolloutError(
                f"The image {image} of {name} is not on this server; pull it first "
                "(playbooks/deploy.yml does). Nothing was changed."
            )
        one = self.described.get(name, {})
        return _switch.Wanted(
            target=_verification.target(name, str(local["Id"]), one),
            version=self.params["version"],
            dependencies=bool(self.params["dependencies"]),
            overlap=bool(one.get("overlap", True)),
        )

    def _new_switch(self, names: Sequence[str], gap: bool) -> _switch.Switch:
        return _switch.Switch(
            self.engine,
            self.project,
            {name: self._wanted(name) for name in names},
            [] if gap else self.proxies,
            None if gap else self.front,
            self.timing,
            self.step,
            bool(self.params.get("tidy", True)),
        )

    def foreseen(self) -> dict[str, Any]:
        """Return what would be done."""
        services = {}
        for name in self.services:
            services[name] = {
                "due": self._is_due(name),
                "gap": bool(self.ways[name]),
                "why": self.ways[name],
            }
        due = [name for name, one in services.items() if one["due"]]
        return {
            "changed": bool(due),
            "actions": [f"replace {name}" for name in due],
            "services": services,
            "found": self.found,
            "notes": self._announced(due),
            "lines": self._announced(due),
            "measured": {},
            "cut": 0,
        }

    def _is_due(self, name: str) -> bool:
        image = _compose.image_name(self.model, self.project.name, name)
        if self.engine.image(image) is None:
            # Something else runs; that the image has to be there is said when it is needed.
            return True
        look = self._new_switch([name], bool(self.ways[name])).look(name)
        return not look.stands or bool(look.surge) or bool(self._pins_of(name))

    def _pins_of(self, name: str) -> list[str]:
        """Return the names of a service that a proxy is pinned for."""
        service = _compose.services(self.model)[name]
        names = {name, service.get("container_name") or name}
        for one in self.engine.services(self.project.name):
            if one.service == name:
                names.update(_proxy.names_of(one))
        found: set[str] = set()
        for proxy in self.proxies:
            # What has no "cat" was never led anywhere.
            with suppress(_proxy.ProxyError, DockerError):
                found |= proxy.pins().keys() & names
        return sorted(found)

    def _announced(self, due: Sequence[str]) -> list[str]:
        return [
            f"{name} is replaced with a gap, for {self.ways[name]}"
            for name in due
            if self.ways[name]
        ]

    def perform(self) -> dict[str, Any]:
        """Switch, measure, and lead back what failed; return the result of the module."""
        result = self.foreseen()
        result["actions"] = []
        groups = self._groups()
        with ExitStack() as probing:
            probers = {
                name: probing.enter_context(_gap.Prober(ask))
                for name in self.services
                if (ask := self._asker(name)) is not None
            }
            for names, gap in groups:
                due = [name for name in names if result["services"][name]["due"]]
                if not due:
                    continue
                failure = self._one_group(due, gap, result)
                if failure:
                    result.update(failure)
                    break
        result["measured"] = {name: one.measured.as_dict() for name, one in probers.items()}
        result["lines"] = result["notes"] + [
            _gap.sentence(name, one.measured) for name, one in probers.items()
        ]
        result["changed"] = bool(result["actions"])
        result.setdefault("failed", False)
        return result

    def _groups(self) -> list[tuple[list[str], bool]]:
        """Return what is switched together, in an order in which nothing comes before its needs.

        Compose looks at what a service depends on when it starts it, and would replace that in
        its own way.
        """
        needs = _plan.dependencies(_compose.services(self.model))
        together = [name for name in self.services if not self.ways[name]]
        alone = [name for name in self.services if self.ways[name]]
        wanted = set().union(*(needs[name] for name in together))
        before = [name for name in alone if name in wanted]
        after = [name for name in alone if name not in wanted]
        return [
            *(([name], True) for name in before),
            (together, False),
            *(([name], True) for name in after),
        ]

    def _one_group(
        self, names: Sequence[str], gap: bool, result: dict[str, Any]
    ) -> dict[str, Any] | None:
        switch = self._new_switch(names, gap)
        try:
            switch.run(_rollout.WITH_GAP if gap else _rollout.WITHOUT_GAP)
            if gap:
                self._tell_proxies(names, result)
            return None
        except _switch.SwitchError as error:
            return self._failure(switch, error, gap)
        finally:
            result["actions"] += switch.story.actions
            result["notes"] += switch.story.notes
            result["cut"] += switch.story.cut

    def _tell_proxies(self, names: Sequence[str], result: dict[str, Any]) -> None:
        """Let proxies that look names up once look them up again, and follow no older pin."""
        old = {one for name in names for one in self._pins_of(name)}
        for proxy in self.proxies:
            try:
                if old:
                    kept = {one: to for one, to in proxy.pins().items() if one not in old}
                    proxy.write_pins(kept)
                proxy.reload()
            except (_proxy.ProxyError, DockerError) as error:
                result["notes"].append(f"{proxy.name} was not told of the new addresses: {error}")

    def _failure(
        self, switch: _switch.Switch, error: _switch.SwitchError, gap: bool
    ) -> dict[str, Any]:
        """Lead back, and say what serves now."""
        names = list(switch.wanted)
        state, undone = "", False
        try:
            replaced = names if gap else switch.undo()
        except (
            _switch.SwitchError,
            _proxy.ProxyError,
            _compose.ComposeError,
            DockerError,
        ) as again:
            replaced = names
            state = f"Leading back failed too: {again}. "
        undone = not replaced
        before = [name for name in names if name not in replaced]
        if before:
            state += f"{' and '.join(before)} run as before. "
        state += "".join(self._who_serves(name) for name in replaced)
        report = [
            line
            for one in switch.story.failed
            for line in _failed_container.lines(self.engine, self.project.name, one)
        ]
        sentence = str(error).rstrip(".")
        return {
            "failed": True,
            "msg": f"{sentence}. {state.strip()}",
            "step": error.step,
            "undone": undone,
            "state": state.strip(),
            "report": report,
        }

    def _who_serves(self, name: str) -> str:
        """Return what serves a service whose own container was replaced already."""
        beside = [one.name for one in self.engine.beside(self.project.name, name) if one.running]
        if beside:
            return f"{name} is served by {', '.join(beside)}. "
        own: list[Container] = [
            one for one in self.engine.services(self.project.name) if one.service == name
        ]
        status = own[0].state.get("Status") if own else "no container"
        return f"{name} has only its own container ({status}). "

    def _asker(self, name: str) -> Callable[[], str] | None:
        """Return what sends one request through the proxy; nothing where no way leads through."""
        path = self.described.get(name, {}).get("proxy_path")
        if not path or not self.front or not self.proxies:
            return None
        request = self.front.request(self.proxies[0].container, path)

        def ask() -> str:
            try:
                answer = _http.request(request)
            except _http.HttpError as error:
                return str(error)
            return f"it answers {answer.status}" if answer.status >= 500 else ""

        return ask


def _silent(_name: str, **_facts: Any) -> None:
    """Stand in where no operation is held."""
