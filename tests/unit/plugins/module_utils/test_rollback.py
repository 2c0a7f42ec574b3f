# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a rollback goes, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _releases,
    _rollback,
    _rollback_backup,
    _schema_ahead,
)

SHA = "e849ff18cac7bbefa3562e432a3c16c32f62626d"


def release(number: int, version: str, verdict: str = "ok", left: str = "") -> _releases.Release:
    one: Any = {
        "schema": 1,
        "id": f"2026112{number}T000000Z-{version[:7]}",
        "verdict": verdict,
        "version": version,
        "started_at": f"2026-11-2{number}T00:00:00Z",
        "services": {
            "api": {
                "image": "api",
                "digest": f"sha256:d{version}",
                "reference": "api",
                "image_id": f"sha256:i{version}",
            }
        },
        "config": {"files": {}, "env": {"sha256": "", "keys": []}},
        "migrations": {"head": None, "applied": []},
        "rolled_back_from": left,
    }
    return one  # type: ignore[no-any-return]


FIRST, SECOND = release(1, "v1"), release(2, SHA)
FAILED = release(3, "v3", "failed")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("previous", FIRST),
        ("current", SECOND),
        (FIRST["id"], FIRST),
        (SHA, SECOND),
        (SHA[:7], SECOND),
        (f"ghcr.io/org/backend:{SHA}", SECOND),
        ("sha256:dv1", FIRST),
        ("sha256:iv1", FIRST),
        ("ghcr.io/org/backend@sha256:dv1", FIRST),
    ],
)
def test_words_for_a_release(wanted: str, expected: _releases.Release) -> None:
    assert _rollback.choose([FAILED, SECOND, FIRST], wanted) == expected


@pytest.mark.parametrize("wanted", ["v3", "sha256:dv3", "sha256:none", "nothing", "latest"])
def test_a_release_that_never_passed_is_no_way_back(wanted: str) -> None:
    with pytest.raises((_rollback.RollbackError, _releases.ReleaseError), match="release"):
        _rollback.choose([FAILED, SECOND, FIRST], wanted)


def test_two_rollbacks_in_a_row_do_not_return_to_what_was_fled_from() -> None:
    older = release(0, "v0")
    back = release(4, "v1", left=SECOND["id"])
    assert _rollback.choose([back, SECOND, FIRST, older], "previous") == older


def test_without_another_release_there_is_no_previous() -> None:
    with pytest.raises(_rollback.RollbackError, match="no release before"):
        _rollback.choose([FIRST], "previous")


def goal(*harmful: str) -> _rollback.Goal:
    found = _rollback.Goal(FIRST, SECOND)
    found.ahead = _schema_ahead.Ahead(("m1", "m2"), harmful, ("m2: destructive",))
    return found


def test_additive_migrations_stay() -> None:
    _rollback.decide(goal(), _rollback.JUDGE)


def test_harmful_migrations_are_the_operators_to_decide() -> None:
    with pytest.raises(_rollback.RollbackError) as raised:
        _rollback.decide(goal("m2"), _rollback.JUDGE)
    for word in ("m1, m2", "m2: destructive", "rollback_database=keep", "Nothing was changed"):
        assert word in str(raised.value)
    _rollback.decide(goal("m2"), _rollback.KEEP)


@pytest.mark.parametrize("known", [True, False])
def test_the_choice_names_the_backup_or_says_that_there_is_none(known: bool) -> None:
    found = goal("m2")
    found.backups_known = known
    with pytest.raises(_rollback.RollbackError, match=r"no verified|a backup from before"):
        _rollback.decide(found, _rollback.JUDGE)
    found.backup = _rollback_backup.Chosen("b1", "2026-11-26T02:00:00Z", 34, ())
    with pytest.raises(_rollback.RollbackError, match=r"goes back to backup b1, .*34 minutes"):
        _rollback.decide(found, _rollback.JUDGE)
