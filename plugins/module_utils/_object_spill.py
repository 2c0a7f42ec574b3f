# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Sort more than memory should hold: runs on disk, merged line by line."""

from __future__ import annotations

import heapq
import itertools
import json
import os
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from typing import Any

_RUN = 20_000


def sort(rows: Iterable[list[Any]], folder: str, name: str) -> str:
    """Write rows sorted by their first column, of which each is there once; return the path.

    Python compares texts by code points, which is the order of their UTF-8 bytes too. What
    stores list comes in that order from some of them only.
    """
    path = os.path.join(folder, name)
    runs: list[str] = []
    iterator = iter(rows)
    while len(run := sorted(itertools.islice(iterator, _RUN), key=_first)) == _RUN:
        runs.append(f"{path}.{len(runs)}")
        with open(runs[-1], "w", encoding="ascii") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in run)
    with ExitStack() as opened, open(path, "w", encoding="ascii") as stream:
        sources = [read(one) for one in runs]
        for source in sources:
            opened.callback(source.close)
        last = None
        # What is left over, and mostly that is all of it, need not go over the disk.
        for row in heapq.merge(*sources, run, key=_first):
            # Listed twice: a store that was changed while it was listed.
            if row[0] != last:
                stream.write(json.dumps(row) + "\n")
            last = row[0]
    for one in runs:
        os.unlink(one)
    return path


def read(path: str) -> Generator[list[Any], None, None]:
    """Yield the rows of a file."""
    with open(path, encoding="ascii") as stream:
        for line in stream:
            yield json.loads(line)


def _first(row: list[Any]) -> str:
    return str(row[0])
