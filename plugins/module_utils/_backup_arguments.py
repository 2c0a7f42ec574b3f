# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Arguments of the modules that work on backups, as their documentation describes them.

The entry point on the server takes the same ones from a file, so there is no Ansible in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _backups
from ._backup_run import Plan, Wish
from ._retention import Policy

DIRECTORY: dict[str, Any] = {"directory": {"type": "path", "required": True}}
DATABASE: dict[str, Any] = {
    "project": {"type": "str", "default": "carrental"},
    "database_service": {"type": "str", "default": "postgres"},
    "database": {"type": "str", "default": "carrental"},
    "login_user": {"type": "str", "default": ""},
}
BACKUP: dict[str, Any] = {
    "format": {"type": "str", "choices": list(_backups.FORMATS), "default": "dump"},
    "prefix": {"type": "str", "default": _backups.PREFIX},
    "reason": {"type": "str", "choices": list(_backups.REASONS), "default": "manual"},
    "who": {"type": "str", "default": ""},
    "host": {"type": "str", "default": ""},
    "min_ratio": {"type": "float", "default": 0.5},
    "reserve_mb": {"type": "int", "default": 512},
    "lock_timeout": {"type": "int", "default": 60},
    # Not a password, but whether there are any.
    "globals_passwords": {"type": "bool", "default": False, "no_log": False},
    "encryption": {"type": "str", "choices": ["", "age", "gpg"], "default": ""},
    "recipients": {"type": "list", "elements": "str", "default": []},
}
# Fragment ``carrental.ops._backup.restore``, with the directory.
RESTORE: dict[str, Any] = {
    **DIRECTORY,
    "database": {"type": "str", "required": True},
    "database_service": {"type": "str", "default": "postgres"},
    "project": {"type": "str", "required": True},
    "identity": {"type": "path"},
    "jobs": {"type": "int", "default": 0},
}
RETENTION: dict[str, Any] = {
    "days": {"type": "int", "default": 30},
    "keep_min": {"type": "int", "default": 3},
    "weeks": {"type": "int", "default": 0},
    "months": {"type": "int", "default": 0},
    "max_age_hours": {"type": "int", "default": 48},
}


def wish(params: Mapping[str, Any]) -> Wish:
    """Return the backup that arguments describe.

    :raises BackupError: they describe none.
    """
    if _backups.name(f"{params['prefix']}_20261125_020000.dump") is None:
        raise _backups.BackupError(
            f"prefix is {params['prefix']!r}; it is made of letters, digits, dots, dashes and "
            "underscores, and begins with a letter or digit. Nothing was changed."
        )
    return Wish(
        directory=params["directory"],
        state_dir=params.get("state_dir") or "",
        format=params["format"],
        prefix=params["prefix"],
        reason=params["reason"],
        who=params["who"],
        host=params["host"],
        min_ratio=params["min_ratio"],
        reserve_mb=params["reserve_mb"],
        lock_timeout=params["lock_timeout"],
        globals_passwords=params["globals_passwords"],
        encryption=params["encryption"],
        recipients=tuple(params["recipients"]),
    )


def policy(params: Mapping[str, Any]) -> Policy:
    """Return the retention that arguments describe.

    :raises BackupError: it would keep nothing.
    """
    for name, least in (("days", 1), ("keep_min", 1), ("weeks", 0), ("months", 0)):
        if params[name] < least:
            raise _backups.BackupError(
                f"{name} is {params[name]}; give {least} or more. Nothing was changed."
            )
    return Policy(**{name: params[name] for name in RETENTION})


def planned(found: Plan, database: str) -> dict[str, Any]:
    """Return what a backup would take."""
    return {
        "plan": {
            "size_bytes": found.size_bytes,
            "needed_bytes": found.needed_bytes,
            "free_bytes": found.free_bytes,
            "format": found.format,
            "codec": found.codec,
            "dump_version": found.dump_version,
            "tables": found.facts["table_count"],
        },
        "actions": [f"back up {database} ({found.size_bytes // 2**20} MB) as {found.format}"],
    }
