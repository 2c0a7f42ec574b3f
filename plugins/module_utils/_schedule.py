# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What starts a program of the server at its time: a timer of systemd, or cron.

The unit files came with bootstrap, which alone is root; whether the timer is at work can be asked
by anybody. Where it is not, the user's own cron does it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from . import _whole_file
from ._backups import BackupError

# What the runbook's own script is started by; two of the same kind would double it.
_RUNBOOK = re.compile(r"^(?!\s*#).*\bbackup-db\.sh\b")


@dataclass(frozen=True)
class Table:
    """A crontab, line by line, and what is wanted of it."""

    lines: tuple[str, ...]

    def runbook(self) -> list[str]:
        """Return the lines that start the runbook's script."""
        return [line for line in self.lines if _RUNBOOK.search(line)]

    def wanted(self, mark: str, job: str) -> Table:
        """Return it with one line of ours, or with none, and without the runbook's."""
        kept = [
            line
            for line in self.lines
            if not _RUNBOOK.search(line) and not line.endswith(f" # {mark}")
        ]
        return Table((*kept, f"{job} # {mark}") if job else tuple(kept))

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


def read() -> Table | None:
    """Return the crontab of this user; nothing where there is no cron."""
    try:
        done = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return Table(tuple(done.stdout.splitlines()) if done.returncode == 0 else ())


def write(table: Table) -> None:
    """Replace the crontab of this user.

    :raises BackupError: cron does not take it.
    """
    done = subprocess.run(
        ["crontab", "-"], input=table.text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BackupError(f"crontab does not take the new lines: {done.stderr.strip()}.")


def is_at_work(unit: str) -> bool:
    """Return whether systemd has a timer or a path at work, now and after a reboot."""
    for verb in ("is-enabled", "is-active"):
        argv = ["systemctl", "--quiet", verb, unit]
        try:
            if subprocess.run(argv, capture_output=True, check=False).returncode != 0:
                return False
        except FileNotFoundError:
            return False
    return True


def cron_line(time: str, zone: str, command: Sequence[str], options: Sequence[str]) -> str:
    """Return a line that starts a command at a time of a zone.

    Cron knows the zone of the server alone, so it starts every hour, and the program itself works
    at the right one.
    """
    minute = int(time.split(":")[1])
    # A percent sign ends a line of cron.
    words = [shlex.quote(word).replace("%", r"\%") for word in (*command, "--hourly", *options)]
    return f"{minute} * * * * {' '.join(words)} >/dev/null 2>&1"


def require_time(time: str) -> None:
    """Refuse what is no time of a day.

    :raises BackupError: it is none.
    """
    match = re.fullmatch(r"(\d{2}):(\d{2})", time)
    if not match or int(match[1]) > 23 or int(match[2]) > 59:
        raise BackupError(f"time is {time!r}; write it like 02:00. Nothing was changed.")


def require_zone(zone: str) -> None:
    """Refuse a time zone that this server does not know.

    :raises BackupError: it does not.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise BackupError(
            f"timezone is {zone!r}, which this server does not know; give one like UTC or "
            "Europe/Paris. Nothing was changed."
        ) from error


@dataclass(frozen=True)
class Program:
    """A program of the server, and what starts it."""

    # Its name, that of its settings, and what people call it.
    name: str
    config: str
    called: str
    unit: str
    state_dir: str

    @property
    def path(self) -> str:
        return os.path.join(self.state_dir, "bin", self.name)

    @property
    def config_path(self) -> str:
        return os.path.join(self.state_dir, "bin", self.config)

    @property
    def mark(self) -> str:
        return f"{self.unit} of carrental.ops"


@dataclass(frozen=True)
class Installed:
    """What was done, and what starts the program: systemd, cron, or nothing."""

    actions: list[str]
    by: str

    def how(self, unit: str) -> str:
        """Return what starts it, in words."""
        return f"the timer {unit}.timer of systemd" if self.by == "systemd" else "cron"


def install(
    program: Program, content: bytes, settings: Mapping[str, Any], check_mode: bool
) -> Installed:
    """Have a program, its settings and what starts it.

    :param settings: with the ``time`` and the ``timezone``.
    :raises BackupError: these are none, or nothing is there that could start it.
    :raises OSError: a file cannot be written.
    """
    require_time(settings["time"])
    require_zone(settings["timezone"])
    by_timer = is_at_work(f"{program.unit}.timer")
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    changed = put(program.path, content, 0o700, check_mode)
    changed |= put(program.config_path, text.encode(), 0o600, check_mode)
    command = ["/usr/bin/python3", program.path]
    line = cron_line(settings["time"], settings["timezone"], command, [program.config_path])
    actions = [f"install {program.called}"] if changed else []
    actions += cron("" if by_timer else line, program.mark, program.called, check_mode)
    return Installed(actions, "systemd" if by_timer else "cron")


def uninstall(program: Program, check_mode: bool) -> Installed:
    """Have no program, and nothing that starts it.

    :raises BackupError: cron does not take it.
    """
    gone = [remove(path, check_mode) for path in (program.path, program.config_path)]
    actions = [f"remove {program.called}"] if any(gone) else []
    return Installed(actions + cron("", program.mark, program.called, check_mode), "")


def put(path: str, content: bytes, mode: int, check_mode: bool) -> bool:
    """Have a file; return whether it was another."""
    try:
        with open(path, "rb") as stream:
            same = stream.read() == content and os.stat(path).st_mode & 0o777 == mode
    except OSError:
        same = False
    if not same and not check_mode:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        _whole_file.write(path, content, mode)
    return not same


def remove(path: str, check_mode: bool) -> bool:
    """Have no file; return whether there was one."""
    there = os.path.exists(path)
    if there and not check_mode:
        with suppress(FileNotFoundError):
            os.unlink(path)
    return there


def cron(job: str, mark: str, what: str, check_mode: bool) -> list[str]:
    """Have the line of this schedule in the user's cron, or none; say what was done.

    :raises BackupError: there is no cron, and it is needed.
    """
    table = read()
    if table is None:
        if job:
            raise BackupError(
                f"Neither a timer of systemd nor cron is there to start {what}; run "
                "playbooks/bootstrap.yml, which installs the timer. Nothing was changed."
            )
        return []
    wanted = table.wanted(mark, job)
    if wanted == table:
        return []
    if not check_mode:
        write(wanted)
    said = [f"take out of cron: {line.strip()}" for line in table.runbook()]
    own = [line for line in wanted.lines if line not in table.lines]
    gone = [line for line in table.lines if line.endswith(f" # {mark}")]
    said += [f"take {what} out of cron"] if gone and not job else []
    return said + ([f"let cron start {what}"] if own else [])
