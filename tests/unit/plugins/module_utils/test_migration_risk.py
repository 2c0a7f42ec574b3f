# SPDX-License-Identifier: GPL-3.0-or-later
"""What migrations do to production, by their text."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _migration_risk as risk
from ansible_collections.carrental.ops.plugins.module_utils._migration_risk import Known

REPO = Path(__file__).resolve().parents[4]
SIZES = {"big": 2**40, "tiny": 8192, "shop.big": 2**40}


def judge(sql: str, **known: object) -> tuple[str, list[str]]:
    settings: dict[str, object] = {"tables": SIZES, "lock_timeout": True, **known}
    found = risk.assess(sql, Known(**settings))  # type: ignore[arg-type]
    return found.risk, [one.kind for one in found.findings]


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("DROP TABLE big", "drop_table"),
        ('drop table if exists public."Big" cascade', "drop_table"),
        ("DROP SCHEMA shop CASCADE", "drop_schema"),
        ("DROP DATABASE carrental", "drop_database"),
        ("DROP TYPE state", "drop_type"),
        ("DROP VIEW v", "drop_view"),
        ("DROP MATERIALIZED VIEW v", "drop_materialized_view"),
        ("DROP FUNCTION f(integer)", "drop_function"),
        ("DROP TRIGGER t ON big", "drop_trigger"),
        ("DROP OWNED BY app", "drop_owned"),
        ("TRUNCATE big", "truncate"),
        ("TRUNCATE TABLE ONLY tiny, big", "truncate"),
        ("DELETE FROM big", "delete_all"),
        ("DELETE FROM big WHERE true", "delete_all"),
        ("DELETE FROM big WHERE id < 5", "delete"),
        ("UPDATE big SET a = 1", "update_all"),
        ("UPDATE big SET a = (SELECT 1 FROM tiny WHERE x)", "update_all"),
        ("UPDATE big SET a = 1 WHERE 1 = 1", "update_all"),
        ("WITH x AS (DELETE FROM big RETURNING *) SELECT * FROM x", "delete"),
        ("WITH x AS (UPDATE big SET a = 1 RETURNING *) SELECT * FROM x", "update_all"),
        ("ALTER TABLE big RENAME TO large", "rename_table"),
        ("ALTER TABLE big SET SCHEMA shop", "rename_table"),
        ("ALTER TABLE big RENAME COLUMN a TO b", "rename_column"),
        ("ALTER TABLE IF EXISTS ONLY big RENAME a TO b", "rename_column"),
        ("ALTER TABLE big DROP COLUMN a", "drop_column"),
        ("ALTER TABLE big DROP IF EXISTS a CASCADE", "drop_column"),
        ("ALTER TABLE big ADD COLUMN b int, DROP COLUMN a", "drop_column"),
        ("ALTER TABLE big ALTER COLUMN a TYPE bigint", "change_type"),
        ("ALTER TABLE big ALTER a SET DATA TYPE text USING a::text", "change_type"),
        ("ALTER TABLE big ALTER COLUMN a SET NOT NULL", "set_not_null"),
        ("ALTER TABLE big ADD COLUMN a int NOT NULL", "add_not_null_column"),
        ("ALTER TABLE big ADD a int NOT NULL DEFAULT NULL", "add_not_null_column"),
        ("ALTER TABLE big ADD COLUMN a uuid PRIMARY KEY", "add_not_null_column"),
        ("ALTER TABLE big ALTER a DROP IDENTITY", "drop_generation"),
        ('ALTER TABLE "big" ALTER COLUMN "id" DROP DEFAULT', "drop_default"),
        ("ALTER TABLE big ALTER a SET DEFAULT NULL", "drop_default"),
        ("ALTER TABLE big DETACH PARTITION big_2025", "detach_partition"),
        ("ALTER TABLE big ENABLE ROW LEVEL SECURITY", "row_security"),
        ("ALTER TYPE state RENAME VALUE 'a' TO 'b'", "enum_rename_value"),
        ("ALTER TYPE state RENAME TO state_old", "rename_type"),
        ("ALTER SCHEMA shop RENAME TO store", "rename"),
        ("ALTER VIEW v RENAME COLUMN a TO b", "rename"),
        ("REVOKE ALL ON big FROM app", "revoke"),
        ("DO $$ BEGIN CREATE TYPE t AS ENUM ('a'); END $$", "unknown"),
        (
            "CREATE OR REPLACE FUNCTION f() RETURNS int AS $$ DROP TABLE big $$ LANGUAGE sql",
            "unknown",
        ),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC DELETE FROM big; SELECT 1; END", "unknown"),
        ("CREATE TRIGGER t BEFORE INSERT ON big EXECUTE FUNCTION f()", "unknown"),
        ("CALL tidy()", "unknown"),
        ("SELECT tidy('big')", "unknown"),
        ("ALTER TABLE big OWNER TO other", "unknown"),
        ("ALTER TABLE big DISABLE TRIGGER ALL", "unknown"),
        ("ALTER SEQUENCE s RESTART WITH 1", "unknown"),
        ("ALTER ROLE app NOLOGIN", "unknown"),
        ("\\i other.sql", "unknown"),
        ("ALTER TABLE big ADD COLUMN a text DEFAULT 'open", "unknown"),
        ("/* DROP", "unknown"),
        ("EXPLAIN ANALYZE DELETE FROM big", "unknown"),
        ("MERGE INTO big USING tiny ON true WHEN MATCHED THEN DELETE", "delete"),
    ],
)
def test_destructive(sql: str, kind: str) -> None:
    found, kinds = judge(sql)
    assert (found, kinds[0]) == (risk.DESTRUCTIVE, kind)
    # Beside others, commented and in a transaction it is no less so.
    assert judge(f"BEGIN; SELECT 1; -- x\n{sql}")[0] == risk.DESTRUCTIVE


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("CREATE INDEX i ON big (a)", "create_index"),
        ('CREATE UNIQUE INDEX "i" ON "shop"."big"(a)', "create_index"),
        ("CREATE INDEX ON unknown_size USING gin (a)", "create_index"),
        ("DROP INDEX i", "drop_index"),
        ("ALTER TABLE big ADD CONSTRAINT c CHECK (a > 0)", "add_constraint"),
        ("ALTER TABLE big ADD CHECK (a > 0)", "add_constraint"),
        ("ALTER TABLE big ADD CONSTRAINT c UNIQUE (a)", "add_constraint"),
        ("ALTER TABLE big ADD PRIMARY KEY (id)", "add_constraint"),
        ("ALTER TABLE big ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES tiny (id)", "add_constraint"),
        ("ALTER TABLE big ADD EXCLUDE USING gist (a WITH =)", "add_constraint"),
        ("ALTER TABLE big DROP CONSTRAINT c", "drop_constraint"),
        (
            "ALTER TABLE big ADD COLUMN a uuid NOT NULL DEFAULT gen_random_uuid()",
            "add_volatile_column",
        ),
        ("ALTER TABLE big ADD COLUMN a bigserial", "add_volatile_column"),
        ("ALTER TABLE big ADD a int GENERATED ALWAYS AS (b * 2) STORED", "add_volatile_column"),
        ("ALTER TABLE big ADD COLUMN a int UNIQUE", "add_constraint"),
        ("ALTER TABLE big SET TABLESPACE fast", "rewrite_table"),
        ("ALTER TABLE big ATTACH PARTITION big_2026 DEFAULT", "attach_partition"),
        ("UPDATE big SET a = 1 WHERE a IS NULL", "update"),
        ("VACUUM FULL big", "maintenance"),
        ("REINDEX TABLE big", "maintenance"),
        ("REFRESH MATERIALIZED VIEW big", "maintenance"),
        ("SELECT 1; CREATE INDEX CONCURRENTLY i ON big (a)", "not_alone"),
    ],
)
def test_locking(sql: str, kind: str) -> None:
    assert judge(sql) == (risk.LOCKING, [kind])


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE a (id serial PRIMARY KEY, b int REFERENCES big)",
        "CREATE TABLE IF NOT EXISTS a (id int); CREATE INDEX ON a (id)",
        "CREATE TABLE a (id int); CREATE INDEX i ON a (id); ALTER TABLE a ADD UNIQUE (id);"
        " ALTER TABLE a RENAME TO c; ALTER TABLE c DROP COLUMN id; DELETE FROM c; DROP TABLE c",
        "CREATE INDEX i ON tiny (a)",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON big (a)",
        "DROP INDEX CONCURRENTLY i",
        "ALTER TABLE big ADD COLUMN a text",
        "ALTER TABLE big ADD COLUMN a text NOT NULL DEFAULT 'x'",
        "ALTER TABLE big ADD COLUMN a timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)",
        "ALTER TABLE big ADD COLUMN IF NOT EXISTS a varchar(20) DEFAULT 'x'::varchar(20)",
        "ALTER TABLE big ADD COLUMN a text[] DEFAULT ARRAY[]::text[]",
        "ALTER TABLE big ALTER COLUMN a DROP NOT NULL",
        "ALTER TABLE big ADD COLUMN a int DEFAULT 1; ALTER TABLE big ALTER COLUMN a DROP DEFAULT",
        "ALTER TABLE big ADD COLUMN a int NOT NULL DEFAULT 1;"
        " ALTER TABLE big ALTER a DROP NOT NULL, ALTER a DROP DEFAULT",
        "CREATE TABLE a (b int NOT NULL DEFAULT 1); ALTER TABLE a ALTER b DROP DEFAULT",
        "ALTER TABLE big ALTER COLUMN a SET DEFAULT NULLIF(1, 2)",
        "ALTER TABLE big ALTER COLUMN a SET DEFAULT 5",
        "ALTER TABLE big ALTER COLUMN a SET STATISTICS 500",
        "ALTER TABLE big ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
        "ALTER TABLE big VALIDATE CONSTRAINT c",
        "ALTER TABLE big ADD CONSTRAINT c UNIQUE USING INDEX i",
        "ALTER TABLE big RENAME CONSTRAINT c TO d",
        "ALTER TABLE big SET (fillfactor = 80)",
        "ALTER TABLE big ADD COLUMN a int; ALTER TABLE big RENAME a TO b",
        "ALTER TABLE tiny ADD CONSTRAINT c CHECK (a > 0)",
        "ALTER INDEX i RENAME TO j",
        "CREATE TYPE state AS ENUM ('a'); ALTER TYPE state RENAME TO s; DROP TYPE s",
        "CREATE VIEW v AS SELECT 1; DROP VIEW v",
        "INSERT INTO big VALUES (1) ON CONFLICT DO NOTHING",
        "WITH x AS (SELECT 1) INSERT INTO big SELECT * FROM x ON CONFLICT (id) DO UPDATE SET a = 2",
        "SELECT setval('s', (SELECT max(id) FROM big))",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "COMMENT ON TABLE big IS 'DROP TABLE big'",
        "GRANT SELECT ON big TO app",
        "SET statement_timeout = 0; COMMIT",
        "-- DROP TABLE big\n/* DROP /* TABLE */ big */ SELECT 'DROP TABLE big;'",
        'CREATE TABLE "DROP TABLE big;" (id int)',
        "ALTER TABLE tiny ADD COLUMN a int; UPDATE tiny SET a = b",
    ],
)
def test_additive(sql: str) -> None:
    assert judge(sql) == (risk.ADDITIVE, [])


def test_a_new_value_of_an_enum_is_told() -> None:
    assert judge("ALTER TYPE state ADD VALUE 'b'") == (risk.ADDITIVE, ["enum_add_value"])


def test_a_new_column_may_be_filled_and_closed_when_it_fills_itself() -> None:
    sql = "ALTER TABLE big ADD COLUMN a int DEFAULT 1; UPDATE big SET a = b;"
    assert judge(f"{sql} ALTER TABLE big ALTER a SET NOT NULL") == (
        risk.LOCKING,
        ["update", "set_not_null"],
    )
    empty = sql.replace(" DEFAULT 1", "")
    assert judge(f"{empty} ALTER TABLE big ALTER a SET NOT NULL") == (
        risk.DESTRUCTIVE,
        ["update", "set_not_null"],
    )


@pytest.mark.parametrize(
    "column",
    [
        "int NOT NULL DEFAULT 1",
        "int DEFAULT 1; ALTER TABLE tiny ALTER a SET NOT NULL",
        "uuid DEFAULT gen_random_uuid(); ALTER TABLE tiny ADD PRIMARY KEY (a)",
        "serial",
    ],
)
def test_a_required_column_whose_default_is_dropped_is_not_filled(column: str) -> None:
    sql = f"ALTER TABLE tiny ADD COLUMN a {column}; ALTER TABLE tiny ALTER COLUMN a DROP DEFAULT"
    found = risk.assess(sql, Known(tables=SIZES, lock_timeout=True))
    assert [(one.kind, one.risk, one.why) for one in found.findings] == [
        (
            "add_not_null_column",
            risk.DESTRUCTIVE,
            "the release before does not fill tiny.a, so it cannot insert",
        )
    ]


def test_a_new_column_that_lost_its_default_cannot_be_closed() -> None:
    sql = "ALTER TABLE tiny ADD a int DEFAULT 1; ALTER TABLE tiny ALTER a DROP DEFAULT"
    assert judge(f"{sql}; ALTER TABLE tiny ALTER a SET NOT NULL")[1] == ["set_not_null"]


def test_what_prisma_drops_tells_what_to_do() -> None:
    """As it writes when a default leaves the schema, for every column in one statement."""
    sql = 'ALTER TABLE "big" ALTER COLUMN "id" DROP DEFAULT,\nALTER COLUMN "at" DROP DEFAULT;'
    found = risk.assess(sql, Known(tables=SIZES, lock_timeout=True))
    assert [one.why.partition(" when")[0] for one in found.findings] == [
        "the release before may leave big.id out",
        "the release before may leave big.at out",
    ]
    assert all("drop the default one release later" in one.why for one in found.findings)
    vouched = f"-- carrental.ops: additive, because Prisma makes each uuid\n{sql}"
    assert judge(vouched)[0] == risk.ADDITIVE


def test_without_sizes_every_table_may_be_large() -> None:
    assert judge("CREATE INDEX i ON tiny (a)", tables=None)[0] == risk.LOCKING
    assert judge("CREATE INDEX i ON tiny (a)", large=10)[0] == risk.LOCKING


def test_tables_of_an_earlier_pending_migration_are_new() -> None:
    scripts = {"a": "CREATE TABLE b (id int)", "b": "CREATE INDEX i ON b (id); DROP TABLE b"}
    found = risk.assess_all(scripts, Known(tables=SIZES))
    assert [one.risk for one in found.values()] == [risk.ADDITIVE, risk.ADDITIVE]


def test_an_empty_database_has_nothing_to_lose() -> None:
    scripts = {"a": "CREATE TABLE b (id int)", "b": "DO $$ $$; DROP TABLE c; TRUNCATE d"}
    found = risk.assess_all(scripts, Known(tables={}))
    assert {one.risk for one in found.values()} == {risk.ADDITIVE}


@pytest.mark.parametrize(
    ("before", "missing"),
    [
        ("", True),
        ("SET lock_timeout = '5s';", False),
        ("SET LOCAL lock_timeout TO 5000;", False),
        ("SELECT set_config('lock_timeout', '5s', true);", False),
        ("SET lock_timeout = 0;", True),
        ("SET lock_timeout = '5s'; SET lock_timeout TO DEFAULT;", True),
    ],
)
def test_lock_timeout(before: str, missing: bool) -> None:
    kinds = judge(f"{before} ALTER TABLE tiny ADD COLUMN a int", lock_timeout=False)[1]
    assert kinds == (["no_lock_timeout"] if missing else [])


def test_a_lock_timeout_that_comes_too_late_is_none() -> None:
    sql = "ALTER TABLE tiny ADD COLUMN a int; SET lock_timeout = '5s'"
    assert judge(sql, lock_timeout=False) == (risk.LOCKING, ["no_lock_timeout"])


def test_nothing_is_demanded_of_what_locks_nothing() -> None:
    assert judge("CREATE TABLE a (id int)", lock_timeout=False) == (risk.ADDITIVE, [])


def test_its_author_vouches_for_a_statement() -> None:
    sql = (
        "-- carrental.ops: additive, because nobody has read it since May\n"
        "ALTER TABLE big DROP COLUMN a;\nDROP TABLE tiny"
    )
    found = risk.assess(sql, Known(tables=SIZES, lock_timeout=True))
    assert [(one.kind, one.risk) for one in found.findings] == [
        ("drop_column", risk.ADDITIVE),
        ("drop_table", risk.DESTRUCTIVE),
    ]
    assert found.vouched == ("ALTER TABLE big DROP COLUMN a: nobody has read it since May",)
    assert found.risk == risk.DESTRUCTIVE


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("DO /* carrental.ops: additive: only creates a type */ $$ $$", risk.ADDITIVE),
        ("DROP TABLE big; -- carrental.ops: additive, because it is empty", risk.ADDITIVE),
        (
            "SELECT 1; -- carrental.ops: additive, because it reads\nDROP TABLE big",
            risk.DESTRUCTIVE,
        ),
        ("-- carrental.ops: additive\nDROP TABLE big", risk.DESTRUCTIVE),
        ("-- carrental.ops: additive, because.\nDROP TABLE big", risk.DESTRUCTIVE),
        ("SELECT '-- carrental.ops: additive, because x'; DROP TABLE big", risk.DESTRUCTIVE),
    ],
)
def test_who_vouches_gives_a_reason_at_the_statement(sql: str, expected: str) -> None:
    assert judge(sql)[0] == expected


def test_an_excerpt_holds_no_string() -> None:
    found = risk.assess("DELETE FROM big WHERE token = 'secret-value'", Known(tables=SIZES))
    assert "secret" not in str(found.as_dict())


def test_the_sample_migrations() -> None:
    folder = REPO / "demo/app/backend/prisma/all"
    found = {
        path.parent.name.partition("_")[2]: judge(path.read_text())
        for path in sorted(folder.glob("*/migration.sql"))
    }
    assert found == {
        "init": (risk.ADDITIVE, []),
        "seed": (risk.ADDITIVE, []),
        "booking_note": (risk.ADDITIVE, []),
        "broken": (risk.ADDITIVE, []),
        "customer_full_name": (risk.DESTRUCTIVE, ["rename_column", "drop_column"]),
    }


@pytest.mark.parametrize(
    ("sql", "alone"),
    [
        ("ALTER TABLE a ADD b int; CREATE INDEX i ON a (b)", True),
        ("SET lock_timeout = '5s'; DROP TABLE a", True),
        ("CREATE TABLE a (b int); INSERT INTO a VALUES (1)", False),
        ("DO $$ $$", False),
        ("BEGIN; DROP TABLE a; COMMIT", False),
        ("CREATE TABLE a (b text DEFAULT 'x", False),
    ],
)
def test_what_a_half_run_script_would_show(sql: str, alone: bool) -> None:
    assert risk.leaves_traces_in_the_schema_alone(sql) is alone
