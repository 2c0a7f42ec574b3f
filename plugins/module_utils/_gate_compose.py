# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a gate finds in compose files: what compose itself refuses, and the traps of the field."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from . import _compose, _gate, _registry, _sizes

_HEAP = re.compile(r"--max-old-space-size[= ](\d+)")
# Of its limit a process of Node needs the rest beside its heap.
_HEAP_SHARE = 0.75
# The program is not there, or its part for compose is not.
_ABSENT = re.compile(
    r"is not installed|is not a docker command|unknown command: docker compose"
    r"|unknown flag: --project-name"
)
_MIB = 1024 * 1024
_PREFIX = {
    "share the container name": "compose.container_name",
    "asks for": "compose.replicas",
    "publishes port": "compose.published",
}


def texts(folder: str, files: Sequence[str]) -> dict[str, str]:
    """Return the text of each compose file.

    :raises _gate.GateError: one is not there.
    """
    found = {}
    for name in files:
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as stream:
                found[name] = stream.read()
        except OSError as error:
            raise _gate.GateError(
                f"Cannot read {os.path.join(folder, name)}: {error.strerror}; gate_dir is the "
                "checkout of the application, and carrental_compose_files name its files."
            ) from error
    return found


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Give compose the values of variables, and take them away again."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def lacking(found: Mapping[str, str], env: Mapping[str, str]) -> Iterator[tuple[str, str, int]]:
    """Yield each demanded variable without a value, at the place that demands it first."""
    seen: set[str] = set()
    for file, text in found.items():
        for name, line, refuses_empty in _compose.required_variables(text):
            given = name in env and not (refuses_empty and env[name] == "")
            if not given and name not in seen:
                seen.add(name)
                yield name, file, line


def variables(found: Mapping[str, str], env: Mapping[str, str]) -> list[_gate.Finding]:
    """Return each demanded variable that carrental_env does not give a value.

    A server keeps in its ``.env`` what carrental_env does not name: that is no error. What it
    names without a value is one, for a deploy would empty it.
    """
    result = []
    for name, file, line in lacking(found, env):
        level, message = (_gate.ERROR, f"{name} is demanded and empty in carrental_env.")
        if name not in env:
            level, message = (
                _gate.WARNING,
                f"{name} is demanded and not in carrental_env; the server has to have it in its "
                ".env.",
            )
        fix = f"Add {name} to carrental_env, in the vault where it is a secret."
        result.append(_gate.Finding("compose.variable", level, message, fix, file, line))
    return result


def heard(warnings: Sequence[str], found: Mapping[str, str]) -> list[_gate.Finding]:
    """Return what compose itself warns of."""
    first = next(iter(found), "")
    result = []
    for warning in warnings:
        name = _compose.unset_variable(warning)
        if not name:
            result.append(_gate.Finding("compose.warning", _gate.NOTE, warning, "", first))
            continue
        message = (
            f"{name} is used and not in carrental_env; the server has to have it in its .env, or "
            "it counts as empty."
        )
        fix = f"Add {name} to carrental_env, or demand it: ${{{name}:?}}."
        used = ((file, line) for file in found for line in _compose.lines_using(found[file], name))
        at = next(used, (first, 0))
        result.append(_gate.Finding("compose.variable", _gate.WARNING, message, fix, *at))
    return result


def place(found: Mapping[str, str], service: str) -> tuple[str, int]:
    """Return where a service is defined."""
    for file, text in found.items():
        line = _gate.line_of(text, rf"^\s{{2,4}}[\"']?{re.escape(service)}[\"']?:\s*(#.*)?$")
        if line:
            return file, line
    return next(iter(found), ""), 0


def twice(models: Mapping[str, _compose.Model], found: Mapping[str, str]) -> list[_gate.Finding]:
    """Return services that several files define with an image or a build each: one overrides."""
    result = []
    owners: dict[str, str] = {}
    for file, model in models.items():
        for name, service in _compose.services(model).items():
            if not (service.get("image") or service.get("build")):
                continue
            first = owners.setdefault(name, file)
            if first != file:
                result.append(
                    _gate.Finding(
                        "compose.twice",
                        _gate.WARNING,
                        f"{name} is defined in {first} and in {file}: compose merges them, and one "
                        "of them by itself starts something else under the same name.",
                        "Keep it in one of the files.",
                        file,
                        place({file: found[file]}, name)[1],
                    )
                )
    return result


