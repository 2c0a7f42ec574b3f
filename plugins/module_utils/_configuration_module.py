# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The arguments of the modules that are about a configuration."""

from __future__ import annotations

from typing import Any

from . import _configuration, _env_file, _owned, _service_table


def wish(params: dict[str, Any]) -> _configuration.Wish:
    """Return the configuration that the arguments of a module describe."""
    pins = params.get("pins")
    table = params.get("table") or {}
    return _configuration.Wish(
        dest=params["dest"],
        src=params["src"],
        files=tuple(params["files"]),
        project=params["project"],
        env=_env_file.wanted(params["env"]),
        env_remove=tuple(params["env_remove"]),
        env_file=params.get("env_file"),
        absent=tuple(params.get("absent") or ()),
        pins=None if pins is None else {str(key): str(value) for key, value in pins.items()},
        services=tuple(_service_table.aliases(table).values()),
        held=tuple(_service_table.held(table, params.get("replace") or ())),
        owned=_owned.paths(params.get("state_dir"), params["dest"]),
    )
