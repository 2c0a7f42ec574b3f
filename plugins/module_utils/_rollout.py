# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a switch without a gap does next, decided from what is observed at this moment.

Compose can only end a container before it starts the next one under its name. So a
second container of the release, the *surge*, serves while that happens::

    start_surge -> await_surge -> lead_to_surge -> drain
      -> replace -> await_regular -> lead_to_regular -> drain -> remove_surge -> unpin

No place in this line is remembered anywhere. Each step is derived anew from the
containers and from the pins of the proxies, so a run that finds the work of one that
was killed goes on from there. What a run may not take over from another, for it cannot
be observed, is proof: it proves again what it builds on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

# What a container is good for: nothing, perhaps soon, or to be asked.
DEAD, STARTING, UP = "dead", "starting", "up"


@dataclass(frozen=True)
class Seat:
    """One container of a service.

    :param current: whether it is what the release wants: image and configuration.
    :param address: how the proxy reaches it; empty while it has none.
    """

    id: str
    name: str
    address: str
    current: bool
    state: str


@dataclass
class Proof:
    """What this very run has seen with its own eyes, by service.

    :param started: ids of the surge containers that it started.
    :param answered: ids of containers that answered as the release should.
    :param led: addresses to which the proxies were seen to lead.
    :param drained: addresses to which they led when the last older worker ended, or its
        time ran out.
    :param placed: whether this run put the service's own containers in place.
    """

    started: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    led: frozenset[str] = frozenset()
    drained: frozenset[str] = frozenset()
    placed: bool = False


@dataclass(frozen=True)
class Look:
    """What is observed of one service.

    :param wanted: how many containers the service is to have.
    :param regular: the containers that compose calls by the service's name.
    :param surge: those beside them, started by this collection.
    :param pinned: addresses to which the proxies are pinned for this service.
    """

    wanted: int
    regular: tuple[Seat, ...]
    surge: tuple[Seat, ...]
    pinned: frozenset[str]

    @property
    def arrived(self) -> bool:
        """Whether the service's own containers are those of the release."""
        return len(self.regular) == self.wanted and all(one.current for one in self.regular)

    @property
    def helpers(self) -> tuple[Seat, ...]:
        """The surge containers that belong to this release and may serve."""
        return tuple(one for one in self.surge if one.current and one.state != DEAD)

    def started(self, proof: Proof) -> tuple[Seat, ...]:
        """Return them with those that this run started, alive or not: it starts none twice."""
        return tuple(one for one in self.surge if one in self.helpers or one.id in proof.started)

    @property
    def serves(self) -> bool:
        """Whether anything of the service is alive."""
        return any(one.state != DEAD for one in (*self.regular, *self.surge))

    @property
    def stands(self) -> bool:
        """Whether the service's own containers are those of the release, and all are alive."""
        return self.arrived and all(one.state != DEAD for one in self.regular)


def addresses(seats: Iterable[Seat]) -> frozenset[str]:
    """Return the addresses of containers."""
    return frozenset(one.address for one in seats)


def _unproved(seats: Iterable[Seat], proof: Proof) -> bool:
    return any(one.id not in proof.answered for one in seats)


@dataclass(frozen=True)
class Row:
    """One line of the table: what to do, and when."""

    name: str
    when: Callable[[Look, Proof], bool]


START, AWAIT_SURGE, LOST_SURGE = "start_surge", "await_surge", "lost_surge"
LEAD_TO_SURGE = "lead_to_surge"
DRAIN_OLD, REPLACE, UP_AGAIN = "drain_old", "replace", "up"
AWAIT_REGULAR, LEAD_TO_REGULAR = "await_regular", "lead_to_regular"
DRAIN_SURGE, REMOVE_SURGE, UNPIN, DONE = "drain_surge", "remove_surge", "unpin", "done"

# The first row that holds is the next step. The order is that of the work: where several
# services are switched together, the one that is furthest behind goes first.
WITHOUT_GAP = (
    # Nothing is lost by the plain way where nothing serves.
    Row(
        UP_AGAIN,
        # Also what a killed run created and did not start, while its surge serves.
        lambda look, proof: (
            not proof.placed and (not look.serves or (look.arrived and not look.stands))
        ),
    ),
    Row(
        START,
        lambda look, proof: not look.arrived and len(look.started(proof)) < look.wanted,
    ),
    Row(
        AWAIT_SURGE,
        lambda look, proof: not look.arrived and _unproved(look.started(proof), proof),
    ),
    # It answered and ended since: nothing may be built on it any more.
    Row(LOST_SURGE, lambda look, _: not look.arrived and len(look.helpers) < look.wanted),
    Row(
        LEAD_TO_SURGE,
        lambda look, proof: not look.arrived and proof.led != addresses(look.helpers),
    ),
    Row(DRAIN_OLD, lambda look, proof: not look.arrived and proof.drained != proof.led),
    Row(REPLACE, lambda look, _: not look.arrived),
    Row(AWAIT_REGULAR, lambda look, proof: _unproved(look.regular, proof)),
    Row(
        LEAD_TO_REGULAR,
        lambda look, proof: (
            bool(look.surge or look.pinned) and proof.led != addresses(look.regular)
        ),
    ),
    Row(DRAIN_SURGE, lambda look, proof: bool(look.surge) and proof.drained != proof.led),
    Row(REMOVE_SURGE, lambda look, _: bool(look.surge)),
    Row(UNPIN, lambda look, _: bool(look.pinned)),
)

# For what must not run twice, and where no proxy can be led: the old ends first.
WITH_GAP = (
    Row(REPLACE, lambda look, proof: not proof.placed and not look.stands),
    Row(AWAIT_REGULAR, lambda look, proof: _unproved(look.regular, proof)),
    Row(REMOVE_SURGE, lambda look, _: bool(look.surge)),
)


def place(rows: tuple[Row, ...], look: Look, proof: Proof) -> int:
    """Return the place in the table of a service's next step; its length when it is done."""
    return next((at for at, row in enumerate(rows) if row.when(look, proof)), len(rows))


def next_step(
    rows: tuple[Row, ...], looks: dict[str, Look], proofs: dict[str, Proof]
) -> tuple[str, list[str]]:
    """Return the next step, and the services that are at it."""
    places = {name: place(rows, look, proofs[name]) for name, look in looks.items()}
    first = min(places.values(), default=len(rows))
    if first == len(rows):
        return DONE, []
    return rows[first].name, [name for name, at in places.items() if at == first]
