# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The frame of the modules that look at one service: call the engine, return what it found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.carrental.ops.plugins.module_utils._arguments import project
from ansible_collections.carrental.ops.plugins.module_utils._checks import Thresholds
from ansible_collections.carrental.ops.plugins.module_utils._docker import DockerError
from ansible_collections.carrental.ops.plugins.module_utils._services import InputError
from ansible_collections.carrental.ops.plugins.module_utils._stack import (
    Health,
    Request,
    check_stack,
)

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def require(module: AnsibleModule, found: bool, library: str, package: str) -> None:
    """End with one sentence when a library is not on the server."""
    if not found:
        module.fail_json(
            msg=f"{missing_required_lib(library)} Install the package {package}, or run "
            "playbooks/bootstrap.yml, which does. Nothing was changed."
        )


def run(
    module: AnsibleModule,
    name: str,
    entry: dict[str, Any],
    endpoint: dict[str, Any],
    version: Callable[[Health], str],
) -> None:
    """Look at one service, and exit with what was found."""
    params = module.params
    try:
        health = check_stack(
            Request(
                project(params),
                # A module is asked about this service alone: when it is down, it is not available.
                {name: {**entry, "severity": "P1"}},
                [name],
                {name: endpoint},
                deep=True,
                canary=params.get("canary", True) and not module.check_mode,
                probe_timeout=params["probe_timeout"],
                deadline=params["probe_timeout"] * 2,
                thresholds=Thresholds(**(params.get("thresholds") or {})),
                bucket=params.get("bucket") or "",
                docker_socket=params["docker_socket"],
                version=params.get("version") or "",
                known_only=True,
            )
        )
    except InputError as error:
        module.fail_json(msg=str(error))
    except (DockerError, ValueError) as error:
        module.fail_json(msg=f"{error} Nothing was changed.")
    asked = [check["latency_ms"] for check in health.checks if check["latency_ms"] is not None]
    module.exit_json(
        changed=False,
        available=health.verdict != "fail",
        verdict=health.verdict,
        checks=health.checks,
        line=health.lines[0] if health.lines else "",
        latency_ms=asked[0] if asked else None,
        server_version=version(health),
        error="; ".join(check["detail"] for check in health.checks if check["status"] == "fail"),
    )


def evidence(health: Health, check: str, key: str) -> str:
    """A word of the evidence; empty when it did not come to that."""
    for found in health.checks:
        if found["name"] == check:
            return str(found["evidence"].get(key) or "")
    return ""
