# SPDX-License-Identifier: GPL-3.0-or-later
"""What migration tools print, and what the database holds."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _migrations
from ansible_collections.carrental.ops.plugins.module_utils._migrations import Held, Status

HEAD = (
    'Datasource "db": PostgreSQL database "carrental"\n\n3 migrations found in prisma/migrations\n'
)


@pytest.mark.parametrize(
    ("output", "status"),
    [
        (HEAD + "\nDatabase schema is up to date!\n", Status(True)),
        ("No migration found in prisma/migrations\n", Status(True)),
        (
            HEAD + "Following migrations have not yet been applied:\n"
            "20260102090000_init\n20260301090000_note\n\nTo apply migrations in development run ",
            Status(True, ("20260102090000_init", "20260301090000_note")),
        ),
        (
            HEAD + "\x1b[31mFollowing migration have not yet been applied:\x1b[0m\n20260301_a\n",
            Status(True, ("20260301_a",)),
        ),
        (
            HEAD + "Following migration have failed:\n20260315090000_broken\n\nDuring development",
            Status(True, (), ("20260315090000_broken",)),
        ),
        ("sh: 1: prisma: not found\n", Status(False)),
        ("", Status(False)),
    ],
)
def test_status(output: str, status: Status) -> None:
    assert _migrations.parse_status(output) == status


FAILED = """Applying migration `20260315090000_broken`
time="2026-11-23T22:14:23Z" level=warning msg="x"
Error: P3018

A migration failed to apply.
Database error: No such table: loyalty_cards
   0: sql_schema_connector::apply_migration
           at schema-engine/connectors/src/apply_migration.rs:113
"""


def test_the_reason_stands_without_the_trace() -> None:
    assert _migrations.reason(FAILED) == (
        "Error: P3018 A migration failed to apply. Database error: No such table: loyalty_cards"
    )


def test_without_an_error_the_last_lines_are_the_reason() -> None:
    assert _migrations.reason("a\n\nb\nc\n", count=2) == "b c"


@pytest.mark.parametrize(
    ("output", "held"),
    [
        ("", Held()),
        ("applied a\napplied b\n", Held(("a", "b"))),
        ("applied a\nfailed b\n", Held(("a",), ("b",))),
        ("applied a\nrolled_back b\n", Held(("a",), (), ("b",))),
        ("rolled_back b\nrolled_back b\napplied b\n", Held(("b",))),
    ],
)
def test_held(output: str, held: Held) -> None:
    assert _migrations.parse_held(output) == held


def test_the_head_is_the_last_that_was_applied() -> None:
    assert Held(("a", "b"), ("c",)).as_dict() == {"head": "b", "applied": ["a", "b"]}
    assert Held().as_dict() == {"head": None, "applied": []}
