# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A scaling: the override, limits of what runs, and the switch of what has to be replaced."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _compose,
    _configuration,
    _endings,
    _gap,
    _pg_server,
    _postgres,
    _proxy,
    _rollout_run,
    _scaling,
    _scaling_state,
    _service_table,
    _sizes,
    _whole_file,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container, DockerError
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine
from ansible_collections.carrental.ops.plugins.module_utils._scaling import ScalingError
from ansible_collections.carrental.ops.plugins.module_utils._sizes import Size

_HASH = "com.docker.compose.config-hash"
_STOP_SECONDS = 120
_MB = 2**20


class ScalingFailedError(Exception):
    """A scaling that failed after its first change; the text is a whole sentence.

    :param undone: whether what was before is so again.
    """

    def __init__(self, message: str, *, undone: bool, report: list[str]) -> None:
        super().__init__(message)
        self.undone = undone
        self.report = report


class Scaling:
    """One call.

    :ivar step: called before each step with its name.
    """

    def __init__(self, engine: Engine, params: Mapping[str, Any]) -> None:
        """Look, and refuse what cannot be; nothing is changed."""
        self.engine = engine
        self.params = params
        self.step: Callable[..., None] = _silent
        self.project = params["project"]
        self.root = params["project_src"]
        self.path = os.path.join(self.root, _compose.RELEASE_FILE)
        self.old_text = _read(self.path)
        # What is gone back to: not to the sizes of a run that was killed before it proved them.
        unfinished = _scaling_state.unfinished(params["state_dir"])
        self.before_text = self.old_text if unfinished is None else unfinished
        self.described = _service_table.by_alias(params["table"])
        self.sizes = self._wanted()
        self.actions: list[str] = []
        self.notes: list[str] = []
        self.measured: dict[str, Any] = {}
        if unfinished is not None:
            self.notes.append(
                "a run before wrote sizes and came to no end; what fails now goes back to before it"
            )
        self._kept = ExitStack()

    def _wanted(self) -> dict[str, Size]:
        names = _service_table.aliases(self.params["table"])
        cores = int(self.engine.info.get("NCPU") or 1)
        given = _sizes.given(self.params["limits"], self.params["replicas"], cores)
        self.given = {names.get(name, name): size for name, size in given.items()}
        return _sizes.merged(_sizes.read(self.old_text), self.given)

    def __enter__(self) -> Scaling:
        """Prove the new override as a candidate, beside the files that are there."""
        try:
            self._prove()
        except BaseException:
            self._kept.close()
            raise
        return self

    def _prove(self) -> None:
        # By this name a deploy sweeps what a run that was killed leaves.
        folder = tempfile.mkdtemp(prefix=f"{_configuration.PREFIX}scale-")
        self._kept.callback(shutil.rmtree, folder, ignore_errors=True)
        plain = _compose.Project(self.root, self.project, tuple(self.params["files"]))
        plain_services = _compose.services(plain.model()[0])
        _scaling.require(self.given, plain_services, self.described)
        pins = _compose.pinned(self.old_text)
        built = [name for name, one in plain_services.items() if one.get("build")]
        known = {name: one for name, one in self.sizes.items() if name in plain_services}
        self.text = self.old_text
        if known != _sizes.read(self.old_text):
            self.text = _compose.override(pins, built, known)
        candidate = os.path.join(folder, _compose.RELEASE_FILE)
        with open(candidate, "w", encoding="utf-8") as stream:
            stream.write(self.text)
        self.candidate = _compose.Project(
            self.root, self.project, (*self.params["files"], candidate)
        )
        self.model = self.candidate.model()[0]
        self.containers = self.engine.services(self.project)
        self.changed_text = self.text != self.old_text
        if self.text != self.before_text:
            self._judge()
        self.live = self._live()
        self.recreate = self._recreate()
        self.rollout = self._rollout()

    def __exit__(self, *_raised: object) -> None:
        self._kept.close()

    # What is wanted, and whether it fits.

    def _replicas(self, name: str) -> int:
        service = _compose.services(self.model)[name]
        replicas = (service.get("deploy") or {}).get("replicas")
        return int(replicas if replicas is not None else service.get("scale") or 1)

    def _limits(self, name: str) -> Mapping[str, Any]:
        service = _compose.services(self.model).get(name) or {}
        resources = (service.get("deploy") or {}).get("resources") or {}
        found = dict(resources.get("limits") or {})
        found.setdefault("memory", service.get("mem_limit") or 0)
        found.setdefault("cpus", service.get("cpus") or 0)
        return found

    def _memory(self, name: str) -> int:
        return int(self._limits(name).get("memory") or 0)

    def _judge(self) -> None:
        services = _compose.services(self.model)
        replicas = {name: self._replicas(name) for name in services}
        limits = {name: self._memory(name) // _MB for name in services}
        besides = sum(
            (self.engine.memory(one) or 0) // _MB
            for one in self.containers
            if one.running and not limits.get(one.service)
        )
        _scaling.room(limits, replicas, besides, int(self.engine.info["MemTotal"]) // _MB)
        self._judge_connections(replicas)

    def _judge_connections(self, replicas: Mapping[str, int]) -> None:
        if not any(size.replicas for size in self.given.values()):
            return
        service = self.params["database_service"]
        if find_spec(_postgres.LIBRARY) is None:
            self.notes.append("the connections were not counted: python3-psycopg2 is missing")
            return
        try:
            server = _pg_server.PgServer(
                self.engine, self.project, service, self.params["database"]
            )
            with server.session() as session:
                offered = int(session.settings()["max_connections"].setting)
        except (_pg_server.ServerError, DockerError) as error:
            self.notes.append(f"the connections were not counted: {error}")
            return
        pools, exporters = _pg_server.pools(self.engine, self.project, service)
        self.notes += _scaling.connections(pools, exporters, replicas, offered)

    def _live(self) -> dict[str, list[Container]]:
        """Return the containers whose limits are changed while they run."""
        found: dict[str, list[Container]] = {}
        for one in self.containers:
            if not self._is_live(one.service) or one.service not in self.sizes:
                continue
            if self._differs(one):
                memory = self._memory(one.service)
                if memory and one.running:
                    _scaling.lowered(one.service, memory, self.engine.memory(one))
                found.setdefault(one.service, []).append(one)
        return found

    def _is_live(self, service: str) -> bool:
        return str(self.described.get(service, {}).get("role")) != _scaling.STATELESS

    def _differs(self, container: Container) -> bool:
        host = container.raw.get("HostConfig") or {}
        wanted = self._update(container)
        return any(host.get(name) != value for name, value in wanted.items())

    def _update(self, container: Container) -> dict[str, Any]:
        """Return the limits of a container as the engine takes them."""
        size = self.sizes[container.service]
        found: dict[str, Any] = {}
        if size.memory:
            # The engine's own default for memory and swap together, as with a new container.
            found |= {"Memory": size.memory, "MemorySwap": size.memory * 2}
        if size.cpus:
            found["NanoCpus"] = round(size.cpus * 1e9)
        return found

    def _recreate(self) -> list[str]:
        names = _service_table.aliases(self.params["table"])
        asked = [names.get(name, name) for name in self.params["recreate"]]
        unknown = [name for name in asked if name not in _compose.services(self.model)]
        if unknown:
            raise ScalingError(f"scaling_recreate names {', '.join(unknown)}, which is no service")
        rolled = [name for name in asked if not self._is_live(name)]
        if rolled:
            raise ScalingError(
                f"scaling_recreate names {', '.join(rolled)}, which is stateless: it is switched "
                "without a gap by itself"
            )
        hashes = self.candidate.hashes()
        return [name for name in asked if self._stale(name, hashes)]

    def _stale(self, name: str, hashes: Mapping[str, str]) -> bool:
        """Return whether compose would replace a service's container."""
        return any(
            one.labels.get(_HASH) != hashes.get(name)
            for one in self.containers
            if one.service == name
        )

    def pending(self, hashes: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the containers that compose would replace, for their limits changed live."""
        current = hashes or self.candidate.hashes()
        return {
            one.service: one.id
            for one in self.containers
            if one.service in self.sizes
            and self._is_live(one.service)
            and one.service not in self.recreate
            and one.labels.get(_HASH) != current.get(one.service)
        }

    def _rollout(self) -> _rollout_run.Rollout | None:
        services = [name for name in self.sizes if not self._is_live(name)]
        if not services:
            return None
        return self._new_rollout(self.candidate, services)

    def _new_rollout(self, project: _compose.Project, services: list[str]) -> _rollout_run.Rollout:
        held = _service_table.held(self.params["table"], ())
        hashes = project.hashes()
        # Compose would replace what holds data, when it may look at it.
        stale = [name for name in held if self._stale(name, hashes)]
        return _rollout_run.Rollout(
            self.engine,
            project,
            {**self.params, "services": services, "version": "", "dependencies": not stale},
        )

    # The result.

    def foreseen(self) -> dict[str, Any]:
        """Return what would be done."""
        foreseen = self.rollout.foreseen() if self.rollout else {}
        due = [name for name, one in (foreseen.get("services") or {}).items() if one["due"]]
        steps = [f"write {_compose.RELEASE_FILE}"] if self.changed_text else []
        steps += [f"limit {name} while it runs: {self._said(name)}" for name in self.live]
        steps += [f"recreate {name}, which is away meanwhile" for name in self.recreate]
        steps += [f"switch {name} without a gap: {self._said(name)}" for name in due]
        return {
            **self._facts(),
            "changed": bool(steps),
            "actions": steps,
            "notes": self.notes + self._hints() + (foreseen.get("notes") or []),
        }

    def _said(self, name: str) -> str:
        return _sizes.shown(self.sizes[name])

    def _facts(self) -> dict[str, Any]:
        return {
            "sizes": {name: _sizes.shown(one) for name, one in sorted(self.sizes.items())},
            "pending": sorted(self.pending()),
            "measured": self.measured,
            "diff": {
                "before_header": _compose.RELEASE_FILE,
                "after_header": _compose.RELEASE_FILE,
                "before": self.old_text,
                "after": self.text,
            },
        }

    def _hints(self) -> list[str]:
        """Return who was killed for want of memory."""
        found = []
        for one in self.containers:
            try:
                events = self.engine.endings(one.id)
            except (DockerError, ValueError):
                events = []
            if _endings.out_of_memory(one.state, events):
                limit = _pg_server.limits(one, self.engine)[0]
                found.append(f"{one.name} was killed for lack of memory at {limit} MB")
        return found

    # The work.

    def perform(self) -> dict[str, Any]:
        """Scale, and take back what failed.

        :raises ScalingFailedError: it failed after the first change.
        """
        hints = self._hints()
        if self.changed_text:
            self.step("write the sizes")
            _scaling_state.begin(self.params["state_dir"], self.before_text)
            _whole_file.write(self.path, self.text.encode(), 0o644)
            self.actions.append(f"wrote {_compose.RELEASE_FILE}")
        before = {
            one.id: _limits_of(one) for containers in self.live.values() for one in containers
        }
        try:
            for name, containers in self.live.items():
                self.step(f"limit {name}")
                for one in containers:
                    self._limit(one)
            for name in self.recreate:
                self.step(f"recreate {name}")
                self._recreate_one(name)
            self._switch()
        except _SwitchFailedError as error:
            if not error.done["undone"]:
                # What serves now was made by the new sizes; the next run goes on from there.
                raise ScalingFailedError(
                    str(error), undone=False, report=error.done["report"]
                ) from error
            self._undo(before, str(error).rstrip("."), error.done["report"])
        except (
            _compose.ComposeError,
            _proxy.ProxyError,
            _rollout_run.RolloutError,
            DockerError,
            ScalingError,
        ) as error:
            self._undo(before, str(error).rstrip("."), [])
        self.containers = self.engine.services(self.project)
        waiting = self.pending()
        _scaling_state.keep(self.params["state_dir"], waiting)
        _scaling_state.end(self.params["state_dir"])
        self.notes += hints
        return {
            **self._facts(),
            "changed": bool(self.actions),
            "actions": self.actions,
            "notes": self.notes,
        }

    def _limit(self, container: Container) -> None:
        wanted = self._update(container)
        self.engine.limit(container.id, wanted)
        size = self.sizes[container.service]
        if size.memory and container.running:
            self._require_in_force(container, size.memory)
        self.actions.append(f"limited {container.name}: {self._said(container.service)}")

    def _require_in_force(self, container: Container, memory: int) -> None:
        """Ask the kernel, for the engine only repeats what it was told."""
        found = limit_in_force(self.engine, container)
        if found is None:
            self.notes.append(f"the kernel cannot be asked for the limit of {container.name}")
        elif found != memory:
            raise ScalingError(
                f"{container.name} has a limit of {_sizes.megabytes(found)} by the kernel, not of "
                f"{_sizes.megabytes(memory)}"
            )

    def _project(self) -> _compose.Project:
        files = (*self.params["files"], _compose.RELEASE_FILE)
        return _compose.Project(self.root, self.project, files)

    def _recreate_one(self, name: str) -> None:
        with ExitStack() as probing:
            prober = None
            if name == self.params["database_service"] and find_spec(_postgres.LIBRARY):
                server = _Again(self.engine, self.project, name, self.params["database"])
                prober = probing.enter_context(_gap.Prober(server.ask, 0.05))
            for one in self.containers:
                if one.service == name:
                    # Longer than compose waits: a database that is killed has to recover.
                    self.engine.stop(one.id, _STOP_SECONDS)
            timeout = int(self.params["healthy_timeout"])
            done = self._project().up(
                [name],
                dependencies=False,
                recreate=True,
                wait_timeout=timeout,
                dry_run=False,
                timeout=timeout + 60,
            )
            if done.rc != 0:
                raise ScalingError(f"{name} does not come up: {_compose.up_error(done.stderr)}")
        if prober:
            self.measured[name] = prober.measured.as_dict()
        self.actions.append(f"recreated {name}")

    def _switch(self) -> None:
        services = list(self.rollout.services) if self.rollout else []
        if not services:
            return
        rollout = self._new_rollout(self._project(), services)
        if not rollout.foreseen()["changed"]:
            return
        rollout.step = self.step
        done = rollout.perform()
        self.actions += done["actions"]
        self.notes += done["lines"]
        self.measured |= done["measured"]
        if done["failed"]:
            raise _SwitchFailedError(done)

    def _undo(
        self,
        before: Mapping[str, Mapping[str, Any]],
        why: str,
        report: list[str],
    ) -> None:
        self.step("take the sizes back", why=why)
        _whole_file.write(self.path, self.before_text.encode(), 0o644)
        said = []
        for identity, limits in before.items():
            try:
                self.engine.limit(identity, self._lifted(limits))
            except DockerError as error:
                said.append(str(error))
        for name in self.recreate:
            try:
                done = self._project().up(
                    [name],
                    dependencies=False,
                    recreate=True,
                    wait_timeout=int(self.params["healthy_timeout"]),
                    dry_run=False,
                    timeout=int(self.params["healthy_timeout"]) + 60,
                )
            except _compose.ComposeError as error:
                said.append(str(error))
                continue
            if done.rc != 0:
                said.append(_compose.up_error(done.stderr))
        _scaling_state.end(self.params["state_dir"])
        state = (
            f"Taking the sizes back failed too: {'; '.join(said)}"
            if said
            else "The sizes from before are in force"
        )
        raise ScalingFailedError(f"{why}. {state}.", undone=not said, report=report)

    def _lifted(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Return limits as the engine takes them back: by a zero it leaves what there is.

        Where there was none a container gets all that the server has.
        """
        found = dict(limits)
        if not found["Memory"]:
            found |= {"Memory": int(self.engine.info.get("MemTotal") or 0), "MemorySwap": -1}
        if not found["NanoCpus"]:
            found["NanoCpus"] = int(self.engine.info.get("NCPU") or 1) * 10**9
        return found


class _SwitchFailedError(ScalingError):
    """A switch that failed, with its own account of what serves now."""

    def __init__(self, done: Mapping[str, Any]) -> None:
        super().__init__(str(done["msg"]))
        self.done = done


class _Again(_pg_server.PgServer):
    """A server whose container is replaced: it is looked up anew each time."""

    def ask(self) -> str:
        """Send one query; return why it was not answered."""
        try:
            return _pg_server.PgServer(self.engine, self.project, self.service, self.database).ask()
        except (_pg_server.ServerError, DockerError) as error:
            return str(error)


def limit_in_force(engine: Engine, container: Container) -> int | None:
    """Return the bytes of memory that the kernel lets a container have; None where it is silent."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        rc, text = engine.execute(container.id, ["cat", path])
        if rc == 0 and text.strip().isdigit():
            return int(text)
    return None


def _limits_of(container: Container) -> dict[str, Any]:
    host = container.raw.get("HostConfig") or {}
    return {name: host.get(name) or 0 for name in ("Memory", "MemorySwap", "NanoCpus")}


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ScalingError(f"Cannot read {path}: {error.strerror}") from error


def _silent(_name: str, **_facts: Any) -> None:
    """Stand in where no operation is held."""
