# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Let a service that keeps running read its configuration again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from ._docker import Container
from ._engine import Engine
from ._proxy import Nginx


class ReloadError(Exception):
    """A service that did not read its configuration; the text is a whole sentence."""


@dataclass(frozen=True)
class Way:
    """How a service is told. Without a command and a signal it is restarted.

    :param test: command in its container that judges the configuration first.
    :param command: command in its container that makes it read the configuration.
    :param signal: signal for its first process, where there is no command.
    :param proxy: it is an nginx, of which new workers have to be seen.
    """

    test: str = ""
    command: str = ""
    signal: str = ""
    proxy: bool = False


def containers(engine: Engine, project: str, service: str) -> list[Container]:
    """Return the running containers of a service."""
    return [one for one in engine.services(project) if one.service == service and one.running]


def reload(engine: Engine, container: Container, way: Way) -> str:
    """Let one container read its configuration; return what was done, in words."""
    if way.test:
        _run(engine, container, way.test, "refuses its new configuration and goes on with the old")
    if way.proxy and way.command == "nginx -s reload":
        Nginx(engine, container).reload()
        return f"reloaded {container.name}"
    if way.command:
        _run(engine, container, way.command, "does not read its configuration")
        return f"reloaded {container.name}"
    if way.signal:
        engine.signal(container.id, way.signal)
        return f"sent {way.signal} to {container.name}"
    engine.restart(container.id)
    return f"restarted {container.name}"


def _run(engine: Engine, container: Container, command: str, wrong: str) -> None:
    rc, output = engine.execute(container.id, shlex.split(command))
    if rc != 0:
        said = " ".join(output.split())[-300:]
        raise ReloadError(f"{container.name} {wrong}: {command} ended with {rc}: {said}")
