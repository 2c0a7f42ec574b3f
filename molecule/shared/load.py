# SPDX-License-Identifier: GPL-3.0-or-later
"""A bounded, mixed load through the proxy, and what it saw.

    with load(seconds_max=300) as running:
        ...
    assert running.result.failed == 0, running.result

It is a process of its own, so that a busy test does not disturb it, and ends with the
test that started it. Requests are sent at a steady rate, whatever becomes of them: an
outage of a second costs as many requests as a second holds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from load_judge import OK, Attempt, Ledger
from load_wire import BrokenError, Connection, context
from support import HTTPS, on_server
from tiers import PROOF

# What must hold, and a rate that a busy machine of CI reaches as well: there the load itself
# would be what fails.
FULL_RATE = 165.0
RATE = FULL_RATE if PROOF else 60.0
KEPT_CONNECTIONS = 40
IN_FLIGHT_MAX = 500
ANSWER_SECONDS = 15.0
READY_SECONDS = 30.0
LIVE_SOCKETS = 2
# The server says something every second.
LIVE_SILENCE_SECONDS = 5.0
LIVE_RETRY_SECONDS = 0.1


@dataclass(frozen=True)
class Kind:
    """One sort of request and its share of the rate; ``fresh`` takes a new connection."""

    name: str
    method: str
    path: str
    share: int
    fresh: bool = False
    expected: int = 200
    part: str = "api"


# Shares of 165. Slow ones hold a connection of the application's pool for three seconds
# each, so there are few: six are under way at any time.
KINDS = (
    Kind("cars", "GET", "/api/v1/cars", 46),
    Kind("cars, fresh", "GET", "/api/v1/cars", 12, fresh=True),
    Kind("bookings", "GET", "/api/v1/bookings", 36),
    Kind("bookings, fresh", "GET", "/api/v1/bookings", 10, fresh=True),
    Kind("book", "POST", "/api/v1/bookings", 25, expected=201),
    Kind("book, fresh", "POST", "/api/v1/bookings", 8, fresh=True, expected=201),
    Kind("page", "GET", "/", 20, part="web"),
    Kind("page, fresh", "GET", "/", 6, fresh=True, part="web"),
    Kind("report", "GET", "/api/v1/reports/bookings", 1),
    Kind("post report", "POST", "/api/v1/reports/bookings", 1),
)


def sequence(kinds: tuple[Kind, ...] = KINDS) -> list[Kind]:
    """One round of all shares, each kind spread evenly over it."""
    total = sum(kind.share for kind in kinds)
    places = [
        ((place + 0.5) * total / kind.share, index)
        for index, kind in enumerate(kinds)
        for place in range(kind.share)
    ]
    return [kinds[index] for _, index in sorted(places)]


class Load:
    """The load itself, inside its process."""

    def __init__(self, base: str, rate: float, requests_max: int) -> None:
        url = urlsplit(base)
        self.host, self.port = url.hostname or "", url.port or 443
        self.rate, self.requests_max = rate, requests_max
        self.tls = context()
        self.ledger = Ledger()
        self.kept: deque[Connection] = deque()
        self.kept_open = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.numbers = itertools.count(1)
        # Tells requests of this run from those of another in the proxy's log.
        self.run = os.urandom(3).hex()
        self.handshakes = {"full": 0, "resumed": 0}
        self.live_open = 0
        self.started = time.monotonic()
        self.ended = ""

    def now(self) -> float:
        return time.monotonic() - self.started

    async def send_all(self) -> None:
        """Send at the rate until cancelled or until there were enough."""
        due = self.now()
        for kind in itertools.cycle(sequence()):
            due += 1 / self.rate
            # After a pause of the machine's own: go on, and do not send all at once.
            due = max(due, self.now() - 1)
            await asyncio.sleep(max(0.0, due - self.now()))
            number = next(self.numbers)
            if number > self.requests_max:
                self.ended = f"{self.requests_max} requests were sent"
                return
            if len(self.tasks) >= IN_FLIGHT_MAX:
                self.ledger.not_sent += 1
                continue
            task = asyncio.create_task(self.attempt(kind, number))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def attempt(self, kind: Kind, number: int) -> None:
        """One request, judged; its connection is kept where both sides want that."""
        sent, connection = self.now(), None
        status, error, release = 0, "", ""
        reused = heard = keeps = False
        try:
            connection = await self.connection(kind)
            reused = connection.answers > 0
            answer = await connection.ask(self.request(kind, number), ANSWER_SECONDS)
            status, release = answer.status, answer.headers.get("x-release", "")
            self.tls.newest = connection.session or self.tls.newest
            keeps = answer.keeps and not kind.fresh
        except BrokenError as broken:
            error = str(broken)
        if connection:
            heard = connection.heard
            if keeps:
                self.kept.append(connection)
            else:
                connection.close()
        self.kept_open -= not kind.fresh and not keeps
        seen = Attempt(kind.name, number, sent, self.now(), reused, heard, status, error, release)
        self.ledger.add(seen, kind.expected, kind.part)

    async def connection(self, kind: Kind) -> Connection:
        """A new one, or of the kept ones the one that was idle for longest."""
        if not kind.fresh:
            while self.kept and self.kept_open >= KEPT_CONNECTIONS:
                connection = self.kept.popleft()
                if not connection.ended:
                    return connection
                self.ledger.reopened += 1
                self.kept_open -= 1
            self.kept_open += 1
        made = await Connection.open(self.host, self.port, self.tls)
        self.handshakes["resumed" if made.resumed else "full"] += 1
        return made

    def request(self, kind: Kind, number: int) -> bytes:
        body = b""
        if kind.expected == 201:
            # Any car and customer of the sample; a booking needs nothing more.
            body = json.dumps(
                {
                    "car_id": 1 + number % 50,
                    "customer_id": 1 + number % 200,
                    "starts_on": f"2027-{1 + number % 12:02}-01",
                    "ends_on": f"2027-{1 + number % 12:02}-05",
                }
            ).encode()
        lines = [
            f"{kind.method} {kind.path}?load={self.run}-{number} HTTP/1.1",
            "Host: carrental.test",
            *(["Connection: close"] if kind.fresh else []),
            *(["Content-Type: application/json"] if body else []),
            *([f"Content-Length: {len(body)}"] if kind.method == "POST" else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def live(self) -> None:
        """A websocket that is opened again whenever it ends, until cancelled."""
        lost: float | None = None
        opened = False
        try:
            while True:
                connection = None
                try:
                    connection = await Connection.open(self.host, self.port, self.tls)
                    await connection.upgrade("carrental.test", "/api/v1/live")
                    await connection.message(LIVE_SILENCE_SECONDS)
                    if lost is not None:
                        self.ledger.live_cut(lost, self.now())
                    lost, opened = None, True
                    self.live_open += 1
                    try:
                        while True:
                            await connection.message(LIVE_SILENCE_SECONDS)
                    finally:
                        self.live_open -= 1
                except BrokenError:
                    lost = self.now() if lost is None and opened else lost
                finally:
                    if connection:
                        connection.close()
                await asyncio.sleep(LIVE_RETRY_SECONDS)
        finally:
            # One that was cut this very moment is neither back nor late.
            if lost is not None and self.now() - lost > 2:
                self.ledger.live_cut(lost, None)

    async def until_ready(self) -> None:
        """Until a whole second was answered at the rate, by every kind and every socket."""
        before = 0
        while True:
            await asyncio.sleep(1)
            done = sum(kind.counts[OK] for kind in self.ledger.kinds.values())
            answered = {name for name, kind in self.ledger.kinds.items() if kind.counts[OK]}
            whole = answered == {kind.name for kind in KINDS} and self.live_open == LIVE_SOCKETS
            if whole and done - before >= 0.93 * self.rate:
                return
            before = done

    def result(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            **self.ledger.summary(),
            "started": self.started,
            "run": self.run,
            "ended": self.ended,
            "handshakes": self.handshakes,
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        }


async def _asked_to_stop() -> None:
    """Until standard input ends: by the test's wish or with the test."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


