# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a candidate's migrations would do to this database, before one of them runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from . import _image_files, _migration_risk, _migrations
from ._docker import Container, DockerError
from ._engine import Engine
from ._migration_risk import DESTRUCTIVE, Assessment, Known

_FILE = "migration.sql"
# Partitions hold the rows of a partitioned table. Whoever locks a table now is not waited for.
_TABLES = (
    "SET lock_timeout = '1s'; SET statement_timeout = '5s'; "
    "SELECT coalesce((SELECT sum(pg_table_size(relid)) FROM pg_partition_tree(c.oid)), "
    "pg_table_size(c.oid))::bigint || ' ' || n.nspname || '.' || c.relname "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' "
    "AND n.nspname <> 'information_schema' AND c.relname <> '_prisma_migrations'"
)
# Whatever a statement does to the schema writes a row of one of these anew.
_CATALOGS = (
    *("pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_type", "pg_enum"),
    *("pg_proc", "pg_trigger", "pg_namespace", "pg_policy", "pg_rewrite", "pg_sequence"),
    *("pg_description", "pg_extension", "pg_inherits", "pg_partitioned_table"),
)
_ROWS = "SELECT '{0}' AS name, md5(string_agg(ctid || ':' || xmin, ',' ORDER BY ctid)) FROM {0}"
_SCHEMA = (
    "SET statement_timeout = '15s'; SELECT md5(string_agg(md5, '' ORDER BY name)) FROM ("  # noqa: S608
    + " UNION ALL ".join(_ROWS.format(one) for one in _CATALOGS)
    + ") AS catalogs"
)
_URLS = ("postgresql://", "postgres://")


@dataclass(frozen=True)
class Plan:
    """The migrations that are pending, and what each does.

    :param unknown: why nobody can tell what is pending; empty when it is told.
    :param ahead: migrations that the database holds and the candidate does not.
    """

    pending: tuple[str, ...] = ()
    risks: Mapping[str, Assessment] = field(default_factory=dict)
    unknown: str = ""
    ahead: tuple[str, ...] = ()

    @property
    def destructive(self) -> list[str]:
        """The pending migrations that need a maintenance window."""
        return [name for name, one in self.risks.items() if one.risk == DESTRUCTIVE]

    @property
    def concurrently(self) -> bool:
        """Whether one waits for all older transactions, which a lock_timeout would cut off."""
        return any(one.concurrently for one in self.risks.values())

    @property
    def lines(self) -> list[str]:
        """What is pending, for an operator."""
        if self.unknown:
            return [f"pending migrations: not known, for {self.unknown}"]
        found = []
        for name in self.pending:
            one = self.risks[name]
            found.append(f"pending migration {name}: {one.risk}")
            found += [f"  {said.statement}: {said.why}" for said in one.findings]
            found += [f"  vouched for by its author: {said}" for said in one.vouched]
        if self.ahead:
            found.append(
                f"the database is ahead of this release by {', '.join(self.ahead)}; these stay"
            )
        return found


def scripts(
    engine: Engine, image: Mapping[str, Any] | None, path: str, *, project: str, create: bool
) -> dict[str, str]:
    """Return the text of each migration that an image holds, by name.

    :raises _image_files.NotReadableError: nobody can tell.
    """
    if not path:
        raise _image_files.NotReadableError("no directory of migrations is named")
    if image is None:
        raise _image_files.NotReadableError("their image is not on the server before the pull")
    files = _image_files.read(engine, image, path, project=project, create=create)
    if files is None:
        raise _image_files.NotReadableError(
            f"the image has no {path} (set deploy_migrate_path to its directory of migrations)"
        )
    return by_name(files)


def by_name(files: Mapping[str, str]) -> dict[str, str]:
    """Return the migrations among the files below their directory."""
    found = {
        name.rpartition("/")[0]: text
        for name, text in files.items()
        if name.rpartition("/")[2] == _FILE and name.count("/") == 1
    }
    return dict(sorted(found.items()))


def tables(engine: Engine, database: Container | None, name: str) -> dict[str, int] | None:
    """Return the bytes of each table; nothing where nobody can tell."""
    if database is None or not database.running:
        return None
    try:
        rc, output = engine.execute(database.id, [*_migrations.psql(database, name), _TABLES])
    except DockerError:
        return None
    return parse_tables(output) if rc == 0 else None


