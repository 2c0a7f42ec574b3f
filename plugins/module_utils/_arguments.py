# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Arguments that several modules have, as their documentation fragments describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils._checks import Thresholds
from ansible_collections.carrental.ops.plugins.module_utils._running import Project

DATABASE_THRESHOLDS = (
    "connections_warn",
    "connections_fail",
    "long_transaction_s",
    "idle_in_transaction_s",
    "blocked_s",
    "wraparound_warn",
    "wraparound_fail",
    "replication_lag_mb",
    "slot_retained_mb",
)
# Fragments ``carrental.ops._compose_project`` and ``carrental.ops._compose_project.dest``.
_FILES: dict[str, Any] = {
    "project": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "str", "required": True},
}
COMPOSE_PROJECT: dict[str, Any] = {"project_src": {"type": "path", "required": True}, **_FILES}
COMPOSE_DEST: dict[str, Any] = {"dest": {"type": "path", "required": True}, **_FILES}
# Fragment ``carrental.ops._rollout``.
ROLLOUT: dict[str, Any] = {
    "domain": {"type": "str", "default": ""},
    "healthy_timeout": {"type": "int", "default": 120},
    "drain_timeout": {"type": "int", "default": 60},
    "consecutive": {"type": "int", "default": 3},
    "interval": {"type": "float", "default": 1.0},
}


def stack_argument_spec() -> dict[str, Any]:
    """Fragment ``carrental.ops._stack``."""
    return {
        "project_name": {"type": "str", "default": "carrental"},
        "project_src": {"type": "path", "default": "/opt/carrental"},
        "compose_files": {
            "type": "list",
            "elements": "str",
            "default": ["docker-compose.prod.yml", "docker-compose.monitoring.yml"],
        },
        "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
        "probe_timeout": {"type": "float", "default": 3.0},
    }


def response_argument_spec() -> dict[str, Any]:
    """Fragment ``carrental.ops._response``."""
    return {
        "services": {"type": "dict", "required": True},
        "database": {"type": "str", "default": "carrental"},
        "bucket": {"type": "str", "default": "carrental"},
        "domain": {"type": "str", "default": ""},
        "backup_dir": {"type": "path", "default": "/opt/carrental/backups"},
        "images": {"type": "dict", "default": {}},
        "keep_releases": {"type": "int", "default": 5},
        "monitor_projects": {"type": "list", "elements": "str", "default": []},
        "alertmanager_service": {"type": "str", "default": "alertmanager"},
        "alertmanager_port": {"type": "int", "default": 9093},
        "thresholds": {
            "type": "dict",
            "default": {},
            "options": threshold_options("disk_warn", "disk_fail", "memory_warn", "memory_fail"),
        },
        "idle_in_transaction": {"type": "int", "default": 300},
    }


def login_argument_spec(service: str, port: int) -> dict[str, Any]:
    """Fragments ``carrental.ops._postgres``, ``_redis`` and ``_s3``, as far as they are alike."""
    return {
        "service": {"type": "str", "default": service},
        "login_host": {"type": "str"},
        "login_port": {"type": "int", "default": port},
        "login_user": {"type": "str"},
        # The path of a file, which is no secret.
        "login_password_file": {"type": "path", "no_log": False},
        "login_tls": {"type": "bool", "default": False},
        "ca_file": {"type": "path"},
    }


def threshold_options(*names: str) -> dict[str, Any]:
    """The thresholds, or some of them, with their defaults."""
    return {
        item.name: {"type": "int", "default": item.default}
        for item in fields(Thresholds)
        if not names or item.name in names
    }


def project(params: Mapping[str, Any]) -> Project:
    """The compose project that the arguments name."""
    return Project(params["project_name"], params["project_src"], tuple(params["compose_files"]))


def login_endpoint(params: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a login as what overrides a container's own words."""
    given = {
        "host": params["login_host"],
        "port": params["login_port"],
        "user": params["login_user"],
        "password_file": params["login_password_file"],
        "tls": params["login_tls"],
        "ca_file": params["ca_file"],
        "database": params.get("login_db"),
        "bucket": params.get("bucket"),
        "region": params.get("region"),
    }
    return {key: value for key, value in given.items() if value not in (None, "")}
