# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Docker Compose: the command line, and facts that follow from its own reading of the files.

Compose is the judge of its files: they are never interpreted here, only its
``config`` output is. That output holds secrets, so it stays in the process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import _sizes

RELEASE_FILE = "compose.release.yml"
ENV_FILE = ".env"
_SINGLE = ("ipv4_address", "ipv6_address", "link_local_ips", "mac_address")
# As a name of a file.
STDIN = "-"

_COMMENT = re.compile(r"(?m)(?:^|\s)#.*$")
_REQUIRED = re.compile(r"(?<!\$)(?:\$\$)*\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<colon>:?)\?")
_USED = re.compile(r"(?<!\$)(?:\$\$)*\$(?:\{(?P<braced>[A-Za-z_]\w*)|(?P<bare>[A-Za-z_]\w*))")
_LOG = re.compile(r'^time="[^"]*" level=(?P<level>\w+) msg="(?P<text>(?:[^"\\]|\\.)*)"$')
# How compose from 2.40 on reports broken YAML.
_BROKEN = re.compile(r"failed to parse (?P<file>\S+): .* at L(?P<line>\d+)\.C\d+[^:]*: (?P<why>.*)")
_UNSET = re.compile(r'^The "(?P<name>\w+)" variable is not set')
_MISSING = re.compile(r"required variable (?P<name>\w+) is missing a value")

Model = dict[str, Any]


class ComposeError(Exception):
    """What compose could not do, as whole sentences."""


@dataclass(frozen=True)
class Completed:
    """The end of a command."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Project:
    """A compose project: its directory, its name, and its files in compose's order."""

    directory: str
    name: str
    files: tuple[str, ...]
    docker: tuple[str, ...] = field(default=("docker", "compose"))

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line of a compose command."""
        command = [*self.docker, "--project-name", self.name]
        command += ["--project-directory", self.directory]
        for file in self.files:
            command += ["--file", file if file == STDIN else os.path.join(self.directory, file)]
        return [*command, *arguments]

    def run(self, *arguments: str, timeout: float = 60, stdin: str | None = None) -> Completed:
        """Run a compose command without a shell and return its end."""
        argv = self.argv(*arguments)
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                cwd=self.directory,
            )
        except FileNotFoundError as error:
            if not os.path.isdir(self.directory):
                raise ComposeError(
                    f"There is no directory {self.directory}; check project_src, or run "
                    "playbooks/bootstrap.yml first."
                ) from error
            raise ComposeError(
                f"Cannot run {argv[0]}: it is not installed; run playbooks/bootstrap.yml first."
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ComposeError(
                f"docker compose {arguments[0]} did not end within {timeout:g} s; "
                "look at the load of the server and at the Docker engine."
            ) from error
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)

    def model(self) -> tuple[Model, list[str]]:
        """Return compose's own reading of the project, and its warnings."""
        done = self.run("config", "--format", "json")
        if done.rc != 0:
            raise ComposeError(explain(done.stderr, self))
        return json.loads(done.stdout), warnings(done.stderr)

    def up(
        self,
        services: Sequence[str],
        *,
        dependencies: bool,
        recreate: bool,
        wait_timeout: int | None,
        dry_run: bool,
        timeout: float,
        stop_timeout: int = 0,
    ) -> Completed:
        """Bring up services from local images.

        :param wait_timeout: seconds until they have to be healthy; without it nobody waits.
        :param stop_timeout: seconds that what is replaced has to end; 0 is compose's own.
        """
        arguments = ["--dry-run"] if dry_run else []
        arguments += ["up", "--detach", "--no-build", "--pull", "never", "--no-color"]
        if wait_timeout is not None:
            arguments += ["--wait", "--wait-timeout", str(wait_timeout)]
        if not dependencies:
            arguments.append("--no-deps")
        if not recreate:
            arguments.append("--no-recreate")
        if stop_timeout:
            arguments += ["--timeout", str(stop_timeout)]
        return self.run(*arguments, "--", *services, timeout=timeout)

    def hashes(self) -> dict[str, str]:
        """Return the hash by which compose decides whether a container is out of date."""
        done = self.run("config", "--hash", "*")
        if done.rc != 0:
            raise ComposeError(explain(done.stderr, self))
        pairs = (line.split() for line in done.stdout.splitlines() if line.strip())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def warnings(stderr: str) -> list[str]:
    """Return what compose warned of, each once, without its time stamps."""
    found = []
    for line in stderr.splitlines():
        match = _LOG.match(line.strip())
        if match and match["level"] == "warning":
            text = match["text"].replace('\\"', '"')
            if text not in found:
                found.append(text)
    return found


