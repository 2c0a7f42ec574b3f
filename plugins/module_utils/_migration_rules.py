# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What each kind of statement does, by its first words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ._migration_findings import ADDITIVE, DESTRUCTIVE, LOCKING, Effect, Known
from ._migration_table_rules import alter_table
from ._sql_statements import (
    BODY,
    QUOTED,
    WORD,
    Statement,
    Token,
    Words,
    calls,
    names_after,
    outer_words,
    parts,
)

_DROPPED = {
    ("materialized", "view"): "the release before may still read it",
    ("foreign", "table"): "the release before may still read it",
    ("table",): "its rows are gone, and the release before still uses it",
    ("schema",): "everything in it is gone",
    ("database",): "everything in it is gone",
    ("type",): "the release before may still use it",
    ("domain",): "the release before may still use it",
    ("view",): "the release before may still read it",
    ("sequence",): "the release before may still take numbers from it",
    ("function",): "the release before, a default or a trigger may still call it",
    ("procedure",): "the release before may still call it",
    ("routine",): "the release before may still call it",
    ("aggregate",): "the release before may still call it",
    ("extension",): "its types, functions and indexes are gone",
    ("trigger",): "what it did at each write is not done any more",
    ("rule",): "what it did is not done any more",
    ("policy",): "rows may disappear from the release before, or appear",
    ("role",): "whoever logs in with it is locked out",
    ("user",): "whoever logs in with it is locked out",
    ("owned",): "everything that the role owns is gone",
}
_HARMLESS = frozenset(
    {"set", "reset", "begin", "start", "commit", "end", "rollback", "abort", "savepoint"}
    | {"release", "comment", "analyze", "show", "insert", "grant", "values", "table", "discard"}
    | {"checkpoint", "notify", "listen", "unlisten", "deallocate"}
)
# Functions that a migration calls for what they return, or to set a sequence or a setting.
_PURE = frozenset(
    {"setval", "set_config", "current_setting", "pg_get_serial_sequence", "now", "count", "max"}
    | {"min", "sum", "coalesce", "greatest", "least", "pg_advisory_xact_lock", "pg_advisory_lock"}
    | {"pg_advisory_unlock", "version", "in", "exists", "values", "from", "as", "and", "or", "not"}
    | {"any", "all", "on", "where", "select", "union", "over", "using", "cast", "lower", "upper"}
)
_NOT_WHERE = (["true"], ["1", "=", "1"])
_MODIFIERS = (
    *("or", "replace", "global", "local", "temp", "temporary", "unlogged", "unique"),
    *("constraint", "recursive", "trusted"),
)
_NEVER_WAITS = "put CONCURRENTLY before the name, in a migration of its own"


def judge(statement: Statement, known: Known) -> Effect:
    """Return what a statement does, and note what it makes."""
    effect = Effect(statement)
    if statement.unclosed:
        effect.unknown(f"the script ends within {statement.unclosed}; nothing of it can be told")
        return effect
    first = statement.tokens[0]
    words = Words(statement.tokens[1:])
    word = first.text if first.kind == WORD else ""
    rule = _RULES.get(word)
    if rule is not None:
        rule(words, effect, known)
    elif word not in _HARMLESS:
        effect.unknown("what this does is not known here")
    return effect


def _do(_words: Words, effect: Effect, _known: Known) -> None:
    effect.unknown("what stands in the block is not looked at")


def _create(words: Words, effect: Effect, known: Known) -> None:
    replaces = words.sees("or", "replace")
    while words.eats_one_of(*_MODIFIERS):
        pass
    if words.eats("table"):
        _create_table(words, effect, known)
    elif words.eats("index"):
        _create_index(words, effect, known)
    elif words.eats_one_of("function", "procedure"):
        effect.unknown("what stands in the body, and what calls it, is not looked at")
    elif words.eats_one_of("trigger", "rule", "policy"):
        words.skips_to("on")
        table = words.name()
        if table not in known.new:
            effect.waits = True
            effect.unknown(f"it changes what reads or writes of {table} do in the release before")
    elif words.eats_one_of("event", "subscription"):
        effect.unknown("what it sets off is not looked at")
    else:
        words.eats("materialized")
        if words.eats_one_of("type", "view", "domain", "sequence") and not replaces:
            known.new.add(words.name())


