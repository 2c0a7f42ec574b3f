# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Remedies for containers: started, restarted, created again, given more memory."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _compose,
    _guards,
    _ledger,
    _proxy,
    _registry,
    _releases,
    _reload,
    _rollout_run,
    _scaling,
    _scaling_run,
    _sizes,
    _standing,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import DockerError
from ansible_collections.carrental.ops.plugins.module_utils._remedy import (
    Context,
    ForService,
    RemedyError,
)

_DATABASE_GRACE = 120
_ROUND_MB = 32


class Start(ForService):
    """Start a container that was stopped or ended."""

    def refuse(self, context: Context) -> str:
        """Return why it is not to be started."""
        found = context.containers()
        if not found:
            return f"there is no container of {context.service}"
        if any(one.running for one in found):
            return f"a container of {context.service} runs"
        return ""

    def act(self, context: Context) -> list[str]:
        """Start it."""
        one = context.container()
        context.step(f"start {one.name}")
        context.engine.start(one.id)
        return [f"started {one.name}", *_led(context)]


class Unpause(ForService):
    """Let a paused container go on."""

    def refuse(self, context: Context) -> str:
        """Return why it is not to go on."""
        one = context.container()
        return "" if one.state.get("Paused") else f"{one.name} is not paused"

    def act(self, context: Context) -> list[str]:
        """Let it go on."""
        one = context.container()
        context.step(f"unpause {one.name}")
        context.engine.unpause(one.id)
        return [f"unpaused {one.name}"]


class Restart(ForService):
    """Restart a container that runs and does not do its work."""

    def act(self, context: Context) -> list[str]:
        """Restart it."""
        one = context.container()
        context.step(f"restart {one.name}")
        context.engine.restart(one.id)
        return [f"restarted {one.name}", *_led(context)]


class RestartDatabase(ForService):
    """Restart a database that does not answer."""

    def act(self, context: Context) -> list[str]:
        """Write down what is in memory, if it still can, and restart it with time to end."""
        one = context.container()
        context.step(f"restart {one.name}")
        done = []
        try:
            _standing.checkpoint(context.engine, one)
            done.append(f"checkpoint of {one.name}")
        except DockerError:
            # One that hangs writes nothing; it recovers from its log.
            pass
        context.engine.restart(one.id, _DATABASE_GRACE)
        return [*done, f"restarted {one.name}"]


class Recreate(ForService):
    """Create a container again from the image that is pinned."""

    def act(self, context: Context) -> list[str]:
        """Let compose create it."""
        context.step(f"recreate {context.compose_service}")
        return _up(context)


class Repull(ForService):
    """Pull the image of the release by its digest, and create the container again."""

    def refuse(self, context: Context) -> str:
        """Return why that cannot be done."""
        wrong = super().refuse(context)
        if wrong or self._image(context):
            return wrong
        return f"no release is recorded with an image of {context.service}"

    @staticmethod
    def _image(context: Context) -> dict[str, Any]:
        for release in _releases.good(context.releases())[:1]:
            found = release["services"].get(context.compose_service)
            return dict(found) if found else {}
        return {}

    def act(self, context: Context) -> list[str]:
        """Pull and create."""
        image = self._image(context)
        done = []
        context.step(f"pull the image of {context.compose_service}")
        if image.get("digest"):
            try:
                context.engine.pull(str(image["reference"]), None)
                done.append(f"pulled {image['reference']}")
            except (DockerError, _registry.RegistryError) as error:
                if context.engine.image(str(image["image_id"])) is None:
                    raise RemedyError(
                        f"the image of {context.service} is not on the server and cannot be "
                        f"pulled: {str(error).rstrip('.')}"
                    ) from error
                done.append(f"the registry was not asked ({str(error).rstrip('.')})")
        elif context.engine.image(str(image["image_id"])) is None:
            raise RemedyError(f"the image of {context.service} was built here and is gone")
        context.step(f"recreate {context.compose_service}")
        return [*done, *_up(context)]


def _up(context: Context) -> list[str]:
    """Let compose replace the container of a service, whatever it thinks of it."""
    seconds = int(context.params["healthy_timeout"])
    done = context.project().run(
        *("up", "--detach", "--no-build", "--pull", "never", "--no-color", "--no-deps"),
        *("--force-recreate", "--", context.compose_service),
        timeout=seconds + 60,
    )
    if done.rc != 0:
        raise RemedyError(
            f"{context.service} does not come up: {_compose.up_error(done.stderr).rstrip('.')}"
        )
    return [f"created the container of {context.service} again", *_led(context)]


