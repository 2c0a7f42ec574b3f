# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a tune tells: the plan, what was done, and what else somebody should change."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _memory_budget,
    _pg_server,
    _tuning_plan,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import Container
from ansible_collections.carrental.ops.plugins.module_utils._tuning_plan import STATEMENTS, Plan
from ansible_collections.carrental.ops.plugins.module_utils._tuning_run import Story, Tuner

_HEAP = re.compile(r"--max[-_]old[-_]space[-_]size[= ](\d+)")
_SIZE = re.compile(r"(\d+)\s*([kmg]?)b?\Z", re.IGNORECASE)
_UNITS = {"": 1 / 2**20, "k": 1 / 1024, "m": 1, "g": 1024}


def text(value: Any) -> str:
    """Return a value of YAML as PostgreSQL reads it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def measured(story: Story) -> dict[str, Any]:
    """Return what the prober saw."""
    return story.measured.as_dict() if story.measured else {}


class Report:
    """The result of a call."""

    def __init__(self, tuner: Tuner, plan: Plan) -> None:
        """Look before anything is changed."""
        self.tuner = tuner
        self.plan = plan
        self.creates = tuner.extension_due(plan)
        self.drops = tuner.extension_goes(plan)

    def foreseen(self, left: list[str]) -> dict[str, Any]:
        """Return what would be done.

        :param left: what an interrupted tune left, which would be taken back.
        """
        steps = [f"{step.name}: {step.wanted or 'taken out'}" for step in self.plan.steps]
        if self.plan.restarts:
            steps.append(f"restart {self.tuner.options.service}")
        if self.creates:
            steps.append(f"create {STATEMENTS} in {self.tuner.options.database}")
        if self.drops:
            steps.append(f"drop {STATEMENTS} from {self.tuner.options.database}")
        return {**self._facts(), "changed": bool(steps or left), "actions": left + steps}

    def done(self, before: list[str]) -> dict[str, Any]:
        """Return what was done."""
        story = self.tuner.story
        actions = before + story.actions
        return {
            **self._facts(),
            "changed": bool(actions),
            "actions": actions,
            "measured": measured(story),
        }

    def _facts(self) -> dict[str, Any]:
        plan = self.plan
        every = (*plan.steps, *plan.left, *plan.fixed, *plan.same)
        changing = sorted((step.name, step.now, step.wanted) for step in plan.steps)
        return {
            "plan": [step.as_dict() for step in every],
            "lines": _tuning_plan.lines(plan),
            "pending": [step.name for step in plan.left],
            "budget": plan.after.sentence if plan.after else "",
            "connections": self.tuner.demanded.sentence,
            "peers": plan.peers,
            "shared_memory_mb": self.tuner.story.shared_mb,
            "recommendations": self._recommendations(),
            "notes": [*self.tuner.story.notes, *plan.notes],
            "diff": {
                "before_header": "settings in force",
                "after_header": "settings",
                "before": "".join(f"{name} = {now}\n" for name, now, _wanted in changing),
                "after": "".join(
                    f"{name} = {wanted}\n" for name, _now, wanted in changing if wanted is not None
                ),
            },
        }

    def _recommendations(self) -> list[str]:
        found = []
        service = self.tuner.options.service
        has = _pg_server.shm_mb(self.tuner.server.container)
        if self.plan.shm > has:
            found.append(
                f"{service} has {has} MB of /dev/shm; {self.plan.shm} MB lets parallel queries "
                f"work (shm_size in the compose file)"
            )
        for container in self.tuner.engine.services(self.tuner.options.project):
            limit = _pg_server.limits(container, self.tuner.engine)[0]
            if container.running and limit:
                found += [*_heap(container, limit), *_cache(container, limit)]
        return found


def _heap(container: Container, limit: int) -> list[str]:
    """Return what is wrong with the heap of a Node process."""
    words = " ".join([*container.command, container.environment.get("NODE_OPTIONS", "")])
    programs = {word.rpartition("/")[2] for word in words.split()}
    if "node" not in programs and "NODE_ENV" not in container.environment:
        return []
    wanted = _memory_budget.node_heap(limit)
    given = _HEAP.search(words)
    if given and int(given[1]) < 0.8 * limit:
        return []
    now = f"a heap of {given[1]} MB" if given else "no bound for its heap"
    return [
        f"{container.service} has {now} in a limit of {limit} MB: the kernel kills it before it "
        f"collects garbage; --max-old-space-size={wanted} leaves room (NODE_OPTIONS)"
    ]


def _cache(container: Container, limit: int) -> list[str]:
    """Return what is wrong with the memory of a Redis."""
    command = container.command
    if not any(word.endswith("redis-server") for word in command):
        return []
    persistent = _option(command, "--save") != "" or _option(command, "--appendonly") == "yes"
    wanted = _memory_budget.redis_maxmemory(limit, persistent=persistent)
    size = _SIZE.match(_option(command, "--maxmemory") or "")
    given = int(size[1]) * _UNITS[size[2].lower()] if size else 0
    if 0 < given <= _memory_budget.redis_maxmemory(limit, persistent=False):
        return []
    now = f"maxmemory {given:.0f} MB" if given else "no maxmemory on its command line"
    return [
        f"{container.service} has {now} in a limit of {limit} MB; {wanted} MB leaves room for the "
        "copy that it writes from"
    ]


def _option(command: list[str], name: str) -> str | None:
    for at, word in enumerate(command[:-1]):
        if word == name:
            return command[at + 1]
    return None
