# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the scenarios share: run a playbook, look at the server another way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

REPO = Path(__file__).resolve().parents[2]
INSTANCE = os.environ.get("CARRENTAL_TEST_INSTANCE", "test")
SERVER = f"carrental-{INSTANCE}-vps"
INVENTORY = os.environ.get("CARRENTAL_TEST_INVENTORY", "molecule/inventory")
HTTPS = os.environ.get("CARRENTAL_TEST_HTTPS", "https://127.0.0.1:8543")
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


class Started:
    """A playbook that runs, in a process group of its own: a controller that can be killed."""

    def __init__(self, name: str, *argv: str, inventory: str = INVENTORY, **extra: Any) -> None:
        self._name = name
        self._kept = TemporaryDirectory()
        self._output = Path(self._kept.name) / "output"
        # The page, and the looks at the health that it shows, are asked for by those who test them.
        own = {"carrental_report_dir": self._kept.name, "carrental_report_html": False}
        extra = {**own, **extra}
        self._began = time.monotonic()
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
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
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> Run:
        """End it as a dead controller ends: nothing is told to anybody, ssh is cut."""
        os.killpg(self._process.pid, signal.SIGKILL)
        return self.wait()

    def wait(self, seconds: float = 900) -> Run:
        """Wait for its end."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            said = self._output.read_text()
            raise AssertionError(f"{self._name} did not end in {seconds:g} s:\n{said}") from error
        took = time.monotonic() - self._began
        # One run, one file; the operation is not always called like its playbook.
        files = sorted(Path(self._kept.name).glob("*.json"))
        result = json.loads(files[0].read_text()) if files else {}
        output = self._output.read_text()
        self._kept.cleanup()
        return Run(code, output, took, result)


def playbook(name: str, *argv: str, inventory: str = INVENTORY, **extra: Any) -> Run:
    """Run ``playbooks/<name>.yml`` against the server of the tests.

    :param argv: further arguments of ansible-playbook, for example ``--check``.
    :param extra: extra variables.
    """
    return Started(name, *argv, inventory=inventory, **extra).wait()


def on_server(
    *argv: str, check: bool = True, stdin: str | None = None, seconds: float = 120
) -> str:
    """Run a command on the server as root, not over ssh and not through Ansible."""
    done = subprocess.run(
        ["docker", "exec", "-i", SERVER, *argv],
        input=stdin,
        text=True,
        capture_output=True,
        timeout=seconds,
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


def serving() -> str:
    """The git sha that answers through the proxy."""
    code, body = fetch("/api/v1/health")
    assert code == 200, body
    return str(json.loads(body)["version"])


def eventually(probe: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until ``probe`` holds; the limit only bounds a failure."""
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.5)


STATE = "/opt/carrental/.ops"
GHCR = "ghcr.carrental.test"
_ENVIRONMENT = "/etc/environment"


@contextmanager
def stop_at(step: str) -> Iterator[None]:
    """Let modules on the server stop before a step, until they are told to go on.

    pam_env gives the variable to every new login. Runs inside of this open a
    connection for each task: one that is kept has the environment of its beginning.
    """
    before = on_server("cat", _ENVIRONMENT)
    args = os.environ.get("ANSIBLE_SSH_ARGS")
    on_server("tee", _ENVIRONMENT, stdin=f"{before}\nCARRENTAL_OPS_STOP_AT={step}\n")
    os.environ["ANSIBLE_SSH_ARGS"] = "-o ControlMaster=no"
    try:
        yield
    finally:
        if args is None:
            del os.environ["ANSIBLE_SSH_ARGS"]
        else:
            os.environ["ANSIBLE_SSH_ARGS"] = args
        on_server("tee", _ENVIRONMENT, stdin=f"{before}\n" if before else "")
        go_on()


def wait_stopped(step: str, controller: Started | None = None, seconds: float = 300) -> int:
    """Wait until a module has stopped before a step; return its process id on the server.

    :param controller: fails with its output when it ends without that.
    """
    said: dict[str, Any] = {}

    def stopped() -> bool:
        text = on_server("cat", f"{STATE}/stopped-at", check=False)
        said.update(json.loads(text) if text else {})
        if said.get("step") != step and controller and not controller.runs:
            raise AssertionError(f"it never came to {step!r}:\n{controller.wait().output}")
        return said.get("step") == step

    eventually(stopped, f"a module stops before {step!r}; it stopped before {said}", seconds)
    return int(said["pid"])


def go_on() -> None:
    """Let a module that stopped go on."""
    on_server("rm", "-f", f"{STATE}/stopped-at")


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

    :param reports: with what every operation leaves below .ops: its report, its journal, the lock.
        A refusal leaves that, and nothing else.
    """
    left = ("reports", "journal", "lock")
    skip = "" if reports else " ".join(f"-path ./.ops/{name} -prune -o" for name in left)
    return on_server(
        "sh",
        "-c",
        f"cd /opt/carrental && find . {skip} -printf '%p %m %u %s %C@\\n' | sort;"
        f" find . {skip} -type f -exec sha256sum {{}} + | sort",
    )


@contextmanager
def no_registry() -> Iterator[None]:
    """A server on which the registry answers nobody."""
    hosts = on_server("cat", "/etc/hosts")
    on_server("tee", "-a", "/etc/hosts", stdin=f"\n127.0.0.1 {GHCR}\n")
    pull = f"docker pull {GHCR}:5000/carrental/backend:x 2>&1"
    try:
        # The engine looks at that file once in five seconds.
        eventually(
            lambda: "connection refused" in on_server("sh", "-c", pull, check=False),
            "the registry refuses the engine",
        )
        yield
    finally:
        on_server("tee", "/etc/hosts", stdin=hosts + "\n")
