# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Find the store or the database of a stack, and how to log in there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _object_store,
    _postgres,
    _running,
    _service_probes,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import Docker
from ansible_collections.carrental.ops.plugins.module_utils._running import Project
from ansible_collections.carrental.ops.plugins.module_utils._service_probes import Place, Settings
from ansible_collections.carrental.ops.plugins.module_utils._services import InputError, parse_table

_DEFAULT_PORTS = {"object_store": 9000, "postgres": 5432}


def store(
    project: Project, docker: Docker, name: str, endpoint: Mapping[str, Any], settings: Settings
) -> _object_store.Login:
    """Return the login of an object store.

    :raises InputError, DockerError: it does not run, or there is none.
    """
    login = _service_probes.store_login(
        _place(project, docker, name, "object_store", endpoint), settings
    )
    if not login.access_key or not login.secret_key:
        raise InputError(
            f"No credentials for the object store at {login.place}: its container has no "
            "MINIO_ROOT_USER and MINIO_ROOT_PASSWORD; give user and password_file. "
            "Nothing was changed."
        )
    return login


def database(
    project: Project, docker: Docker, name: str, endpoint: Mapping[str, Any], settings: Settings
) -> _postgres.Login:
    """Return the login of a database.

    :raises InputError, DockerError: it does not run, or there is none.
    """
    return _service_probes.postgres_login(
        _place(project, docker, name, "postgres", endpoint), settings
    )


def _place(
    project: Project, docker: Docker, name: str, probe: str, endpoint: Mapping[str, Any]
) -> Place:
    entry = {"probe": probe, "port": _DEFAULT_PORTS[probe]}
    (service,), _host = parse_table({name: entry}, [name], {name: endpoint})
    if service.managed:
        return Place(service, service.endpoint.host)
    running = _running.look(docker, project, [service])
    if running.down:
        raise InputError(f"Docker does not answer: {running.down}. Nothing was changed.")
    for container in running.services.get(name, []):
        address = running.address(container)
        if container.running and address:
            return Place(service, address, container, docker)
    raise InputError(f"Service {name} does not run; start it first. Nothing was changed.")