def _service(
    name: str, service: Mapping[str, Any], released: bool, at: tuple[str, int]
) -> Iterator[_gate.Finding]:
    file, line = at

    def says(rule: str, level: str, message: str, fix: str) -> _gate.Finding:
        return _gate.Finding(rule, level, message, fix, file, line)

    image = str(service.get("image") or "")
    if image and not released and not service.get("build"):
        try:
            reference = _registry.parse(image)
        except _registry.RegistryError as error:
            yield says("compose.image", _gate.ERROR, f"{name}: {error}", "")
            reference = None
        if reference and not reference.digest and reference.tag in ("", "latest"):
            yield says(
                "compose.image",
                _gate.WARNING,
                f"{name} runs {image}, which is another image on another day.",
                "Name its version, or its digest.",
            )
    limits = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    memory = int(limits.get("memory") or service.get("mem_limit") or 0)
    if not memory:
        yield says(
            "compose.memory",
            _gate.WARNING,
            f"{name} has no limit of its memory: it can take that of the database.",
            "Set deploy.resources.limits.memory, or scaling_limits for playbooks/scale.yml.",
        )
    options = str((service.get("environment") or {}).get("NODE_OPTIONS") or "")
    heap = _HEAP.search(options)
    if heap and memory and int(heap[1]) * _MIB > memory * _HEAP_SHARE:
        fits = int(memory * _HEAP_SHARE) // _MIB
        yield says(
            "compose.heap",
            _gate.ERROR,
            f"{name} may use {heap[1]} MiB of heap, and its container {_sizes.megabytes(memory)}: "
            "it is killed before it collects.",
            f"Set --max-old-space-size={fits} at most, or raise the limit.",
        )
    policy = service.get("restart") or ((service.get("deploy") or {}).get("restart_policy") or {})
    if not policy or policy == "no":
        yield says(
            "compose.restart",
            _gate.WARNING,
            f"{name} does not come back after a crash or a reboot.",
            "Set restart: unless-stopped.",
        )


def judge(
    model: _compose.Model,
    found: Mapping[str, str],
    held: Sequence[str],
    released: Sequence[str],
) -> list[_gate.Finding]:
    """Return the traps of a project.

    :param model: compose's own reading.
    :param found: the text of each file.
    :param held: services that hold data.
    :param released: services whose image a deploy pins.
    """
    result = []
    for trap in _compose.traps(model, held):
        rule = next((rule for part, rule in _PREFIX.items() if part in trap), "compose.invalid")
        name = next(
            (one for one in _compose.services(model) if re.search(rf"\b{re.escape(one)}\b", trap)),
            "",
        )
        level = _gate.WARNING if rule == "compose.published" else _gate.ERROR
        result.append(_gate.Finding(rule, level, trap, "", *place(found, name)))
    for name, service in _compose.services(model).items():
        result += _service(name, service, name in released, place(found, name))
    return result


def read(project: _compose.Project) -> tuple[_compose.Model, list[str]]:
    """Return compose's own reading of a project and its warnings, as of a server.

    An ``env_file`` that only the server has is left out: nobody commits it.

    :raises _compose.ComposeError: compose refuses it, or is not installed.
    """
    try:
        return project.model()
    except _compose.ComposeError as error:
        if "env file" not in str(error):
            raise
        done = project.run("config", "--no-env-resolution", "--format", "json")
        if done.rc != 0:
            # An older compose has no such option, or there is more that it refuses.
            raise
        return json.loads(done.stdout), _compose.warnings(done.stderr)


def _refused(said: str, first: str) -> _gate.Finding:
    """Return why compose read nothing: it refuses the files, or is not there to be asked."""
    if not _ABSENT.search(said):
        return _gate.Finding("compose.invalid", _gate.ERROR, said, "", first)
    return _gate.Finding(
        "compose.not_run",
        _gate.ERROR,
        "docker compose is not installed here: what it makes of the compose files was not looked "
        "at.",
        "Install it where the gate runs; no engine is needed.",
        first,
    )


def look(
    folder: str,
    files: Sequence[str],
    env: Mapping[str, str],
    held: Sequence[str],
    released: Sequence[str],
) -> tuple[list[_gate.Finding], _compose.Model | None]:
    """Return all that is to be said of the compose files of a checkout, and compose's reading.

    Without a reading compose is not installed, or refuses them; a finding tells which.
    """
    found = texts(folder, files)
    missing = variables(found, env)
    # What is missing was said; compose shall go on and say the rest.
    stand_ins = {name: "1" for name, _file, _line in lacking(found, env)}
    with environment({**env, **stand_ins}):
        project = _compose.Project(os.path.abspath(folder), "gate", tuple(files))
        try:
            model, warnings = read(project)
        except _compose.ComposeError as error:
            first = files[0] if files else ""
            return [*missing, _refused(str(error), first)], None
        models = {}
        for file in files:
            alone = _compose.Project(os.path.abspath(folder), "gate", (file,))
            try:
                models[file], _warnings = read(alone)
            except _compose.ComposeError:
                # An override is no project by itself, and defines nothing twice.
                continue
    return [
        *missing,
        *heard(warnings, found),
        *judge(model, found, held, released),
        *twice(models, found),
    ], model