def unset_variable(warning: str) -> str | None:
    """Return the variable that a warning calls unset, if it is that warning."""
    match = _UNSET.match(warning)
    return match["name"] if match else None


def error_text(stderr: str) -> str:
    """Return the error of a compose command without its warnings."""
    return " ".join(error_text_lines(stderr))


def error_text_lines(stderr: str) -> list[str]:
    """Return the lines of a compose command's error without its warnings."""
    lines = [line.strip() for line in stderr.splitlines()]
    return [line for line in lines if line and not _LOG.match(line)]


def dry_run_actions(stderr: str) -> list[str]:
    """Return what compose says it would do with containers."""
    found = []
    for line in stderr.splitlines():
        match = re.search(r"Container (\S+)\s+(Recreate|Create|Start)(d|ed)?$", line.strip())
        if match and f"{match[2].lower()} {match[1]}" not in found:
            found.append(f"{match[2].lower()} {match[1]}")
    return found


def up_error(stderr: str) -> str:
    """Return why services did not come up, without the lines of progress."""
    lines = [line.strip() for line in error_text_lines(stderr)]
    told = [line for line in lines if not re.match(r"(Container|Network|Volume) \S+\s+\w+$", line)]
    return " ".join(told) or "compose gave no reason"


def missing_variable(error: str) -> str | None:
    """Return the variable that an error calls missing, if it is that error."""
    match = _MISSING.search(error)
    return match["name"] if match else None


def explain(stderr: str, project: Project) -> str:
    """Return one sentence for a project that compose refuses."""
    error = error_text(stderr)
    files = ", ".join(project.files)
    if error.startswith("yaml:"):
        # Compose does not say which of the files it means.
        for file in project.files:
            alone = Project(project.directory, project.name, (file,), project.docker)
            if error_text(alone.run("config", "--quiet", "--no-interpolate").stderr) == error:
                line = re.search(r"line (\d+)", error)
                where = f"{file} line {line[1]}" if line else file
                why = re.sub(r"^yaml: (line \d+: )?", "", error)
                return f"{where} is not valid YAML: {why}."
        return f"One of {files} is not valid YAML: {error.removeprefix('yaml: ')}."
    error = error.replace(project.directory.rstrip("/") + "/", "")
    broken = _BROKEN.search(error)
    if broken:
        place = f"{broken['file']} line {broken['line']}"
        return f"{place} is not valid YAML: {broken['why'].rstrip('.')}."
    return f"Compose refuses {files}: {error or 'it gave no reason'}."


