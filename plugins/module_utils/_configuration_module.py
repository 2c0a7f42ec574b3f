# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The arguments of the modules that are about a configuration."""

from __future__ import annotations

from typing import Any

from . import _configuration, _env_file, _owned, _releases, _service_table


def wish(params: dict[str, Any]) -> _configuration.Wish:
    """Return the configuration that the arguments of a module describe."""
    pins = params.get("pins")
    table = params.get("table") or {}
    return _configuration.Wish(
        dest=params["dest"],
        src=params["src"],
        known=() if params["src"] else _recorded(params.get("state_dir")),
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


def _recorded(state_dir: str | None) -> tuple[str, ...]:
    """Return the files of the release that runs; none where nothing was released."""
    if not state_dir:
        return ()
    try:
        passed = _releases.good(_releases.load(state_dir))
    except _releases.ReleaseError:
        # Whoever asks for the releases says what is wrong with their records.
        return ()
    return tuple((passed[0].get("config") or {}).get("files") or ()) if passed else ()