def _create_table(words: Words, effect: Effect, known: Known) -> None:
    perhaps = words.eats("if", "not", "exists")
    table = words.name()
    if not perhaps or (known.tables is not None and table not in known.tables):
        known.new.add(table)
    if words.eats("partition", "of"):
        effect.waits = effect.waits or words.name() not in known.new
    # A foreign key locks the other table too.
    others = names_after(words.rest, "references")
    effect.waits = effect.waits or any(name not in known.new for name in others)


def _create_index(words: Words, effect: Effect, known: Known) -> None:
    concurrently = words.eats("concurrently")
    words.skips_to("on")
    words.eats("only")
    table = words.name()
    if concurrently or table in known.new:
        return
    why = f"nobody writes to {table} while it is built; {_NEVER_WAITS}"
    effect.locks("create_index", why, quick=known.quick(table))


def _drop(words: Words, effect: Effect, known: Known) -> None:
    if words.eats("index"):
        if not words.eats("concurrently"):
            why = (
                "no data is lost; nobody uses its table meanwhile, what it made fast becomes slow, "
                "and what a unique one forbade becomes possible"
            )
            effect.says("drop_index", LOCKING, why)
        return
    if words.eats("statistics"):
        return
    for kind, why in _DROPPED.items():
        if not words.eats(*kind):
            continue
        words.eats("if", "exists")
        names = words.names()
        if kind[0] in ("trigger", "rule", "policy"):
            words.eats("on")
            names = [words.name()]
        if not names or any(name not in known.new for name in names):
            effect.waits = True
            effect.says(f"drop_{'_'.join(kind)}", DESTRUCTIVE, why)
        return
    effect.unknown("what is dropped may be in use")


def _alter(words: Words, effect: Effect, known: Known) -> None:
    if words.eats("table"):
        alter_table(words, effect, known)
    elif words.eats("type"):
        _alter_type(words, effect, known)
    elif words.eats("index") or words.eats("default", "privileges"):
        pass
    elif words.eats_one_of("sequence", "view", "schema", "function", "materialized", "foreign"):
        _alter_other(words, effect, known)
    else:
        effect.unknown("what this changes for the release before is not known here")


def _alter_type(words: Words, effect: Effect, known: Known) -> None:
    name = words.name()
    if name in known.new:
        if words.eats("rename", "to"):
            known.new.add(words.name())
    elif words.eats("add", "value"):
        why = f"the release before does not know the new value of {name} when it reads one"
        effect.says("enum_add_value", ADDITIVE, why)
    elif words.eats("add", "attribute"):
        pass
    elif words.sees("rename", "value"):
        effect.says("enum_rename_value", DESTRUCTIVE, "the release before uses the old value")
    elif words.eats("rename") or words.eats("set", "schema"):
        effect.says("rename_type", DESTRUCTIVE, f"the release before looks for {name}")
    else:
        effect.says("change_type", DESTRUCTIVE, "the release before may not know the new type")


def _alter_other(words: Words, effect: Effect, known: Known) -> None:
    words.eats_one_of("view", "table")
    words.eats("if", "exists")
    name = words.name()
    if name in known.new:
        return
    rest = outer_words(words.rest)
    if "rename" in rest or "schema" in rest:
        effect.says("rename", DESTRUCTIVE, f"the release before looks for {name}")
    elif rest[:1] not in (["owned"], ["as"], ["increment"], ["cache"], ["maxvalue"], ["set"]):
        effect.unknown(f"what this changes of {name} is not known here")


def _truncate(words: Words, effect: Effect, known: Known) -> None:
    words.eats("table")
    words.eats("only")
    names = words.names()
    if any(name not in known.new for name in names):
        effect.waits = True
        effect.says("truncate", DESTRUCTIVE, "all rows are gone")


