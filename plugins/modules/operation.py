#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take and return the lock of a server, freeze it, and say who has it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: operation
short_description: Take and return the lock of a server, freeze it, and say who has it
version_added: 0.1.0
description:
  - Whatever changes production is an operation, and one at a time has the lock of the server. A
    backup and a drill work beside others; they stop, and are stopped by, only a restore, a prune
    and their own kind.
  - Every module that changes something holds a kernel lock while it works and asks before each step
    whether the lock is still that of its operation. So a module that outlived its controller
    keeps others out while it works, and does no harm when somebody else went on.
  - An operation whose controller died is taken over when there was no heartbeat for its O(ttl), and
    neither a process nor a database session of it lives. RV(taken_over) says whose it was and where
    it died.
  - Every operation has a journal in C(journal) below O(state_dir).
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
attributes:
  check_mode:
    support: full
    details: [In check mode it says whether the lock could be had, and writes nothing.]
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: [Every V(acquired) is a new operation. The other states do nothing the second time.]
options:
  state_dir:
    description: Directory of what operations remember, with the lock and the journals.
    type: path
    required: true
  state:
    description:
      - V(acquired) begins an operation, or fails and says who has the lock.
      - V(released) ends it with its O(verdict), and keeps its O(result) where one is given.
      - V(shown) says who has the lock, whether there is a freeze, and how the last operations ended.
      - V(frozen) keeps deploy, scale and tune from being begun; V(thawed) ends that.
      - V(unlocked) takes the lock from the operation O(operation_id). It is refused while something
        of it still works.
    type: str
    choices: [acquired, released, shown, frozen, thawed, unlocked]
    required: true
  kind:
    description: What is begun, for example V(deploy), V(rollback) or V(backup).
    type: str
  operation_id:
    description: The operation to end or to unlock, exactly as it was returned.
    type: str
    default: ""
  who:
    description: Who begins, freezes or unlocks.
    type: str
    default: ""
  host:
    description: The server, as the inventory calls it.
    type: str
    default: ""
  origin:
    description: From where, for example a host or the job of a CI.
    type: str
    default: ""
  wait:
    description: Seconds to wait for the lock.
    type: int
    default: 0
  ttl:
    description: Seconds without a heartbeat after which an operation may be taken over.
    type: int
    default: 120
  takeover_id:
    description:
      - The operation that may be ended for this one. Only a rollback may end a deploy.
      - Its process is asked to end (C(SIGTERM)) and waited for; none is killed.
    type: str
    default: ""
  verdict:
    description: How the operation ended.
    type: str
    choices: [ok, no_change, refused, rolled_back, failed, unknown]
  headline:
    description: The same in one sentence.
    type: str
    default: ""
  result:
    description:
      - What the operation returned, to be kept as M(carrental.ops.report_save) does, in C(reports) below
        O(state_dir), together with the id and the steps of the operation. It must not hold secrets.
      - Empty keeps nothing. In check mode nothing is written.
    type: dict
    default: {}
  reason:
    description: Why there is a freeze.
    type: str
    default: ""
  until:
    description: End of the freeze, with its time zone, as V(2026-11-25T06:00Z).
    type: str
    default: ""
  last:
    description: How many of the last operations V(shown) returns.
    type: int
    default: 10
  project:
    description: >-
      Name of the compose project. With it, Docker and the database are asked for containers and
      sessions of an operation before that is taken over, unlocked or called idle.
    type: str
    default: ""
  database_service:
    description: Service of the database.
    type: str
    default: postgres
"""

EXAMPLES = r"""
- name: Begin
  carrental.ops.operation:
    state_dir: /opt/carrental/.ops
    state: acquired
    kind: deploy
    who: anna
  register: begun

- name: Work
  carrental.ops.compose_up:
    project_src: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml]
    services: [api]
    state_dir: /opt/carrental/.ops
    operation_id: "{{ begun.operation_id }}"

- name: End
  carrental.ops.operation:
    state_dir: /opt/carrental/.ops
    state: released
    operation_id: "{{ begun.operation_id }}"
    verdict: ok
"""

RETURN = r"""
operation_id:
  description: Id of the operation. Empty in check mode.
  returned: when O(state=acquired)
  type: str
  sample: 20261124T021500Z-deploy-ab12
