# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What health says of backups: whether the newest one to rely on is young enough."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from ansible_collections.carrental.ops.plugins.module_utils import _backups, _checks, _host
from ansible_collections.carrental.ops.plugins.module_utils._backups import Backup
from ansible_collections.carrental.ops.plugins.module_utils._checks import Check

_NAME = "backup"
_OLD = "The newest verified backup is too old"
_NEXT = "see playbooks/backup.yml"


def look(directory: str, hours: int, since: float | None) -> list[Check]:
    """Look at the backups of a directory.

    :param hours: from which age on the newest verified one is a warning.
    :param since: age in seconds of the oldest release that is known. A server that is younger
        than a backup may be needs none yet; one without a release needs none at all.
    """
    try:
        backups = _backups.listing(directory)
    except _backups.BackupError as error:
        return [_host.HOST.skipped(_NAME, str(error))]
    if not backups and (since is None or since < hours * 3600):
        return []
    return [judge(backups, hours, datetime.now(timezone.utc))]


def judge(backups: Sequence[Backup], hours: int, now: datetime) -> Check:
    """Judge the newest backup that was read to its end."""
    newest = _backups.newest_verified(backups)
    if newest is None:
        return _host.HOST.says(
            _NAME, _checks.WARN, "There is no verified backup", _NEXT, backups=len(backups)
        )
    age = newest.age(now)
    facts = {"id": newest.id, "age_s": round(age), "offsite": newest.as_dict()["offsite"]}
    if age > hours * 3600:
        detail = f"{newest.id} is {age / 3600:.0f} h old, more than {hours} h; {_NEXT}"
        return _host.HOST.says(_NAME, _checks.WARN, _OLD, detail, **facts)
    return _host.HOST.says(
        _NAME, _checks.OK, f"The newest backup is {age / 3600:.0f} h old", "", **facts
    )