def _delete(words: Words, effect: Effect, known: Known) -> None:
    words.eats("from")
    words.eats("only")
    table = words.name()
    if table in known.new:
        return
    if _restricted(words.rest):
        effect.says("delete", DESTRUCTIVE, f"rows of {table} are gone")
    else:
        effect.says("delete_all", DESTRUCTIVE, f"all rows of {table} are gone (there is no WHERE)")


def _update(words: Words, effect: Effect, known: Known) -> None:
    words.eats("only")
    table = words.name()
    if table in known.new:
        return
    words.skips_to("set")
    if _restricted(words.rest) or _only_new(words.rest, known.columns.get(table, {})):
        why = f"rows of {table} stay locked for writers from their change to the migration's end"
        effect.locks("update", why, quick=known.quick(table))
    else:
        why = f"values in all rows of {table} are overwritten (there is no WHERE)"
        effect.says("update_all", DESTRUCTIVE, why)


def _restricted(tokens: Sequence[Token]) -> bool:
    words = Words(tokens)
    if not words.skips_to("where"):
        return False
    return [token.text for token in words.rest] not in _NOT_WHERE


def _only_new(assignments: Sequence[Token], added: dict[str, bool]) -> bool:
    """Whether only columns are set that did not exist before these migrations."""
    until = Words(assignments)
    end = until.at - 1 if until.skips_to("from") else len(assignments)
    names = [part[0] for part in parts(assignments[:end]) if part]
    return bool(names) and all(name.kind in (WORD, QUOTED) and name.text in added for name in names)


def _with(words: Words, effect: Effect, known: Known) -> None:
    """A query that may write in its parts, and MERGE."""
    texts = [token.text if token.kind == WORD else "" for token in words.tokens]
    deletes = "delete" in texts
    updates = any(
        word == "update" and texts[at - 1] not in ("for", "do", "key")
        for at, word in enumerate(texts)
    )
    if deletes:
        effect.says("delete", DESTRUCTIVE, "rows are gone")
    elif updates and "where" not in texts and "matched" not in texts:
        effect.says("update_all", DESTRUCTIVE, "values in all rows are overwritten")
    elif updates:
        effect.says("update", LOCKING, "rows stay locked for writers until the migration ends")
    elif "insert" not in texts:
        _select(words, effect, known)


def _select(words: Words, effect: Effect, _known: Known) -> None:
    unknown = [name for name in calls(words.tokens) if name not in _PURE]
    if unknown or any(token.kind == BODY for token in words.tokens):
        effect.unknown(f"what {', '.join(dict.fromkeys(unknown)) or 'it'} does is not known here")


def _maintain(words: Words, effect: Effect, known: Known) -> None:
    """REINDEX, CLUSTER, VACUUM, REFRESH and LOCK."""
    rest = [token.text for token in words.tokens if token.kind == WORD]
    vacuum = effect.statement.tokens[0].text == "vacuum"
    if "concurrently" in rest or (vacuum and "full" not in rest):
        return
    names = [token.text for token in words.tokens if token.kind in (WORD, QUOTED)]
    quick = any(known.quick(name) or name in known.new for name in names)
    effect.locks("maintenance", "nobody uses the table meanwhile", quick=quick)


def _revoke(_words: Words, effect: Effect, _known: Known) -> None:
    effect.says("revoke", DESTRUCTIVE, "the release before may need the right")


_RULES: dict[str, Callable[[Words, Effect, Known], None]] = {
    "do": _do,
    "create": _create,
    "drop": _drop,
    "alter": _alter,
    "truncate": _truncate,
    "delete": _delete,
    "update": _update,
    "with": _with,
    "merge": _with,
    "select": _select,
    "reindex": _maintain,
    "cluster": _maintain,
    "vacuum": _maintain,
    "refresh": _maintain,
    "lock": _maintain,
    "revoke": _revoke,
}
