# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a gate found before a merge: each finding with its place and its fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

ERROR, WARNING, NOTE = "error", "warning", "note"
LEVELS = (ERROR, WARNING, NOTE)

# Every rule, and what it makes sure of; the page of the gate and SARIF tell them.
RULES = {
    "compose.invalid": "The compose files are read by compose",
    "compose.variable": "Every variable that the compose files demand has a value",
    "compose.warning": "Compose has nothing to warn of",
    "compose.container_name": "A container name belongs to one service",
    "compose.replicas": "Replicas and a container name exclude each other",
    "compose.published": "What holds data is not published to the world",
    "compose.twice": "A service is defined in one compose file",
    "compose.image": "An image is named with a tag or a digest",
    "compose.memory": "A service has a limit of its memory",
    "compose.heap": "The heap of Node leaves room in the limit of its container",
    "compose.restart": "A service comes back after a crash and a reboot",
    "compose.mount": "Mounted files are in the checkout",
    "compose.on_server": "What is kept out of Git is known to be needed on the server",
    "compose.not_run": "Compose was asked",
    "nginx.prefix": "The proxy hands a path on as it is",
    "nginx.repeat": "The proxy does not send a POST twice",
    "nginx.variable": "The proxy leads to upstreams that can be pinned",
    "migration.destructive": "A migration loses nothing, and the release before works with it",
    "migration.locking": "A migration stops neither reads nor writes",
    "migration.not_run": "Migrations were looked at where there are some",
    "image.missing": "The images of the release can be had",
    "inventory.invalid": "The inventory can be read",
    "inventory.unknown": "A variable of the inventory is one of this collection",
    "inventory.type": "A variable of the inventory has the type that its role wants",
    "inventory.secret": "Secrets are in a vault",
    "inventory.not_run": "The inventory was looked at",
    "deploy.plan": "The release can be deployed as it stands",
}


class GateError(Exception):
    """Something that keeps the gate from looking; the text is a whole sentence."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    :param rule: one of :data:`RULES`.
    :param file: relative to what was looked at; empty where there is none.
    :param line: from 1; 0 where there is none.
    :param fix: what to do, as a whole sentence.
    """

    rule: str
    level: str
    message: str
    fix: str = ""
    file: str = ""
    line: int = 0
    waived: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as a module does."""
        return asdict(self)

    @property
    def text(self) -> str:
        """The finding in one line."""
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        waived = f" (waived: {self.waived})" if self.waived else ""
        fix = f" {self.fix}" if self.fix else ""
        return f"{self.level}: {place}{self.message}{fix} [{self.rule}]{waived}"


def waive(found: Iterable[Finding], reasons: Mapping[str, Any]) -> list[Finding]:
    """Return findings with the reason for which they do not count.

    :raises GateError: a rule that there is not, or a reason that is none.
    """
    for rule, reason in reasons.items():
        if rule not in RULES:
            raise GateError(
                f"gate_waive has {rule}, which is no rule; rules are {', '.join(sorted(RULES))}."
            )
        if len(str(reason).split()) < 2:
            raise GateError(f"gate_waive has no reason for {rule}; say in a sentence why.")
    return [replace(one, waived=str(reasons.get(one.rule, ""))) for one in found]


def ordered(found: Iterable[Finding]) -> list[Finding]:
    """Return findings, the worst first."""
    return sorted(
        found, key=lambda one: (LEVELS.index(one.level), one.file, one.line, one.rule, one.message)
    )


def stops(found: Iterable[Finding], level: str) -> list[Finding]:
    """Return what keeps a merge from being done.

    :param level: ``error``, or ``warning`` for both.
    """
    counted = LEVELS[: LEVELS.index(level) + 1]
    return [one for one in found if one.level in counted and not one.waived]


def line_of(text: str, pattern: str) -> int:
    """Return the first line that a pattern is found in; 0 for none."""
    matcher = re.compile(pattern)
    lines: Sequence[str] = text.splitlines()
    return next((number for number, one in enumerate(lines, 1) if matcher.search(one)), 0)
