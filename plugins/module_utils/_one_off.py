# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Containers of their own, for one command with the image and configuration of a service.

The running container is left alone: it has a memory limit that was not made
for a second process, and it may still run the old image.
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Mapping, Sequence

from . import _compose, _remains
from ._engine import Engine

LABEL = "carrental.ops.one-off"
OPERATION = "carrental.ops.operation"
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NOT_FOUND = (126, 127)


class OneOffError(Exception):
    """A command that could not run to its end; the text is a whole sentence."""


def lines(output: str) -> list[str]:
    """Return what was printed without colours."""
    return [_ANSI.sub("", line).rstrip() for line in output.splitlines()]


def tail(output: str, count: int = 20) -> list[str]:
    """Return the last lines that say something; compose's own are left out."""
    return [line for line in lines(output) if line and not line.startswith("time=")][-count:]


def leftovers(engine: Engine, project: str) -> None:
    """Remove what a killed run left, and refuse to run beside one that still works."""
    for listed in engine.containers():
        if (listed.get("Labels") or {}).get(LABEL) != project:
            continue
        if listed.get("State") in ("running", "restarting", "paused"):
            raise OneOffError(
                f"An earlier run is still at work in the container "
                f"{listed['Names'][0].lstrip('/')} ({listed.get('Status', '')}); wait until it has "
                "ended, and deploy again."
            )
        engine.remove(listed["Id"])


def run(
    engine: Engine,
    project: _compose.Project,
    service: str,
    command: Sequence[str],
    timeout: float,
    *,
    environment: Mapping[str, str] | None = None,
) -> _compose.Completed:
    """Run a command in place of a service's entrypoint, and remove the container.

    :param environment: variables that differ from those of the service. Compose takes their
        values from its own environment, so that none of them stands in a command line.
    """
    given = dict(environment or {})
    name = f"{project.name}-{service}-once-{uuid.uuid4().hex[:8]}"
    arguments = ["run", "--rm", "--no-deps", "-T", "--name", name]
    arguments += ["--label", f"{LABEL}={project.name}", "--entrypoint", command[0]]
    for variable in given:
        arguments += ["--env", variable]
    operation = os.environ.get(_remains.VARIABLE)
    if operation:
        # It outlives a module that is killed; whoever takes the lock over has to know of it.
        arguments[-2:-2] = ["--label", f"{OPERATION}={operation}"]
    argv = project.argv(*arguments, service, *command[1:])
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            cwd=project.directory,
            env={**os.environ, **given},
        )
    except subprocess.TimeoutExpired as error:
        engine.remove(name)
        raise OneOffError(
            f"{' '.join(command)} in a container of {service} did not end within {timeout:g} s "
            "and was stopped."
        ) from error
    if done.returncode in _NOT_FOUND or "executable file not found" in done.stderr:
        raise OneOffError(f"The image of {service} has no {command[0]}.")
    return _compose.Completed(tuple(argv), done.returncode, done.stdout, done.stderr)
