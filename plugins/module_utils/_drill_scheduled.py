# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The weekly drill."""

from __future__ import annotations

import sys
from typing import Any

from . import _backup_database, _backups, _drill, _engine, _scheduled
from ._operation_work import Operation


def main(argv: list[str]) -> int:
    """Run the weekly drill, as :func:`_scheduled.main` says."""
    return _scheduled.main(argv, _scheduled.Job("drill", _drilled))


def _drilled(settings: dict[str, Any], operation: Operation) -> dict[str, Any]:
    wish = _drill.Wish(**settings["arguments"])
    engine = _engine.Engine()
    production = _backup_database.source(engine, wish.project, wish.database_service, wish.database)
    backup = _drill.pick(wish)
    drilled = _drill.run(engine, production, wish, backup, operation)
    return {
        "headline": sentence(backup, drilled),
        "backup": backup.id,
        "numbers": drilled.as_dict(),
    }


def sentence(backup: _backups.Backup, drilled: _drill.Drilled) -> str:
    """Return what a drill found, for an operator."""
    return (
        f"{backup.id} can be restored: {drilled.rows} rows in {drilled.tables} tables, in "
        f"{drilled.seconds:.1f} s."
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
