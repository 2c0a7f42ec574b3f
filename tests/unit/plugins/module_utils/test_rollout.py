# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of steps of a switch without a gap."""

from __future__ import annotations

from itertools import product

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _rollout
from ansible_collections.carrental.ops.plugins.module_utils._rollout import (
    DEAD,
    DONE,
    STARTING,
    UP,
    WITH_GAP,
    WITHOUT_GAP,
    Look,
    Proof,
    Seat,
    next_step,
)


def seat(name: str, *, current: bool = True, state: str = UP) -> Seat:
    return Seat(f"id-{name}", name, f"10.0.0.{len(name)}", current, state)


OLD = seat("api", current=False)
NEW = seat("api-", current=True)
SURGE = seat("api-surge")


def look(
    *regular: Seat, surge: tuple[Seat, ...] = (), pinned: tuple[Seat, ...] = (), wanted: int = 1
) -> Look:
    return Look(wanted, regular, surge, frozenset(one.address for one in pinned))


def step(
    seen: Look, proof: Proof | None = None, rows: tuple[_rollout.Row, ...] = WITHOUT_GAP
) -> str:
    return next_step(rows, {"api": seen}, {"api": proof or Proof()})[0]


def proved(*seats: Seat, led: Seat | None = None, drained: bool = False) -> Proof:
    to = frozenset({led.address}) if led else frozenset()
    return Proof(answered={one.id for one in seats}, led=to, drained=to if drained else frozenset())


@pytest.mark.parametrize(
    ("seen", "proof", "expected"),
    [
        (look(OLD), Proof(), "start_surge"),
        (look(OLD, surge=(seat("s", state=STARTING),)), Proof(), "await_surge"),
        (look(OLD, surge=(SURGE,)), Proof(), "await_surge"),
        (look(OLD, surge=(SURGE,)), proved(SURGE), "lead_to_surge"),
        (look(OLD, surge=(SURGE,), pinned=(SURGE,)), proved(SURGE, led=SURGE), "drain_old"),
        (
            look(OLD, surge=(SURGE,), pinned=(SURGE,)),
            proved(SURGE, led=SURGE, drained=True),
            "replace",
        ),
        (look(NEW, surge=(SURGE,), pinned=(SURGE,)), proved(SURGE, led=SURGE), "await_regular"),
        (
            look(NEW, surge=(SURGE,), pinned=(SURGE,)),
            proved(SURGE, NEW, led=SURGE, drained=True),
            "lead_to_regular",
        ),
        (look(NEW, surge=(SURGE,), pinned=(NEW,)), proved(NEW, led=NEW), "drain_surge"),
        (
            look(NEW, surge=(SURGE,), pinned=(NEW,)),
            proved(NEW, led=NEW, drained=True),
            "remove_surge",
        ),
        (look(NEW, pinned=(NEW,)), proved(NEW, led=NEW, drained=True), "unpin"),
        (look(NEW), proved(NEW), DONE),
    ],
)
def test_the_line_of_steps(seen: Look, proof: Proof, expected: str) -> None:
    assert step(seen, proof) == expected


def test_a_run_proves_again_what_another_run_built() -> None:
    """A pin that is there says nothing: its reload may never have been sent."""
    assert step(look(OLD, surge=(SURGE,), pinned=(SURGE,))) == "await_surge"
    assert step(look(OLD, surge=(SURGE,), pinned=(SURGE,)), proved(SURGE)) == "lead_to_surge"
    assert step(look(NEW, pinned=(NEW,)), proved(NEW)) == "lead_to_regular"


def test_nothing_serves_so_nothing_can_be_lost() -> None:
    assert step(look()) == "up"
    assert step(look(seat("api", current=False, state=DEAD))) == "up"
    assert step(look(seat("api", state=DEAD))) == "up"


def test_what_was_brought_up_and_died_is_not_brought_up_again() -> None:
    assert step(look(seat("api", state=DEAD)), Proof(placed=True)) == "await_regular"


def test_a_surge_of_this_run_that_died_is_reported_not_replaced() -> None:
    dead = seat("api-surge", state=DEAD)
    assert step(look(OLD, surge=(dead,)), Proof(started={dead.id})) == "await_surge"
    assert step(look(OLD, surge=(dead,)), Proof()) == "start_surge"


def test_a_surge_that_answered_and_ended_is_no_ground_to_replace_on() -> None:
    dead = seat("api-surge", state=DEAD)
    proof = Proof(started={dead.id}, answered={dead.id})
    assert step(look(OLD, surge=(dead,)), proof) == "lost_surge"
    led = Proof(
        started={dead.id},
        answered={dead.id},
        led=frozenset({dead.address}),
        drained=frozenset({dead.address}),
    )
    assert step(look(OLD, surge=(dead,), pinned=(dead,)), led) == "lost_surge"


