# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""PostgreSQL's settings: what is in force, what governs it, and what it takes to change it.

Pure: rows of C(pg_settings) and C(pg_file_settings) in, steps out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils._memory_budget import amount

KEEP, RELOAD, RESTART, BLOCKED = "keep", "reload", "restart", "blocked"
AUTO_FILE = "postgresql.auto.conf"
LIBRARIES = "shared_preload_libraries"
# Their values are lists of names, each of which ALTER SYSTEM has to be given by itself.
_LISTS = frozenset(
    {
        LIBRARIES,
        "local_preload_libraries",
        "session_preload_libraries",
        "search_path",
        "temp_tablespaces",
        "unix_socket_directories",
        "listen_addresses",
    }
)
_QUOTED_LISTS = _LISTS - {"listen_addresses"}
# No file has a say against these.
_FIXED = {
    "command line": "on the command line of the server (command: in the compose file)",
    "environment variable": "by a variable of the container's environment",
}
_OVERRIDDEN = {
    "database": "by ALTER DATABASE",
    "user": "by ALTER ROLE",
    "database user": "by ALTER ROLE IN DATABASE",
    "global": "by ALTER ROLE ALL",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?\Z")
_NUMBER = re.compile(r"\s*(?P<number>[-+]?\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)\s*\Z")
_OCTAL = re.compile(r"0[0-7]+")
_MEMORY_KB = {"B": 1 / 1024, "kB": 1, "MB": 1024, "GB": 1024**2, "TB": 1024**3}
_TIME_MS = {
    "us": 0.001,
    "ms": 1.0,
    "s": 1000.0,
    "min": 60_000.0,
    "h": 3_600_000.0,
    "d": 86_400_000.0,
}
_TRUE = {"on", "true", "yes", "1", "t", "y"}
_FALSE = {"off", "false", "no", "0", "f", "n"}


class SettingError(Exception):
    """A setting that PostgreSQL would not take; the text is a whole sentence without its end."""


@dataclass(frozen=True)
class Row:
    """One row of C(pg_settings)."""

    name: str
    setting: str
    unit: str
    context: str
    vartype: str
    source: str
    sourcefile: str = ""
    sourceline: int = 0
    boot_val: str = ""
    min_val: str = ""
    max_val: str = ""
    enumvals: tuple[str, ...] = ()
    pending_restart: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Row:
        """Return it from a row of a query."""
        found: dict[str, Any] = {name: row.get(name) for name in cls.__dataclass_fields__}
        found["enumvals"] = tuple(row.get("enumvals") or ())
        found["sourceline"] = int(row.get("sourceline") or 0)
        found["pending_restart"] = bool(row.get("pending_restart"))
        for name, value in found.items():
            if value is None:
                found[name] = ""
        return cls(**found)

    @property
    def governed_by(self) -> str:
        """What decides the value that is in force, in words."""
        if self.source in _FIXED:
            return _FIXED[self.source]
        if self.source in _OVERRIDDEN:
            return _OVERRIDDEN[self.source]
        if self.sourcefile:
            return f"{self.sourcefile} line {self.sourceline}"
        return "nothing: PostgreSQL's own default" if self.source == "default" else self.source


@dataclass(frozen=True)
class Entry:
    """One line of a configuration file, as C(pg_file_settings) has it; the last one counts."""

    name: str
    setting: str
    sourcefile: str
    sourceline: int = 0
    error: str = ""

    @property
    def automatic(self) -> bool:
        """Whether ALTER SYSTEM wrote it."""
        return self.sourcefile.rsplit("/", 1)[-1] == AUTO_FILE


@dataclass(frozen=True)
class Step:
    """What has to be done with one setting.

    :param wanted: as ALTER SYSTEM takes it; nothing takes the setting out.
    :param write: whether ALTER SYSTEM has to be called for it.
    """

    name: str
    now: str
    wanted: str | None
    action: str
    governed_by: str
    write: bool = True
    why: str = ""

    @property
    def changes(self) -> bool:
        """Whether it is anything to do."""
        return self.action in (RELOAD, RESTART)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a result shows it."""
        return {
            "name": self.name,
            "now": self.now,
            "wanted": self.wanted,
            "action": self.action,
            "governed_by": self.governed_by,
            "why": self.why,
        }


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a setting."""
    return bool(_NAME.match(text))


def normal(row: Row, value: str) -> str:
    """Return a value as C(pg_settings) would show it.

    :raises SettingError: when PostgreSQL would refuse it.
    """
    text = str(value).strip()
    if row.vartype == "bool":
        low = text.lower()
        if low in _TRUE | _FALSE:
            return "on" if low in _TRUE else "off"
        raise SettingError(f"{row.name} is {text!r}; give on or off")
    if row.vartype == "enum":
        if text.lower() in {one.lower() for one in row.enumvals}:
            return text.lower()
        # Enums take more words than they show (true for on).
        if text.lower() in _TRUE | _FALSE and {"on", "off"} & set(row.enumvals):
            return "on" if text.lower() in _TRUE else "off"
        raise SettingError(f"{row.name} is {text!r}; it is one of {', '.join(row.enumvals)}")
    if row.vartype in ("integer", "real"):
        return _number(row, text)
    if row.name in _LISTS:
        return ", ".join(names(text))
    return text


def _number(row: Row, text: str) -> str:
    found = _NUMBER.match(text)
    if not found:
        raise SettingError(f"{row.name} is {text!r}, which is no number")
    number, unit = float(found["number"]), found["unit"]
    if _OCTAL.fullmatch(text):
        # A mode of files: PostgreSQL reads numbers as C does.
        number = int(text, 8)
    if unit:
        number *= _factor(row, unit)
    if row.vartype == "integer":
        number = int(number + (0.5 if number >= 0 else -0.5))
    least, most = row.min_val or "-inf", row.max_val or "inf"
    if not float(least) <= number <= float(most):
        raise SettingError(
            f"{row.name} is {text!r}; it lies between {shown(row, least)} and {shown(row, most)}"
        )
    return str(number) if row.vartype == "integer" else repr(number)


def _factor(row: Row, unit: str) -> float:
    base = re.match(r"(\d*)(\w+)", row.unit)
    if base:
        count, own = int(base[1] or 1), base[2]
        for table in (_MEMORY_KB, _TIME_MS):
            if own in table and unit in table:
                return table[unit] / (table[own] * count)
    known = "B, kB, MB, GB, TB" if base and base[2] in _MEMORY_KB else "us, ms, s, min, h, d"
    said = f"; units are {known}, and their case counts" if row.unit else "; it has no unit"
    raise SettingError(f"{row.name} has {unit!r} as its unit{said}")


def shown(row: Row, setting: str) -> str:
    """Return a value of C(pg_settings) for people."""
    if not row.unit or not re.fullmatch(r"-?\d+", setting) or int(setting) <= 0:
        return setting
    base = re.match(r"(\d*)(\w+)", row.unit)
    count, own = (int(base[1] or 1), base[2]) if base else (1, row.unit)
    if own in _MEMORY_KB and own != "B":
        return amount(int(int(setting) * count * _MEMORY_KB[own]))
    return f"{int(setting) * count}{own}"


def megabytes(row: Row, setting: str) -> float:
    """Return a size of memory in MiB; what is chosen by PostgreSQL itself stays -1."""
    base = re.match(r"(\d*)(\w+)", row.unit)
    if not base or float(setting) < 0:
        return -1
    return float(setting) * int(base[1] or 1) * _MEMORY_KB.get(base[2], 0) / 1024


def names(text: str) -> list[str]:
    """Return the members of a list of names."""
    return [one for part in text.split(",") if (one := part.strip().strip('"'))]


def with_library(current: str, library: str) -> str:
    """Return a list of libraries with one more at its end."""
    found = names(current)
    return ", ".join(found if library in found else [*found, library])


def literals(name: str, value: str) -> list[str]:
    """Return the values that ALTER SYSTEM has to be given for a setting."""
    if name in _QUOTED_LISTS:
        return names(value) or [""]
    return [value]


def equal(row: Row, one: str, other: str) -> bool:
    """Return whether two values mean the same."""
    try:
        first, second = normal(row, one), normal(row, other)
    except SettingError:
        return one == other
    if row.vartype == "real":
        return abs(float(first) - float(second)) < 1e-9
    return first == second


def last(entries: Iterable[Entry], name: str, *, automatic: bool | None = None) -> Entry | None:
    """Return the line that counts for a setting.

    :param automatic: only among those that ALTER SYSTEM wrote, or did not write.
    """
    found = None
    for entry in entries:
        if entry.name.lower() == name.lower() and automatic in (None, entry.automatic):
            found = entry
    return found


def step(row: Row, wanted: str | None, entries: Sequence[Entry]) -> Step:
    """Return what has to be done for a setting to be as wanted.

    :raises SettingError: when PostgreSQL would refuse the value.
    """
    if wanted is None:
        return _reset(row, entries)
    value = normal(row, wanted)
    now, target = shown(row, row.setting), shown(row, value)
    written = last(entries, row.name)
    # A file that says otherwise, or nothing any more, waits for the next restart.
    settled = equal(row, written.setting, value) if written else row.source != "configuration file"
    fixed = row.source in _FIXED
    if equal(row, row.setting, value) and (settled or fixed):
        return Step(row.name, now, target, KEEP, row.governed_by, write=False)
    if row.context == "internal":
        return Step(
            row.name, now, target, BLOCKED, row.governed_by, False, "it is built into the server"
        )
    if fixed or row.source in _OVERRIDDEN:
        why = f"{now} is fixed {row.governed_by}, which no ALTER SYSTEM changes; change it there"
        return Step(row.name, now, target, BLOCKED, row.governed_by, False, why)
    restart = row.context == "postmaster" and not equal(row, row.setting, value)
    write = written is None or not equal(row, written.setting, value)
    action = RESTART if restart else RELOAD
    return Step(row.name, now, _given(row, wanted, target), action, row.governed_by, write)


def _given(row: Row, wanted: str, target: str) -> str:
    """Return what is written: as it was given, and a number without a unit as people read it."""
    bare = row.vartype == "integer" and wanted.strip().lstrip("-").isdigit()
    return target if bare or row.vartype in ("bool", "enum") else wanted.strip()


def _reset(row: Row, entries: Sequence[Entry]) -> Step:
    now = shown(row, row.setting)
    if last(entries, row.name, automatic=True) is None:
        return Step(row.name, now, None, KEEP, row.governed_by, write=False)
    below = last(entries, row.name, automatic=False)
    fallback = below.setting if below else row.boot_val
    restart = row.context == "postmaster" and not equal(row, row.setting, fallback)
    return Step(row.name, now, None, RESTART if restart else RELOAD, row.governed_by)


_LINE = re.compile(r"\s*(?P<name>[A-Za-z_][\w.$]*)\s*=?\s*'(?P<value>(?:[^']|'')*)'")


def parse_auto(text: str) -> dict[str, str]:
    """Return the settings of a file as ALTER SYSTEM writes it; of several lines the last counts."""
    found = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            found[match["name"]] = match["value"].replace("''", "'")
    return found
