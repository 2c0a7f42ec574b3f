# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Who excludes whom: one table, and nothing else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """How one kind of operation gets on with the others. The default excludes, and is excluded."""

    # Works beside others; stops, and is stopped by, its own kind and what stops_shared.
    shared: bool = False
    stops_shared: bool = False
    # Not begun during a freeze.
    freezes: bool = False
    # While it is at work, what runs may be another release than the recorded one.
    switches: bool = False
    # Kinds that it may end when it is given their id.
    ends: tuple[str, ...] = ()


RULES = {
    "deploy": Rule(freezes=True, switches=True),
    "scale": Rule(freezes=True),
    "tune": Rule(freezes=True),
    "rollback": Rule(ends=("deploy",), switches=True),
    "backup": Rule(shared=True),
    "drill": Rule(shared=True),
    "restore": Rule(stops_shared=True),
    "recover": Rule(stops_shared=True, switches=True),
    "prune": Rule(stops_shared=True),
}
_KIND = re.compile(r"[a-z][a-z_]*")
_ID = re.compile(r"\d{8}T\d{6}Z-(?P<kind>[a-z][a-z_]*)-[0-9a-f]{4}")


def rule(kind: str) -> Rule:
    """Return how a kind of operation gets on with the others."""
    return RULES.get(kind, Rule())


def is_kind(text: str) -> bool:
    """Return whether a text can name a kind of operation."""
    return bool(_KIND.fullmatch(text))


def kind_of(operation: str) -> str:
    """Return the kind of an operation by its id; empty when it is no id."""
    match = _ID.fullmatch(operation)
    return match["kind"] if match else ""


def exclude(one: str, other: str) -> bool:
    """Return whether two kinds of operations must not run at once."""
    first, second = rule(one), rule(other)
    if first.shared and second.shared:
        return one == other
    if first.shared or second.shared:
        return first.stops_shared or second.stops_shared
    return True


def lane(kind: str) -> str:
    """Return the name of the file that an operation of this kind locks."""
    return f"lock.{kind}" if rule(kind).shared else "lock"


def lanes() -> list[str]:
    """Return the names of all files of the lock."""
    return ["lock", *sorted(lane(kind) for kind, one in RULES.items() if one.shared)]


def lanes_against(kind: str) -> list[str]:
    """Return the files that must be free for an operation of this kind, its own first."""
    own = lane(kind)
    others = [name for name in lanes() if name != own and _stops(kind, name)]
    return [own, *others]


def _stops(kind: str, name: str) -> bool:
    """Return whether something that locks this file can exclude this kind."""
    if name == "lock":
        return True
    return exclude(kind, name.partition(".")[2])


def path(state_dir: str, name: str) -> str:
    """Return the path of a file of the lock."""
    return os.path.join(state_dir, name)
