# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server of its own, for tests that ask a real one."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _postgres
from ansible_collections.carrental.ops.plugins.module_utils._checks import Subject
from ansible_collections.carrental.ops.plugins.module_utils._postgres import Login, Options

POSTGRES = Subject("postgres", "PostgreSQL", "P1", "PostgreSQL is ready", "PostgreSQL is not ready")


def programs() -> str:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(found[-1].parent) if found else str(Path(shutil.which("initdb") or "").parent)


@pytest.fixture(scope="module")
def server() -> Iterator[Login]:
    """A server of its own, for the length of this file."""
    where = programs()
    if not Path(where, "initdb").exists():
        pytest.skip("no PostgreSQL server on this machine")
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        try:
            pwd.getpwnam(user)
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    # Not in pytest's directory, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if user:
        shutil.chown(folder, user)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    secret = folder / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    data = str(folder / "data")
    subprocess.run(
        [
            *(f"{where}/initdb", "-D", data, "-U", "carrental", "-A", "scram-sha-256"),
            *(f"--pwfile={secret}", "-N", "-E", "UTF8", "--locale=C"),
        ],
        check=True,
        user=user,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )
    settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
    settings += ["fsync=off", "max_connections=12"]
    process = subprocess.Popen(
        [f"{where}/postgres", "-D", data, *(word for item in settings for word in ("-c", item))],
        user=user,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    login = Login("127.0.0.1", port, "carrental", "s3cret", "postgres")
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if _postgres.check(POSTGRES, login, Options(deep=False))[0].status == "ok":
            break
        time.sleep(0.1)
    yield login
    process.terminate()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