available:
  description: Whether the lock could be had at this moment.
  returned: when O(state=acquired)
  type: bool
  sample: true
taken_over:
  description: Operations that had the lock and were dead, with the step at which they died.
  returned: when O(state=acquired)
  type: list
  elements: dict
  sample:
    - id: 20261124T015500Z-deploy-77aa
      kind: deploy
      who: anna
      origin: laptop-17
      since: "2026-11-24T01:55:00Z"
      step: "up api"
      died_at: "2026-11-24T01:56:12.250Z"
found:
  description: RV(taken_over) in words, one sentence each.
  returned: when O(state=acquired)
  type: list
  elements: str
  sample: []
holder:
  description: Who has the lock.
  returned: failure because of it
  type: dict
holders:
  description: >-
    Who has the lock, the one that excludes most first; then a backup and a drill. C(running) says
    whether a module works at this moment, C(left) which containers and sessions do.
  returned: when O(state=shown)
  type: list
  elements: dict
freeze:
  description: The freeze in force, with C(reason), C(until), C(who) and C(since). Empty without one.
  returned: when O(state) is V(shown) or V(frozen), and on failure because of it
  type: dict
  sample: {}
operations:
  description: How the last operations ended, newest first, from their journals.
  returned: when O(state=shown)
  type: list
  elements: dict
report:
  description: RV(holders), RV(freeze) and RV(operations) as lines for an operator.
  returned: when O(state=shown)
  type: list
  elements: str
  sample: ["20261124T021500Z-deploy-ab12 by anna: ok (2026-11-24T02:16:12.250Z): 2e2e585 is released."]
held:
  description: Whether the operation had the lock until now.
  returned: when O(state=released)
  type: bool
  sample: true
kept:
  description: >-
    Where the O(result) is kept, as C(path), and why it could not be, as C(error); both empty where there
    was nothing to keep.
  returned: when O(state=released)
  type: dict
  sample: {path: /opt/carrental/.ops/reports/20261124T021612.310000Z-deploy.json, error: ""}
steps:
  description: The steps of the operation from its journal, each with its name and when it began.
  returned: when O(state=released)
  type: list
  elements: dict
  sample: [{"step": "up api", "at": "2026-11-24T02:15:31.120Z"}]
next:
  description: What to do next, if there is something.
  returned: when O(state=shown), and on failure
  type: str
  sample: playbooks/lock.yml
msg:
  description: The outcome in one sentence.
  returned: always
  type: str
  sample: 20261124T021500Z-deploy-ab12 has the lock.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker_remains,
    _freeze,
    _operation,
    _operation_info,
    _operation_module,
    _operation_rules,
    _reports,
)


def _remains(params: dict[str, Any]) -> _operation.Remains:
    return _docker_remains.asker(params["project"], params["database_service"])


def acquired(params: dict[str, Any], write: bool) -> dict[str, Any]:
    """Begin an operation, or say whether it could be."""
    request = _operation.Request(
        params["kind"],
        who=params["who"],
        host=params["host"],
        origin=params["origin"],
        ttl=params["ttl"],
        takeover_id=params["takeover_id"],
    )
    remains = _remains(params)
    result: dict[str, Any] = {"operation_id": "", "taken_over": [], "found": []}
    if not write:
        try:
            blocked = _operation.blocked_now(params["state_dir"], request, remains)
        except _operation.OperationError as error:
            return {**result, "changed": False, "available": False, "msg": str(error)}
        msg = _operation.refusal(blocked, request) if blocked else "The lock can be had."
        return {**result, "changed": not blocked, "available": not blocked, "msg": msg}
    done = _operation.acquire(params["state_dir"], request, wait=params["wait"], remains=remains)
    return {
        "changed": True,
        "operation_id": done.id,
        "available": True,
        "taken_over": done.taken_over,
        "found": [_operation.died(one) for one in done.taken_over],
        "msg": f"{done.id} has the lock.",
    }


