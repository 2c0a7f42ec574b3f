# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a gate finds in the configuration of nginx, by its text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from . import _gate, _gate_nginx_text

_PASS = re.compile(r"(?:https?://)?(?P<host>[^/]+)(?P<path>/.*)?$")
# What the image of nginx fills in when it starts; nginx itself has no variable in capitals.
_FILLED_IN = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)\}?")
_TEMPLATE = ".template"
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
    if file.endswith(_TEMPLATE):
        text = _FILLED_IN.sub(r"\1", text)
    for one in _gate_nginx_text.directives(text):
        if one.words[0] == "proxy_next_upstream" and "non_idempotent" in one.words:
            yield _gate.Finding(
                "nginx.repeat",
                _gate.ERROR,
                "proxy_next_upstream with non_idempotent sends a booking again to the next server.",
                "Leave non_idempotent out.",
                file,
                one.line,
            )
        if one.words[0] == "proxy_pass" and len(one.words) > 1:
            yield from _passed(one, file)


def _passed(one: _gate_nginx_text.Directive, file: str) -> Iterator[_gate.Finding]:
    """Yield the traps of a proxy_pass."""
    to = one.words[1]
    passed = _PASS.match(to)
    if not passed or "unix:" in passed["host"]:
        return
    if "$" in passed["host"]:
        yield _gate.Finding(
            "nginx.variable",
            _gate.WARNING,
            f"proxy_pass leads to {passed['host']}: names in variables are looked up at each "
            "request, and a deploy cannot pin them; it announces a gap.",
            "Name an upstream, and let deploys reload nginx.",
            file,
            one.line,
        )
    location, path = _prefix(one.location), passed["path"]
    # With a variable nginx takes the path as it is written, and puts nothing behind it.
    if not path or "$" in to or not location or path == location:
        return
    asked = f"{location.rstrip('/')}/health"
    arrives = path + asked[len(location) :]
    yield _gate.Finding(
        "nginx.prefix",
        _gate.WARNING,
        f"location {location} with {path} behind the upstream does not hand a path on as it is: "
        f"{asked} arrives as {arrives}.",
        f"Leave out the {path} behind the upstream, unless the application expects it so.",
        file,
        one.line,
    )


def _prefix(location: Sequence[str]) -> str:
    """Return the prefix of a location; none for one of a single path, a pattern or a name."""
    words = location[1:] if location[:1] == ("^~",) else location
    return words[0] if len(words) == 1 and words[0].startswith("/") else ""


def look(folder: str) -> list[_gate.Finding]:
    """Return the traps of all configurations of a checkout."""
    found: list[_gate.Finding] = []
    for name in files(folder):
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as stream:
            found += judge(stream.read(), name)
    return found
