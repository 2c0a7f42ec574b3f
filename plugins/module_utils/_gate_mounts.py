# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What containers read of the project's directory, and what of it is not in the checkout."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import _compose, _gate, _gate_compose, _gate_git

BIND, CONFIG, SECRET, ENV_FILE = "bind", "config", "secret", "env_file"
# Nobody commits a key or a password: what is called so is on the server.
_PRIVATE = re.compile(
    r"(^|/)(ssl|tls|certs?|certificates?|certbot|letsencrypt|secrets?|keys?|private)(/|$)"
    r"|\.(pem|key|crt|cer|p12|pfx|jks)$|(^|/)\.env(\.|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Used:
    """One path of the host that a container reads."""

    service: str
    kind: str
    source: str
    target: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is a file, as far as its names tell: certs/example.com is none."""
        names = [self.source, *([self.target] if self.target else [])]
        return self.kind == CONFIG or all(os.path.splitext(name)[1] for name in names)


def used(model: _compose.Model) -> Iterator[Used]:
    """Yield what containers read of the host."""
    for name, service in _compose.services(model).items():
        for volume in service.get("volumes") or []:
            if volume.get("type") == "bind":
                yield Used(name, BIND, str(volume["source"]), str(volume.get("target") or ""))
        for key, kind in (("configs", CONFIG), ("secrets", SECRET)):
            for one in service.get(key) or []:
                file = (model.get(key) or {}).get(one.get("source"), {}).get("file")
                if file:
                    yield Used(name, kind, str(file), str(one.get("target") or ""))
        for given in service.get("env_file") or []:
            # Some releases of compose write a path that has no settings by itself.
            one = {"path": given} if isinstance(given, str) else given
            if one.get("required", True):
                yield Used(name, ENV_FILE, str(one["path"]))


def look(model: _compose.Model, found: Mapping[str, str], folder: str) -> list[_gate.Finding]:
    """Return what containers read and the checkout does not have.

    :param found: the text of each compose file.
    """
    result = []
    root = os.path.realpath(folder)
    for one in used(model):
        inside = os.path.realpath(one.source).startswith(root + os.sep)
        if os.path.exists(one.source) or not (inside or one.kind == ENV_FILE):
            continue
        shown = os.path.relpath(one.source, folder) if inside else one.source
        at = _gate_compose.place(found, one.service)
        if _on_server(one, shown, folder):
            result.append(
                _gate.Finding(
                    "compose.on_server",
                    _gate.WARNING,
                    f"{one.service} reads {shown}, which is not in the checkout: it has to be on "
                    "the server.",
                    "See that it is there before the deploy, and keep it out of Git.",
                    *at,
                )
            )
        elif one.is_file:
            result.append(
                _gate.Finding(
                    "compose.mount",
                    _gate.ERROR,
                    f"{one.service} mounts {shown}, which is not there: Docker would make a "
                    "directory of it.",
                    "Add the file, or correct the path.",
                    *at,
                )
            )
    return result


def _on_server(one: Used, shown: str, folder: str) -> bool:
    """Whether a path is one that no checkout should have."""
    return (
        one.kind in (SECRET, ENV_FILE)
        or bool(_PRIVATE.search(shown))
        or _gate_git.ignored(folder, shown)
    )
