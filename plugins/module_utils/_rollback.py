# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Back to a release: its images, its configuration, its environment, and what the schema says.

Everything that it needs lies on the server. It is looked for first, so that a release
that cannot be had whole is refused before anything is touched.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import (
    _backups,
    _compose,
    _configuration,
    _configuration_report,
    _delivered,
    _deployment,
    _env_file,
    _history,
    _holding,
    _one_off,
    _owned,
    _plan,
    _proxy,
    _releases,
    _reload,
    _rollback_backup,
    _rollout_run,
    _schema_ahead,
    _service_table,
    _verification,
)
from ._docker import DockerError
from ._engine import Engine

KEEP, JUDGE = "keep", "judge"


class RollbackError(Exception):
    """A release that cannot be gone back to; the text is a whole sentence."""


@dataclass
class Goal:
    """A release that can be gone back to."""

    release: _releases.Release
    current: _releases.Release | None
    pins: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    ahead: _schema_ahead.Ahead = field(default_factory=_schema_ahead.Ahead)
    backup: _rollback_backup.Chosen | None = None
    backups_known: bool = False


def choose(releases: Sequence[_releases.Release], wanted: str) -> _releases.Release:
    """Return the release that a word stands for.

    :param wanted: C(previous), C(current), an id, a version or its beginning, a tag, a digest.
    """
    passed = _releases.good(releases)
    if not passed:
        raise RollbackError("No release has passed on this server yet; none can be gone back to.")
    if wanted == "current":
        return passed[0]
    if wanted == "previous":
        found = _releases.previous(releases)
        if found is None:
            raise RollbackError(
                f"There is no release before {passed[0]['id']} that passed and was not itself "
                "rolled back; deploy another version instead."
            )
        return found
    digest = wanted.rpartition("@")[2]
    if digest.startswith("sha256:"):
        for release in passed:
            for image in release["services"].values():
                if digest in (image["digest"], image["image_id"]):
                    return release
        raise RollbackError(f"No good release ran an image with the digest {digest}.")
    return _releases.find(list(releases), wanted.rpartition(":")[2] or wanted)


def decide(goal: Goal, choice: str) -> None:
    """Refuse a release that cannot work with the database, unless somebody decided."""
    if not goal.ahead.harmful or choice == KEEP:
        return
    release = goal.release
    raise RollbackError(
        f"The database is ahead of {release['id']} ({release['version'][:12]}) by "
        f"{', '.join(goal.ahead.names)}, and the code of that release cannot be trusted with "
        f"{', '.join(goal.ahead.harmful)}: {'; '.join(goal.ahead.lines)}. Nothing was changed. "
        f"Choose: rollback_database=keep runs the old code on the new schema; {_restore(goal)}."
    )


def _restore(goal: Goal) -> str:
    """Return what a restore would go back to, and what it would lose."""
    if goal.backup:
        return f"rollback_database=restore goes back to {goal.backup.said}"
    if goal.backups_known:
        return "no verified backup has a schema that its code works with"
    return "rollback_database=restore goes back to a backup from before"