def _code_lines(text: str) -> Iterable[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        yield number, _COMMENT.sub("", line)


def required_variables(text: str) -> list[tuple[str, int, bool]]:
    """Return the variables that a compose file demands: name, line, whether empty is refused."""
    found: dict[str, tuple[str, int, bool]] = {}
    for number, line in _code_lines(text):
        for match in _REQUIRED.finditer(line):
            found.setdefault(match["name"], (match["name"], number, bool(match["colon"])))
    return list(found.values())


def lines_using(text: str, variable: str) -> list[int]:
    """Return the lines of a compose file that use a variable."""
    return [
        number
        for number, line in _code_lines(text)
        if any(variable in (m["braced"], m["bare"]) for m in _USED.finditer(line))
    ]


def missing_variables(texts: Mapping[str, str], env: Mapping[str, str | None]) -> list[str]:
    """Return every demanded variable that has no value, with the first place that asks for it."""
    missing: dict[str, str] = {}
    for file, text in texts.items():
        for name, line, refuses_empty in required_variables(text):
            empty = name in env and env[name] == "" and refuses_empty
            if name not in env or empty:
                missing.setdefault(name, f"{name} ({file} line {line})")
    return list(missing.values())


def services(model: Model) -> dict[str, dict[str, Any]]:
    """Return the services of a model."""
    found: dict[str, dict[str, Any]] = model.get("services") or {}
    return found


def image_name(model: Model, project: str, service: str) -> str:
    """Return the image a service runs from; compose derives a name for one that is only built."""
    name: str = services(model)[service].get("image") or f"{project}-{service}"
    return name


def alone(model: Model, service: str) -> str:
    """Return a project with nothing but one service, which uses the networks and volumes there are.

    Compose counts every container to a service that has its label, also one that was
    stopped: "up" of what depends on the service would start it. Only another project keeps
    a second container out of its sight.
    """
    one = {
        key: value
        for key, value in services(model)[service].items()
        if key not in ("depends_on", "build", "container_name")
    }
    # An address or a name that only one container can have.
    one["networks"] = {
        key: {each: value for each, value in (settings or {}).items() if each not in _SINGLE}
        for key, settings in (one.get("networks") or {}).items()
    }
    if not one["networks"]:
        del one["networks"]
    one.pop("mac_address", None)
    used = {
        "networks": set(one.get("networks") or ()),
        "volumes": {each.get("source") for each in one.get("volumes") or ()},
    }
    shared = {
        kind: {
            key: {"name": (value or {}).get("name") or key, "external": True}
            for key, value in (model.get(kind) or {}).items()
            if key in names
        }
        for kind, names in used.items()
    }
    kept = {kind: model[kind] for kind in ("configs", "secrets") if kind in model}
    return json.dumps({"services": {service: one}, **shared, **kept})


def binds(model: Model) -> list[tuple[str, str, bool]]:
    """Return the host paths that containers get: service, path, whether compose would create it."""
    found = []
    for name, service in services(model).items():
        for volume in service.get("volumes") or []:
            if volume.get("type") == "bind":
                create = bool((volume.get("bind") or {}).get("create_host_path"))
                found.append((name, str(volume["source"]), create))
        for kind in ("configs", "secrets"):
            for used in service.get(kind) or []:
                file = (model.get(kind) or {}).get(used.get("source"), {}).get("file")
                if file:
                    found.append((name, str(file), False))
    return found


def traps(model: Model, held: Sequence[str]) -> list[str]:
    """Return what compose accepts and an operator will regret."""
    found = []
    owners: dict[str, str] = {}
    for name, service in services(model).items():
        container = service.get("container_name")
        if container and owners.setdefault(container, name) != name:
            found.append(
                f"The services {owners[container]} and {name} share the container name "
                f"{container}: only one of them can run."
            )
        replicas = ((service.get("deploy") or {}).get("replicas")) or service.get("scale") or 1
        if container and replicas > 1:
            found.append(
                f"The service {name} asks for {replicas} replicas and has a container_name: "
                "compose starts only one."
            )
        for port in service.get("ports") or []:
            if name in held and port.get("host_ip", "0.0.0.0") in ("", "0.0.0.0", "::"):  # noqa: S104
                found.append(
                    f"The service {name} publishes port {port.get('published')} to the world, "
                    "past any ufw rule; put 127.0.0.1: in front of it."
                )
    return found


def override(
    pins: Mapping[str, str], built: Iterable[str], sizes: Mapping[str, _sizes.Size] | None = None
) -> str:
    """Return the text of the file that pins released images by digest, and says how large they are.

    ``build`` is taken out: otherwise compose would build an image that is not
    there, from whatever lies on the server, under the name of the release.
    """
    sources = set(built)
    sized = dict(sizes or {})
    lines = [
        "# Written by carrental.ops; changes are lost with the next deploy.",
        "# It pins the released images and is the last file of every compose call.",
        *_sizes.mark(sized),
        "services:" if pins or sized else "services: {}",
    ]
    for service in sorted({*pins, *sized}):
        lines.append(f"  {service}:")
        if service in pins:
            lines += [f"    image: {pins[service]}", "    pull_policy: missing"]
            if service in sources:
                lines.append("    build: !reset null")
        if service in sized:
            lines += _sizes.lines(sized[service])
    return "\n".join(lines) + "\n"


def pinned(text: str) -> dict[str, str]:
    """Return the images that such a file pins."""
    found: dict[str, str] = {}
    service = ""
    for line in text.splitlines():
        match = re.match(r"^  (\S+):$", line)
        if match:
            service = match[1]
        elif line.startswith("    image: ") and service:
            found[service] = line.removeprefix("    image: ").strip()
    return found
