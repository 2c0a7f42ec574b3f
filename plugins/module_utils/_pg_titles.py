# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Sessions of a PostgreSQL that lets nobody in any more, by the titles of its processes.

When all connections are taken, its superuser's too, no query can ask who has them. Each session
is a process, and its title says whose it is and what it does.
"""

from __future__ import annotations

import re
from typing import Any

from ._docker import Container
from ._engine import Engine

FULL = re.compile(
    r"too many clients already|remaining connection slots are reserved|slots .* in use"
)
_TICKS = 100.0
_FIELDS = 3
# Clock ticks are a hundredth of a second for every user of Linux.
_SCRIPT = (
    'read up rest < /proc/uptime; echo "up|$up|"; for d in /proc/[0-9]*; do '
    "[ -r $d/stat ] || continue; "
    "printf '%s|%s|%s\\n' \"${d#/proc/}\" \"$(cut -d' ' -f22 < $d/stat)\" "
    "\"$(tr '\\0' ' ' < $d/cmdline)\"; done 2>/dev/null"
)
_TITLE = re.compile(
    r"postgres: (?:\S+: )?(?P<user>\S+) (?P<database>\S+) "
    r"(?P<client>\[local\]|[0-9a-fA-F.:]+\(\d+\)) (?P<state>.+?)\s*$"
)


def parse(text: str) -> list[dict[str, Any]]:
    """Return the sessions as ``pg_stat_activity`` lists them, with the age of the whole session.

    :param text: what the script printed: pid in the container, start in ticks, title.
    """
    up, found = 0.0, []
    for line in text.splitlines():
        words = line.split("|", 2)
        if len(words) != _FIELDS:
            continue
        if words[0] == "up":
            up = float(words[1])
            continue
        title = _TITLE.search(words[2])
        if not title or not words[0].isdigit() or not words[1].isdigit():
            continue
        age = max(up - int(words[1]) / _TICKS, 0.0)
        doing = title["state"]
        found.append(
            {
                "pid": int(words[0]),
                "datname": title["database"],
                "usename": title["user"],
                "application_name": "",
                "client": title["client"].partition("(")[0],
                "state": doing if doing.startswith("idle") else "active",
                "state_s": age,
                "query": "",
                "blocked_by": None,
            }
        )
    return found


def look(engine: Engine, container: Container) -> list[dict[str, Any]]:
    """Return the sessions of a server by the titles of its processes."""
    code, output = engine.execute(container.id, ["sh", "-c", _SCRIPT])
    return parse(output) if code == 0 else []


def end(engine: Engine, container: Container, pids: list[int]) -> bool:
    """Ask sessions to end, as ``pg_terminate_backend`` does; return whether they were asked.

    :param pids: as the container counts them.
    """
    argv = ["sh", "-c", "kill -TERM " + " ".join(str(pid) for pid in pids)]
    return engine.execute(container.id, argv, "0")[0] == 0
