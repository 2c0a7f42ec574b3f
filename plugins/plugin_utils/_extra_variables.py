# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection; it may change at any time.
"""Extra variables that nothing reads: Ansible ignores them, and the default is done instead."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.carrental.ops.plugins.module_utils import _variable_names

_ROLES = Path(__file__).parents[2] / "roles"
# AWX gives its jobs variables that begin like those of our role awx; this one is always there.
_AWX, _AWX_JOB = "awx_", "awx_job_id"


def unread(given: Iterable[str], roles: Path = _ROLES) -> list[str]:
    """Return a sentence or two about each name that looks like ours and that nothing reads.

    :param given: the names of all extra variables.
    :param roles: the directory of the roles.
    """
    given = set(given)
    if _AWX_JOB in given:
        given = {name for name in given if not name.startswith(_AWX)}
    said = []
    for role, names in sorted(_by_role(given, roles).items()):
        known = _options(roles / role)
        for name in _variable_names.unread(names, known, [f"{role}_"]):
            said.append(f"{name} is read by nothing. {_fix(name, known, role)}")
    return said


def _by_role(given: Iterable[str], roles: Path) -> dict[str, set[str]]:
    """Return the names by the role that would read them: only its options are looked at."""
    owners = {f"{path.name}_": path.name for path in roles.iterdir()}
    owners |= dict.fromkeys(_variable_names.SHARED, "stack")
    found: dict[str, set[str]] = {}
    for name in given:
        for prefix, role in owners.items():
            if name.startswith(prefix):
                found.setdefault(role, set()).add(name)
    return found


def _options(role: Path) -> set[str]:
    told: dict[str, Any] = yaml_load((role / "meta/argument_specs.yml").read_bytes())
    return {name for entry in told["argument_specs"].values() for name in entry.get("options", ())}


def _fix(name: str, known: Iterable[str], role: str) -> str:
    near = _variable_names.alike(name, known)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return (
        f"ansible-doc -t role carrental.ops.{role} lists what there is; a variable of your own "
        "begins otherwise, with an underscore for example."
    )
