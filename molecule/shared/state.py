# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the server of the tests to a known state, from a snapshot where there is one.

A snapshot is worth what it was made with: its name carries a hash of everything
that shaped it, so that changed code never meets a server made by older code.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from support import eventually, fetch, inspect, on_server

REPO = Path(__file__).resolve().parents[2]
INSTANCE = os.environ.get("CARRENTAL_TEST_INSTANCE", "test")
INVENTORY = os.environ.get("CARRENTAL_TEST_INVENTORY", "molecule/inventory")
# What decides how a deployed server looks.
SHAPED_BY = ["demo", "inventories/demo", "playbooks", "plugins", "roles", "molecule/inventory"]
# Not in git, and different in each clone.
OWN = ["inventories/demo/group_vars/carrental/secrets.yml", "demo/.state/ssl/fullchain.pem"]


def run(*argv: str) -> str:
    """Run a command of this repository, with its output shown when it fails."""
    done = subprocess.run(argv, cwd=REPO, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def demo(*argv: str) -> str:
    return run("python3", "demo/demo.py", "--instance", INSTANCE, *argv)


def has(snapshot: str) -> bool:
    argv = ["python3", "demo/demo.py", "--instance", INSTANCE, "has-snapshot", snapshot]
    return subprocess.run(argv, cwd=REPO, capture_output=True, check=False).returncode == 0


def play(playbook: str, *argv: str) -> str:
    return run("ansible-playbook", "-i", INVENTORY, f"playbooks/{playbook}.yml", *argv)


def fingerprint() -> str:
    """Hash of the names and contents of the files that shape a deployed server."""
    listed = run("git", "ls-files", "-co", "--exclude-standard", "-z", "--", *SHAPED_BY)
    digest = hashlib.sha256()
    for name in [*sorted(filter(None, listed.split("\0"))), *OWN]:
        path = REPO / name
        if path.is_file():
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


# What starts by itself would start in the middle of a test, by the hour of the day.
TIMERS = ("carrental-backup", "carrental-drill")
NEVER = "[Timer]\nOnCalendar=\nOnCalendar=2100-01-01\nPersistent=false\n"


def keep_timers_from_firing() -> None:
    """Let the timers be at work and not come to their hour."""
    for unit in TIMERS:
        folder = f"/etc/systemd/system/{unit}.timer.d"
        on_server("mkdir", "-p", folder)
        on_server("tee", f"{folder}/tests.conf", stdin=NEVER)
    on_server("systemctl", "daemon-reload")
    on_server("systemctl", "restart", *(f"{unit}.timer" for unit in TIMERS))


def make_fresh(snapshot: str) -> None:
    """A server with bootstrap done and nothing deployed."""
    demo("down")
    demo("up")
    play("bootstrap")
    keep_timers_from_firing()
    demo("snapshot", snapshot)


def make_v1(snapshot: str) -> None:
    """A server with release v1 deployed and healthy."""
    ensure("fresh")
    version = demo("releases", "--version-of", "v1").strip()
    play("deploy", "-e", f"deploy_version={version}")
    demo("snapshot", snapshot)


MAKERS = {"fresh": make_fresh, "v1": make_v1}

# Of what has no healthcheck, for to run is not to answer yet.
ASKED = {
    "prometheus": ":9090/-/ready",
    "alertmanager": ":9093/-/ready",
    "grafana": ":3000/api/health",
}
_ADDRESSES = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"


def answers() -> bool:
    """Whether everything answers that a health check of v1 asks."""
    if any(fetch(path)[0] != 200 for path in ("/", "/api/v1/health")):
        return False
    urls = [f"http://{inspect(name, _ADDRESSES).split()[0]}{rest}" for name, rest in ASKED.items()]
    said = [on_server("curl", "-sf", "-m", "2", "-w", "ok", url, check=False) for url in urls]
    return all(text.endswith("ok") for text in said)


def ensure(state: str) -> None:
    """Reset the server to ``state``; make its snapshot first where there is none."""
    snapshot = f"{state}-{fingerprint()}"
    if not has(snapshot):
        # Snapshots of older code are of no use any more, and large.
        demo("drop-snapshots", "--prefix", f"{state}-")
        MAKERS[state](snapshot)
    demo("reset", snapshot)
    if state == "v1":
        eventually(answers, "everything of v1 answers after a reset", 120)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in MAKERS:
        sys.exit(f"usage: state.py {'|'.join(MAKERS)}; got {sys.argv[1:]}")
    ensure(sys.argv[1])
