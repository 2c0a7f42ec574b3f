# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""All that a gate looks at, and what it could not look at: green is only what was seen."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import (
    _gate,
    _gate_compose,
    _gate_inventory,
    _gate_mounts,
    _gate_nginx,
    _gate_release,
)

_SHUT = re.compile(r"vault (secrets?|passwords?)\b", re.IGNORECASE)


@dataclass
class Looked:
    """What was found, and what was not looked at.

    :param skipped: why, by rule.
    """

    found: list[_gate.Finding] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def skips(self, why: str, *areas: str, but: Collection[str] = ()) -> None:
        """Note that the rules of areas were not looked at.

        :param why: what, and for which reason, as "images, for no version is named".
        :param areas: a rule, or what stands before its dot.
        """
        for rule in _gate.RULES:
            if {rule, rule.partition(".")[0]} & set(areas) and rule not in but:
                self.skipped.setdefault(rule, why)


def anchor(params: Mapping[str, Any]) -> str:
    """Return the file that a finding without one belongs to, by the options of the module."""
    if params["src"] and params["compose_files"]:
        return str(params["compose_files"][0])
    files = _gate_inventory.files(params["inventory"])
    return _gate_inventory.shown(files[0], params["directory"]) if files else "inventory"


def look(params: Mapping[str, Any]) -> Looked:
    """Return everything that was found, by the options of the module."""
    looked = Looked()
    if params["src"]:
        _checkout(params, looked)
    else:
        why = "compose files, nginx and migrations, for gate_dir names no checkout"
        looked.skips(why, "compose", "nginx", "migration")
    if not params["images"]:
        looked.skips("images, for gate_version names none", "image")
    login = {"username": params["username"], "password": params["password"]}
    looked.found += _gate_release.images(
        params["images"],
        login if params["username"] else {},
        params["architecture"],
        params["insecure_registries"],
    )
    looked.found += _gate_inventory.look(
        params["inventory"],
        params["variables"],
        params["known"],
        params["prefixes"],
        params["directory"],
    )
    if params["unreadable"]:
        looked.found.append(_unreadable(" ".join(params["unreadable"].split())))
        why = "the variables of the inventory, for it cannot be read"
        looked.skips(why, "inventory.unknown", "inventory.type")
    return looked


def _unreadable(said: str) -> _gate.Finding:
    """Return why the inventory is not read: it is wrong, or its vault stays shut."""
    if not _SHUT.search(said):
        return _gate.Finding(
            "inventory.invalid", _gate.ERROR, f"The inventory cannot be read: {said}"
        )
    return _gate.Finding(
        "inventory.not_run",
        _gate.ERROR,
        f"The inventory was not read, for its vault stays shut: {said}",
        "Name its password with --vault-password-file, --vault-id or ANSIBLE_VAULT_PASSWORD_FILE; "
        "what is typed at a prompt cannot be handed on.",
    )


def _checkout(params: Mapping[str, Any], looked: Looked) -> None:
    src, files = params["src"], params["compose_files"]
    env = {name: "" if value is None else str(value) for name, value in params["env"].items()}
    found, model = _gate_compose.look(src, files, env, params["held"], params["released"])
    looked.found += found
    if model is None:
        seen = ("compose.variable", "compose.invalid", "compose.not_run")
        looked.skips("compose files as compose reads them, for it did not", "compose", but=seen)
    else:
        looked.found += _gate_mounts.look(model, _gate_compose.texts(src, files), src)
    names = _gate_nginx.files(src, model or {})
    looked.found += _gate_nginx.look(src, names)
    if not names:
        looked.skips("nginx, for the checkout has no configuration of it", "nginx")
    if params["migrations"]:
        _migrations(params, looked)
    else:
        looked.skips("migrations, for gate_migrations is empty", "migration")


def _migrations(params: Mapping[str, Any], looked: Looked) -> None:
    src, path, base = params["src"], params["migrations"], params["base"]
    scripts = _gate_release.migrations(src, path)
    already = _gate_release.known(src, base) if base and scripts else None
    looked.found += _gate_release.judge(scripts, path, already, lock_timeout=params["lock_timeout"])
    if scripts:
        return
    looked.skips(f"migrations, for {path} has none", "migration", but=("migration.not_run",))
    others = _gate_release.elsewhere(src)
    # Nobody asked for the directory that is looked for unasked.
    asked = path != _gate_release.USUAL and not os.path.isdir(os.path.join(src, path))
    if others or asked:
        where = f", and {' and '.join(others)} has some" if others else ""
        looked.found.append(
            _gate.Finding(
                "migration.not_run",
                _gate.ERROR,
                f"{path} has no migrations{where}: none was looked at.",
                f"Set gate_migrations to {others[0]}."
                if others
                else "Correct gate_migrations; empty leaves migrations out.",
            )
        )
