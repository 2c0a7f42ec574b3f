# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A freeze: until then, and for this reason, nobody releases, scales or tunes."""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from ._lock_file import OperationError, clean

_NAME = "freeze"


@dataclass(frozen=True)
class Freeze:
    """What a freeze says."""

    reason: str
    until: str
    who: str
    since: str


def parse_moment(text: str) -> datetime:
    """Return the moment that a text names, in UTC."""
    wanted = re.sub(r"[zZ]$", "+00:00", text.strip())
    try:
        moment = datetime.fromisoformat(wanted)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise OperationError(
            f"{text!r} is no moment with a time zone; give the end of the freeze as "
            "2026-11-25T06:00Z. Nothing was changed."
        )
    return moment.astimezone(timezone.utc)


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def load(state_dir: str, now: datetime | None = None) -> Freeze | None:
    """Return the freeze in force; one that is over is none."""
    path = os.path.join(state_dir, _NAME)
    try:
        with open(path, encoding="utf-8") as stream:
            found = Freeze(**json.load(stream))
        end = parse_moment(found.until)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OperationError) as error:
        # Somebody wanted a freeze; not to understand it is no leave to release.
        raise OperationError(
            f"{path} cannot be read as a freeze ({error}); end it with playbooks/lock.yml "
            "-e lock_thaw=true. Nothing was changed."
        ) from error
    return found if (now or datetime.now(timezone.utc)) < end else None


def planned(reason: str, until: str, who: str, now: datetime | None = None) -> Freeze:
    """Return the freeze that is asked for."""
    now = now or datetime.now(timezone.utc)
    end = parse_moment(until)
    if not reason.strip():
        raise OperationError("A freeze needs a reason (lock_freeze). Nothing was changed.")
    if end <= now:
        raise OperationError(
            f"The end of the freeze, {_utc(end)}, is past (it is {_utc(now)}). Nothing was changed."
        )
    return Freeze(clean(reason), _utc(end), clean(who), _utc(now))


def save(state_dir: str, freeze: Freeze) -> None:
    """Put a freeze in force, whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=state_dir, prefix=".freeze-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(asdict(freeze), stream, ensure_ascii=False)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
            if os.geteuid() == 0:
                owner = os.stat(state_dir)
                os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
        os.replace(temporary, os.path.join(state_dir, _NAME))
    except BaseException:
        os.unlink(temporary)
        raise


def exists(state_dir: str) -> bool:
    """Return whether there is a freeze, also one that is over or cannot be read."""
    return os.path.exists(os.path.join(state_dir, _NAME))


def remove(state_dir: str) -> None:
    """End a freeze."""
    os.unlink(os.path.join(state_dir, _NAME))
