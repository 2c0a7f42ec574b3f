# SPDX-License-Identifier: GPL-3.0-or-later
"""Run commands, print steps, fail with a sentence."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class DemoError(Exception):
    """Something the person at the keyboard has to know; the text says what to do."""


def say(text: str) -> None:
    """Print one line at once, even into a pipe: a build of minutes must show life."""
    print(text, flush=True)


@contextmanager
def timed(text: str) -> Iterator[None]:
    """Announce a step when it is over, with what it took."""
    start = time.monotonic()
    yield
    say(f"  {text} ({time.monotonic() - start:.1f} s)")


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command quietly; on failure raise with the end of what it printed."""
    done = subprocess.run(
        [str(word) for word in argv],
        input=stdin if stdin is not None else b"",
        capture_output=True,
        env=dict(env) if env is not None else None,
        timeout=timeout,
        check=False,
    )
    stdout = done.stdout.decode(errors="replace")
    stderr = done.stderr.decode(errors="replace")
    if check and done.returncode != 0:
        tail = "\n".join((stdout + stderr).strip().splitlines()[-25:])
        command = " ".join(str(word) for word in argv)
        raise DemoError(f"{command[:200]} ended with {done.returncode}:\n{tail}")
    return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)


def docker(*argv: str | Path, check: bool = True, stdin: bytes | None = None) -> str:
    """The output of one docker command, stripped."""
    return run(["docker", *argv], check=check, stdin=stdin).stdout.strip()


def wait_for(what: str, seconds: float, ready: Callable[[], bool], pause: float = 0.2) -> float:
    """Poll until ready; return the seconds it took, or fail naming what was awaited."""
    start = time.monotonic()
    while not ready():
        if time.monotonic() - start > seconds:
            raise DemoError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(pause)
    return time.monotonic() - start


def fail(error: Exception) -> int:
    """Print an error the way every subcommand does."""
    print(f"demo: {error}", file=sys.stderr, flush=True)
    return 1