@contextlib.asynccontextmanager
async def _running(*coroutines: Any) -> AsyncIterator[list[asyncio.Task[Any]]]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _main(base: str, rate: float, seconds_max: float, requests_max: int) -> None:
    work = Load(base, rate, requests_max)
    sockets = [work.live() for _ in range(LIVE_SOCKETS)]
    async with _running(work.send_all(), _asked_to_stop(), *sockets) as tasks:
        sending, asked = tasks[:2]
        ready = asyncio.create_task(asyncio.wait_for(work.until_ready(), READY_SECONDS))
        await asyncio.wait({ready, asked}, return_when=asyncio.FIRST_COMPLETED)
        reached = ready.done() and not ready.exception()
        ready.cancel()
        print(json.dumps({"ready": reached}), flush=True)
        if reached:
            await asyncio.wait(
                {sending, asked}, timeout=seconds_max, return_when=asyncio.FIRST_COMPLETED
            )
        work.ended = "asked" if asked.done() else work.ended or f"{seconds_max:.0f} s were over"
    work.ledger.stop(work.now())
    if work.tasks:
        await asyncio.wait(work.tasks, timeout=ANSWER_SECONDS + 5)
    print(json.dumps(work.result()), flush=True)


@dataclass(frozen=True)
class Result:
    """What a load saw. Times are seconds since it began; ``started`` is time.monotonic()."""

    started: float
    run: str
    ended: str
    seconds: float
    requests: int
    rate: float
    ok: int
    failed: int
    # Requests on kept-alive connections that were closed at the same moment, unanswered.
    idle_closed: int
    # Kept-alive connections found closed before anything was sent on them.
    reopened: int
    # Left out, for too many were waiting for answers.
    not_sent: int
    longest_gap: float
    longest_gap_at: float
    ends: dict[str, int]
    failures: list[dict[str, Any]]
    # When what failed was sent: all of them.
    failed_at: list[float]
    idle_closings: list[dict[str, Any]]
    versions: dict[str, list[dict[str, Any]]]
    live_cuts: list[dict[str, Any]]
    kinds: dict[str, dict[str, Any]]
    handshakes: dict[str, int]
    cpu_seconds: float

    def failed_between(self, begin: float, end: float) -> int:
        """Failures of what was sent between two values of time.monotonic()."""
        return sum(begin <= self.started + at < end for at in self.failed_at)

    def __str__(self) -> str:
        told = "".join(f"\n  {failure}" for failure in self.failures)
        return (
            f"{self.requests} requests in {self.seconds:.1f} s ({self.rate:.0f}/s): "
            f"{self.failed} failed, {self.idle_closed} on idle connections, "
            f"longest gap {self.longest_gap:.2f} s, ends {self.ends}{told}"
        )


