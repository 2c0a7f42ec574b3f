# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A tool of PostgreSQL in a container of its own, from the server's image and in its network.

The limits of the server's container were made for the server: beside it, a tool takes neither
memory nor processor time from the customers' queries. What it reads or writes is a file of the
host that is mounted into it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import _one_off, _operation_rules
from ._backup_database import Source

# Where the tool sees the file.
FILE = "/backup"


def definition(
    source: Source,
    argv: Sequence[str],
    path: str,
    *,
    environment: Mapping[str, str],
    labels: Mapping[str, str],
    operation: str,
    read_only: bool,
) -> dict[str, Any]:
    """Return what the engine creates it from.

    :param path: the file that the tool sees as ``FILE``, and whose owner it runs as.
    :param environment: what the tool gets beside where and as whom it connects.
    :param operation: for which it works; another run waits for it then.
    """
    owner = os.stat(path)
    found = {
        "PGUSER": source.user,
        "PGPASSWORD": source.password,
        **environment,
        **(source.connection or {"PGHOST": "127.0.0.1"}),
    }
    tags = dict(labels)
    if _operation_rules.kind_of(operation):
        tags[_one_off.OPERATION] = operation
    return {
        "Image": source.container.image_id,
        "Entrypoint": list(argv[:1]),
        "Cmd": list(argv[1:]),
        "User": f"{owner.st_uid}:{owner.st_gid}",
        "Env": [f"{key}={value}" for key, value in found.items()],
        "Labels": tags,
        "WorkingDir": "/",
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": f"container:{source.container.id}",
            # Unlike a bind of the older kind it fails where the engine does not see the file.
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": os.path.realpath(path),
                    "Target": FILE,
                    "ReadOnly": read_only,
                }
            ],
            "ReadonlyRootfs": True,
            # The certificates by which a server elsewhere is trusted.
            "VolumesFrom": [f"{source.container.id}:ro"] if source.elsewhere else [],
        },
    }
