# SPDX-License-Identifier: GPL-3.0-or-later
"""A script is cut where PostgreSQL would cut it."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _sql_statements
from ansible_collections.carrental.ops.plugins.module_utils._sql_statements import Words


def excerpts(sql: str) -> list[str]:
    return [one.excerpt for one in _sql_statements.split(sql)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        (";;\n -- only a comment\n;", []),
        ("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1 -- ; DROP TABLE a\n;SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT /* ; /* ; */ ; */ 1", ["SELECT 1"]),
        ("SELECT 'a;''b'';' ; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        (r"SELECT E'a\';b'; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        # Without the E a backslash is an ordinary letter.
        (r"SELECT 'a\'; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        ('DROP TABLE "a;""b"; SELECT 2', ['DROP TABLE "a;""b"', "SELECT 2"]),
        ("DO $$ BEGIN; END $$; SELECT 2", ["DO $$…$$", "SELECT 2"]),
        ("DO $a$ $$ ; $b$ $a$; SELECT 2", ["DO $$…$$", "SELECT 2"]),
        # A dollar inside a name opens nothing.
        ("SELECT a$b$ ; SELECT c$b$", ["SELECT a$b$", "SELECT c$b$"]),
        ("SELECT $1 ; SELECT 2", ["SELECT $ 1", "SELECT 2"]),
        ("CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2); SELECT 3", None),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2;"
            " END; SELECT 3",
            None,
        ),
        ("\ufeffSELECT 1", ["SELECT 1"]),
        ("SELECT a.b, f (c)::text", ["SELECT a.b, f (c)::text"]),
    ],
)
def test_statements(sql: str, expected: list[str] | None) -> None:
    found = excerpts(sql)
    if expected is None:
        assert (len(found), found[-1]) == (2, "SELECT 3")
    else:
        assert found == expected


@pytest.mark.parametrize(
    "sql", ["SELECT 'a", "SELECT $$a", "SELECT $a$ $$", 'SELECT "a', "SELECT 1 /* /* */", "/*"]
)
def test_what_is_not_closed_is_told(sql: str) -> None:
    assert _sql_statements.split(sql)[-1].unclosed


def test_comments_belong_to_the_statement_they_stand_at() -> None:
    sql = "-- a\nSELECT 1; -- b\n-- c\nSELECT /* d */ 2 -- e\n; /* f */"
    assert [one.comments for one in _sql_statements.split(sql)] == [
        ["a", "b"],
        ["c", "d", "e", "f"],
    ]


def test_a_long_statement_is_shortened() -> None:
    assert len(excerpts("SELECT " + ", ".join(["column"] * 100))[0]) == 140


def words(sql: str) -> Words:
    return Words(_sql_statements.split(sql)[0].tokens)


def test_names() -> None:
    found = words('public.a, "B c".d, PUBLIC."E" rest')
    assert found.names() == ["a", "B c.d", "E"]
    assert found.sees("rest")


def test_words_in_parentheses_are_not_outer() -> None:
    assert _sql_statements.outer_words(words("a (b (c) d) e").tokens) == ["a", "e"]
    assert [len(part) for part in _sql_statements.parts(words("a (b, c), d").tokens)] == [6, 1]
