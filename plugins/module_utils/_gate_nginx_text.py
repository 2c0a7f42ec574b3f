# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A configuration of nginx, read as nginx reads it: directives, and the blocks around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A hash begins a comment and a quote a string at the start of a word alone; ${name} is part of
# one, in templates above all.
_TOKEN = re.compile(
    r"(?P<comment>\#[^\n]*)"
    r"|(?P<quoted>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<mark>[;{}])"
    r"|(?P<word>(?:\$\{[^}\s]*\}|\\.|[^\s;{}])+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Directive:
    """One directive: its words, the line it begins in, and the blocks around it from outside."""

    words: tuple[str, ...]
    line: int
    blocks: tuple[tuple[str, ...], ...] = ()

    @property
    def location(self) -> tuple[str, ...]:
        """What stands behind ``location`` of the innermost one; nothing outside of any."""
        found = (one[1:] for one in reversed(self.blocks) if one[:1] == ("location",))
        return next(found, ())


def directives(text: str) -> Iterator[Directive]:
    """Yield the directives of a configuration that end with a semicolon."""
    blocks: list[tuple[str, ...]] = []
    words: list[str] = []
    begun, line, seen = 0, 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", seen, match.start())
        seen = match.start()
        if match["comment"]:
            continue
        mark = match["mark"]
        if not mark:
            begun = begun if words else line
            words.append(match["quoted"][1:-1] if match["quoted"] else match["word"])
            continue
        if mark == "{":
            blocks.append(tuple(words))
        elif mark == "}":
            del blocks[-1:]
        elif words:
            yield Directive(tuple(words), begun, tuple(blocks))
        words = []
