# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The statements of a restore that no dump of one database holds.

pg_restore brings back what is inside of a database. How it is encoded, who may connect and what is
set for it stand outside, and vanish without a word unless somebody writes them again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# A list in a setting is a list of identifiers or words, not one string.
_LISTS = ("search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries")
_CONNECT = ("CONNECT", "CREATE", "TEMPORARY")


def name(text: str) -> str:
    """Return an identifier as SQL writes it."""
    return '"' + text.replace('"', '""') + '"'


def text(value: str) -> str:
    """Return a string as SQL writes it, whatever standard_conforming_strings says."""
    quoted = value.replace("'", "''")
    if "\\" not in quoted:
        return f"'{quoted}'"
    return " E'" + quoted.replace("\\", "\\\\") + "'"


def create(database: str, facts: Mapping[str, Any]) -> str:
    """Return the statement that creates an empty database like the one of a manifest."""
    words = [f"CREATE DATABASE {name(database)} TEMPLATE template0"]
    if facts.get("owner"):
        words.append(f"OWNER {name(facts['owner'])}")
    if facts.get("encoding"):
        words.append(f"ENCODING {text(facts['encoding'])}")
    if facts.get("collate"):
        words.append(f"LC_COLLATE {text(facts['collate'])}")
    if facts.get("ctype"):
        words.append(f"LC_CTYPE {text(facts['ctype'])}")
    if facts.get("locale_provider") == "i" and facts.get("icu_locale"):
        words.append(f"LOCALE_PROVIDER icu ICU_LOCALE {text(facts['icu_locale'])}")
    limit = facts.get("connection_limit")
    if limit is not None and int(limit) >= 0:
        words.append(f"CONNECTION LIMIT {int(limit)}")
    return " ".join(words) + ";"


def outside(database: str, facts: Mapping[str, Any]) -> list[str]:
    """Return the statements for the privileges on a database and what is set for it."""
    found = []
    target = name(database)
    acl = facts.get("acl")
    if acl is not None:
        found.append(f"REVOKE ALL ON DATABASE {target} FROM PUBLIC;")
        if facts.get("owner"):
            found.append(f"REVOKE ALL ON DATABASE {target} FROM {name(facts['owner'])};")
        for one in acl:
            if one["privilege"] not in _CONNECT:
                continue
            who = name(one["grantee"]) if one["grantee"] else "PUBLIC"
            option = " WITH GRANT OPTION" if one.get("grantable") else ""
            found.append(f"GRANT {one['privilege']} ON DATABASE {target} TO {who}{option};")
    for one in facts.get("settings") or []:
        subject = f"ROLE {name(one['role'])} IN " if one.get("role") else ""
        value = one["value"] if one["name"] in _LISTS else text(one["value"])
        if value.strip() in ("", "''"):
            value = "''"
        found.append(f"ALTER {subject}DATABASE {target} SET {_setting(one['name'])} TO {value};")
    return found


def _setting(found: str) -> str:
    """Return the name of a setting; one of an extension has a dot."""
    return ".".join(name(part) for part in found.split("."))


_ROLE = re.compile(r'^(?:CREATE|ALTER) ROLE (?P<role>"(?:[^"]|"")+"|[^\s;"]+)')
_MEMBER = re.compile(
    r'^GRANT (?P<group>"(?:[^"]|"")+"|[^\s;"]+) TO (?P<role>"(?:[^"]|"")+"|[^\s;"]+)'
)


def _bare(found: str) -> str:
    return found[1:-1].replace('""', '"') if found.startswith('"') else found


def roles(globals_sql: str, missing: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the statements that create missing roles, and the roles of which nothing is known.

    :param globals_sql: what ``pg_dumpall --globals-only`` said.
    """
    wanted = set(missing)
    known: set[str] = set()
    statements: list[str] = []
    for line in globals_sql.splitlines():
        match = _ROLE.match(line)
        if match and _bare(match["role"]) in wanted:
            known.add(_bare(match["role"]))
            statements.append(line)
    for line in globals_sql.splitlines():
        member = _MEMBER.match(line)
        if member and _bare(member["role"]) in known:
            # Who granted it may not be there.
            statements.append(line.partition(" GRANTED BY ")[0].rstrip("; ") + ";")
    return statements, sorted(wanted - known)


def major(version: str) -> int:
    """Return the major version; 0 where there is none."""
    match = re.match(r"\d+", version or "")
    return int(match[0]) if match else 0


def differences(manifest: Mapping[str, Any], live: Mapping[str, Any]) -> list[str]:
    """Return what is set for the live database and will be otherwise after the restore."""
    wanted = _settings(manifest.get("settings") or [])
    found = _settings(live.get("settings") or [])
    lines = []
    for key in sorted({*wanted, *found}):
        before, after = found.get(key), wanted.get(key)
        if before == after:
            continue
        subject = key[1] + (f" of {key[0]}" if key[0] else "")
        lines.append(f"setting {subject}: {before or 'not set'} now, {after or 'not set'} after it")
    return lines


def _settings(listed: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    return {(one.get("role") or "", one["name"]): one["value"] for one in listed}