def test_what_a_killed_run_created_and_did_not_start_is_started() -> None:
    created = seat("api-", state=DEAD)
    assert step(look(created, surge=(SURGE,), pinned=(SURGE,))) == "up"


def test_too_many_replicas_have_not_arrived() -> None:
    assert not look(NEW, seat("api--"), wanted=1).arrived


def test_a_surge_of_another_release_counts_for_nothing() -> None:
    other = seat("api-surge", current=False)
    assert step(look(OLD, surge=(other,), pinned=(other,))) == "start_surge"


def test_every_replica_gets_a_second_one() -> None:
    two = (seat("a", current=False), seat("bb", current=False))
    assert step(look(*two, surge=(SURGE,), wanted=2)) == "start_surge"
    assert step(look(*two, surge=(SURGE, seat("api-surge2")), wanted=2)) == "await_surge"


def test_a_service_that_lost_a_replica_has_not_arrived() -> None:
    assert not look(NEW, wanted=2).arrived


def test_services_that_are_switched_together_wait_for_the_last() -> None:
    looks = {
        "api": look(OLD, surge=(SURGE,)),
        "web": look(seat("web", current=False)),
        "old": look(NEW),
    }
    proofs = {"api": proved(SURGE), "web": Proof(), "old": proved(NEW)}
    assert next_step(WITHOUT_GAP, looks, proofs) == ("start_surge", ["web"])


def test_with_a_gap_the_old_one_ends_first() -> None:
    assert step(look(OLD), rows=WITH_GAP) == "replace"
    assert step(look(NEW), rows=WITH_GAP) == "await_regular"
    assert step(look(NEW), proved(NEW), rows=WITH_GAP) == DONE
    assert step(look(seat("api", state=DEAD)), rows=WITH_GAP) == "replace"


# What each step does to what is observed, so that the table can be walked through.
def advance(name: str, seen: Look, proof: Proof) -> tuple[Look, Proof]:
    regular, surge, pinned = seen.regular, seen.surge, seen.pinned
    if name == "start_surge":
        surge = (*[one for one in surge if one.address in pinned], SURGE)
        proof.started.add(SURGE.id)
    elif name == "await_surge":
        proof.answered |= {one.id for one in seen.started(proof)}
    elif name == "lead_to_surge":
        pinned = proof.led = _rollout.addresses(seen.helpers)
    elif name in ("drain_old", "drain_surge"):
        proof.drained = proof.led
    elif name in ("replace", "up"):
        regular, proof.placed = (NEW,), True
    elif name == "await_regular":
        proof.answered |= {one.id for one in regular}
    elif name == "lead_to_regular":
        pinned = proof.led = _rollout.addresses(regular)
    elif name == "remove_surge":
        surge = ()
    elif name == "unpin":
        pinned = frozenset()
    return Look(seen.wanted, regular, surge, pinned), proof


STRAY = seat("api-stray", current=False)
ANY_REGULAR = [(), (OLD,), (NEW,), (seat("api", current=False, state=DEAD),)]
ANY_SURGE = [(), (SURGE,), (STRAY,), (STRAY, SURGE), (seat("api-surge", state=DEAD),)]
ANY_PIN = [(), (OLD,), (SURGE,), (STRAY,), (NEW,)]


@pytest.mark.parametrize(
    ("regular", "surge", "pinned"), list(product(ANY_REGULAR, ANY_SURGE, ANY_PIN))
)
def test_from_every_state_the_table_ends_with_the_release_alone(
    regular: tuple[Seat, ...], surge: tuple[Seat, ...], pinned: tuple[Seat, ...]
) -> None:
    """Whatever a killed run left: the end is reached, and nothing that serves is ended before."""
    seen, proof = look(*regular, surge=surge, pinned=pinned), Proof()
    walked = []
    for _step in range(20):
        name = step(seen, proof)
        if name == DONE:
            break
        if name == "replace":
            # Requests go to a surge that was proved, and no old worker is left.
            assert seen.helpers
            assert {one.id for one in seen.helpers} <= proof.answered
            assert proof.led == proof.drained == _rollout.addresses(seen.helpers)
        if name == "remove_surge":
            assert {one.id for one in seen.regular} <= proof.answered
            assert seen.pinned == proof.drained == _rollout.addresses(seen.regular)
        walked.append(name)
        seen, proof = advance(name, seen, proof)
    assert (seen.regular, seen.surge, seen.pinned) == ((NEW,), (), frozenset()), walked
