# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Secrets that stand in clear in an inventory: by their names, and by what they look like."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from . import _gate, _masking

try:
    import yaml
except ImportError:  # the Python of Ansible has it; a server's need not
    yaml = None  # type: ignore[assignment]

_VAULT = "$ANSIBLE_VAULT;"
_TEXT = "tag:yaml.org,2002:str"
# Beside a secret, and none: where it lies, whose it is, how long it lasts.
_ABOUT = re.compile(
    r"_(FILE|PATH|DIR|NAME|ID|USER|USERNAME|URL|HOST|TTL|AGE|LENGTH|SIZE|BYTES|LIMIT|SECONDS|MINUTES"
    r"|HOURS|DAYS|ISSUER|AUDIENCE|ALGORITHM|TYPE|VERSION|ENV|VARIABLE|EXPIR\w*)$",
    re.IGNORECASE,
)
# References, paths, and what stands for a value that is still to come.
_HARMLESS = re.compile(r"\$\{?\w.*|[~.]{1,2}/.*|\.\.\.|…|<.*>|change.?(me|it)", re.I | re.S)
_LOOKS = re.compile(
    r"https://hooks\.slack\.com/(services|workflows|triggers)/\w"
    r"|https://discord(app)?\.com/api/webhooks/\w"
    r"|https://api\.telegram\.org/bot\d+:\w"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_ASSIGNED = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>.*)")


class NotYamlError(Exception):
    """A text that is no YAML; what is wrong with it, and in which line."""

    def __init__(self, said: str, line: int) -> None:
        super().__init__(said)
        self.line = line


@dataclass(frozen=True)
class Value:
    """A text of an inventory, the name beside it, and its line."""

    name: str
    text: str
    line: int


def of_yaml(text: str) -> Iterator[Value]:
    """Yield the texts of a YAML file, without what is vaulted.

    :raises NotYamlError: it is none.
    """
    seen: set[int] = set()
    for document in _documents(text):
        yield from _walk("", document, seen)


def of_inventory(text: str) -> Iterator[Value]:
    """Yield the texts of an inventory whose suffix does not say what it is: YAML, or INI."""
    try:
        mapping = any(isinstance(one, yaml.MappingNode) for one in _documents(text))
    except NotYamlError:
        mapping = False
    yield from of_yaml(text) if mapping else of_ini(text)


def _documents(text: str) -> list[yaml.Node]:
    if yaml is None:
        raise _gate.GateError(
            "Cannot read the inventory: PyYAML is missing; run the gate with the Python of Ansible."
        )
    try:
        # An empty document has no node.
        return [one for one in yaml.compose_all(text, Loader=yaml.SafeLoader) if one]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # Without the lines around it, which may hold a secret.
        said = getattr(error, "problem", None) or "it cannot be read"
        raise NotYamlError(str(said), mark.line + 1 if mark else 0) from error


def _walk(name: str, node: yaml.Node, seen: set[int]) -> Iterator[Value]:
    if id(node) in seen or node.tag.startswith("!vault"):
        return
    # An alias is the node that it names; it is told once.
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(str(key.value), value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            # A list beside such a name may be one of names.
            yield from _walk("", value, seen)
    elif isinstance(node, yaml.ScalarNode) and node.tag in (_TEXT, "!unsafe"):
        line = node.start_mark.line + 1
        yield Value(name, node.value, line)
        # A list of KEY=value, or a whole .env as one text.
        for number, one in enumerate(node.value.splitlines()):
            assigned = _ASSIGNED.fullmatch(one.strip())
            if assigned:
                below = number + (node.style in ("|", ">"))
                yield Value(assigned["name"], _bare(assigned["value"]), line + below)


def of_ini(text: str) -> Iterator[Value]:
    """Yield the texts of an inventory in the form of INI."""
    inside = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("["):
            inside = line.endswith(":vars]")
        elif line and line[0] not in "#;":
            for word in [line] if inside else _words(line):
                assigned = _ASSIGNED.fullmatch(word)
                # A number has no secret in it, as in YAML.
                if assigned and not assigned["value"].isdigit():
                    yield Value(assigned["name"], _bare(assigned["value"]), number)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()


def _bare(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def judge(values: Iterable[Value], file: str, public: Collection[str]) -> list[_gate.Finding]:
    """Return secrets that stand in clear; their values are not repeated.

    :param public: names that hold none, whatever they are called.
    """
    found: dict[tuple[str, int], _gate.Finding] = {}
    for one in values:
        called = _masking.SECRET_NAME.search(one.name) and not _ABOUT.search(one.name)
        if _harmless(one.text) or not (
            (called and one.name not in public) or _looks_secret(one.text)
        ):
            continue
        found[one.name, one.line] = _gate.Finding(
            "inventory.secret",
            _gate.ERROR,
            f"{one.name or 'A value'} stands in clear.",
            f"Encrypt the file (ansible-vault encrypt {file}), or this value alone "
            "(ansible-vault encrypt_string).",
            file,
            one.line,
        )
    return list(found.values())


def _looks_secret(text: str) -> bool:
    password = _masking.URL_PASSWORD.search(text)
    if password and not _harmless(password[0][len(password["head"]) :]):
        return True
    return bool(_LOOKS.search(text))


def _harmless(text: str) -> bool:
    stripped = text.strip()
    template = "{{" in stripped or "{%" in stripped
    return bool(
        template
        or stripped.startswith(_VAULT)
        or _masking.HARMLESS.fullmatch(stripped)
        or _HARMLESS.fullmatch(stripped)
    )
