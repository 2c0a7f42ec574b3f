# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Migrate from the candidate image: judge what is pending, apply it, and say what it left."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import (
    _compose,
    _configuration,
    _engine,
    _image_files,
    _image_layers,
    _migration_plan,
    _migration_risk,
    _migrations,
    _one_off,
    _registry,
    _registry_client,
)
from ._docker import Container
from ._engine import Engine

_ATTEMPTS = 5
_PAUSE = 2.0


class _LockedError(_migrations.MigrationError):
    """A migration that did not get its lock in time."""


class Migration:
    """One look at the pending migrations, or one run of them.

    :param params: the arguments of the module release_migrate.
    :param may_create: a container may be created to read the migrations from.
    """

    def __init__(self, engine: Engine, params: dict[str, Any], *, may_create: bool) -> None:
        self.engine = engine
        self.params = params
        self.may_create = may_create
        self.log: list[str] = []
        self.plan = _migration_plan.Plan()
        self.before = self.after = _migrations.Held()
        self.changed = False
        # Journals a step, where an operation is held.
        self.step: Callable[..., None] = lambda _name, **_facts: None
        self.texts: dict[str, str] = {}
        # Whether these are all that the image holds.
        self.whole = True

    def container(self, service: str) -> Container | None:
        """Return the container of a service."""
        containers = self.engine.services(self.params["project"])
        return next((one for one in containers if one.service == service), None)

    def held(self) -> _migrations.Held | None:
        """Return the migrations that the database holds; nothing where nobody can tell."""
        database = self.container(self.params["database_service"])
        return _migrations.held(self.engine, database, self.params["database"])

    def assess(self) -> None:
        """Judge what the image holds and the database does not."""
        held = self.held()
        self.before = self.after = held or _migrations.Held()
        if self.before.failed:
            raise _migrations.MigrationError(_blocked(self.before.failed))
        unknown = self._read() or (
            "" if held is not None else "the database does not say what it holds"
        )
        if unknown:
            self.plan = _migration_plan.Plan(unknown=unknown)
            return
        # As the release before is told; where nothing runs yet nothing is locked either.
        running = self.container(self.params["service"])
        url = running.environment.get(self.params["url_variable"], "") if running else "postgres://"
        self._judge(_migration_plan.pending(self.texts, self.before), url)
        if running and self.plan.ahead and not self.params["allow_ahead"]:
            self._require_known(running)

    def _require_known(self, running: Container) -> None:
        """Refuse code that is older than what the release that runs did to the schema.

        What that release does not know either is no news: production works with it.
        """
        path, project = self.params["path"], self.params["project"]
        image = self.engine.image(running.image_id)
        try:
            texts = _migration_plan.scripts(self.engine, image, path, project=project, create=False)
        except _image_files.NotReadableError:
            return
        names = [name for name in self.plan.ahead if name in texts]
        known = _migration_plan.plan(names, texts, _migrations.Held(), None, lock_timeout=True)
        if known.destructive:
            raise _migrations.MigrationError(_migration_plan.refusal_of_older_code(known))

    def _read(self) -> str:
        """Read the migrations of the image; return why they cannot be read."""
        image = str(self.params["pins"].get(self.params["service"]) or "")
        try:
            self.texts = _migration_plan.scripts(
                self.engine,
                self.engine.image(image) if image else None,
                self.params["path"],
                project=self.params["project"],
                create=self.may_create,
            )
        except _image_files.NotReadableError as error:
            if self.may_create or not image or not self.params["path"]:
                return str(error)
            return self._read_registry(image)
        return ""

    def _read_registry(self, image: str) -> str:
        """Read the migrations where nothing may be written to the server."""
        reference = _registry.parse(image)
        username, password = self.params["registry_username"], self.params["registry_password"]
        login = _registry.authentication(image, username, password, [reference.registry])
        login = login or _engine.stored_login(reference.registry)
        insecure = _registry_client.is_insecure(reference.registry, self.engine.info)
        client = _registry_client.Client(reference, login, insecure=insecure)
        running = self.container(self.params["service"])
        local = (self.engine.image(running.image_id) if running else None) or {}
        layers = (local.get("RootFS") or {}).get("Layers") or []
        try:
            files, self.whole = _image_layers.read(
                client, self.engine.architecture, self.params["path"], layers
            )
        except _registry_client.ReadError as error:
            return f"their image is not on the server before the pull, and {error}"
        self.texts = _migration_plan.by_name(files)
        return ""

    def _judge(self, names: list[str], url: str) -> str:
        """Refuse what is not allowed, and return the URL by which the rest may run."""
        database = self.container(self.params["database_service"])
        sizes = (
            _migration_plan.tables(self.engine, database, self.params["database"]) if names else {}
        )
        seconds = self.params["lock_timeout"]
        limited = _migration_plan.limited(url, seconds) if seconds > 0 else None
        self.plan = _migration_plan.plan(
            *(names, self.texts, self.before, sizes),
            lock_timeout=limited is not None,
            whole=self.whole,
        )
        if self.plan.destructive and not self.params["allow_destructive"]:
            raise _migrations.MigrationError(_migration_plan.refusal(self.plan))
        return limited if limited and not self.plan.concurrently else url

    def migrate(self, proved: _configuration.Candidate) -> None:
        """Apply what is pending."""
        self.before = self.after = self.held() or _migrations.Held()
        applied = list(self.before.applied)
        if applied and not self.before.failed and applied == self.params["applied_before"]:
            return
        found = self._pending(proved.project)
        if found == [] and not self.before.rolled_back:
            return
        unknown = self._read()
        names = self._names(found)
        if found == [] and not names:
            return
        url = limited = self._url(proved)
        if self.params["path"]:
            limited = self._judge(names, url)
        else:
            self.plan = _migration_plan.Plan(tuple(names), unknown=unknown)
        environment = {self.params["url_variable"]: limited} if limited != url else {}
        self.step("migrate", pending=names)
        # From here on the database is touched, whatever comes of it.
        self.changed = True
        try:
            self._apply_again(proved.project, environment)
        finally:
            self.after = self.held() or _migrations.Held()
        self.changed = found is None or bool(self.applied or found)

    def _apply_again(self, project: _compose.Project, environment: dict[str, str]) -> None:
        """Apply, and try again where all that went wrong was a lock that somebody else held.

        While a migration waits for a lock, every request to that table waits behind it. So it
        waits for a short time, several times, and lets them pass in between.
        """
        schema = self._schema()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._apply(project, environment)
                return
            except _migrations.MigrationError as error:
                self.after = self.held() or _migrations.Held()
                resolved = self._resolve(project, schema)
                again = isinstance(error, _LockedError) and bool(resolved)
                if not again or attempt == _ATTEMPTS:
                    raise _migrations.MigrationError(f"{error}{resolved}") from error
            time.sleep(_PAUSE)

    def _schema(self) -> str:
        database = self.container(self.params["database_service"])
        return _migration_plan.schema(self.engine, database, self.params["database"])

    def _resolve(self, project: _compose.Project, schema: str) -> str:
        """Unblock what a failed migration blocks, when it left nothing; return what to say."""
        failed = list(self.after.failed)
        if not (
            self.params["resolve_command"] and len(failed) == 1 and schema and not self.applied
        ):
            return ""
        text = self.texts.get(failed[0], "")
        if not text or not _migration_risk.leaves_traces_in_the_schema_alone(text):
            return ""
        if self._schema() != schema:
            return ""
        done = self._run(project, f"{self.params['resolve_command']} {shlex.quote(failed[0])}")
        if done.rc != 0:
            return ""
        return f" {failed[0]} left nothing behind and is marked as rolled back."

    def _names(self, found: list[str] | None) -> list[str]:
        """Return what the tool calls pending, or what the image holds where it cannot tell."""
        names = _migration_plan.pending(self.texts, self.before) if found is None else found
        # The tool does not call that pending, and applies it. One that this image does not hold
        # belongs to another release.
        again = [one for one in self.before.rolled_back if one in self.texts or not self.texts]
        return sorted({*names, *again})

    @property
    def applied(self) -> list[str]:
        """The migrations that the database holds now and did not before."""
        return [one for one in self.after.applied if one not in self.before.applied]

    def _url(self, proved: _configuration.Candidate) -> str:
        service = _compose.services(proved.model).get(self.params["service"], {})
        url = (service.get("environment") or {}).get(self.params["url_variable"]) or ""
        # Compose doubles each dollar in what it prints.
        return str(url).replace("$$", "$")

    def _run(
        self, project: _compose.Project, command: str, environment: dict[str, str] | None = None
    ) -> _compose.Completed:
        done = _one_off.run(
            self.engine,
            project,
            self.params["service"],
            shlex.split(command),
            self.params["timeout"],
            environment=environment,
        )
        self.log = _one_off.tail(f"{done.stdout}\n{done.stderr}")
        return done

    def _pending(self, project: _compose.Project) -> list[str] | None:
        """Return what is pending; nothing where it cannot be told."""
        if not self.params["status_command"]:
            return None
        done = self._run(project, self.params["status_command"])
        output = f"{done.stdout}\n{done.stderr}"
        status = _migrations.parse_status(output)
        if status.failed:
            raise _migrations.MigrationError(_blocked(status.failed))
        if not status.known:
            raise _migrations.MigrationError(
                f"{self.params['status_command']} ended with {done.rc} and does not say what is "
                f"pending: {_migrations.reason(output)}"
            )
        return list(status.pending)

    def _apply(self, project: _compose.Project, environment: dict[str, str]) -> None:
        done = self._run(project, self.params["command"], environment)
        if done.rc == 0:
            return
        output = f"{done.stdout}\n{done.stderr}"
        reason = _migrations.reason(output).rstrip(".")
        said = f"{self.params['command']} ended with {done.rc}: {reason}"
        if environment and "lock timeout" in output:
            raise _LockedError(
                f"{said}. It waited {self.params['lock_timeout']} s for a lock that another "
                f"session holds (deploy_migrate_lock_timeout), up to {_ATTEMPTS} times; try again "
                "when long transactions have ended."
            )
        raise _migrations.MigrationError(f"{said}.")

    def result(self) -> dict[str, Any]:
        """Return what is known by now."""
        return {
            "changed": self.changed,
            "pending": list(self.plan.pending) or self.applied,
            "risks": {name: one.as_dict() for name, one in self.plan.risks.items()},
            "destructive": self.plan.destructive,
            "unknown": self.plan.unknown,
            "ahead": list(self.plan.ahead),
            "lines": self.plan.lines,
            "migrations": self.after.as_dict(),
            "log": self.log,
        }


def _blocked(failed: Sequence[str]) -> str:
    return (
        f"The database holds a migration that failed before: {', '.join(failed)}. No other is "
        "applied until it is resolved; nothing was migrated now."
    )