def begun_by_the_proxy(result: Result) -> list[str]:
    """Requests counted as never read that the proxy's log knows all the same.

    The log has a line for each request that was read, answered or not.
    """
    marks = [f"load={result.run}-{told['number']} " for told in result.idle_closings]
    if not marks:
        return []
    words = [word for mark in marks for word in ("-e", mark)]
    pipe = 'docker logs nginx 2>&1 | grep -F "$@" || true'
    return on_server("sh", "-c", pipe, "sh", *words).splitlines()


class Running:
    """A load under way; ``result`` is there when it is over."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._result: Result | None = None

    @property
    def result(self) -> Result:
        if self._result is None:
            raise RuntimeError("the load is still running: its result is there after the block")
        return self._result

    def stop(self) -> Result:
        """Ask it to stop, and wait for the answers that are under way."""
        if self._result is None:
            output, _ = self._process.communicate(timeout=ANSWER_SECONDS + 30)
            read = json.loads(output.strip().splitlines()[-1])
            self._result = Result(**{item.name: read[item.name] for item in fields(Result)})
        return self._result


@contextmanager
def load(
    seconds_max: float = 600,
    requests_max: int = 1_000_000,
    base: str = HTTPS,
    rate: float = RATE,
) -> Iterator[Running]:
    """Run the load around a block, which begins when the rate is reached.

    :param seconds_max: it ends by itself after that long, which fails the block: what came
        after it was not measured.
    :raises AssertionError: where the rate is not reached, or it ended before the block did.
    """
    argv = [sys.executable, __file__, f"--base={base}", f"--rate={rate}"]
    argv += [f"--seconds-max={seconds_max}", f"--requests-max={requests_max}"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as process:
        running = Running(process)
        try:
            assert process.stdout
            ready = json.loads(process.stdout.readline() or '{"ready": false}')["ready"]
            assert ready, f"the load of {rate:.0f}/s is not reached: {running.stop()}"
            yield running
            result = running.stop()
            assert result.ended == "asked", f"the load ended before the block: {result.ended}"
        finally:
            process.kill()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base", default=HTTPS)
    options.add_argument("--rate", type=float, default=RATE)
    options.add_argument("--seconds-max", type=float, default=600)
    options.add_argument("--requests-max", type=int, default=1_000_000)
    given = options.parse_args()
    asyncio.run(_main(given.base, given.rate, given.seconds_max, given.requests_max))
