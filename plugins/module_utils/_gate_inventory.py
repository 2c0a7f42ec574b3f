# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a gate finds in the inventory of a user: names, types, and secrets in clear."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from . import _gate, _gate_files, _gate_git, _gate_secrets, _variable_names

_VAULT, _SCRIPT = "$ANSIBLE_VAULT;", "#!"
_LATER = ("{{", "__ansible_vault")
_YAML = (".yml", ".yaml", ".json")
# An inventory of hosts is INI or YAML without a suffix, too.
_HOSTS = ("", ".ini")
_VARIABLES = ("group_vars", "host_vars")


def files(sources: Iterable[str]) -> list[str]:
    """Return the files of an inventory: what it names, and the variables that lie beside it."""
    found: dict[str, None] = {}
    for source in sources:
        near = [source]
        if os.path.isfile(source):
            found[source] = None
            near = [os.path.join(os.path.dirname(source), name) for name in _VARIABLES]
        for start in near:
            found.update(dict.fromkeys(_below(start, source)))
    return list(found)


def _below(start: str, source: str) -> Iterator[str]:
    for base, folders, names in os.walk(start):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(base, name)
            hosts = base == source and os.path.splitext(name)[1] in _HOSTS
            if hosts or path.endswith(_YAML) or (of_variables(path) and name[0] != "."):
                yield path


def of_variables(path: str) -> bool:
    """Whether a file holds the variables of a host or of a group, whatever its suffix."""
    return bool(set(_VARIABLES) & set(path.split(os.sep)[:-1]))


def shown(path: str, directory: str) -> str:
    """Return a path as it is told: relative to a directory, where it lies below it."""
    near = os.path.relpath(path, directory or None)
    return path if near.startswith(os.pardir) else near


def secrets(text: str, file: str, public: Collection[str]) -> list[_gate.Finding]:
    """Return secrets that stand in clear in a file.

    :param public: variables that hold none, whatever they are called.
    """
    if text.startswith((_VAULT, _SCRIPT)):
        return []
    if not file.endswith(_YAML) and not of_variables(file):
        return _gate_secrets.judge(_gate_secrets.of_inventory(text), file, public)
    try:
        return _gate_secrets.judge(_gate_secrets.of_yaml(text), file, public)
    except _gate_secrets.NotYamlError as error:
        if not file.endswith(_YAML):
            return []  # Ansible does not read it; the copy of a file need not be whole
        message = f"{file} is not valid YAML: {error}."
        return [_gate.Finding("inventory.invalid", _gate.ERROR, message, "", file, error.line)]


def names(
    given: Mapping[str, Any], known: Mapping[str, Any], prefixes: Sequence[str]
) -> list[_gate.Finding]:
    """Return variables that look like ours and that nothing reads."""
    found = []
    for name in _variable_names.unread(given, known, prefixes):
        near = _variable_names.nearest(name, known)
        fix = f"Did you mean {near}?" if near else "Remove it, or correct its name."
        # A user's own variables may begin like ours; what is nearly one of ours is misspelt.
        level = _gate.ERROR if near else _gate.WARNING
        message = f"{name} is read by nothing."
        found.append(_gate.Finding("inventory.unknown", level, message, fix))
    return found


def types(given: Mapping[str, Any], known: Mapping[str, Any]) -> list[_gate.Finding]:
    """Return variables that have not the type or the choice that their role wants."""
    found = []
    for name in sorted(set(given) & set(known)):
        if any(sign in str(given[name]) for sign in _LATER):
            continue  # what a template or a vault makes of it is known in a run
        spec = {
            key: value
            for key, value in known[name].items()
            if key in ("type", "elements", "choices", "no_log")
        }
        errors = ArgumentSpecValidator({name: spec}).validate({name: given[name]}).error_messages
        hidden = bool(spec.get("no_log"))
        for error in errors:
            text = f"{name} has not the type {spec.get('type', 'str')}" if hidden else error
            fix = f"ansible-doc -t role tells what {name} holds."
            found.append(_gate.Finding("inventory.type", _gate.ERROR, f"{text.rstrip('.')}.", fix))
    return found


def located(found: Iterable[_gate.Finding], texts: Mapping[str, str]) -> list[_gate.Finding]:
    """Return findings about a variable with the place where it is set."""
    result = []
    for one in found:
        name = one.message.split(maxsplit=1)[0]
        if one.file or not name.isidentifier():
            match = re.search(r"\b([a-z]+_\w+)\b", one.message)
            name = match[1] if match and not one.file else ""
        for file, text in texts.items() if name else ():
            line = _gate.line_of(text, rf"^\s*[\"']?{re.escape(name)}[\"']?\s*:")
            if line:
                one = _gate.Finding(one.rule, one.level, one.message, one.fix, file, line)  # noqa: PLW2901
                break
        result.append(one)
    return result


def _is_local(path: str) -> bool:
    folder, name = os.path.split(os.path.abspath(path))
    return _gate_git.ignored(folder, name)


def look(
    sources: Sequence[str],
    given: Mapping[str, Any],
    known: Mapping[str, Any],
    prefixes: Sequence[str],
    directory: str,
) -> list[_gate.Finding]:
    """Return all that is to be said of an inventory.

    :param given: the variables of a host as the inventory has them.
    :param known: the options of all roles by name.
    :param prefixes: how variables of this collection begin.
    :param directory: what files are told relative to; empty for that of the process.
    """
    paths = {shown(path, directory): path for path in files(sources)}
    texts = {file: _gate_files.text(path) for file, path in paths.items()}
    # What our roles hide is secret, and what they do not is none: the name of a credential, say.
    public = {
        name
        for name, option in known.items()
        if not option.get("no_log") and option.get("type") != "dict"
    }
    # A secret that Git ignores is in no commit, and is no merge's.
    told = {file: text for file, text in texts.items() if not _is_local(paths[file])}
    found = [one for file, text in told.items() for one in secrets(text, file, public)]
    found += located([*names(given, known, prefixes), *types(given, known)], texts)
    return found
