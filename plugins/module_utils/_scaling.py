# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What may be scaled, and what would not fit. Pure: facts in, refusals out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _memory_budget, _sizes
from ansible_collections.carrental.ops.plugins.module_utils._memory_budget import Pool
from ansible_collections.carrental.ops.plugins.module_utils._sizes import Size

STATELESS = "stateless"


class ScalingError(Exception):
    """A scaling that cannot begin; the text is a whole sentence without its end."""


def require(
    sizes: Mapping[str, Size], services: Mapping[str, Any], described: Mapping[str, Any]
) -> None:
    """Refuse what cannot be scaled.

    :param sizes: what was given, by the names that compose knows.
    :param services: as the compose files describe them.
    :param described: the table of services by the same names.
    """
    for name, size in sizes.items():
        if name not in services:
            raise ScalingError(
                f"There is no service {name} in the compose files, which have "
                f"{', '.join(sorted(services))}"
            )
        if size.replicas <= 1:
            continue
        one = described.get(name, {})
        if one.get("role") != STATELESS:
            raise ScalingError(
                f"{name} is not scaled to {size.replicas}: its role is "
                f"{one.get('role', 'not in carrental_services')}, and only stateless services "
                "can run several times on one server. Copies of a database, a cache or a store "
                "on the same disk are no more available than one"
            )
        if not one.get("overlap", True):
            raise ScalingError(f"{name} must not run twice (overlap: false in carrental_services)")
        ports = [
            str(port["published"])
            for port in services[name].get("ports") or ()
            if port.get("published")
        ]
        if ports:
            raise ScalingError(
                f"{name} publishes port {', '.join(ports)} of the server, which only one "
                "container can have; let the proxy lead to it instead"
            )


def connections(
    pools: Sequence[Pool], exporters: int, replicas: Mapping[str, int], offered: int
) -> list[str]:
    """Judge the connections that the services may open; return what has to be said.

    :param pools: as they are now.
    :param replicas: how many containers each service is to have.
    :param offered: ``max_connections`` of the server.
    """
    after = [replace(one, replicas=replicas.get(one.service, one.replicas)) for one in pools]
    needed = _memory_budget.connections(after, exporters, overlap=False)
    if needed.needed > offered:
        raise ScalingError(
            f"The services would open {needed.sentence} connections, and PostgreSQL offers "
            f"{offered} (max_connections): {needed.needed - offered} too many. Lower "
            "connection_limit in DATABASE_URL, or raise max_connections with playbooks/tune.yml"
        )
    switching = _memory_budget.connections(after, exporters)
    if switching.needed > offered:
        return [
            f"while a release is switched the services may open {switching.sentence} connections, "
            f"and PostgreSQL offers {offered}: playbooks/tune.yml makes room"
        ]
    return []


def room(limits: Mapping[str, int], replicas: Mapping[str, int], besides: int, total: int) -> None:
    """Refuse limits that do not fit into the memory of the server. All in MiB.

    :param limits: memory by service, of one container; 0 without a limit.
    :param besides: what containers without a limit use.
    """
    promised = {}
    for name, limit in limits.items():
        count = replicas.get(name, 1)
        if limit:
            shown = name if count == 1 else f"{name} {count} x {limit} ="
            promised[shown] = limit * count
    wrong = _memory_budget.host(total, promised, besides)
    if wrong:
        raise ScalingError(f"The limits do not fit into the server: {wrong}")


def lowered(name: str, limit: int, used: int | None) -> None:
    """Refuse a limit that the running container would not survive. In bytes."""
    if used is not None and limit < used * 1.1:
        raise ScalingError(
            f"{name} uses {_sizes.megabytes(used)}, and would be killed with "
            f"{_sizes.megabytes(limit)}; its limit can be lowered to "
            f"{_sizes.megabytes(int(used * 1.1) + 2**20)} while it runs"
        )