def released(params: dict[str, Any], write: bool) -> dict[str, Any]:
    """End an operation."""
    state_dir, operation = params["state_dir"], params["operation_id"]
    had = any(one["id"] == operation for one in _operation_info.holders(state_dir))
    if write:
        had = _operation.release(state_dir, operation, params["verdict"], params["headline"])
    msg = f"{operation} ended: {params['verdict']}." if had else f"{operation} had no lock."
    steps = _operation_info.steps(state_dir, operation)
    kept = {"path": "", "error": ""}
    if write and params["result"]:
        result = {**params["result"], "operation_id": operation, "steps": steps}
        kind = str(result.get("operation") or _operation_rules.kind_of(operation))
        kept = _reports.keep(Path(state_dir, _reports.FOLDER), kind, result)
    return {"changed": had, "held": had, "msg": msg, "steps": steps, "kept": kept}


def shown(params: dict[str, Any], _write: bool) -> dict[str, Any]:
    """Say who has the lock."""
    found = _operation_info.info(params["state_dir"], params["last"], _remains(params))
    holders = found["holders"]
    names = [f"{one['id']} has the lock." for one in holders]
    idle = [one["id"] for one in holders if not _operation_info.is_active(one)]
    return {
        "changed": False,
        **found,
        "msg": " ".join(names) or "Nobody has the lock.",
        "next": f"if it died: playbooks/lock.yml -e lock_unlock={idle[0]}" if idle else "",
    }


def frozen(params: dict[str, Any], write: bool) -> dict[str, Any]:
    """Begin a freeze."""
    freeze = _freeze.planned(params["reason"], params["until"], params["who"])
    now = _operation.freeze_now(params["state_dir"])
    same = now is not None and (now.reason, now.until) == (freeze.reason, freeze.until)
    if write and not same:
        _operation.freeze(params["state_dir"], freeze)
    return {
        "changed": not same,
        "freeze": asdict(now if now is not None and same else freeze),
        "msg": f"Frozen until {freeze.until}: {freeze.reason}.",
    }


def thawed(params: dict[str, Any], write: bool) -> dict[str, Any]:
    """End a freeze."""
    changed = _operation.thaw(params["state_dir"], write=write)
    return {"changed": changed, "msg": "The freeze ended." if changed else "There is no freeze."}


def unlocked(params: dict[str, Any], write: bool) -> dict[str, Any]:
    """Take the lock from an operation."""
    state_dir, operation = params["state_dir"], params["operation_id"]
    changed = _operation.unlock(
        state_dir, operation, params["who"], remains=_remains(params), write=write
    )
    if changed:
        return {"changed": True, "msg": f"The lock was taken from {operation}."}
    others = ", ".join(one["id"] for one in _operation_info.holders(state_dir))
    if others:
        raise _operation.OperationError(
            f"{operation} does not have the lock; {others} has it. Give the id exactly. "
            "Nothing was changed."
        )
    return {"changed": False, "msg": f"{operation} has no lock."}


STATES = {
    "acquired": acquired,
    "released": released,
    "shown": shown,
    "frozen": frozen,
    "thawed": thawed,
    "unlocked": unlocked,
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "required": True},
            "state": {"type": "str", "required": True, "choices": list(STATES)},
            "kind": {"type": "str"},
            "operation_id": {"type": "str", "default": ""},
            "who": {"type": "str", "default": ""},
            "host": {"type": "str", "default": ""},
            "origin": {"type": "str", "default": ""},
            "wait": {"type": "int", "default": 0},
            "ttl": {"type": "int", "default": 120},
            "takeover_id": {"type": "str", "default": ""},
            "verdict": {
                "type": "str",
                "choices": ["ok", "no_change", "refused", "rolled_back", "failed", "unknown"],
            },
            "headline": {"type": "str", "default": ""},
            "result": {"type": "dict", "default": {}},
            "reason": {"type": "str", "default": ""},
            "until": {"type": "str", "default": ""},
            "last": {"type": "int", "default": 10},
            "project": {"type": "str", "default": ""},
            "database_service": {"type": "str", "default": "postgres"},
        },
        required_if=[
            ("state", "acquired", ("kind",)),
            ("state", "released", ("operation_id", "verdict")),
            ("state", "frozen", ("reason", "until")),
            ("state", "unlocked", ("operation_id",)),
        ],
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    try:
        result = STATES[run.params["state"]](run.params, not module.check_mode)
    except _operation.OperationError as error:
        run.fail(str(error), next="playbooks/lock.yml", **error.facts)
    run.exit(result)


if __name__ == "__main__":
    main()
