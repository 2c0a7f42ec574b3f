# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Does the steps of the table in ``_rollout`` on the containers and proxies of a stack."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from . import _compose, _endings, _http, _proxy, _rollout, _service_table, _verification
from ._docker import Container, DockerError
from ._engine import OWNER, SURGE, Engine
from ._proxy import MARK, Nginx, ProxyError, names_of
from ._rollout import Look, Proof, Seat

# Which definition a surge was started from; compose labels it with a hash of its own.
_DEFINITION = "carrental.ops.definition"
# The end of the name of one that failed and was kept to be looked at.
_KEPT = "-failed"
_POLL = 0.3
_MARGIN = 330


class SwitchError(Exception):
    """A step that did not reach its end; the text is a whole sentence.

    :param step: the step, in the words of the table.
    :param services: the services that were at it.
    """

    def __init__(self, message: str, step: str = "", services: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.step = step
        self.services = list(services)


@dataclass(frozen=True)
class Timing:
    """How long may be waited for what, in seconds; ``consecutive`` is a count."""

    healthy: float = 120.0
    drain: float = 60.0
    consecutive: int = 3
    interval: float = 1.0


@dataclass(frozen=True)
class Wanted:
    """What a service is to run.

    :param target: what its containers have to answer, see ``_verification.Target``.
    :param version: what they have to answer as; empty where that is not asked.
    :param dependencies: whether compose may look at what it depends on; it would replace a
        service that holds data and is out of date.
    :param overlap: whether two of them may run at the same time.
    """

    target: _verification.Target
    version: str
    dependencies: bool = True
    overlap: bool = True


@dataclass
class Story:
    """What became of a switch, for the result."""

    actions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cut: int = 0
    drained_s: float = 0.0
    failed: list[Container] = field(default_factory=list)


class Switch:
    """One switch of one or several services, to what the compose project describes now."""

    def __init__(  # noqa: PLR0917  # each part changes by itself
        self,
        engine: Engine,
        project: _compose.Project,
        wanted: Mapping[str, Wanted],
        proxies: list[Nginx],
        front: _verification.Proxy | None,
        timing: Timing,
        step: Callable[..., None],
        tidy: bool,
    ) -> None:
        """Prepare; nothing is changed.

        :param wanted: the services by the names that compose knows.
        :param proxies: the proxies that can be led; none means that a gap is accepted.
        :param front: where requests come in, for the proof through it.
        :param tidy: whether what failed before goes when something new is tried. The way back
            from a release that failed must not take its traces away.
        :param step: is called before each step with its name and the facts that go with it.
        """
        self.engine = engine
        self.project = project
        self.wanted = dict(wanted)
        self.proxies = proxies
        self.front = front
        self.timing = timing
        self.step = step
        self.tidy = tidy
        self.story = Story()
        self.proofs = {name: Proof() for name in wanted}
        self._model = project.model()[0]
        self._definitions = project.hashes()
        self._stays = {name: self._up_to_date(name) for name in wanted}
        self._undoing = False

    def run(self, rows: tuple[_rollout.Row, ...]) -> Story:
        """Do step after step until nothing is left to do."""
        while True:
            looks = {name: self.look(name) for name in self.wanted}
            step, names = _rollout.next_step(rows, looks, self.proofs)
            if step == _rollout.DONE:
                return self.story
            self.step(f"{', '.join(names)}: {step}", services=names)
            try:
                getattr(self, f"_{step}")({name: looks[name] for name in names})
            except (ProxyError, _compose.ComposeError, DockerError) as error:
                raise SwitchError(str(error), step, names) from error
            except SwitchError as error:
                error.step, error.services = step, error.services or names
                raise

    def undo(self) -> list[str]:
        """Lead back to the containers that served before, where they still do.

        :returns: the services whose own containers were replaced already. These are left as they
            are: what serves them is the surge.
        """
        looks = {name: self.look(name) for name in self.wanted}
        replaced = [
            name
            for name, look in looks.items()
            if self.proofs[name].placed or all(one.state == _rollout.DEAD for one in look.regular)
        ]
        for name in replaced:
            for seat in looks[name].surge:
                # What this run started and leads to nobody would only stand in the way.
                if seat.id in self.proofs[name].started and seat.address not in looks[name].pinned:
                    self._keep_for_inspection(seat)
        looks = {name: look for name, look in looks.items() if name not in replaced}
        self._undoing = True
        for name, look in looks.items():
            proof = self.proofs[name]
            self._stays[name] = True
            proof.answered |= {one.id for one in look.regular}
            if not look.pinned and not proof.led:
                # No proxy ever heard of the surge; a reload would only cut idle connections.
                proof.led = proof.drained = _rollout.addresses(look.regular)
        self.wanted = {name: self.wanted[name] for name in looks}
        self.run(_rollout.WITHOUT_GAP)
        return replaced

    # What is there.

    def look(self, name: str) -> Look:
        """Observe one service."""
        containers = [one for one in self.engine.services(self.project.name) if one.service == name]
        return Look(
            wanted=1 if self._undoing else self._replicas(name),
            regular=tuple(self._seat(name, one, self._stays[name]) for one in containers),
            surge=tuple(
                self._seat(name, one, not self._undoing and self._is_ours(name, one))
                for one in self._surges(name)
            ),
            pinned=self._pinned(name),
        )

    def _seat(self, name: str, container: Container, current: bool) -> Seat:
        state = container.state
        health = (state.get("Health") or {}).get("Status", "")
        restarted = int(container.raw.get("RestartCount") or 0) > 0 and health != "healthy"
        fresh = SURGE in container.labels or self.proofs[name].placed
        if not container.running or health == "unhealthy" or (restarted and fresh):
            condition = _rollout.DEAD
        elif health == "starting":
            condition = _rollout.STARTING
        else:
            condition = _rollout.UP
        address = self.proxies[0].address_of(container) if self.proxies else container.address
        return Seat(container.id, container.name, address, current, condition)

    def _is_ours(self, name: str, container: Container) -> bool:
        definition = container.labels.get(_DEFINITION)
        wanted = self.wanted[name].target.image_id
        return container.image_id == wanted and definition == self._definitions.get(name)

    def _up_to_date(self, name: str) -> bool:
        """Return whether compose itself would leave the containers of a service as they are."""
        containers = [one for one in self.engine.services(self.project.name) if one.service == name]
        image = self.wanted[name].target.image_id
        if not containers or any(one.image_id != image for one in containers):
            return False
        done = self._up([name], dry_run=True)
        # What would be replaced is told before the first start, which waits for the containers
        # that there really are: one that is down fails there, and says nothing of this one.
        if done.rc != 0 and "dependency failed to start" not in done.stderr:
            raise _compose.ComposeError(_compose.up_error(done.stderr))
        own = {one.name for one in containers}
        prefix = f"{self.project.name}-{name}-"
        words = (action.split(" ", 1) for action in _compose.dry_run_actions(done.stderr))
        return not any(
            verb in ("recreate", "create") and (other in own or other.startswith(prefix))
            for verb, other in words
        )

    def _replicas(self, name: str) -> int:
        service = _compose.services(self._model)[name]
        replicas = (service.get("deploy") or {}).get("replicas")
        scale = service.get("scale")
        return int(scale if scale is not None else 1 if replicas is None else replicas)

    def _names(self, name: str) -> list[str]:
        service = _compose.services(self._model)[name]
        names = {name, service.get("container_name") or name}
        for one in self.engine.services(self.project.name):
            if one.service == name:
                names.update(names_of(one))
        return sorted(names)

    def _pins_of_others(self, proxy: Nginx, services: Iterable[str]) -> dict[str, Collection[str]]:
        own = {one for name in services for one in self._names(name)}
        alive = {one for name in _compose.services(self._model) for one in self._names(name)}
        return _proxy.of_others(proxy.pins(), own, alive)

    def _pinned(self, name: str) -> frozenset[str]:
        found: set[str] = set()
        for proxy in self.proxies:
            pins = proxy.pins()
            for one in self._names(name):
                found |= pins.get(one, frozenset())
        return frozenset(found)

    # The steps, by their names in the table.

    def _dependencies(self, names: Iterable[str]) -> bool:
        return all(self.wanted[name].dependencies for name in names)

    def _up(self, names: list[str], dry_run: bool = False) -> _compose.Completed:
        return self.project.up(
            names,
            dependencies=self._dependencies(names),
            recreate=True,
            wait_timeout=None,
            dry_run=dry_run,
            timeout=self.timing.healthy + _MARGIN,
        )

    def _place(self, looks: Mapping[str, Look]) -> None:
        names = list(looks)
        # Without what it depends on, the definition of a service has in compose before 2.30 what
        # it is called beside: one that is started with another would be replaced by itself.
        calls = [names] if self._dependencies(names) else [[name] for name in names]
        for call in calls:
            for name in call:
                self.proofs[name].placed = True
            done = self._up(call)
            if done.rc != 0:
                raise SwitchError(
                    f"compose does not start {', '.join(call)}: {_compose.up_error(done.stderr)}"
                )
            self.story.actions += [f"replaced {name}" for name in call]
        for name in names:
            self._stays[name] = self._up_to_date(name)
            if not self._stays[name]:
                raise SwitchError(
                    f"compose has started {name}, and would replace it once more; another process "
                    "changes the project at the same time"
                )

    _up_again = _replace = _place

    def _start_surge(self, looks: Mapping[str, Look]) -> None:
        for name, look in looks.items():
            self._sweep(name, look)
            if self.tidy:
                self._remove_kept(name)
            for _one in range(look.wanted - len(look.helpers)):
                self.proofs[name].started.add(self._start_one(name))
            self.story.actions.append(f"started a second {name}")

    def _sweep(self, name: str, look: Look) -> None:
        """Remove what serves nobody; what may be the last to serve stays until another does."""
        spare = any(one.state == _rollout.UP for one in look.regular)
        for seat in look.surge:
            if seat in look.helpers or seat.address in look.pinned:
                continue
            if spare or seat.state == _rollout.DEAD:
                self.engine.remove(seat.id)

    def _remove_kept(self, name: str) -> None:
        for one in self.engine.beside(self.project.name, name):
            if one.name.endswith(_KEPT):
                self.engine.remove(one.id)

    def _start_one(self, name: str) -> str:
        """Start a second container, and return its id."""
        surge = f"{self.project.name}-{name}-surge-{uuid.uuid4().hex[:6]}"
        arguments = ["run", "--detach", "--no-deps", "--use-aliases", "-T", "--name", surge]
        arguments += ["--label", f"{SURGE}={name}", "--label", f"{OWNER}={self.project.name}"]
        arguments += ["--label", f"{_DEFINITION}={self._definitions.get(name, '')}"]
        # Its definition holds secrets: it goes in on standard input.
        aside = _compose.Project(
            self.project.directory, f"{self.project.name}-surge", (_compose.STDIN,)
        )
        alone = _compose.alone(self._model, name)
        done = aside.run(*arguments, name, timeout=self.timing.healthy, stdin=alone)
        if done.rc != 0:
            raise SwitchError(
                f"a second container of {name} does not start: {_compose.up_error(done.stderr)}"
            )
        # At once: from now on it may be the one that serves, over a restart of the engine too.
        self._set_policy(surge, *self._policy(name))
        return self.engine.inspect(surge).id

    def _set_policy(self, container: str, policy: str, count: int = 0) -> None:
        """Change when the engine starts a container again; one that just ends cannot be told."""
        with suppress(DockerError):
            self.engine.restart_policy(container, policy, count)

    def _policy(self, name: str) -> tuple[str, int]:
        for one in self.engine.services(self.project.name):
            if one.service == name:
                found = (one.raw.get("HostConfig") or {}).get("RestartPolicy") or {}
                return str(found.get("Name") or "no"), int(found.get("MaximumRetryCount") or 0)
        return "unless-stopped", 0

    def _await_surge(self, looks: Mapping[str, Look]) -> None:
        self._await(
            {name: look.started(self.proofs[name]) for name, look in looks.items()}, self._surges
        )

    def _await_regular(self, looks: Mapping[str, Look]) -> None:
        self._await({name: look.regular for name, look in looks.items()}, self._regulars)

    def _surges(self, name: str) -> list[Container]:
        beside = self.engine.beside(self.project.name, name)
        return [one for one in beside if not one.name.endswith(_KEPT)]

    def _regulars(self, name: str) -> list[Container]:
        return [one for one in self.engine.services(self.project.name) if one.service == name]

    def _await(
        self, seats: Mapping[str, tuple[Seat, ...]], find: Callable[[str], list[Container]]
    ) -> None:
        """Wait until each container answered as the release should, several times in a row."""
        deadline = time.monotonic() + self.timing.healthy
        good = {one.id: 0 for own in seats.values() for one in own}
        while any(count < self.timing.consecutive for count in good.values()):
            wrong: dict[str, tuple[str, Container]] = {}
            for name, own in seats.items():
                containers = {one.id: one for one in find(name)}
                for seat in own:
                    if good[seat.id] >= self.timing.consecutive:
                        continue
                    if seat.id not in containers:
                        raise SwitchError(f"{seat.name} was removed by somebody", "", [name])
                    container = containers[seat.id]
                    reason = self._unready(name, container)
                    good[seat.id] = 0 if reason else good[seat.id] + 1
                    if reason:
                        wrong[name] = (reason, container)
            for name, (reason, container) in wrong.items():
                dead = self._seat(name, container, True).state == _rollout.DEAD
                late = time.monotonic() > deadline
                if dead or late:
                    self.story.failed.append(container)
                    after = f" {self.timing.healthy:g} s after it was started" if not dead else ""
                    raise SwitchError(f"{reason}{after}", "", [name])
            starting = bool(wrong) and not any(good.values())
            if any(count < self.timing.consecutive for count in good.values()):
                time.sleep(_POLL if starting else self.timing.interval)
        for name, own in seats.items():
            self.proofs[name].answered |= {one.id for one in own}

    def _unready(self, name: str, container: Container) -> str:
        """Return why a container does not answer as the release should."""
        state = self._seat(name, container, True).state
        if state == _rollout.DEAD:
            return f"{container.name} {self._ending(container)}"
        if state == _rollout.STARTING:
            return f"{container.name} is not healthy yet"
        one = self.wanted[name]
        if not one.target.port:
            return ""
        request = _http.Request(container.address, one.target.port, one.target.path)
        wrong = _verification.ask(request, one.target, one.version)
        return f"{container.name} directly: {wrong}" if wrong else ""

    def _ending(self, container: Container) -> str:
        """Return how a container came to serve no more; the next start makes its state forget."""
        health = (container.state.get("Health") or {}).get("Status", "")
        if container.running and health == "unhealthy":
            return "is unhealthy"
        events = self.engine.endings(container.id)
        restarts = int(container.raw.get("RestartCount") or 0)
        again = f", {restarts + 1} times" if restarts else ""
        if _endings.out_of_memory(container.state, events):
            return f"was killed for its memory{again}"
        code = _endings.last_exit(events)
        return (
            f"ended{again} (exit code {container.state.get('ExitCode') if code is None else code})"
        )

    def _lost_surge(self, looks: Mapping[str, Look]) -> None:
        for name, look in looks.items():
            dead = [one for one in look.surge if one.state == _rollout.DEAD]
            found = {one.id: one for one in self._surges(name)}
            lost = [found[one.id] for one in dead if one.id in found]
            self.story.failed += lost
            told = [f"{one.name} answered before, and {self._ending(one)}" for one in lost]
            gone = f"the second container of {name} answered before, and is gone"
            raise SwitchError("; ".join(told) or gone, "", [name])

    def _lead_to_surge(self, looks: Mapping[str, Look]) -> None:
        self._lead({name: look.helpers for name, look in looks.items()})

    def _lead_to_regular(self, looks: Mapping[str, Look]) -> None:
        self._lead({name: look.regular for name, look in looks.items()})

    def _lead(self, seats: Mapping[str, tuple[Seat, ...]]) -> None:
        """Lead every new request to these containers, and see that it arrives there."""
        wanted = {name: _rollout.addresses(own) for name, own in seats.items()}
        for name, found in wanted.items():
            if not found or "" in found:
                raise SwitchError(self._nowhere(name, seats[name]), "", [name])
        for proxy in self.proxies:
            pins = self._pins_of_others(proxy, wanted)
            for name, found in wanted.items():
                pins.update(dict.fromkeys(self._names(name), found))
            proxy.write_pins(pins)
            proxy.reload()
        for name, found in wanted.items():
            self._prove(name, found)
            self.proofs[name].led = found
        names = [one.name for own in seats.values() for one in own]
        self.story.actions.append(f"led {', '.join(seats)} to {', '.join(names)}")

    def _nowhere(self, name: str, seats: tuple[Seat, ...]) -> str:
        """Return why there is nobody to lead to: who ended has no address."""
        lost = {one.id for one in seats if not one.address}
        ended = [
            f"{one.name} {self._ending(one)}"
            for one in [*self._regulars(name), *self._surges(name)]
            if one.id in lost
        ]
        return "; ".join(ended) or f"{name} has no address to lead to"

    def _prove(self, name: str, found: frozenset[str]) -> None:
        """See an answer of the release through the proxy, and that it came from these addresses."""
        one = self.wanted[name]
        if not self.front or not one.target.proxy_path:
            self.story.notes.append(
                f"{name} has no proxy_path in carrental_services: that requests arrive at its new "
                "containers was seen from the workers of the proxy alone"
            )
            return
        version = "" if self._undoing else one.version
        for proxy in self.proxies:
            request = self.front.request(proxy.container, one.target.proxy_path)
            outcome = _verification.poll(
                lambda request=request, proxy=proxy: self._arrives(  # type: ignore[misc]
                    request, proxy, one, version, found
                ),
                deadline=self.timing.healthy / 4,
                consecutive=self.timing.consecutive,
                interval=_POLL,
            )
            if not outcome.passed:
                raise SwitchError(
                    f"{name} through {proxy.name}: {'; '.join(outcome.problems)}", "", [name]
                )

    def _arrives(
        self,
        request: _http.Request,
        proxy: Nginx,
        one: Wanted,
        version: str,
        found: frozenset[str],
    ) -> list[str]:
        wrong = _verification.ask(request, one.target, version)
        if wrong:
            return [wrong]
        if found & proxy.peers() or self._was_asked_by(proxy, one.target.service, found):
            return []
        return [f"it answers, but {proxy.name} has no connection to {', '.join(sorted(found))}"]

    def _was_asked_by(self, proxy: Nginx, name: str, found: frozenset[str]) -> bool:
        """Return whether a container remembers a connection that it closed before the proxy did."""
        addresses = {address for address in proxy.container.networks.values() if address}
        for container in (*self._surges(name), *self._regulars(name)):
            if container.running and found & set(container.networks.values()):
                # One without "cat" cannot be asked; then the proxy's own table has to do.
                with suppress(DockerError):
                    if addresses & _proxy.peers_of(self.engine, container.id):
                        return True
        return False

    def _drain_old(self, looks: Mapping[str, Look]) -> None:
        self._drain(looks)

    def _drain_surge(self, looks: Mapping[str, Look]) -> None:
        self._drain(looks)

    def _drain(self, looks: Mapping[str, Look]) -> None:
        """Wait until no worker is left that still leads to the containers before."""
        started = time.monotonic()
        left = 0
        while True:
            left = sum(len(proxy.workers().finishing) for proxy in self.proxies)
            spent = time.monotonic() - started
            if not left or spent > self.timing.drain:
                break
            time.sleep(_POLL)
        self.story.drained_s += round(spent, 1)
        if left:
            self.story.cut += left
            self.story.notes.append(
                f"{left} old workers of the proxy still had connections after "
                f"{self.timing.drain:g} s (websockets, downloads): these end with the containers "
                "they belong to"
            )
        for name in looks:
            self.proofs[name].drained = self.proofs[name].led

    def _remove_surge(self, looks: Mapping[str, Look]) -> None:
        for name, look in looks.items():
            for seat in look.surge:
                if self._undoing:
                    self._keep_for_inspection(seat)
                else:
                    self.engine.remove(seat.id)
            if self._undoing:
                # It stays to be looked at, and must not be met as a surge again.
                self.wanted.pop(name)
                self._unpin({name: look})

    def _keep_for_inspection(self, seat: Seat) -> None:
        self.engine.stop(seat.id)
        self._set_policy(seat.id, "no")
        self.engine.rename(seat.id, seat.name + _KEPT)
        self.story.actions.append(f"stopped {seat.name}{_KEPT}, kept for inspection")

    def _unpin(self, looks: Mapping[str, Look]) -> None:
        """Take the pins away. No reload: the names lead to the same containers without them."""
        for proxy in self.proxies:
            proxy.write_pins(self._pins_of_others(proxy, looks))


def fit(proxies: Iterable[Nginx], names: Iterable[str]) -> tuple[list[Nginx], list[str]]:
    """Return the proxies that can be led, and why the others cannot."""
    good, reasons = [], []
    wanted = list(names)
    for proxy in proxies:
        reason = proxy.unfit(wanted)
        if reason:
            reasons.append(reason)
        else:
            good.append(proxy)
    return good, reasons


def proxies_of(engine: Engine, project: str, front: _verification.Proxy | None) -> list[Nginx]:
    """Return the running containers of the proxy."""
    if front is None:
        return []
    running = (one for one in engine.services(project) if one.service == front.service)
    return [Nginx(engine, one) for one in running if one.running]


def leftovers(engine: Engine, project: str, proxies: Iterable[Nginx]) -> list[str]:
    """Return what an interrupted switch left, in words."""
    found = [
        f"{one.name} stands in for {one.labels[SURGE]}"
        for one in engine.beside(project)
        if one.running
    ]
    for proxy in proxies:
        # Another proxy than nginx may have no "cat"; nobody has led it anywhere either.
        with suppress(ProxyError, DockerError):
            for name, to in proxy.pins().items():
                found.append(f"{proxy.name} is led to {', '.join(sorted(to))} for {name} ({MARK})")
    return found


def unfinished(engine: Engine, project: str, table: _service_table.Table) -> set[str]:
    """Return the services whose switch was interrupted."""
    found = {one.labels[SURGE] for one in engine.beside(project) if one.running}
    pinned: set[str] = set()
    for proxy in proxies_of(engine, project, _service_table.front(table, "")):
        # Another proxy than nginx may have no "cat"; nobody has led it anywhere either.
        with suppress(ProxyError, DockerError):
            pinned |= proxy.pins().keys()
    if pinned:
        found |= {one.service for one in engine.services(project) if pinned & set(names_of(one))}
    return found
