# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements of a restore."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _restore_load, _restore_sql

GLOBALS = """
CREATE ROLE app;
ALTER ROLE app WITH NOSUPERUSER LOGIN;
CREATE ROLE "Read Only";
ALTER ROLE "Read Only" WITH NOLOGIN;
CREATE ROLE other;
GRANT "Read Only" TO app WITH INHERIT TRUE GRANTED BY carrental;
GRANT other TO other2;
"""


def test_quoting() -> None:
    assert _restore_sql.name('a"b') == '"a""b"'
    assert _restore_sql.text("it's") == "'it''s'"
    assert _restore_sql.text("a\\b'") == " E'a\\\\b'''"


def test_a_database_is_created_like_the_one_before() -> None:
    facts = {
        "owner": "app",
        "encoding": "UTF8",
        "collate": "C.UTF-8",
        "ctype": "C.UTF-8",
        "locale_provider": "c",
        "connection_limit": -1,
    }
    assert _restore_sql.create("new", facts) == (
        'CREATE DATABASE "new" TEMPLATE template0 OWNER "app" ENCODING \'UTF8\' '
        "LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8';"
    )
    assert _restore_sql.create("new", {}) == 'CREATE DATABASE "new" TEMPLATE template0;'


def test_privileges_and_settings() -> None:
    facts = {
        "owner": "app",
        "acl": [
            {"grantee": "", "privilege": "CONNECT", "grantable": False},
            {"grantee": "app", "privilege": "CREATE", "grantable": True},
        ],
        "settings": [
            {"role": "", "name": "search_path", "value": '"$user", public'},
            {"role": "app", "name": "work_mem", "value": "5MB"},
            {"role": "", "name": "my.own", "value": "x"},
        ],
    }
    assert _restore_sql.outside("d", facts) == [
        'REVOKE ALL ON DATABASE "d" FROM PUBLIC;',
        'REVOKE ALL ON DATABASE "d" FROM "app";',
        'GRANT CONNECT ON DATABASE "d" TO PUBLIC;',
        'GRANT CREATE ON DATABASE "d" TO "app" WITH GRANT OPTION;',
        'ALTER DATABASE "d" SET "search_path" TO "$user", public;',
        'ALTER ROLE "app" IN DATABASE "d" SET "work_mem" TO \'5MB\';',
        'ALTER DATABASE "d" SET "my"."own" TO \'x\';',
    ]
    assert _restore_sql.outside("d", {"acl": None, "settings": []}) == []


def test_missing_roles_come_with_what_they_may() -> None:
    statements, unknown = _restore_sql.roles(GLOBALS, ["app", "Read Only", "ghost"])
    assert statements == [
        "CREATE ROLE app;",
        "ALTER ROLE app WITH NOSUPERUSER LOGIN;",
        'CREATE ROLE "Read Only";',
        'ALTER ROLE "Read Only" WITH NOLOGIN;',
        'GRANT "Read Only" TO app WITH INHERIT TRUE;',
    ]
    assert unknown == ["ghost"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('ERROR:  role "ghost" does not exist', "there is no role ghost"),
        ('ERROR: extension "postgis" is not available', "no extension postgis"),
        ("pg_restore: error: unsupported version (1.16) in file header", "1.16"),
        (
            'ERROR:  unrecognized configuration parameter "transaction_timeout"',
            "transaction_timeout",
        ),
        ("could not extend file: No space left on device", "disk of the database is full"),
        ("psql: something\nERROR:  duplicate key", "ERROR:  duplicate key"),
        ("", "it ended with 3 and gave no reason"),
    ],
)
def test_a_cause_is_one_clause(message: str, said: str) -> None:
    assert said in _restore_load.explain(message, 3)
