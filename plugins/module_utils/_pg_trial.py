# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Ask PostgreSQL itself whether it would start with other settings, before it has to.

C(postgres -C shared_memory_size) reads every setting, loads the libraries and says how
much shared memory it would ask for. On the data directory of a server that runs it refuses
to (its lock file is there), so it is given a copy: the files of the configuration and the
two files that tell a data directory, in a container of its own with the same image.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence

from ansible_collections.carrental.ops.plugins.module_utils import _one_off
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container, DockerError
from ansible_collections.carrental.ops.plugins.module_utils._engine import Engine

_COPY = "/tmp/carrental-ops"  # noqa: S108  # in a container of its own
_SCRIPT = f"""
set -e
mkdir -p {_COPY}/global
cp "$1"/PG_VERSION "$1"/*.conf {_COPY}/
for file in "$1"/*.crt "$1"/*.key; do if [ -f "$file" ]; then cp "$file" {_COPY}/; fi; done
for folder in "$1"/*.d; do if [ -d "$folder" ]; then cp -R "$folder" {_COPY}/; fi; done
cp "$1"/global/pg_control {_COPY}/global/
chmod -R go-rwx {_COPY}
shift
exec "$@"
"""
_SECONDS = 60.0
_MEMORY = 256 * 2**20
_SAID = re.compile(r"(?:FATAL|PANIC|ERROR|LOG|DETAIL|HINT):\s*(.+)")
_WRONG = re.compile(r"FATAL|PANIC|ERROR")


class TrialError(Exception):
    """Settings with which the server would not start; the text is its own reason."""


class NoTrialError(Exception):
    """The trial could not be made; the text says why."""


def shared_memory(  # noqa: PLR0917  # six facts, named by the one caller
    engine: Engine,
    container: Container,
    project: str,
    folder: str,
    owner: str,
    settings: Mapping[str, str],
    fixed: Sequence[str] = (),
) -> int:
    """Return the MiB of shared memory that a server would ask for.

    :param folder: its data directory.
    :param owner: user and group of its files, as numbers.
    :param settings: what differs from its files.
    :param fixed: what stands on its command line, as C(name=value).
    :raises TrialError: it would not start.
    :raises NoTrialError: nobody can tell.
    """
    command = ["postgres", "-D", _COPY, "-c", f"data_directory={_COPY}"]
    if not any(name.startswith("ssl") for name in settings):
        # It would ask for certificates that may lie beside the copy.
        command += ["-c", "ssl=off"]
    for one in (*fixed, *(f"{name}={value}" for name, value in settings.items())):
        command += ["-c", one]
    definition = {
        "Image": container.image_id,
        "Entrypoint": ["sh", "-c", _SCRIPT, "sh"],
        "Cmd": [folder, *command, "-C", "shared_memory_size"],
        "User": owner,
        "Labels": {_one_off.LABEL: project},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "VolumesFrom": [f"{container.id}:ro"],
            "NetworkMode": "none",
            "Memory": _MEMORY,
        },
    }
    created = ""
    try:
        created = engine.create(f"{project}-settings-{uuid.uuid4().hex[:8]}", definition)
        engine.start(created)
        rc = engine.wait(created, _SECONDS)
        lines = engine.log(engine.inspect(created), 50)
    except DockerError as error:
        raise NoTrialError(f"the settings could not be tried in a container: {error}") from error
    finally:
        if created:
            engine.remove(created)
    return _judge(rc, lines)


def _judge(rc: int, lines: Sequence[str]) -> int:
    """Return what the server said; it says it on its last line."""
    if rc == 0 and lines and lines[-1].strip().isdigit():
        return int(lines[-1].strip())
    reasons = [line for line in lines if _WRONG.search(line)]
    if reasons:
        said = [found[1].strip() for line in lines if (found := _SAID.search(line))]
        raise TrialError("; ".join(dict.fromkeys(said)))
    told = " ".join(lines[-3:]) or f"it ended with {rc}"
    raise NoTrialError(f"the settings could not be tried in a container: {told}")
