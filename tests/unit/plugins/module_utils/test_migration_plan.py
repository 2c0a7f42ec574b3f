# SPDX-License-Identifier: GPL-3.0-or-later
"""What is pending and judged before it runs, and the URL by which it runs."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _migration_plan
from ansible_collections.carrental.ops.plugins.module_utils._migrations import Held

TEXTS = {
    "1_init": "CREATE TABLE a (b int)",
    "2_note": "ALTER TABLE a ADD c int",
    "3_drop": "DROP TABLE a",
}
SIZES = {"a": 8192}


def plan(held: Held, sizes: dict[str, int] | None = None) -> _migration_plan.Plan:
    names = _migration_plan.pending(TEXTS, held)
    return _migration_plan.plan(
        names, TEXTS, held, SIZES if sizes is None else sizes, lock_timeout=True
    )


def test_what_the_database_holds_is_not_pending() -> None:
    found = plan(Held(("1_init",)))
    assert found.pending == ("2_note", "3_drop")
    assert found.destructive == ["3_drop"]
    assert found.lines == [
        "pending migration 2_note: additive",
        "pending migration 3_drop: destructive",
        "  DROP TABLE a: its rows are gone, and the release before still uses it",
    ]


def test_what_was_rolled_back_is_pending_again() -> None:
    assert plan(Held(("1_init", "2_note"), (), ("3_drop",))).pending == ("3_drop",)


def test_an_empty_database_takes_everything() -> None:
    assert plan(Held(), {}).destructive == []


def test_a_database_may_be_ahead() -> None:
    found = plan(Held(("1_init", "2_note", "3_drop", "4_later")))
    assert found.ahead == ("4_later",)
    assert found.lines == ["the database is ahead of this release by 4_later; these stay"]


def test_of_a_part_of_the_migrations_nothing_follows_for_the_rest() -> None:
    held = Held(("1_init", "2_note", "3_drop", "4_later"))
    found = _migration_plan.plan([], TEXTS, held, SIZES, lock_timeout=True, whole=False)
    assert found.ahead == ()


def test_what_cannot_be_read_is_destructive() -> None:
    found = _migration_plan.plan(["9_x"], TEXTS, Held(), SIZES, lock_timeout=True)
    assert found.destructive == ["9_x"]
    assert "9_x" in _migration_plan.refusal(found)


def test_a_refusal_says_what_and_how() -> None:
    text = _migration_plan.refusal(plan(Held(("1_init",))))
    assert "3_drop is destructive: DROP TABLE a (its rows are gone" in text
    assert "deploy_allow_destructive_migration=true" in text
    assert "2_note" not in text


def test_a_refusal_of_older_code_names_what_it_does_not_know() -> None:
    text = _migration_plan.refusal_of_older_code(plan(Held(("1_init",))))
    assert "3_drop is destructive: DROP TABLE a" in text
    assert "deploy_allow_schema_ahead=true" in text


def test_an_index_that_waits_goes_without_a_lock_timeout() -> None:
    texts = {"1": "CREATE INDEX CONCURRENTLY i ON a (b)", "2": "ALTER TABLE a ADD c int"}
    found = _migration_plan.plan(["1", "2"], texts, Held(), SIZES, lock_timeout=True)
    assert found.concurrently
    assert [one.kind for one in found.risks["2"].findings] == ["no_lock_timeout"]


def test_sizes() -> None:
    output = "8192 public.a\n10 shop.b c\n9 shop.a\n\nNOTICE: x\n"
    assert _migration_plan.parse_tables(output) == {
        "public.a": 8192,
        "a": 8192,
        "shop.a": 9,
        "shop.b c": 10,
        "b c": 10,
    }


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h/d", "postgres://u:p@h/d?options=-c%20lock_timeout%3D5000"),
        (
            "postgresql://u:p%23@h:5432/d?schema=public",
            "postgresql://u:p%23@h:5432/d?schema=public&options=-c%20lock_timeout%3D5000",
        ),
        (
            "postgres://h/d?options=-c%20a%3Db&x=y",
            "postgres://h/d?x=y&options=-c%20a%3Db%20-c%20lock_timeout%3D5000",
        ),
        (
            "postgres://h/d?options=-c%20lock_timeout%3D1s",
            "postgres://h/d?options=-c%20lock_timeout%3D1s",
        ),
        ("postgres://h/d?pgbouncer=true", None),
        ("prisma://h/d", None),
        ("mysql://h/d", None),
        ("", None),
    ],
)
def test_the_url_gets_a_lock_timeout(url: str, expected: str | None) -> None:
    assert _migration_plan.limited(url, 5) == expected