def schema(engine: Engine, database: Container | None, name: str) -> str:
    """Return what changes with every change of the schema; nothing where nobody can tell."""
    if database is None or not database.running:
        return ""
    try:
        rc, output = engine.execute(database.id, [*_migrations.psql(database, name), _SCHEMA])
    except DockerError:
        return ""
    return output.strip() if rc == 0 else ""


def parse_tables(output: str) -> dict[str, int]:
    """Return bytes by name, with and without the schema, which may be the one in use."""
    found: dict[str, int] = {}
    for line in output.splitlines():
        size, _space, name = line.strip().partition(" ")
        if size.isdigit() and name:
            for one in (name, name.partition(".")[2]):
                found[one] = max(int(size), found.get(one, 0))
    return found


def pending(texts: Collection[str], held: _migrations.Held) -> list[str]:
    """Return what the tool would apply, in its order, which is that of the names."""
    return sorted(name for name in texts if name not in held.applied)


def plan(
    names: Sequence[str],
    texts: Mapping[str, str],
    held: _migrations.Held,
    sizes: Mapping[str, int] | None,
    *,
    lock_timeout: bool,
    whole: bool = True,
) -> Plan:
    """Judge what is pending.

    :param names: the pending ones. One without a text is nobody's to judge: destructive.
    :param lock_timeout: one would be in force.
    :param whole: the texts are all that the image holds.
    """
    known = Known(sizes, lock_timeout=lock_timeout)
    risks = _migration_risk.assess_all(
        {name: texts[name] for name in names if name in texts}, known
    )
    found = Plan(
        tuple(names),
        {name: risks.get(name) or _unread(name) for name in names},
        ahead=tuple(name for name in held.applied if name not in texts) if texts and whole else (),
    )
    if lock_timeout and found.concurrently:
        return plan(names, texts, held, sizes, lock_timeout=False, whole=whole)
    return found


def _unread(name: str) -> Assessment:
    why = "its text is not in deploy_migrate_path of the image, so nobody can tell what it does"
    return Assessment(DESTRUCTIVE, (_migration_risk.Finding("unknown", DESTRUCTIVE, name, why),))


def refusal(found: Plan) -> str:
    """Return why nothing is migrated, and what to do."""
    return (
        f"The pending migration {_told(found)}. Either split it, so that this release only adds "
        "and a later one removes; or deploy it in a maintenance window with "
        "-e deploy_allow_destructive_migration=true, after which there is no way back but a "
        "restore; or, where it is harmless, say so before the statement: "
        "-- carrental.ops: additive, because …"
    )


def refusal_of_older_code(found: Plan) -> str:
    """Return why a release is not deployed on a schema that it does not know.

    :param found: the migrations that the database holds, judged as if they were pending.
    """
    return (
        f"The database is ahead of this release: the migration {_told(found)}. The code of a "
        "release that does not know it cannot be trusted with the schema as it is. Deploy a "
        "release that holds this migration; or, where it is known to work, say so with "
        "-e deploy_allow_schema_ahead=true."
    )


def _told(found: Plan) -> str:
    told = [
        f"{name} is destructive: "
        + "; ".join(
            (one.why if one.statement == name else f"{one.statement} ({one.why})")
            for one in found.risks[name].findings
            if one.risk == DESTRUCTIVE
        )
        for name in found.destructive
    ]
    return ". ".join(told)


def limited(url: str, seconds: int) -> str | None:
    """Return a connection URL with a lock_timeout; nothing where that cannot be done.

    ``options`` is understood by libpq, node-postgres, JDBC and Prisma's engine, other than
    ``PGOPTIONS``, which the last does not read. A pooler refuses it.
    """
    base, _mark, query = url.partition("?")
    members = query.split("&") if query else []
    if not base.startswith(_URLS) or "pgbouncer=true" in members or "#" in query:
        return None
    others = [one for one in members if not one.startswith("options=")]
    given = [unquote(one.removeprefix("options=")) for one in members if one not in others]
    if any("lock_timeout" in one for one in given):
        return url
    options = " ".join([*given, f"-c lock_timeout={seconds * 1000}"])
    return f"{base}?{'&'.join([*others, f'options={quote(options)}'])}"