def _led(context: Context) -> list[str]:
    """Let the proxy look up the address that a container was just given.

    nginx keeps the addresses that names had when it read its configuration, and what starts
    need not get the one that it had.
    """
    service = _proxy_service(context)
    if not service or not context.behind_proxy:
        return []
    try:
        return _reload_proxy(context, service)
    except RemedyError as error:
        # What it was started for is seen by the check, which asks through the proxy as well.
        return [f"the proxy was not reloaded: {error}"]


def _proxy_service(context: Context) -> str:
    for name, one in context.params["services"].items():
        if one.get("role") == "proxy":
            return str(one.get("compose_service") or name)
    return ""


def _reload_proxy(context: Context, service: str) -> list[str]:
    context.step("reload the proxy")
    way = _reload.Way("nginx -t", "nginx -s reload", proxy=True)
    found = _reload.containers(context.engine, context.params["project_name"], service)
    if not found:
        raise RemedyError("the proxy does not run")
    try:
        return [_reload.reload(context.engine, one, way) for one in found]
    except (_reload.ReloadError, _proxy.ProxyError) as error:
        raise RemedyError(str(error).rstrip(".")) from error


class RaiseMemory:
    """Give a service a larger memory limit, by the engine of scale.yml."""

    def refuse(self, context: Context) -> str:
        """Return why it gets no more."""
        now, wanted = self._now(context), self._wanted(context)
        if not now:
            return f"{context.service} has no memory limit: the server itself ran out of memory"
        if wanted <= now:
            return (
                f"{context.service} has {now} MB, and {context.params['memory_max_mb']} MB are the "
                "most that a response gives (response_memory_max)"
            )
        raised = _guards.last_attempt(
            _ledger.read(context.params["state_dir"]),
            *("raise_memory", context.service),
            time.time() - float(context.params["breaker"]),
        )
        if raised:
            return (
                f"{context.service} got more memory at {raised['at']} and was killed again: more "
                "of it does not help, something leaks"
            )
        return ""

    @staticmethod
    def _now(context: Context) -> int:
        host = context.container().raw.get("HostConfig") or {}
        return int(host.get("Memory") or 0) // 2**20

    def _wanted(self, context: Context) -> int:
        now = self._now(context)
        # The limit that the cause was found with: a second look must not raise it twice.
        before = int(context.cause.facts.get("limit_mb") or now)
        larger = -(-before * 3 // 2 // _ROUND_MB) * _ROUND_MB
        return min(larger, int(context.params["memory_max_mb"]))

    def act(self, context: Context) -> list[str]:
        """Scale."""
        wanted = self._wanted(context)
        context.memo["wanted_mb"] = wanted
        params = context.params
        given = {
            **params,
            "project": params["project_name"],
            "files": params["compose_files"],
            "table": params["services"],
            "limits": {context.service: {"memory": f"{wanted}M"}},
            "replicas": {},
            "recreate": [],
            "database_service": context.database().service,
            "consecutive": 3,
            "interval": 1.0,
        }
        try:
            with _scaling_run.Scaling(context.engine, given) as scaling:
                scaling.step = context.step
                done: list[str] = scaling.perform()["actions"]
        except (
            _scaling_run.ScalingFailedError,
            _compose.ComposeError,
            _proxy.ProxyError,
            _rollout_run.RolloutError,
            _scaling.ScalingError,
            _sizes.SizeError,
        ) as error:
            raise RemedyError(str(error).rstrip(".")) from error
        for one in context.containers():
            if not one.running:
                context.engine.start(one.id)
                done += [f"started {one.name}", *_led(context)]
        return done

    def wrong(self, context: Context) -> str:
        """Return what the service still lacks: its answer, and the limit that the kernel has."""
        wrong = context.unwell()
        if wrong:
            return wrong
        wanted = int(context.memo.get("wanted_mb") or 0)
        for one in context.containers():
            found = _scaling_run.limit_in_force(context.engine, one) if one.running else None
            if found is not None and found < wanted * 2**20:
                return f"{one.name} still has a limit of {_sizes.megabytes(found)}"
        return ""


class ReloadProxy:
    """Let the proxy look up the addresses of its services again."""

    def refuse(self, context: Context) -> str:
        """Return why it is not told."""
        if not _proxy_service(context):
            return "no service of the table is a proxy"
        return "" if context.unwell_through_the_proxy() else "the proxy reaches it again"

    def act(self, context: Context) -> list[str]:
        """Reload."""
        return _reload_proxy(context, _proxy_service(context))

    def wrong(self, context: Context) -> str:
        """Return why customers still do not reach it."""
        return context.unwell_through_the_proxy()
