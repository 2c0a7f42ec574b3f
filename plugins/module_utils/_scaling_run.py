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
    _services,
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
# What may fail once something was changed.
_ANY = (
    _compose.ComposeError,
    _proxy.ProxyError,
    _rollout_run.RolloutError,
    DockerError,
    ScalingError,
)


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
        self.unfinished = _scaling_state.unfinished(params["state_dir"])
        self.before_text = self.old_text
        self.described = _service_table.by_alias(params["table"])
        self.sizes = self._wanted()
        self.actions: list[str] = []
        self.notes: list[str] = []
        self.measured: dict[str, Any] = {}
        if self.unfinished is not None:
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
        try:
            folder = tempfile.mkdtemp(prefix=f"{_configuration.PREFIX}scale-")
        except OSError as error:
            raise ScalingError(
                f"Cannot write to {tempfile.gettempdir()}: {error.strerror}"
            ) from error
        self._kept.callback(shutil.rmtree, folder, ignore_errors=True)
        plain = _compose.Project(self.root, self.project, tuple(self.params["files"]))
        self.plain = _compose.services(plain.model()[0])
        _scaling.require(self.given, self.plain, self.described)
        self.text = self._with(self.sizes)
        if self.unfinished is not None:
            # Its sizes, and not its images: a release may have come since.
            self.before_text = self._with(_sizes.read(self.unfinished))
        self.candidate = self._candidate(folder, "after", self.text)
        self.model = self.candidate.model()[0]
        self.containers = self.engine.services(self.project)
        self.changed_text = self.text != self.old_text
        if self.text != self.before_text:
            before = self._candidate(folder, "before", self.before_text)
            self._judge(_compose.services(before.model()[0]))
        self.live = self._live()
        self.recreate = self._recreate()
        self.rollout = self._rollout()

    def __exit__(self, *_raised: object) -> None:
        self._kept.close()

    def _with(self, sizes: Mapping[str, Size]) -> str:
        """Return the override with these sizes, and the images that it pins now."""
        known = {name: one for name, one in sizes.items() if name in self.plain}
        if known == _sizes.read(self.old_text):
            return self.old_text
        built = [name for name, one in self.plain.items() if one.get("build")]
        return _compose.override(_compose.pinned(self.old_text), built, known)

    def _candidate(self, folder: str, name: str, text: str) -> _compose.Project:
        """Return the project as it would be with an override."""
        path = os.path.join(folder, name, _compose.RELEASE_FILE)
        try:
            os.mkdir(os.path.dirname(path))
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise ScalingError(f"Cannot write {path}: {error.strerror}") from error
        return _compose.Project(self.root, self.project, (*self.params["files"], path))

    # What is wanted, and whether it fits.

    def _memory(self, name: str) -> int:
        return _limits(_compose.services(self.model).get(name) or {})[0]

    def _judge(self, before: Mapping[str, Any]) -> None:
        services = _compose.services(self.model)
        replicas = {name: _replicas(one) for name, one in services.items()}
        limits = {name: _limits(one)[0] // _MB for name, one in services.items()}
        # What does not fit already may become less, though not yet little enough.
        if _promised(services) > _promised(before):
            besides = sum(
                (self.engine.memory(one) or 0) // _MB
                for one in self.containers
                if one.running and not limits.get(one.service)
            )
            _scaling.room(limits, replicas, besides, int(self.engine.info["MemTotal"]) // _MB)
        if any(count > _replicas(before.get(name) or {}) for name, count in replicas.items()):
            self._judge_connections(replicas)

    def _judge_connections(self, replicas: Mapping[str, int]) -> None:
        service = self.params["database_service"]
        if find_spec(_postgres.LIBRARY) is None:
            self.notes.append("the connections were not counted: python3-psycopg2 is missing")
            return
        try:
            with _pg_server.session(self._login(service), "carrental.ops scale") as session:
                offered = int(session.settings()["max_connections"].setting)
        except (_pg_server.ServerError, DockerError) as error:
            self.notes.append(f"the connections were not counted: {error}")
            return
        pools, exporters = _pg_server.pools(self.engine, self.project, service)
        self.notes += _scaling.connections(pools, exporters, replicas, offered)

    def _login(self, service: str) -> _postgres.Login:
        """Return how to reach the database, which may be managed elsewhere."""
        names = _service_table.aliases(self.params["table"])
        known = [name for name, alias in names.items() if alias == service]
        described, _host = _services.parse_table(self.params["table"], known, {})
        if known and described[0].endpoint.host:
            return _pg_server.elsewhere(described[0].endpoint)
        database = self.params["database"]
        return _pg_server.PgServer(self.engine, self.project, service, database).login()

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
            try:
                _scaling_state.begin(self.params["state_dir"], self.before_text)
                _whole_file.write(self.path, self.text.encode(), 0o644)
            except OSError as error:
                raise ScalingError(f"Cannot write {self.path}: {error.strerror}") from error
            self.actions.append(f"wrote {_compose.RELEASE_FILE}")
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
            self._undo(error.why, error.done["report"])
        except _ANY as error:
            self._undo(str(error), [])
        self.containers = self.engine.services(self.project)
        try:
            _scaling_state.keep(self.params["state_dir"], self.pending())
            _scaling_state.end(self.params["state_dir"])
        except OSError as error:
            self.notes.append(f"Cannot write to {self.params['state_dir']}: {error.strerror}")
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
            self._replace(name)
        if prober:
            self.measured[name] = prober.measured.as_dict()
        self.actions.append(f"recreated {name}")

    def _replace(self, name: str) -> None:
        """Have a container by the files that are there now."""
        for one in self.engine.services(self.project):
            if one.service == name and one.running:
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

    def _switch(self) -> None:
        services = list(self.rollout.services) if self.rollout else []
        rollout = self._new_rollout(self._project(), services) if services else None
        if rollout is None or not rollout.foreseen()["changed"]:
            return
        rollout.step = self.step
        done = rollout.perform()
        self.actions += done["actions"]
        self.notes += done["lines"]
        self.measured |= done["measured"]
        if done["failed"]:
            raise _SwitchFailedError(done)

    def _undo(self, why: str, report: list[str]) -> None:
        """Bring everything to the sizes from before, whatever has which by now.

        :raises ScalingFailedError: always.
        """
        self.step("take the sizes back", why=why)
        said = []
        for part in (self._override_back, self._limits_back, self._recreate_back, self._switch):
            try:
                part()
            except _ANY as error:
                said.append(str(error).rstrip("."))
        if not said:
            _scaling_state.end(self.params["state_dir"])
        state = (
            f"Taking the sizes back failed too: {'; '.join(said)}"
            if said
            else "The sizes from before are in force"
        )
        raise ScalingFailedError(f"{why.rstrip('.')}. {state}.", undone=not said, report=report)

    def _override_back(self) -> None:
        try:
            _whole_file.write(self.path, self.before_text.encode(), 0o644)
        except OSError as error:
            raise ScalingError(f"Cannot write {self.path}: {error.strerror}") from error

    def _limits_back(self) -> None:
        """Limit what runs by the files that are there now; a run before may have been killed."""
        services = _compose.services(self._project().model()[0])
        for one in self.engine.services(self.project):
            if not self._is_live(one.service) or one.service not in self.sizes:
                continue
            host = one.raw.get("HostConfig") or {}
            wanted = self._lifted(host, *_limits(services.get(one.service) or {}))
            if any(host.get(name) != value for name, value in wanted.items()):
                self.engine.limit(one.id, wanted)

    def _recreate_back(self) -> None:
        hashes = self._project().hashes()
        self.containers = self.engine.services(self.project)
        for name in self.recreate:
            if self._stale(name, hashes):
                self._replace(name)

    def _lifted(self, host: Mapping[str, Any], memory: int, cpus: float) -> dict[str, Any]:
        """Return limits as the engine takes them back: by a zero it leaves what there is.

        A container that is to have none and has one gets all that the server has.
        """
        found: dict[str, Any] = {}
        if memory or host.get("Memory"):
            found["Memory"] = memory or int(self.engine.info["MemTotal"])
            found["MemorySwap"] = memory * 2 or -1
        if cpus or host.get("NanoCpus"):
            found["NanoCpus"] = round((cpus or int(self.engine.info["NCPU"])) * 1e9)
        return found


class _SwitchFailedError(ScalingError):
    """A switch that failed, with its own account of what serves now."""

    def __init__(self, done: Mapping[str, Any]) -> None:
        super().__init__(str(done["msg"]))
        self.done = done
        # Who serves is asked again once the sizes are taken back.
        self.why = str(done["msg"]).removesuffix(str(done["state"])).strip()


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


def _replicas(service: Mapping[str, Any]) -> int:
    """Return how many containers a service of a compose model has."""
    replicas = (service.get("deploy") or {}).get("replicas")
    return int(replicas if replicas is not None else service.get("scale") or 1)


def _limits(service: Mapping[str, Any]) -> tuple[int, float]:
    """Return the bytes of memory and the cores that a compose model gives; 0 without a limit."""
    limits = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    memory = limits.get("memory") or service.get("mem_limit") or 0
    return int(memory), float(limits.get("cpus") or service.get("cpus") or 0)


def _promised(services: Mapping[str, Any]) -> int:
    return sum(_limits(one)[0] * _replicas(one) for one in services.values())


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
