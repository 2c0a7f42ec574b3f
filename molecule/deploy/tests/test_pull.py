# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that do not come: production is what it was, and the next run needs no repair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from support import (
    Started,
    go_on,
    no_registry,
    on_server,
    playbook,
    release,
    serving,
    stop_at,
    wait_stopped,
)
from tiers import proof

DOWNLOADS = "/var/lib/docker/tmp"
# Of no other test of this scenario: no release that is kept has its images.
NAME = "slow"


def containers() -> list[str]:
    return sorted(on_server("docker", "ps", "--no-trunc", "--format", "{{.ID}}").split())


@contextmanager
def no_room() -> Iterator[None]:
    """The engine has nowhere to put what it downloads."""
    on_server("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", DOWNLOADS)
    on_server("sh", "-c", f"head -c 4096 /dev/zero > {DOWNLOADS}/full")
    try:
        yield
    finally:
        on_server("umount", DOWNLOADS)


@proof
@pytest.mark.parametrize(
    ("fault", "says"), [(no_registry, "refused"), (no_room, "became full while")]
)
def test_what_breaks_during_the_pull_changes_nothing(
    fault: Callable[[], AbstractContextManager[None]], says: str
) -> None:
    # An earlier test may have left the image, by its digest and without a name.
    on_server("docker", "image", "prune", "--all", "--force")
    before, seen = serving(), containers()
    with stop_at("pull"):
        controller = Started("deploy", deploy_version=release(NAME), deploy_watch=False)
        wait_stopped("pull", controller)
        with fault():
            go_on()
            run = controller.wait()
    assert run.code != 0, run.output
    assert run.result["verdict"] == "refused", run.result
    assert says in run.result["headline"], run.result["headline"]
    run.line("Nothing was changed")
    assert serving() == before
    assert containers() == seen
    health = playbook("health")
    assert health.code == 0, health.output


@proof
def test_and_then_it_is_pulled_and_released() -> None:
    run = playbook("deploy", deploy_version=release(NAME), deploy_watch=False)
    assert run.code == 0, run.output
    assert serving() == release(NAME)
