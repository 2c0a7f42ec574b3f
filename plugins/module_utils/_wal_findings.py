# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What health says of the write-ahead log, where it is to be received."""

from __future__ import annotations

from ansible_collections.carrental.ops.plugins.module_utils import _checks, _host, _wal_status
from ansible_collections.carrental.ops.plugins.module_utils._checks import Check

_NAME = "wal"
_NEXT = "see journalctl of its service, and playbooks/backup.yml"


def look(directory: str, state_dir: str, now: float) -> list[Check]:
    """Look what can be reached; nothing is said where it is switched off.

    :param directory: that of the backups.
    """
    status = _wal_status.read(state_dir) if state_dir else None
    if status is None:
        return []
    found = _wal_status.as_result(directory, status, now)
    why = str(found.get("why") or status.why or "nothing was received yet").rstrip(".")
    if not found or not found["receiving"]:
        return [
            _host.HOST.says(
                _NAME, _checks.WARN, "The write-ahead log is not received", f"{why}; {_NEXT}"
            )
        ]
    if not found["unbroken"]:
        summary = "No moment from now on can be restored"
        detail = f"the log has a gap since the last base, or there is none; {_NEXT}"
        return [_host.HOST.says(_NAME, _checks.WARN, summary, detail, spans=found["spans"])]
    since = found["spans"][-1]["since"]
    return [
        _host.HOST.says(
            _NAME, _checks.OK, f"Any moment since {since} can be restored", "", spans=found["spans"]
        )
    ]
