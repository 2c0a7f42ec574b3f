# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a scaling leaves behind: new limits under an old definition, and a run that was killed.

A container that has new limits live and the old definition is replaced by the next ``up``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from ansible_collections.carrental.ops.plugins.module_utils import _host, _whole_file
from ansible_collections.carrental.ops.plugins.module_utils._checks import WARN, Check, Subject
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container

_FILE = "scaling.json"
_UNFINISHED = "scaling.unfinished.yml"


def pending(state_dir: str) -> dict[str, str]:
    """Return the id of the container by service; what cannot be read is forgotten."""
    try:
        with open(os.path.join(state_dir, _FILE), encoding="utf-8") as stream:
            return {str(name): str(one) for name, one in json.load(stream)["pending"].items()}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def keep(state_dir: str, found: dict[str, str]) -> None:
    """Remember them."""
    path = os.path.join(state_dir, _FILE)
    if found:
        _whole_file.write(path, json.dumps({"pending": found}, indent=2).encode())
    elif os.path.exists(path):
        os.unlink(path)


def unfinished(state_dir: str) -> str | None:
    """Return the override from before a scaling that came to no end; nothing if there is none."""
    try:
        with open(os.path.join(state_dir, _UNFINISHED), encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return None


def begin(state_dir: str, text: str) -> None:
    """Remember the override from before, until the scaling has ended or was taken back."""
    _whole_file.write(os.path.join(state_dir, _UNFINISHED), text.encode())


def end(state_dir: str) -> None:
    """Forget it."""
    path = os.path.join(state_dir, _UNFINISHED)
    if os.path.exists(path):
        os.unlink(path)


def cut_off(state_dir: str) -> list[Check]:
    """Say of a scaling that is under way, or was cut off, what the next deploy would make of it."""
    if unfinished(state_dir) is None:
        return []
    return [
        _host.HOST.says(
            "scaling",
            WARN,
            "A scaling is under way, or was cut off",
            "its sizes stand unproven in compose.release.yml, and the next deploy uses them; run "
            "the same playbooks/scale.yml again, which finishes it or takes it back",
        )
    ]


def check(
    subject: Subject, containers: Iterable[Container], waiting: dict[str, str]
) -> list[Check]:
    """Say of a service that the next C(up) replaces its container."""
    return [
        subject.finding(
            "pending_recreate",
            f"container {container.name} has its new limits live, and compose would replace it "
            f"with the next up of {container.service}: pending recreate; choose the moment with "
            f'playbooks/scale.yml -e \'{{"scaling_recreate": ["{container.service}"]}}\'',
        )
        for container in containers
        if waiting.get(container.service) == container.id
    ]
