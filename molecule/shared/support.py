# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the scenarios share: run a playbook, look at the server another way."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

REPO = Path(__file__).resolve().parents[2]
INSTANCE = os.environ.get("CARRENTAL_TEST_INSTANCE", "test")
SERVER = f"carrental-{INSTANCE}-vps"
HTTPS = "https://127.0.0.1:8543"
HTTP = "http://127.0.0.1:8180"


@dataclass(frozen=True)
class Run:
    """One run of a playbook, as an operator and as CI see it."""

    code: int
    output: str
    seconds: float
    # carrental_result of the host, as written to carrental_report_dir.
    result: dict[str, Any]

    def line(self, wanted: str) -> str:
        """The printed line that contains ``wanted``; fails with the output where there is none."""
        for line in self.output.splitlines():
            if wanted in line:
                return line
        raise AssertionError(f"no line with {wanted!r} in:\n{self.output}")

    @property
    def changed(self) -> int:
        """Sum of "changed=" over the hosts of the recap."""
        recap = self.output.split("PLAY RECAP")[-1].splitlines()
        return sum(
            int(word.split("=")[1])
            for line in recap
            for word in line.split()
            if word.startswith("changed=")
        )


def playbook(name: str, *argv: str, inventory: str = "molecule/inventory", **extra: Any) -> Run:
    """Run ``playbooks/<name>.yml`` against the server of the tests.

    :param argv: further arguments of ansible-playbook, for example ``--check``.
    :param extra: extra variables.
    """
    with TemporaryDirectory() as reports:
        extra = {"carrental_report_dir": reports, **extra}
        started = time.monotonic()
        done = subprocess.run(
            [
                "ansible-playbook",
                *("-i", inventory),
                f"playbooks/{name}.yml",
                *("-e", json.dumps(extra)),
                *argv,
            ],
            cwd=REPO,
            # Molecule asks for colours, which would stand in the middle of what is read here.
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
                "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_NOCOLOR": "1",
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
            check=False,
        )
        seconds = time.monotonic() - started
        files = sorted(Path(reports).glob(f"{name}-*.json"))
        result = json.loads(files[0].read_text()) if files else {}
    return Run(done.returncode, done.stdout, seconds, result)


def on_server(*argv: str, check: bool = True, stdin: str | None = None) -> str:
    """Run a command on the server as root, not over ssh and not through Ansible."""
    done = subprocess.run(
        ["docker", "exec", "-i", SERVER, *argv],
        input=stdin,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{argv} on the server: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def inspect(container: str, template: str) -> str:
    """``docker inspect`` of a container of the stack."""
    return on_server("docker", "inspect", "--format", template, container)


def sql(statement: str, database: str = "carrental") -> str:
    """Ask PostgreSQL as its superuser over the socket in its own container."""
    return on_server(
        *("docker", "exec", "postgres", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1"),
        *("-U", "carrental", "-d", database, "-c", statement),
    )


def fetch(path: str, base: str = HTTPS) -> tuple[int, str]:
    """Status and body of a request through the proxy, from outside the server."""
    done = subprocess.run(
        ["curl", "-sk", "--max-time", "10", "-w", "\n%{http_code}", base + path],
        text=True,
        capture_output=True,
        check=False,
    )
    body, code = done.stdout.rsplit("\n", 1)
    return int(code or 0), body


def eventually(probe: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until ``probe`` holds; the limit only bounds a failure."""
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.5)


def release(name: str) -> str:
    """The git sha of a release of the sample application, by its name."""
    done = subprocess.run(
        ["python3", "demo/demo.py", "releases", "--version-of", name],
        cwd=REPO,
        text=True,
        capture_output=True,
        check=True,
    )
    return done.stdout.strip()


def tree(reports: bool = True) -> str:
    """Every path under the stack's root: mode, owner, size, time of change, hash of the content.

    :param reports: with .ops/reports. A refusal leaves its report there, and nothing else.
    """
    skip = "" if reports else "-path ./.ops/reports -prune -o"
    return on_server(
        "sh",
        "-c",
        f"cd /opt/carrental && find . {skip} -printf '%p %m %u %s %C@\\n' | sort;"
        f" find . {skip} -type f -exec sha256sum {{}} + | sort",
    )
