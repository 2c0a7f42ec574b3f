# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a gate finds in the configuration of nginx, by its text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from . import _gate

_LOCATION = re.compile(r"^\s*location\s+(?:\^~\s+)?(?P<path>/[^\s{]*)\s*\{")
_PASS = re.compile(r"^\s*proxy_pass\s+https?://(?P<host>[^/;\s]+)(?P<path>/[^;\s]*)?\s*;")
_REPEAT = re.compile(r"^\s*proxy_next_upstream\s+[^;]*\bnon_idempotent\b")
_SUFFIX = ".conf"


def files(folder: str) -> list[str]:
    """Return the configuration files of a checkout, relative to it."""
    found = []
    for base, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if not name.startswith(".") and name != "node_modules"
        ]
        found += [
            os.path.relpath(os.path.join(base, name), folder)
            for name in names
            if name.endswith(_SUFFIX) and "nginx" in os.path.join(base, name)[len(folder) :]
        ]
    return sorted(found)


def judge(text: str, file: str) -> Iterator[_gate.Finding]:
    """Yield the traps of a configuration."""
    location = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0]
        begun = _LOCATION.match(line)
        if begun:
            location = begun["path"]
        if _REPEAT.match(line):
            yield _gate.Finding(
                "nginx.repeat",
                _gate.ERROR,
                "proxy_next_upstream with non_idempotent sends a booking again to the next server.",
                "Leave non_idempotent out.",
                file,
                number,
            )
        # A location often opens and leads on in one line.
        passed = _PASS.match(line.rpartition("{")[2] if begun else line)
        if not passed:
            continue
        if "$" in passed["host"]:
            yield _gate.Finding(
                "nginx.variable",
                _gate.WARNING,
                f"proxy_pass leads to {passed['host']}: names in variables are looked up at each "
                "request, and a deploy cannot pin them; it announces a gap.",
                "Name an upstream, and let deploys reload nginx.",
                file,
                number,
            )
        if passed["path"] == "/" and location not in ("", "/"):
            yield _gate.Finding(
                "nginx.prefix",
                _gate.WARNING,
                f"location {location} with a slash behind the upstream takes {location} away: "
                f"{location.rstrip('/')}/health arrives as /health.",
                "Leave out the slash behind the upstream, unless the application expects it so.",
                file,
                number,
            )


def look(folder: str) -> list[_gate.Finding]:
    """Return the traps of all configurations of a checkout."""
    found: list[_gate.Finding] = []
    for name in files(folder):
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as stream:
            found += judge(stream.read(), name)
    return found
