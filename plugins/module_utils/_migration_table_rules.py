# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What the forms of ALTER TABLE do. Each waits for a lock on the table, however short."""

from __future__ import annotations

from collections.abc import Sequence

from ._migration_findings import DESTRUCTIVE, LOCKING, Effect, Known
from ._sql_statements import OPEN, Token, Words, calls, names_after, outer, outer_words, parts

_CONSTRAINTS = ("check", "unique", "primary", "foreign", "exclude")
_SERIAL = frozenset({"serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"})
# What is evaluated once when a column is added, so that no row has to be written.
_STABLE = frozenset(
    {"now", "transaction_timestamp", "statement_timestamp", "current_timestamp", "current_date"}
    | {"current_time", "localtimestamp", "localtime", "current_setting", "array", "lower", "upper"}
    | {"varchar", "char", "character", "varying", "numeric", "decimal", "bit", "timestamp"}
    | {
        "timestamptz",
        "time",
        "timetz",
        "interval",
        "to_timestamp",
        "make_date",
        "jsonb_build_object",
    }
)
_AFTER_DEFAULT = ("constraint", "not", "null", "check", "unique", "primary", "references")
_NO_CHANGE = (
    ("validate", "constraint"),
    ("cluster", "on"),
    ("set", "without"),
    ("replica", "identity"),
    ("alter", "constraint"),
)
_REWRITTEN = (("set", "logged"), ("set", "unlogged"), ("set", "tablespace"), ("set", "access"))
_ROW_SECURITY = (
    ("enable", "row", "level"),
    ("force", "row", "level"),
    ("disable", "row", "level"),
    ("no", "force", "row"),
)


def alter_table(words: Words, effect: Effect, known: Known) -> None:
    """Judge what follows ALTER TABLE."""
    words.eats("if", "exists")
    words.eats("only")
    table = words.name()
    if not table or table == "all":
        effect.unknown("it changes tables that it does not name")
        return
    if words.eats("rename"):
        _rename(words, table, effect, known)
        return
    if words.eats("set", "schema"):
        if table not in known.new:
            effect.says("rename_table", DESTRUCTIVE, f"the release before looks for {table}")
        return
    if table in known.new:
        _references(words.rest, effect, known)
        return
    effect.waits = True
    for action in parts(words.rest):
        _action(Words(action), table, effect, known)


def _rename(words: Words, table: str, effect: Effect, known: Known) -> None:
    if words.eats("to"):
        name = words.name()
        if table in known.new:
            known.new.add(name)
        else:
            effect.says("rename_table", DESTRUCTIVE, f"the release before looks for {table}")
            effect.waits = True
        return
    if table in known.new:
        return
    effect.waits = True
    if words.eats("constraint"):
        return
    words.eats("column")
    column = words.name()
    if column not in known.columns.get(table, {}):
        effect.says("rename_column", DESTRUCTIVE, f"the release before looks for {table}.{column}")


def _action(words: Words, table: str, effect: Effect, known: Known) -> None:
    if words.eats("add"):
        _add(words, table, effect, known)
    elif words.eats("drop"):
        _drop(words, table, effect, known)
    elif any(words.sees(*one) for one in _NO_CHANGE):
        pass
    elif words.eats("alter"):
        words.eats("column")
        _column(words, words.name(), table, effect, known)
    elif words.eats("attach", "partition"):
        other = words.name()
        quick = other in known.new or known.quick(other)
        why = f"{other} is read under a lock, unless a CHECK proves what it holds"
        effect.locks("attach_partition", why, quick=quick)
    elif words.eats("detach", "partition"):
        why = f"the rows of {words.name()} disappear from {table}"
        effect.says("detach_partition", DESTRUCTIVE, why)
    elif any(words.sees(*one) for one in _ROW_SECURITY):
        why = f"rows of {table} may disappear from the release before, or appear"
        effect.says("row_security", DESTRUCTIVE, why)
    elif any(words.sees(*one) for one in _REWRITTEN):
        why = f"{table} is written anew, and nobody reads or writes it meanwhile"
        effect.locks("rewrite_table", why, quick=known.quick(table))
    elif not (words.eats_one_of("set", "reset") and words.rest[:1] == [Token("symbol", "(")]):
        effect.unknown(f"what this does to {table} is not known here")


def _add(words: Words, table: str, effect: Effect, known: Known) -> None:
    column = words.eats("column")
    named = not column and words.eats("constraint")
    if named:
        words.name()
    if named or (not column and any(words.sees(one) for one in _CONSTRAINTS)):
        _add_constraint(words, table, effect, known)
        return
    words.eats("if", "not", "exists")
    _add_column(words, words.name(), table, effect, known)


