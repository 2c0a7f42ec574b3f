# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Arguments of object_mirror, as its documentation describes them, and what they mean.

The nightly backup takes the same ones from a file, so there is no Ansible in here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _arguments,
    _docker,
    _object_plan,
    _object_run,
    _object_save,
    _object_verify,
    _operation,
    _places,
    _service_probes,
    _services,
)

EXPECTED = (
    *_object_save.EXPECTED,
    _docker.DockerError,
    _object_run.RunError,
    _object_verify.KeysError,
    _operation.OperationError,
    _services.InputError,
)
_OTHER_STORE = {
    "host": {"type": "str"},
    "port": {"type": "int"},
    "user": {"type": "str"},
    "password_file": {"type": "path", "no_log": False},
    "tls": {"type": "bool", "default": False},
    "ca_file": {"type": "path"},
    "region": {"type": "str", "default": "us-east-1"},
    "bucket": {"type": "str", "required": True},
}
OPTIONS: dict[str, Any] = {
    **_arguments.stack_argument_spec(),
    **_arguments.login_argument_spec("minio", 9000),
    "region": {"type": "str", "default": "us-east-1"},
    "bucket": {"type": "str", "default": "carrental"},
    "state": {
        "type": "str",
        "choices": ["saved", "restored", "copied", "verified"],
        "default": "saved",
    },
    "path": {"type": "path"},
    "snapshot": {"type": "str", "default": ""},
    "to": {"type": "dict", "options": _OTHER_STORE},
    "delete": {"type": "bool", "default": False},
    "max_delete": {"type": "str", "default": "10%"},
    "confirm": {"type": "str", "default": ""},
    "safety": {"type": "bool", "default": True},
    "key_query": {"type": "str", "default": "", "no_log": False},
    "database_service": {"type": "str", "default": "postgres"},
    "database": {"type": "str", "default": ""},
    "max_missing": {"type": "int", "default": 0},
    "keep_days": {"type": "int", "default": 30},
    "keep_least": {"type": "int", "default": 3},
    "workers": {"type": "int", "default": 8},
    "timeout": {"type": "float", "default": 30.0},
}


def logins(params: Mapping[str, Any], mask: Callable[[str], None]) -> _object_run.Logins:
    """Find the stores and the database that arguments name.

    :param mask: is told of each secret that is found.
    :raises InputError, DockerError: one cannot be had.
    """
    found = _object_run.Logins()
    if params["state"] == "verified":
        return found
    project = _arguments.project(params)
    docker = _docker.Docker(params["docker_socket"], timeout=params["probe_timeout"])
    settings = _service_probes.Settings(
        database=params["database"], bucket=params["bucket"], timeout=params["timeout"]
    )
    own = _arguments.login_endpoint(params)
    service = params["service"]
    found.store = _places.store(project, docker, service, own, settings)
    mask(found.store.secret_key)
    if params["state"] == "copied":
        given = {key: value for key, value in params["to"].items() if value not in (None, "")}
        elsewhere = given if given.get("host") else {**own, "bucket": given["bucket"]}
        found.other = _places.store(project, docker, service, elsewhere, settings)
        mask(found.other.secret_key)
    if params["state"] == "saved" and params["key_query"]:
        name = params["database_service"]
        found.database = _places.database(project, docker, name, {}, settings)
        mask(found.database.password)
    return found


def job(params: Mapping[str, Any]) -> _object_run.Job:
    """Return what arguments ask for.

    :raises InputError: it makes no sense.
    """
    now = datetime.now(timezone.utc)
    name = params["snapshot"]
    if params["state"] == "saved":
        name = name or now.strftime("minio-backup-%Y%m%d")
        if not _object_plan.is_snapshot(name) or name.endswith(_object_plan.REPLACED):
            raise _services.InputError(
                f"snapshot is {name!r}; a snapshot is called minio-backup-YYYYMMDD or "
                "minio-backup-YYYYMMDD-HHMMSS. Nothing was changed."
            )
    try:
        _object_plan.limit(params["max_delete"], 0)
    except ValueError:
        raise _services.InputError(
            f"max_delete is {params['max_delete']!r}; give a number of objects or a share like "
            "10%. Nothing was changed."
        ) from None
    if not 1 <= params["workers"] <= 64:
        raise _services.InputError(
            f"workers is {params['workers']}; give 1 to 64. Nothing was changed."
        )
    wanted = ("delete", "max_delete", "key_query", "max_missing", "workers", "confirm", "safety")
    kept = ("keep_days", "keep_least")
    return _object_run.Job(
        folder=params["path"] or "",
        name=name,
        now=now,
        **{key: params[key] for key in (*wanted, *kept)},
    )
