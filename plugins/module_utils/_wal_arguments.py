# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Arguments of the modules that keep the write-ahead log, as their documentation describes them.

The entry point on the server takes the same ones from a file, so there is no Ansible in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _wal_base, _wal_receiver

DATABASE: dict[str, Any] = {
    "project": {"type": "str", "default": "carrental"},
    "database_service": {"type": "str", "default": "postgres"},
    "database": {"type": "str", "default": "carrental"},
}
# The receiver stops below it, and a base leaves it.
_ROOM: dict[str, Any] = {"min_free_mb": {"type": "int", "default": 2048}}
RECEIVER: dict[str, Any] = {
    "metrics_dir": {"type": "path", "required": True},
    "slot_max_mb": {"type": "int", "default": 1024},
    **_ROOM,
}
BASE: dict[str, Any] = {
    "reserve_mb": {"type": "int", "default": 512},
    "base_hours": {"type": "float", "default": 20.0},
    "keep_days": {"type": "int", "default": 7},
    **_ROOM,
}


def receiver(params: Mapping[str, Any]) -> _wal_receiver.Wish:
    """Return the receiver that arguments describe."""
    names = ("directory", "state_dir", *DATABASE, *RECEIVER)
    return _wal_receiver.Wish(**{name: params[name] for name in names})


def base(params: Mapping[str, Any]) -> _wal_base.Wish:
    """Return the base that arguments describe."""
    return _wal_base.Wish(
        directory=params["directory"],
        state_dir=params["state_dir"],
        reserve_mb=params["reserve_mb"],
        min_free_mb=params["min_free_mb"],
        interval_hours=params["base_hours"],
        keep_days=params["keep_days"],
    )