def _add_constraint(words: Words, table: str, effect: Effect, known: Known) -> None:
    rest = outer_words(words.rest)
    _references(words.rest, effect, known)
    key = Words(words.rest)
    if key.eats("primary", "key") and key.rest[:1] == [OPEN]:
        key.at += 1
        known.required.update((table, column) for column in key.names())
    if "valid" in rest or ("using" in rest and "index" in rest and "exclude" not in rest):
        return
    index = words.sees("unique") or words.sees("primary") or words.sees("exclude")
    if index:
        why = f"an index on {table} is built, and nobody reads or writes the table meanwhile"
        remedy = "; CREATE UNIQUE INDEX CONCURRENTLY first, then ADD CONSTRAINT … USING INDEX"
    else:
        writes = "writes" if words.sees("foreign") else "reads or writes"
        why = f"each row of {table} is checked, and nobody {writes} the table meanwhile"
        remedy = "; add it NOT VALID, and VALIDATE CONSTRAINT in the next migration"
    effect.locks("add_constraint", why + remedy, quick=known.quick(table))


def _references(tokens: Sequence[Token], effect: Effect, known: Known) -> None:
    """A foreign key locks the other table too."""
    others = names_after(tokens, "references")
    effect.waits = effect.waits or any(name not in known.new for name in others)


def _add_column(words: Words, column: str, table: str, effect: Effect, known: Known) -> None:
    definition = words.rest
    rest = outer_words(definition)
    serial = bool(rest[:1]) and rest[0] in _SERIAL
    default = _default(definition)
    generated = "generated" in rest
    fills = serial or generated or bool(default)
    required = ("not" in rest and "null" in rest) or "primary" in rest
    known.columns.setdefault(table, {})[column] = fills
    known.required.discard((table, column))
    if required or serial or "identity" in rest:
        known.required.add((table, column))
    _references(definition, effect, known)
    if required and not fills:
        why = f"{_not_filled(table, column)}; and it fails where rows exist"
        effect.says("add_not_null_column", DESTRUCTIVE, why)
    elif serial or generated or [one for one in calls(default) if one not in _STABLE]:
        why = f"each row of {table} is written anew, and nobody reads or writes it meanwhile"
        effect.locks("add_volatile_column", why, quick=known.quick(table))
    if "unique" in rest or "primary" in rest or "check" in rest:
        why = f"each row of {table} is checked, and nobody reads or writes the table meanwhile"
        effect.locks("add_constraint", why, quick=known.quick(table))


def _not_filled(table: str, column: str) -> str:
    return f"the release before does not fill {table}.{column}, so it cannot insert"


def _default(definition: Sequence[Token]) -> list[Token]:
    """The expression that fills a new column; nothing when that is NULL."""
    words = Words(definition)
    if not words.skips_to("default") or words.sees("null"):
        return []
    found: list[Token] = []
    for token, seen in zip(words.rest, outer(words.rest), strict=True):
        if found and seen is not None and seen.kind == "word" and seen.text in _AFTER_DEFAULT:
            break
        found.append(token)
    return found


def _drop(words: Words, table: str, effect: Effect, known: Known) -> None:
    if words.eats("constraint"):
        words.eats("if", "exists")
        why = f"no data is lost; what {words.name()} forbade becomes possible in {table}"
        effect.says("drop_constraint", LOCKING, why)
        return
    words.eats("column")
    words.eats("if", "exists")
    column = words.name()
    if column not in known.columns.get(table, {}):
        why = f"the values of {table}.{column} are gone, and the release before still uses them"
        effect.says("drop_column", DESTRUCTIVE, why)


def _column(words: Words, column: str, table: str, effect: Effect, known: Known) -> None:
    added = known.columns.get(table, {})
    if words.eats("type") or words.eats("set", "data", "type"):
        why = (
            f"{table} is written anew, and nobody reads or writes it meanwhile; the release before "
            f"may not know the new type of {column}"
        )
        effect.says("change_type", DESTRUCTIVE, why)
    elif words.eats("set", "not", "null"):
        if added.get(column):
            why = f"each row of {table} is checked, and nobody reads or writes the table meanwhile"
            effect.locks("set_not_null", why, quick=known.quick(table))
            known.required.add((table, column))
        else:
            why = f"the release before may leave {table}.{column} empty, which is refused then"
            effect.says("set_not_null", DESTRUCTIVE, why)
    elif words.eats("drop", "not", "null"):
        known.required.discard((table, column))
    elif words.eats("drop", "default") or words.eats("set", "default", "null"):
        _drop_default(column, table, effect, known)
    elif words.eats("drop", "identity") or words.eats("drop", "expression"):
        why = f"{table}.{column} does not fill itself any more, on which the release before relies"
        effect.says("drop_generation", DESTRUCTIVE, why)
    elif words.eats("restart"):
        effect.unknown(f"numbers of {table}.{column} may be given twice")
    elif not words.eats_one_of("set", "drop", "reset", "add"):
        effect.unknown(f"what this does to {table}.{column} is not known here")


def _drop_default(column: str, table: str, effect: Effect, known: Known) -> None:
    added = known.columns.get(table, {})
    if column not in added:
        why = (
            f"the release before may leave {table}.{column} out when it inserts, which then fails "
            "or stores NULL; drop the default one release later, unless that release fills it "
            "itself, as Prisma does for @default(uuid()) and @updatedAt"
        )
        effect.says("drop_default", DESTRUCTIVE, why)
    elif (table, column) in known.required:
        effect.says("add_not_null_column", DESTRUCTIVE, _not_filled(table, column))
    else:
        added[column] = False