class Rollback:
    """One way back, from the words of the caller to what runs."""

    def __init__(self, engine: Engine, params: Mapping[str, Any]) -> None:
        """Find everything that it needs; nothing is changed.

        :param params: the options of the module C(compose_rollback).
        :raises RollbackError: the release cannot be had, or the database is against it.
        """
        self.engine = engine
        self.params = params
        self.step: Callable[..., None] = lambda _name, **_facts: None
        self.learn: Callable[[Mapping[str, str]], None] = lambda _environment: None
        self.table: _service_table.Table = params["table"]
        # Whether something of production was written or switched.
        self.touched = False
        releases = _releases.load(params["state_dir"])
        passed = _releases.good(releases)
        self.goal = Goal(choose(releases, params["to"]), passed[0])
        self._find_images()
        lost = _history.missing(self.goal.release, params["dest"], params["state_dir"])
        if lost:
            raise RollbackError(
                f"The configuration of {self.goal.release['id']} is not on the server any more: "
                f"{', '.join(lost)}. Deploy {self.goal.release['version']} with its configuration "
                "instead (playbooks/deploy.yml -e deploy_version=… -e deploy_config_dir=…). "
                "Nothing was changed."
            )
        if params["migrate_service"]:
            self.goal.ahead = self._ahead(releases)
        if params["backup_dir"]:
            self.goal.backups_known = True
            self.goal.backup = _rollback_backup.choose(
                _backups.listing(params["backup_dir"]),
                (self.goal.release.get("migrations") or {}).get("head") or "",
                self.goal.ahead,
                database=params["database"],
            )
        decide(self.goal, params["on_schema"])

    def _ahead(self, releases: Sequence[_releases.Release]) -> _schema_ahead.Ahead:
        held = _schema_ahead.held(self.engine, self.params)
        if held is None:
            raise RollbackError(
                f"The database {self.params['database']} of {self.params['database_service']} does "
                "not say which migrations it holds; whether the release can work with it cannot "
                "be told. Nothing was changed."
            )
        known = self.goal.release["migrations"]["applied"]
        names = [name for name in (*held.applied, *held.failed) if name not in known]
        create = not self.params["check_mode"]
        return _schema_ahead.judge(self.engine, releases, names, self.params, create=create)

    def _find_images(self) -> None:
        missing = []
        aliases = _service_table.aliases(self.table)
        for name in (aliases.get(one, one) for one in self.params["released"]):
            image = self.goal.release["services"].get(name)
            if image is None:
                continue
            reference = _holding.reference(self.engine, image)
            if reference is None:
                missing.append(f"{name} ({image['reference']})")
            else:
                self.goal.pins[name] = reference
                self.goal.images[name] = image["image_id"]
        if missing:
            raise RollbackError(
                f"Images of {self.goal.release['id']} are not on the server any more: "
                f"{', '.join(missing)}. With the registry at hand: playbooks/deploy.yml -e "
                f"deploy_version={self.goal.release['version']}. Nothing was changed."
            )

    def go(self, *, write: bool) -> dict[str, Any]:
        """Go back, and return the result of the module.

        :param write: without it, say what would be done.
        """
        folder = tempfile.mkdtemp(prefix=_delivered.PREFIX)
        try:
            rebuilt = _history.materialise(
                self.goal.release, self.params["dest"], self.params["state_dir"], folder
            )
            # What was secret then must not be shown either.
            values = _env_file.values(_configuration.text_of(rebuilt.env_file))
            self.learn({key: value for key, value in values.items() if value})
            wish = _configuration.Wish(
                dest=self.params["dest"],
                src=rebuilt.src,
                files=tuple(self.params["files"]),
                project=self.params["project"],
                env_file=rebuilt.env_file,
                absent=self._surplus(),
                pins=self.goal.pins,
                services=tuple(_service_table.aliases(self.table).values()),
                held=tuple(_service_table.held(self.table, self.params["replace"])),
                owned=self._owned(),
            )
            with _configuration.candidate(wish) as proved:
                return self._from(proved, write)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _from(self, proved: _configuration.Candidate, write: bool) -> dict[str, Any]:
        config = _configuration_report.fingerprint(proved)
        current = self.goal.current
        work = _deployment.work(proved, self.engine, self.table, current, config)
        actions = self._to_do(work)
        result: dict[str, Any] = {
            "changed": bool(actions),
            "failed": False,
            "release": self.goal.release,
            "from": current["id"] if current else "",
            "actions": actions,
            "notes": work.notes,
            "ahead": list(self.goal.ahead.names),
            "backup": self.goal.backup.as_dict() if self.goal.backup else {},
            "config": config,
            "images": {name: {**self.goal.release["services"][name]} for name in self.goal.pins},
            "measured": {},
            "report": [],
        }
        if not write:
            return result
        self._require_images(work)
        _deployment.try_out(proved, self.engine, work.services, self.params["config_tests"])
        if proved.changes:
            self.step("write configuration", files=[one.path for one in proved.changes])
        self.touched = bool(actions)
        _deployment.put_in_place(proved, config, None, self.params["state_dir"])
        files = (*self.params["files"], _compose.RELEASE_FILE)
        project = _compose.Project(self.params["dest"], self.params["project"], files)
        self._switch(project, work, result)
        if not result["failed"]:
            self._reload(work, result)
            self._verify(result)
        return result

    def _to_do(self, work: _deployment.Work) -> list[str]:
        """Return what has to be done; a proxy is led to what moves, and asks for no addresses."""
        front = _service_table.front(self.table, "")
        told = f"reload {front.service} (addresses of {', '.join(work.moved)})" if front else ""
        return [action for action in work.actions if action != told]

    @staticmethod
    def _require_images(work: _deployment.Work) -> None:
        """Refuse where a service that is not released by us needs an image that is gone."""
        gone = [
            f"{name} ({one['image']})"
            for name, one in work.services.items()
            if one["action"] in _plan.CHANGES and not one["image_id"]
        ]
        if gone:
            raise RollbackError(
                f"Images of {', '.join(gone)} are not on the server; pull them by hand, then run "
                "this again. Nothing was changed."
            )

    def _surplus(self) -> tuple[str, ...]:
        """Return the files that only the newer release has: a directory is mounted as a whole."""
        if self.goal.current is None:
            return ()
        files = _history.surplus(self.goal.release, self.goal.current)
        own = (*self.params["files"], *self._owned())
        return tuple(file for file in files if file not in own)

    def _owned(self) -> tuple[str, ...]:
        """Return the files that no release brings, whatever its record says."""
        return _owned.paths(self.params["state_dir"], self.params["dest"])

    def _switch(
        self, project: _compose.Project, work: _deployment.Work, result: dict[str, Any]
    ) -> None:
        """Bring every service that has to change to the release, tier by tier."""
        held = set(_service_table.held(self.table, self.params["replace"]))
        to_change = {
            name: one
            for name, one in work.services.items()
            if one["action"] in _plan.CHANGES and name not in held
        }
        for tier in sorted({one["tier"] for one in to_change.values()}):
            names = [name for name, one in to_change.items() if one["tier"] == tier]
            rolled = [name for name in names if to_change[name]["role"] == "stateless"]
            others = [name for name in names if name not in rolled]
            spared = any(to_change[name]["held_dependencies"] for name in names)
            if rolled:
                self._roll(project, rolled, not spared, result)
            if others and not result["failed"]:
                self._bring_up(project, others, not spared, result)
            if result["failed"]:
                return

    def _roll(
        self,
        project: _compose.Project,
        names: list[str],
        dependencies: bool,
        result: dict[str, Any],
    ) -> None:
        params = {
            **self.params,
            "services": names,
            "dependencies": dependencies,
            "version": self.goal.release["version"],
            "tidy": False,
        }
        try:
            rollout = _rollout_run.Rollout(self.engine, project, params)
            rollout.step = self.step
            done = rollout.perform()
        except (_rollout_run.RolloutError, _proxy.ProxyError) as error:
            # The configuration was changed by now.
            sentence = str(error).removesuffix(" Nothing was changed.")
            result.update({"failed": True, "msg": sentence})
            return
        result["measured"] |= done["measured"]
        result["notes"] += done["lines"]
        if done["failed"]:
            result.update({key: done[key] for key in ("failed", "msg", "state", "report")})

    def _bring_up(
        self,
        project: _compose.Project,
        names: list[str],
        dependencies: bool,
        result: dict[str, Any],
    ) -> None:
        self.step(f"up {', '.join(names)}")
        wait = int(self.params["healthy_timeout"])
        done = project.up(
            names,
            dependencies=dependencies,
            recreate=True,
            wait_timeout=wait,
            dry_run=False,
            timeout=wait + 300,
        )
        if done.rc != 0:
            result["failed"] = True
            result["msg"] = f"{', '.join(names)} did not come up: {_compose.up_error(done.stderr)}"

    def _reload(self, work: _deployment.Work, result: dict[str, Any]) -> None:
        """Let kept containers read what changed."""
        project = self.params["project"]
        front = _service_table.front(self.table, self.params["domain"])
        for name, reasons in work.reload.items():
            proxy = front is not None and name == front.service
            if proxy and all(reason.startswith("addresses of") for reason in reasons):
                continue
            command = "nginx -s reload" if proxy else ""
            way = _reload.Way("", command, self.params["reload_signals"].get(name, ""), proxy)
            for container in _reload.containers(self.engine, project, name):
                self.step(f"reload {container.name}")
                try:
                    _reload.reload(self.engine, container, way)
                except (DockerError, _reload.ReloadError) as error:
                    result["notes"].append(f"{name} did not read its configuration: {error}")

    def _verify(self, result: dict[str, Any]) -> None:
        """See that the release answers, directly and through the proxy, by its images."""
        self.step("verify")
        described = _service_table.by_alias(self.table)
        targets = [
            _verification.target(name, image_id, described.get(name, {}))
            for name, image_id in self.goal.images.items()
        ]
        front = _service_table.front(self.table, self.params["domain"])
        outcome = _verification.poll(
            lambda: _verification.problems(
                self.engine.services(self.params["project"]),
                targets,
                front,
                self.goal.release["version"],
            ),
            deadline=float(self.params["healthy_timeout"]),
            consecutive=int(self.params["consecutive"]),
            interval=float(self.params["interval"]),
        )
        if not outcome.passed:
            result["failed"] = True
            result["msg"] = (
                f"{self.goal.release['id']} was put back and does not answer: "
                f"{'; '.join(outcome.problems)}."
            )


EXPECTED = (
    RollbackError,
    _backups.BackupError,
    _compose.ComposeError,
    _configuration.ConfigurationError,
    _env_file.EnvFileError,
    _history.HistoryError,
    _one_off.OneOffError,
    _proxy.ProxyError,
    _releases.ReleaseError,
    _rollout_run.RolloutError,
    DockerError,
)
