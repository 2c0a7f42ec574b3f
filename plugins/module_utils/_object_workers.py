# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Do the same to many objects at once, with a bounded number of them in memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Tool = TypeVar("Tool")


class Workers(Generic[Tool]):
    """Threads, each with a tool of its own, such as a connection."""

    def __init__(self, number: int, tool: Callable[[], AbstractContextManager[Tool]]) -> None:
        self.number = number
        self._tool = tool

    def run(
        self,
        items: Iterable[Item],
        work: Callable[[Tool, Item], Result],
        expected: tuple[type[Exception], ...],
    ) -> Iterator[tuple[Item, Result | Exception]]:
        """Yield what came of each item, in the order in which they are finished.

        :param expected: errors that belong to one object; the others go on. Any other error
            ends the run.
        """
        waiting: queue.Queue[Item | None] = queue.Queue()
        finished: queue.Queue[tuple[Item, Result | Exception]] = queue.Queue()
        threads = [
            threading.Thread(
                target=self._serve, args=(waiting, finished, work), name=f"object {n}", daemon=True
            )
            for n in range(self.number)
        ]
        for thread in threads:
            thread.start()
        try:
            under_way = 0
            for item in items:
                waiting.put(item)
                under_way += 1
                if under_way >= self.number * 4:
                    yield _unless_unexpected(finished.get(), expected)
                    under_way -= 1
            for _number in range(under_way):
                yield _unless_unexpected(finished.get(), expected)
        finally:
            for _thread in threads:
                waiting.put(None)

    def _serve(
        self,
        waiting: queue.Queue[Item | None],
        finished: queue.Queue[tuple[Item, Result | Exception]],
        work: Callable[[Tool, Item], Result],
    ) -> None:
        with self._tool() as tool:
            while (item := waiting.get()) is not None:
                try:
                    finished.put((item, work(tool, item)))
                except Exception as error:  # told to the thread that waits for it
                    finished.put((item, error))


def _unless_unexpected(
    came: tuple[Item, Result | Exception], expected: tuple[type[Exception], ...]
) -> tuple[Item, Result | Exception]:
    if isinstance(came[1], Exception) and not isinstance(came[1], expected):
        raise came[1]
    return came
