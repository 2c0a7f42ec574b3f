# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes in processes of their own: real processes, which really hang and die."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils._checks import Check, Subject
from ansible_collections.carrental.ops.plugins.module_utils._probes import Probe, run_probes

API = Subject("api", "API", "P1", "API is healthy", "API is not responding")


def probe(run: Callable[[], list[Check]], name: str = "http") -> Probe:
    return Probe(API, name, "API at 10.0.0.1:3000", run, "it hangs")


def passes(name: str = "http") -> list[Check]:
    return [API.passed(name)]


def sleeps(seconds: float) -> list[Check]:
    time.sleep(seconds)
    return passes()


def ignores_signals() -> list[Check]:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    return sleeps(60)


def prints() -> list[Check]:
    print("noise of a library")
    os.write(1, b"more of it\n")
    return passes()


def gone(pid: int) -> bool:
    """Whether a process ended; one that nobody waited for yet counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_results_come_in_the_order_of_the_probes() -> None:
    probes = [probe(partial(sleeps, 0.2), "slow"), probe(partial(passes, "fast"), "fast")]
    assert [check.name for check in run_probes(probes, 3, 10)] == ["api.http", "api.fast"]


def test_probes_run_at_the_same_time() -> None:
    started = time.monotonic()
    checks = run_probes([probe(partial(sleeps, 0.5)) for _number in range(10)], 3, 10)
    assert time.monotonic() - started < 2
    assert {check.status for check in checks} == {"ok"}


@pytest.mark.parametrize("hangs", [partial(sleeps, 60), ignores_signals])
def test_a_probe_that_hangs_is_killed_and_says_so(hangs: Callable[[], list[Check]]) -> None:
    started = time.monotonic()
    checks = run_probes([probe(hangs), probe(passes)], 0.5, 10)
    assert time.monotonic() - started < 1.5
    assert [check.status for check in checks] == ["fail", "ok"]
    assert checks[0].detail == "no answer from API at 10.0.0.1:3000 within 0.5 s; it hangs"
    assert checks[0].evidence == {"timed_out": True}


def test_what_a_killed_probe_started_dies_with_it(tmp_path: Path) -> None:
    def starts_another() -> list[Check]:
        other = subprocess.Popen(["sleep", "60"])
        (tmp_path / "pids").write_text(f"{os.getpid()} {other.pid}")
        other.wait()
        return passes()

    run_probes([probe(starts_another)], 0.5, 10)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    until = time.monotonic() + 2
    while not all(map(gone, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    assert all(map(gone, pids))


def test_no_child_is_left_behind() -> None:
    run_probes([probe(partial(sleeps, 60)), probe(passes)], 0.3, 10)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_whole_deadline_counts() -> None:
    started = time.monotonic()
    checks = run_probes([probe(partial(sleeps, 60)) for _number in range(70)], 60, 0.6)
    assert time.monotonic() - started < 4
    assert len(checks) == 70
    assert {check.status for check in checks} == {"fail"}
    assert checks[-1].detail == "it was not looked at: the 0.6 s for all were over"


def test_a_probe_that_raises_names_its_error() -> None:
    def raises() -> list[Check]:
        raise KeyError("redis_version")

    (check,) = run_probes([probe(raises)], 3, 10)
    assert check.status == "fail"
    assert check.detail.startswith(
        "the check of API at 10.0.0.1:3000 itself failed: KeyError: 'redis_version' "
        "(test_probes.py:"
    )


def test_a_probe_that_dies_says_so() -> None:
    def dies() -> list[Check]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    (check,) = run_probes([probe(dies)], 3, 10)
    assert check.detail == "the process of the check died; is the host's memory full?"


def test_an_answer_is_bounded() -> None:
    def talks() -> list[Check]:
        return [API.passed("http", body="x" * 100_000)]

    (check,) = run_probes([probe(talks)], 3, 10, max_bytes=10_000)
    assert check.detail == "the check returned more than 10000 bytes"


def test_what_a_probe_prints_does_not_reach_our_output(capfd: pytest.CaptureFixture[str]) -> None:
    run_probes([probe(prints)], 3, 10)
    assert capfd.readouterr() == ("", "")


def test_a_probe_may_have_a_text_of_its_own() -> None:
    hangs = Probe(API, "dns", "getent", partial(sleeps, 60), "", "API cannot resolve names")
    (check,) = run_probes([hangs], 0.3, 10)
    assert check.line == "[FAIL] API cannot resolve names: no answer from getent within 0.3 s"
