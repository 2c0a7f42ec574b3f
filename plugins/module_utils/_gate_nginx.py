# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a gate finds in the configuration of nginx."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from . import _compose, _gate, _gate_files, _gate_mounts, _gate_nginx_text

_PASS = re.compile(r"(?:https?://)?(?P<host>[^/]+)(?P<path>/.*)?$")
# What the image of nginx fills in when it starts; nginx itself has no variable in capitals.
_FILLED_IN = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)\}?")
_TEMPLATE = ".template"
_SUFFIXES = (".conf", f".conf{_TEMPLATE}")
_HOME = "/etc/nginx"


def files(folder: str, model: _compose.Model) -> list[str]:
    """Return the configuration files of a checkout, relative to it.

    They are called so, or a container has them where its nginx reads them.
    """
    called = {
        name for name in _gate_files.below(folder) if name.endswith(_SUFFIXES) and "nginx" in name
    }
    root = os.path.realpath(folder)
    for one in _gate_mounts.used(model):
        service = _compose.services(model)[one.service]
        start = os.path.relpath(os.path.realpath(one.source), root)
        if _reads(service, one.target) and not start.startswith(os.pardir):
            called.update(_gate_files.below(folder, start))
    return sorted(called)


def _reads(service: Mapping[str, Any], target: str) -> bool:
    """Whether the nginx of a service reads what is mounted at a path."""
    if f"{target}/".startswith(f"{_HOME}/"):
        return True
    words = [*(service.get("entrypoint") or ()), *(service.get("command") or ())]
    if "nginx" not in words or "-c" not in words[:-1]:
        return False
    return f"{words[words.index('-c') + 1]}/".startswith(f"{target.rstrip('/')}/")


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


def look(folder: str, names: Iterable[str]) -> list[_gate.Finding]:
    """Return the traps of configurations of a checkout."""
    return [
        one for name in names for one in judge(_gate_files.text(os.path.join(folder, name)), name)
    ]
