#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give running monitoring services another configuration, proven before and afterwards."""

from __future__ import annotations

DOCUMENTATION = r"""
module: monitoring_config
short_description: Give running monitoring services another configuration, proven before and afterwards
version_added: 0.1.0
description:
  - Writes configuration files of a compose project. Before that a container of its own, with the
    image of the service, judges them. What is replaced is kept.
  - A service that runs reads them by SIGHUP, and is then asked what it has in force - Prometheus by
    C(/api/v1/status/config), C(/api/v1/rules) and the time of its last reload, Alertmanager by
    the hash of its configuration. Where that is not what was written the old files come back, and the module
    fails. A service is restarted only when it cannot see a file that somebody replaced.
  - A service that has not read files which are as they have to be, because an earlier run was
    killed, is made to.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - The Docker engine with Compose 2.20 or later on the server.
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
  - carrental.ops._compose_project.dest
attributes:
  check_mode:
    support: full
    details: [No container is started, so that services do not judge their files.]
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  content:
    description: Text of each file, by its path relative to O(dest).
    type: dict
    required: true
  own:
    description:
      - Whether the files belong to this procedure from now on. A deploy and a rollback leave them as
        they are then, whatever a release delivers in their place.
    type: bool
    default: false
  previous:
    description: Directory that keeps the files which are replaced, below their relative paths.
    type: path
    required: true
  tests:
    description: How a service judges its files, as a command in its image, by service.
    type: dict
    default: {}
  readers:
    description: The services that read the files.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Service, as compose calls it.
        type: str
        required: true
      kind:
        description: >-
          How it tells what it has in force; V(plain) tells nothing, and V(restart) reads its files at
          its start alone.
        type: str
        choices: [prometheus, alertmanager, plain, restart]
        required: true
      port:
        description: Port of its API.
        type: int
        default: 0
      files:
        description: Where each file of O(content) that it reads is in its container.
        type: dict
        required: true
      jobs:
        description: Scrape jobs that Prometheus has to have.
        type: list
        elements: str
        default: []
      alerts:
        description: Alerts that Prometheus has to have rules for, each as often as it has one.
        type: list
        elements: str
        default: []
  inside:
    description: Files that go into running containers, for want of a mount.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Service, as compose calls it.
        type: str
        required: true
      folder:
        description: Directory in its container.
        type: str
        required: true
      files:
        description: Text of each file, relative to the directory.
        type: dict
        default: {}
      restart:
        description: Whether the service reads them at its start alone.
        type: bool
        default: false
  secrets:
    description: >-
      Secrets of a service, which only its own user can read there. The texts are never returned,
      shown or logged.
    type: dict
    default: {}
    suboptions:
      service:
        description: Service, as compose calls it.
        type: str
      folder:
        description: Directory in its container, in one of its volumes.
        type: str
      files:
        description: Text of each file.
        type: dict
      paths:
        description: Files of the server with the text of each file.
        type: dict
  credentials:
    description: >-
      Files with logins, by path relative to O(dest), made on the server - C(kind) is V(user),
      V(password) or V(redis). A C(text), or the content of the C(path) of the server, is what it
      holds; without both it is in the environment of the running container of the C(service) in
      O(stack). V(redis) has the C(address) that the login is for.
    type: dict
    default: {}
  stack:
    description: The compose project of the containers in O(credentials).
    type: str
    default: ""
  connect:
    description: Networks that a running service is put on, by service.
    type: dict
    default: {}
  timeout:
    description: Seconds that a reload may take.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Give Alertmanager other receivers
  carrental.ops.monitoring_config:
    dest: /opt/carrental
    files: [docker-compose.prod.yml, docker-compose.monitoring.yml]
    project: carrental
    content:
      monitoring/alertmanager.yml: "{{ lookup('ansible.builtin.template', 'alertmanager.yml.j2') }}"
    own: true
    previous: /opt/carrental/.ops/monitoring/previous
    tests:
      alertmanager: amtool check-config /etc/alertmanager/alertmanager.yml
    readers:
      - service: alertmanager
        kind: alertmanager
        port: 9093
        files: {monitoring/alertmanager.yml: /etc/alertmanager/alertmanager.yml}
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in words.
  returned: always
  type: list
  elements: str
  sample: ["write monitoring/alertmanager.yml (changed)", "reloaded alertmanager"]
previous:
  description: Where the files lie that were replaced.
  returned: success
  type: list
  elements: str
  sample: [/opt/carrental/.ops/monitoring/previous/monitoring/alertmanager.yml]
tested:
  description: Services that judged their new files.
  returned: success
  type: list
  elements: str
  sample: [alertmanager]
notes:
  description: What an operator should know, in words.
  returned: success
  type: list
  elements: str
  sample: []
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _arguments,
    _compose,
    _configuration,
    _configuration_report,
    _configuration_write,
    _delivered,
    _deployment,
    _docker,
    _engine,
    _env_file,
    _inside,
    _monitoring,
    _monitoring_apply,
    _one_off,
    _operation,
    _operation_module,
    _operation_work,
    _owned,
    _plan,
    _services,
)

EXPECTED = (
    _compose.ComposeError,
    _configuration.ConfigurationError,
    _docker.DockerError,
    _env_file.EnvFileError,
    _monitoring.MonitoringError,
    _one_off.OneOffError,
    _operation.OperationError,
    _services.InputError,
)
_SECRET_MODE = 0o400
_FILE_MODE = 0o444
_LOGINS = {
    "user": ("POSTGRES_USER",),
    "password": ("POSTGRES_PASSWORD",),
    "redis": ("REDIS_PASSWORD",),
}


class Monitoring:
    """One call of the module."""

    def __init__(self, run: _operation_module.OperationModule) -> None:
        self.run = run
        self.params = run.params
        self.check = bool(run.module.check_mode)
        self.engine = _engine.Engine()
        self.texts = {path: str(text) for path, text in run.params["content"].items()}
        self.readers = [
            _monitoring_apply.Reader(
                one["service"],
                one["kind"],
                one["port"],
                tuple(one["files"]),
                one["files"],
                tuple(one["jobs"]),
                tuple(one["alerts"]),
            )
            for one in run.params["readers"]
        ]
        self.actions: list[str] = []
        self.notes: list[str] = []
        self.previous: list[str] = []
        self.tested: list[str] = []
        self.diff: list[dict[str, str]] = []
        self.secrets = self._secrets()

    def _secrets(self) -> dict[str, str]:
        """Return the texts of the secrets, wherever they come from."""
        given = self.params["secrets"] or {}
        found = {name: str(text) for name, text in (given.get("files") or {}).items()}
        for name, path in (given.get("paths") or {}).items():
            found[name] = _configuration.text_of(path).strip()
            if not found[name]:
                raise _monitoring.MonitoringError(
                    f"The secret of the channel {name} has to be in {path} on the server, and that "
                    "file is empty or not there. Nothing was changed."
                )
        for text in found.values():
            self.run.masker.add(text)
        return found

    def containers(self) -> dict[str, _docker.Container]:
        """Return the running containers of the project by their services."""
        listed = self.engine.services(self.params["project"])
        return {one.service: one for one in listed if one.running}

    def go(self) -> dict[str, Any]:
        """Do everything, and return the result."""
        folder = tempfile.mkdtemp(prefix=_delivered.PREFIX)
        try:
            self._lay_out(folder)
            wish = _configuration.Wish(
                dest=self.params["dest"],
                src=folder,
                files=tuple(self.params["files"]),
                project=self.params["project"],
            )
            with (
                self.run.operation("monitoring_config") as operation,
                _configuration.candidate(wish) as proved,
            ):
                self._converge(proved, operation)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self.result()

    def result(self) -> dict[str, Any]:
        """Return what every call returns."""
        found: dict[str, Any] = {
            "changed": bool(self.actions),
            "actions": self.actions,
            "notes": self.notes,
            "previous": self.previous,
            "tested": self.tested,
        }
        if self.run.module._diff:
            found["diff"] = self.diff
        return found

    def _lay_out(self, folder: str) -> None:
        for path, text in {**self.texts, **self._logins()}.items():
            target = os.path.join(folder, path)
            if os.path.isabs(path) or ".." in path.split("/"):
                raise _monitoring.MonitoringError(
                    f"{path!r} is no path below {self.params['dest']}. Nothing was changed."
                )
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w", encoding="utf-8") as stream:
                stream.write(text)

    def _logins(self) -> dict[str, str]:
        found: dict[str, str] = {}
        running = {one.service: one for one in self.engine.services(self.params["stack"])}
        for path, wanted in self.params["credentials"].items():
            text = wanted.get("text") or ""
            if wanted.get("path"):
                text = _services.read_secret(wanted["path"])
            elif not text:
                container = running.get(wanted["service"])
                environment = container.environment if container else {}
                text = next(
                    (environment[key] for key in _LOGINS[wanted["kind"]] if key in environment), ""
                )
            if wanted["kind"] != "user":
                self.run.masker.add(text)
            if wanted["kind"] == "redis":
                text = json.dumps({wanted["address"]: text})
            found[path] = text
        return found

    def _converge(
        self, proved: _configuration.Candidate, operation: _operation_work.Operation
    ) -> None:
        running = self.containers()
        changes = list(proved.changes)
        self.diff = _configuration_report.diff(proved, self.run.masker)
        due = self._due(changes, running)
        if not self.check:
            self._pull(proved, operation)
        self._judge(proved, due)
        if not self.check:
            self._keep(changes)
        self._secret_files(running, operation)
        self._networks(running, operation)
        self.actions += [f"write {one.path} ({one.action})" for one in changes]
        if self.check:
            self.actions += [f"reload {one.service}" for one in due if one.service in running]
            self._into_containers(running, operation)
            return
        if changes:
            operation.step("write monitoring", files=[one.path for one in changes])
            _configuration_write.apply(proved)
        try:
            for reader in due:
                if reader.service in running:
                    operation.step(f"reload {reader.service}")
                    self.actions.append(self._reload(reader, running[reader.service]))
        except (_monitoring.MonitoringError, _docker.DockerError) as error:
            self._back(proved, changes, running, error)
        self._into_containers(running, operation)

    def _due(
        self, changes: list[_configuration.Change], running: Mapping[str, _docker.Container]
    ) -> list[_monitoring_apply.Reader]:
        """Return the readers that have to read something."""
        touched = {one.path for one in changes if one.content}
        found = []
        for reader in self.readers:
            container = running.get(reader.service)
            behind = container is not None and _monitoring_apply.stale(
                reader, container, self.texts, self.params["dest"]
            )
            if touched & set(reader.files) or behind:
                found.append(reader)
        return found

    def _pull(self, proved: _configuration.Candidate, operation: _operation_work.Operation) -> None:
        wanted = {reader.service for reader in self.readers} | set(self.params["tests"])
        for name, service in _compose.services(proved.model).items():
            image = str(service.get("image") or "")
            everything = not self.params["own"]
            if (everything or name in wanted) and image and self.engine.image(image) is None:
                operation.step(f"pull {image}")
                self.engine.pull(image, None)
                self.actions.append(f"pull {image}")

    def _judge(self, proved: _configuration.Candidate, due: list[_monitoring_apply.Reader]) -> None:
        wanted = {reader.service for reader in due}
        for name in sorted(wanted) if self.check else ():
            image = str(_compose.services(proved.model).get(name, {}).get("image") or "")
            if image and self.engine.image(image) is None:
                self.notes.append(f"{name} does not judge its files before {image} is pulled.")
                wanted.discard(name)
        services: dict[str, dict[str, Any]] = {
            name: {"action": _plan.KEEP, "mounts": sorted(proved.mounted.get(name, {}))}
            for name in wanted
        }
        tests = {name: one for name, one in self.params["tests"].items() if name in wanted}
        self.tested = _deployment.try_out(proved, self.engine, services, tests)

    def _secret_files(
        self, running: Mapping[str, _docker.Container], operation: _operation_work.Operation
    ) -> None:
        if not self.secrets:
            return
        service, folder = self.params["secrets"]["service"], self.params["secrets"]["folder"]
        container = running.get(service)
        if container is None:
            self.notes.append(
                f"{service} does not run, so its secrets were not given to it; run this again."
            )
            return
        names = _inside.differing(self.engine, container, folder, self.secrets)
        if not names:
            return
        self.actions += [f"give {service} the secret {name}" for name in names]
        if not _inside.is_kept(container, folder):
            self.notes.append(
                f"{folder} of {service} is in no volume: its secrets are gone with its container."
            )
        if not self.check:
            operation.step(f"give secrets to {service}", names=names)
            _inside.write(self.engine, container, folder, self.secrets, _SECRET_MODE)

    def _networks(
        self, running: Mapping[str, _docker.Container], operation: _operation_work.Operation
    ) -> None:
        for service, networks in self.params["connect"].items():
            container = running.get(service)
            if container is None:
                continue
            for network in networks:
                if network in container.networks:
                    continue
                self.actions.append(f"put {container.name} on the network {network}")
                if not self.check:
                    operation.step(f"connect {service} to {network}")
                    self.engine.connect(network, container.id, [service])

    def _keep(self, changes: list[_configuration.Change]) -> None:
        """Note whose files they are, and keep what they replace."""
        if self.params["own"] and self.params["state_dir"]:
            try:
                _owned.claim(self.params["state_dir"], self.params["dest"], self.texts)
            except OSError as error:
                raise _monitoring.MonitoringError(
                    f"Cannot note in {self.params['state_dir']} which files are ours: "
                    f"{error.strerror}. Nothing was changed."
                ) from error
        if changes:
            self.previous = _monitoring_apply.keep_previous(changes, self.params["previous"])

    def _reload(self, reader: _monitoring_apply.Reader, container: _docker.Container) -> str:
        timeout = float(self.params["timeout"])
        return _monitoring_apply.reload(self.engine, reader, container, self.texts, timeout)

    def _back(
        self,
        proved: _configuration.Candidate,
        changes: list[_configuration.Change],
        running: Mapping[str, _docker.Container],
        error: Exception,
    ) -> None:
        """Put the old files back, let everything read them, and fail."""
        _monitoring_apply.undo(proved, changes)
        for reader in self.readers:
            if reader.service in running:
                with contextlib.suppress(_docker.DockerError):
                    self.engine.signal(running[reader.service].id, "HUP")
        raise _monitoring.MonitoringError(
            f"{str(error).rstrip('.')}. The old files are back, and are read again."
        ) from error

    def _into_containers(
        self, running: Mapping[str, _docker.Container], operation: _operation_work.Operation
    ) -> None:
        for wanted in self.params["inside"]:
            service, folder = wanted["service"], wanted["folder"]
            container = running.get(service)
            if container is None:
                continue
            texts = {name: str(text) for name, text in wanted["files"].items()}
            names = _inside.differing(self.engine, container, folder, texts)
            if not names:
                continue
            self.actions += [f"put {folder}/{name} into {container.name}" for name in names]
            if self.check:
                continue
            operation.step(f"write into {service}", folder=folder, files=names)
            _inside.write(self.engine, container, folder, texts, _FILE_MODE)
            if wanted["restart"]:
                self.engine.restart(container.id)
                self.actions.append(f"restarted {container.name}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.COMPOSE_DEST,
            "content": {"type": "dict", "required": True},
            "own": {"type": "bool", "default": False},
            "previous": {"type": "path", "required": True},
            "tests": {"type": "dict", "default": {}},
            "readers": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "service": {"type": "str", "required": True},
                    "kind": {
                        "type": "str",
                        "choices": ["prometheus", "alertmanager", "plain", "restart"],
                        "required": True,
                    },
                    "port": {"type": "int", "default": 0},
                    "files": {"type": "dict", "required": True},
                    "jobs": {"type": "list", "elements": "str", "default": []},
                    "alerts": {"type": "list", "elements": "str", "default": []},
                },
            },
            "inside": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "service": {"type": "str", "required": True},
                    "folder": {"type": "str", "required": True},
                    "files": {"type": "dict", "default": {}},
                    "restart": {"type": "bool", "default": False},
                },
            },
            "secrets": {
                "type": "dict",
                "default": {},
                "no_log": True,
                "options": {
                    "service": {"type": "str"},
                    "folder": {"type": "str"},
                    "files": {"type": "dict"},
                    "paths": {"type": "dict"},
                },
            },
            "credentials": {"type": "dict", "default": {}, "no_log": False},
            "stack": {"type": "str", "default": ""},
            "connect": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 30},
            **_operation_module.OPERATION_OPTIONS,
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    monitoring: Monitoring | None = None
    try:
        monitoring = Monitoring(run)
        result = monitoring.go()
    except EXPECTED as error:
        run.fail(str(error), actions=monitoring.actions if monitoring else [])
    except OSError as error:
        done = monitoring.actions if monitoring else []
        run.fail(
            f"Cannot write {error.filename}: {error.strerror}. "
            + (f"Done by then: {'; '.join(done)}." if done else "Nothing was changed."),
            actions=done,
        )
    run.exit(result)


if __name__ == "__main__":
    main()
