# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What has to be done so that a proved configuration is what runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import (
    _compose,
    _configuration,
    _configuration_report,
    _configuration_write,
    _history,
    _one_off,
    _plan,
    _releases,
    _service_table,
    _switch,
)
from ._engine import Engine

Services = dict[str, dict[str, Any]]
_LAST_TIER = 3
_TEST_TIMEOUT = 60


@dataclass(frozen=True)
class Work:
    """Everything that has to be done.

    :param services: every service of the project with its action and the reasons.
    :param reload: what kept containers have to read again, by service.
    :param moved: services whose addresses a proxy has to look up again.
    :param actions: all of it in words.
    :param notes: what is deliberately not done, in words.
    """

    services: Services
    reload: dict[str, list[str]]
    moved: list[str]
    actions: list[str]
    notes: list[str]


def work(
    proved: _configuration.Candidate,
    engine: Engine,
    table: _service_table.Table,
    current: _releases.Release | None,
    config: _releases.Config,
) -> Work:
    """Return what has to be done, from what the candidate, the containers and the record say.

    :param current: the newest release that passed.
    :param config: the fingerprint of the candidate.
    """
    as_recorded = current is not None and current["config"] == config
    services = describe(proved, engine, table, as_recorded)
    unproven = is_unproven(current, config, services)
    moved = [
        name
        for name, one in services.items()
        if one["role"] == "stateless" and (one["action"] in _plan.CHANGES or unproven)
    ]
    reload = to_reload(proved, services, current["config"]["files"] if current else None, moved)
    return Work(services, reload, moved, _actions(proved, services, reload), _notes(services))


def describe(
    proved: _configuration.Candidate,
    engine: Engine,
    table: _service_table.Table,
    as_recorded: bool,
) -> Services:
    """Return what the containers need."""
    wish = proved.wish
    described = _service_table.by_alias(table)
    names = _compose.services(proved.model)
    images = {name: _compose.image_name(proved.model, wish.project, name) for name in names}
    local = {name: engine.image(image) for name, image in images.items()}
    look: dict[str, Any] = {
        "services": list(names),
        "containers": engine.services(wish.project),
        "differing": _configuration_report.differing(proved),
        "hashes": proved.hashes,
        "image_ids": {name: str(image["Id"]) for name, image in local.items() if image},
        "held": wish.held,
    }
    steps = _plan.steps(**look)
    needs = _plan.dependencies(names)
    kept_back = {name for name, step in steps.items() if step.action == _plan.HELD}
    if as_recorded:
        excused = [name for name in names if needs[name] & kept_back]
        steps = _plan.steps(**look, excused=excused)
    for name in _switch.unfinished(engine, wish.project, table):
        if steps.get(name, _plan.Step(_plan.CREATE)).action == _plan.KEEP:
            steps[name] = _plan.Step(_plan.RECREATE, ("an earlier switch was interrupted",))
    return {
        name: {
            "action": step.action,
            "reasons": list(step.reasons),
            "image": images[name],
            "plain_image": proved.plain_images.get(name, images[name]),
            "image_id": str((local[name] or {}).get("Id", "")),
            "built": bool(names[name].get("build")),
            "mounts": sorted(proved.mounted.get(name, {})),
            "role": described.get(name, {}).get("role") or "monitor",
            "dependencies": sorted(needs[name]),
            "held_dependencies": sorted(needs[name] & kept_back),
            "tier": int(described.get(name, {}).get("tier", _LAST_TIER)),
        }
        for name, step in steps.items()
    }


def is_unproven(
    current: _releases.Release | None, config: _releases.Config, services: Services
) -> bool:
    """Return whether containers may have changed since a proxy was last proved.

    A run that was killed after new containers and before the reload leaves a
    proxy with old addresses, and nothing else to do.
    """
    if current is None or current["config"]["env"] != config["env"]:
        return True
    files = [file for file in config["files"] if file.endswith((".yml", ".yaml"))]
    if any(current["config"]["files"].get(file) != config["files"][file] for file in files):
        return True
    images = {name: one["image_id"] for name, one in current["services"].items()}
    return any(
        one["role"] == "stateless" and images.get(name) != one["image_id"]
        for name, one in services.items()
    )


def to_reload(
    proved: _configuration.Candidate,
    services: Services,
    recorded: dict[str, str] | None,
    moved: list[str],
) -> dict[str, list[str]]:
    """Return what kept containers have to read again, and why."""
    kept = [name for name, one in services.items() if one["action"] == _plan.KEEP]
    found = _configuration_report.reloads(proved, recorded, kept)
    for name in kept if moved else ():
        # It looks up its upstreams once, when it reads its configuration.
        if services[name]["role"] == "proxy":
            found.setdefault(name, []).append(f"addresses of {', '.join(moved)}")
    return found


def _actions(
    proved: _configuration.Candidate, services: Services, reload: dict[str, list[str]]
) -> list[str]:
    """Return what has to be done, in words."""
    found = [
        f"remove {one.path}" if one.new is None else f"write {one.path} ({one.action})"
        for one in proved.changes
        if one.path != ".env"
    ]
    for verb, keys in (
        ("add", proved.env.added),
        ("change", proved.env.changed),
        ("remove", proved.env.removed),
    ):
        if keys:
            found.append(f"{verb} in .env: {', '.join(keys)}")
    for name, one in services.items():
        why = f" ({', '.join(one['reasons'])})" if one["reasons"] else ""
        if one["action"] in _plan.CHANGES:
            found.append(f"{one['action']} {name}{why}")
    return found + [f"reload {name} ({', '.join(why)})" for name, why in reload.items()]


def _notes(services: Services) -> list[str]:
    """Return what is deliberately not done."""
    return [
        f"{name} keeps its container, for it holds data ({', '.join(one['reasons'])}); "
        f"to replace it name it in deploy_stateful"
        for name, one in services.items()
        if one["action"] == _plan.HELD
    ]


def try_out(
    proved: _configuration.Candidate,
    engine: Engine,
    services: Services,
    tests: Mapping[str, Any],
) -> list[str]:
    """Let each service that has a test judge its new files; return whose were judged."""
    touched = {change.path for change in proved.changes if change.content}
    tried = []
    for name, command in sorted(tests.items()):
        service = services.get(name)
        if service is None or service["action"] == _plan.CREATE:
            # Nothing runs that could break, and a proxy cannot find what does not run yet.
            continue
        files = sorted(touched & set(service["mounts"]))
        if not files:
            continue
        done = _one_off.run(engine, proved.project, name, shlex.split(command), _TEST_TIMEOUT)
        if done.rc != 0:
            said = " ".join(_one_off.tail(f"{done.stdout}\n{done.stderr}", 5))
            raise _configuration.ConfigurationError(
                f"{name} refuses {', '.join(files)} ({command}): {said}"
            )
        tried.append(name)
    return tried


def put_in_place(
    proved: _configuration.Candidate,
    config: _releases.Config,
    current: _releases.Release | None,
    state_dir: str | None,
) -> None:
    """Keep the old and the new configuration for a rollback, then write the new one.

    In this order a full disk is met before anything in use is touched.
    """
    dest = proved.wish.dest
    if state_dir:
        if current is not None:
            _history.keep_in_use(current, dest, state_dir)
        _history.keep(config, proved.project.directory, proved.env_text, dest, state_dir)
    _configuration_write.apply(proved)
