# SPDX-License-Identifier: GPL-3.0-or-later
"""What releases cost the customers: the runbook's way, plain compose, and playbooks/deploy.yml.

All in one run, on the server of the tests, under the load of molecule/shared/load.py. Ratios
mean something on any machine; seconds only on this one. Ends with 1 when something that must
hold does not. The environment chooses:

    BENCH_DEPLOYS  how many releases in a row, 6 unless told (the proof: 20)
    BENCH_PARTS    of baselines,deploys,broken,rollback,later: some, separated by commas
    BENCH_NGINX    1.30 for the proxy that can leave idle connections open at a reload
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import results
import state
from load import FULL_RATE, Result, begun_by_the_proxy, load
from support import HTTPS, INVENTORY, Run, eventually, fetch, inspect, on_server, playbook, release
from variants import nginx_1_30

REPO = Path(__file__).resolve().parents[2]
DEPLOYS = int(os.environ.get("BENCH_DEPLOYS", "6"))
PARTS = ("baselines", "deploys", "broken", "rollback", "later")
CHOSEN = os.environ.get("BENCH_PARTS", ",".join(PARTS)).split(",")
NGINX = os.environ.get("BENCH_NGINX", "")
NAME = f"deploy-nginx-{NGINX}" if NGINX else "deploy"
# A release that never becomes healthy is given up after this; the field's is longer.
HEALTHY_TIMEOUT = 30
# Websockets keep the proxy's old workers busy until the drain ends, twice a switch, and a
# watch takes its whole window: shorter for many in a row. A drain has to be longer than the
# slowest request (3 s) after the longest idle time that the younger proxy grants (10 s).
SHORT = {"deploy_drain_timeout": 20, "deploy_watch_window": 15}
SWITCHED = ("api", "web")
COMPOSE = "docker compose -f docker-compose.prod.yml -f docker-compose.monitoring.yml"
# As long as by default: a leak takes its time, and the tests' own watch is shorter.
WHOLE_WATCH = 60
# What is seen of a load before and after what is measured under it.
AROUND_SECONDS = 3


@dataclass
class Row:
    """One way, measured once."""

    way: str
    verdict: str
    seconds: float
    seen: Result
    # Sentences about what must hold and does not.
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def expect(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.wrong.append(sentence)

    def expect_no_loss(self) -> None:
        """No failure, and idle connections closed only by a proxy that cannot do better."""
        seen = self.seen
        self.expect(seen.failed == 0, f"{seen.failed} requests failed")
        if NGINX:
            idle = seen.idle_closed + seen.reopened
            self.expect(idle == 0, f"{idle} idle connections were closed")
        else:
            begun = begun_by_the_proxy(seen)
            self.expect(not begun, f"nginx had read {len(begun)} requests that it dropped: {begun}")


def under_load(way: str, act: Callable[[], str], seconds_max: float = 1200) -> Row:
    """Do something under the load; its answer is the verdict."""
    print(f"  {way} ...", flush=True)
    with load(seconds_max=seconds_max, rate=FULL_RATE) as running:
        time.sleep(AROUND_SECONDS)
        started = time.monotonic()
        verdict = act()
        seconds = time.monotonic() - started
        with suppress(AssertionError):
            eventually(serving, "the API answers", 60)
        time.sleep(AROUND_SECONDS)
    row = Row(way, verdict, seconds, running.result)
    row.expect(row.seen.rate >= 150, f"the load was {row.seen.rate:.0f}/s, less than 150/s")
    print(f"    {verdict}, {seconds:.1f} s: {str(row.seen).splitlines()[0]}", flush=True)
    return row


def serving() -> bool:
    return fetch("/api/v1/health")[0] == 200


def deploy(name: str, **extra: Any) -> Run:
    if NGINX:
        extra["deploy_config_dir"] = str(REPO / f".build/stack-nginx-{NGINX}")
    return playbook("deploy", deploy_version=release(name), **extra)


def deploying(name: str, **extra: Any) -> Callable[[], str]:
    return lambda: verdict(deploy(name, **extra))


def must(run: Run, verdict: str) -> None:
    """End the benchmark where the ground for what follows could not be laid."""
    if run.result.get("verdict") != verdict:
        sys.exit(f"bench: {run.result.get('verdict')!r} instead of {verdict!r}:\n{run.output}")


def reset() -> None:
    """The server at v1, with the proxy that was asked for."""
    state.ensure("v1")
    if NGINX:
        must(deploy("v1", deploy_watch=False), "ok")
    on_server("docker", "exec", "nginx", "nginx", "-t")


def by_hand(script: str) -> Callable[[], None]:
    """Return what a person at the server types."""

    def act() -> None:
        on_server("runuser", "-u", "deploy", "--", "sh", "-c", f"cd /opt/carrental && {script}")

    return act


def images() -> dict[str, str]:
    return {service: inspect(service, "{{.Image}}") for service in SWITCHED}


def by_module() -> None:
    """Bring up the stack with the module that most playbooks for compose use, and wait for it."""
    arguments = {
        "project_src": "/opt/carrental",
        "files": ["docker-compose.prod.yml", "docker-compose.monitoring.yml"],
        "services": SWITCHED,
        "pull": "never",
        "wait": True,
    }
    subprocess.run(
        [
            *("ansible", "-i", INVENTORY, "carrental", "-m", "community.docker.docker_compose_v2"),
            *("-a", json.dumps(arguments)),
        ],
        cwd=REPO,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def released(images_to: dict[str, str], way: Callable[[], None]) -> Callable[[], str]:
    """Releases without this collection; building or pulling was done before."""

    def act() -> str:
        way()
        eventually(serving, "the API answers", 120)
        return "done" if images() == images_to else "another image runs"

    for service, image in images_to.items():
        on_server("docker", "tag", image, f"carrental-{service}")
    return act


def baselines() -> list[Row]:
    """Nothing, (a) the runbook, 4.3, and (b) plain compose, between two healthy releases.

    The database has v2's migration before, for which v1 works too: both ways are spared
    the time between switch and migration in which the runbook's release fails.
    """
    reset()
    idle = under_load("nothing at all", lambda: "-")
    if idle.seen.failed:
        idle.notes.append("the machine is too busy: what follows says little")
    v1 = images()
    must(deploy("v2", deploy_watch=False), "ok")
    v2 = images()
    runbook = under_load(
        "runbook: down, up -d", released(v1, by_hand(f"{COMPOSE} down; {COMPOSE} up -d"))
    )
    plain = under_load(
        f"plain: up -d {' '.join(SWITCHED)}",
        released(v2, by_hand(f"{COMPOSE} up -d {' '.join(SWITCHED)}")),
    )
    peer = under_load("community.docker.docker_compose_v2", released(v1, by_module))
    return [idle, runbook, plain, peer]


def deploys() -> list[Row]:
    """(c) v1 to v2, and back and forth under one load; then the one that runs already."""
    reset()
    once = under_load("deploy.yml as it comes", deploying("v2"))
    once.expect(once.verdict == "ok", f"the verdict is {once.verdict}")
    once.expect_no_loss()
    took: list[float] = []
    spans: list[tuple[str, float, float]] = []

    def act() -> str:
        verdicts = set()
        for number in range(DEPLOYS):
            name = "v2" if number % 2 else "v1"
            begin = time.monotonic()
            run = deploy(name, **SHORT)
            spans.append((f"{number + 1}: {name}", begin, time.monotonic()))
            took.append(run.seconds)
            verdicts.add(run.result.get("verdict", "no result"))
            print(f"    deploy {number + 1} of {DEPLOYS}: {name}, {run.seconds:.1f} s", flush=True)
        return ", ".join(sorted(verdicts))

    row = under_load(f"deploy.yml, {DEPLOYS} in a row", act, 120 + 180 * DEPLOYS)
    row.expect(row.verdict == "ok", f"verdicts: {row.verdict}")
    row.expect_no_loss()
    if took:
        row.notes.append(f"a deploy took {statistics.median(took):.1f} s (median)")
    row.notes += [
        f"deploy {name}: {failed} failed"
        for name, begin, end in spans
        if (failed := row.seen.failed_between(begin, end))
    ]
    running = "v1" if DEPLOYS % 2 else "v2"
    again = under_load("deploy.yml, nothing to do", deploying(running))
    again.expect(again.verdict == "no_change", f"the verdict is {again.verdict}")
    again.expect_no_loss()
    # The load takes a core of its own: how long it takes is said without it.
    quiet = min((deploy(running) for _ in range(3)), key=lambda run: run.seconds)
    must(quiet, "no_change")
    again.notes.append(f"without load it took {quiet.seconds:.1f} s")
    again.expect(quiet.seconds < 10, f"it took {quiet.seconds:.1f} s, not less than 10 s")
    return [once, row, again]


def verdict(run: Run) -> str:
    said = str(run.result.get("verdict", "no result"))
    passed = said in ("ok", "no_change")
    return said if passed == (run.code == 0) else f"{said}, but exit code {run.code}"


def broken() -> list[Row]:
    """(d) releases that never become healthy, and (f) one that ignores SIGTERM."""
    reset()
    must(deploy("v2", deploy_watch=False), "ok")
    rows = []
    for name in ("exits", "unhealthy", "hangs"):
        row = under_load(
            f"deploy.yml of {name}",
            deploying(name, deploy_healthy_timeout=HEALTHY_TIMEOUT, **SHORT),
        )
        row.expect(row.verdict in ("rolled_back", "failed"), f"the verdict is {row.verdict}")
        row.expect_no_loss()
        rows.append(row)
        if not runs("v2"):
            row.wrong.append("v2 did not serve afterwards")
            deploy("v2")
    for way, name in (("to one that ignores SIGTERM", "ignores-sigterm"), ("and from it", "v2")):
        row = under_load(f"deploy.yml {way}", deploying(name, **SHORT))
        row.expect(row.verdict == "ok", f"the verdict is {row.verdict}")
        row.expect_no_loss()
        rows.append(row)
    return rows


def runs(name: str) -> bool:
    code, body = fetch("/api/v1/health")
    return code == 200 and release(name) in body


def rollback() -> list[Row]:
    """(e) back to the release before."""
    if not (REPO / "playbooks/rollback.yml").exists():
        print("  rollback: left out, for there is no playbooks/rollback.yml yet", flush=True)
        return []
    reset()
    must(deploy("v2", deploy_watch=False), "ok")
    back = under_load(
        "rollback.yml to previous",
        lambda: verdict(playbook("rollback", rollback_to="previous")),
    )
    back.expect(back.verdict == "ok", f"the verdict is {back.verdict}")
    back.expect(runs("v1"), "v1 did not serve afterwards")
    back.expect_no_loss()
    return [back]


def later() -> list[Row]:
    """(g) releases that break when they have traffic: found by the watch, and counted."""
    rows = []
    for name in ("fails-later", "leaks"):
        reset()
        must(deploy("v2", deploy_watch=False), "ok")
        row = under_load(f"deploy.yml of {name}", deploying(name, deploy_watch_window=WHOLE_WATCH))
        row.expect(row.verdict == "rolled_back", f"the verdict is {row.verdict}")
        row.expect(runs("v2"), "v2 did not serve afterwards")
        back = served_again(row.seen, name)
        if back is None:
            row.wrong.append("the release before did not serve again under the load")
        else:
            first = min(row.seen.failed_at, default=back)
            row.notes.append(
                f"the release before served again {back - first:.1f} s after a failure"
            )
            after = sum(at >= back for at in row.seen.failed_at)
            row.expect(after == 0, f"{after} requests failed after the switch back")
        rows.append(row)
    return rows


def served_again(seen: Result, name: str) -> float | None:
    """When another release than ``name`` answered again, in seconds of the load."""
    lines = seen.versions.get("api", [])
    begun = [line["first"] for line in lines if line["release"] == name]
    # While it was switched to, both answered: the line of the one before had begun earlier.
    others = [line["first"] for line in lines if line["release"] != name]
    return min((at for at in others if begun and at > begun[0]), default=None)


def told(rows: list[Row], nginx: str) -> list[str]:
    base = next((row.seen.longest_gap for row in rows if row.way.startswith("runbook")), 0.0)
    head = ["way", "requests", "failed", "idle", "gap s", "ratio", "seconds", "verdict"]
    body = [
        [
            row.way,
            str(row.seen.requests),
            str(row.seen.failed),
            str(row.seen.idle_closed),
            f"{row.seen.longest_gap:.2f}",
            f"{row.seen.longest_gap / base:.3f}" if base else "-",
            f"{row.seconds:.1f}",
            row.verdict,
        ]
        for row in rows
    ]
    lines = [f"releases under {min(row.seen.rate for row in rows):.0f} requests a second, {nginx}"]
    lines += results.table(head, body)
    lines += ["idle: on a connection closed as the request was sent, never read by nginx"]
    lines += ["ratio: longest gap, the runbook's being 1"]
    for row in rows:
        cuts = [cut["seconds"] for cut in row.seen.live_cuts]
        if cuts:
            row.notes.append(f"{len(cuts)} websockets cut, back after at most {max(cuts):.1f} s")
        lines += [f"{row.way}: {note}" for note in row.notes]
        lines += [f"DOES NOT HOLD: {row.way}: {sentence}" for sentence in row.wrong]
    return lines


def main() -> None:
    if unknown := set(CHOSEN) - set(PARTS):
        sys.exit(f"bench: BENCH_PARTS has {', '.join(sorted(unknown))}; parts: {', '.join(PARTS)}")
    if NGINX not in ("", "1.30"):
        sys.exit(f"bench: BENCH_NGINX is {NGINX!r}; it may be 1.30 or unset")
    if NGINX:
        nginx_1_30(REPO / f".build/stack-nginx-{NGINX}")
    print(f"releases under load, through {HTTPS}", flush=True)
    measure = {
        "baselines": baselines,
        "deploys": deploys,
        "broken": broken,
        "rollback": rollback,
        "later": later,
    }
    rows: list[Row] = []
    try:
        for part in PARTS:
            if part in CHOSEN:
                rows += measure[part]()
    finally:
        # What was measured before something broke is kept.
        if rows:
            version = on_server("docker", "exec", "nginx", "sh", "-c", "nginx -v 2>&1").split()[-1]
            measured = {"nginx": version, "deploys": DEPLOYS, "rows": [asdict(r) for r in rows]}
            results.keep(NAME, told(rows, version), measured)
    if not rows:
        sys.exit("bench: nothing was measured")
    sys.exit(any(row.wrong for row in rows))


if __name__ == "__main__":
    main()
