# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The table of services as the modules that change production read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import _verification

DATA_ROLES = ("database", "cache", "object_store")
Table = Mapping[str, Mapping[str, Any]]


def aliases(table: Table) -> dict[str, str]:
    """Return what compose calls each service of the table."""
    return {name: one.get("compose_service") or name for name, one in table.items()}


def by_alias(table: Table) -> dict[str, Mapping[str, Any]]:
    """Return the table by the names that compose knows."""
    return {alias: table[name] for name, alias in aliases(table).items()}


def held(table: Table, replace: Iterable[str]) -> list[str]:
    """Return the services that hold data and that nobody asked to replace."""
    names = aliases(table)
    asked = set(replace)
    return [
        names[name]
        for name, one in table.items()
        if one.get("role") in DATA_ROLES and not {name, names[name]} & asked
    ]


def front(table: Table, domain: str) -> _verification.Proxy | None:
    """Return where customers come in, if the table has a proxy."""
    for name, one in table.items():
        if one.get("role") == "proxy":
            service = one.get("compose_service") or name
            tls_port = int(one.get("tls_port") or 0)
            return _verification.Proxy(service, int(one.get("port") or 80), tls_port, domain)
    return None
