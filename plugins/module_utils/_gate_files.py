# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The files of a checkout that a gate looks through."""

from __future__ import annotations

import os
from collections.abc import Iterator

_FOREIGN = "node_modules"
# A configuration is not larger.
_LARGE = 1024 * 1024


def below(folder: str, start: str = "") -> Iterator[str]:
    """Yield the files of a checkout in order, relative to it, without those of others.

    :param start: a file or a directory of the checkout; the whole checkout without it.
    """
    top = os.path.join(folder, start)
    if os.path.isfile(top):
        yield start
    for base, folders, names in os.walk(top):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != _FOREIGN
        )
        for name in sorted(names):
            yield os.path.relpath(os.path.join(base, name), folder)


def text(path: str) -> str:
    """Return the text of a file; nothing of one that is none, or that cannot be read."""
    try:
        if os.path.getsize(path) > _LARGE:
            return ""
        with open(path, encoding="utf-8", errors="replace") as stream:
            found = stream.read()
    except OSError:
        return ""
    return "" if "\0" in found else found
