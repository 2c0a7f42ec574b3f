# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection; it may change at any time.
"""Findings in the formats that CI systems read: JUnit, and SARIF 2.1.0."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(one: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (str(one["message"]), str(one.get("fix") or ""))))


def _place(one: Mapping[str, Any]) -> str:
    file, line = str(one.get("file") or ""), int(one.get("line") or 0)
    return f"{file}:{line}" if file and line else file


def junit(
    found: Sequence[Mapping[str, Any]],
    rules: Mapping[str, str],
    name: str,
    level: str = "error",
    skipped: Mapping[str, str] | None = None,
) -> str:
    """Return a test suite with a case for each rule, which fails where something was found.

    :param found: findings with ``rule``, ``level``, ``message``, ``fix``, ``file``, ``line`` and
        ``waived``.
    :param rules: every rule, and what it makes sure of.
    :param level: what fails a case; ``warning`` fails it by errors, too. What else was found
        stands in its output.
    :param skipped: why a rule was not looked at, by rule.
    """
    by_rule: dict[str, list[Mapping[str, Any]]] = {rule: [] for rule in rules}
    for one in found:
        by_rule.setdefault(str(one["rule"]), []).append(one)
    stopping = ("error", level)
    suite = ElementTree.Element("testsuite", name=name, tests=str(len(by_rule)), errors="0")
    for rule, these in by_rule.items():
        title = f"{rule}: {rules.get(rule, rule)}"
        case = ElementTree.SubElement(
            suite, "testcase", classname=rule.partition(".")[0], name=title
        )
        bad = [one for one in these if one["level"] in stopping and not one.get("waived")]
        told = [" ".join(filter(None, (_place(one), _text(one)))) for one in these]
        if bad:
            failure = ElementTree.SubElement(
                case, "failure", message=_plain(_text(bad[0])), type=rule
            )
            failure.text = _plain("\n".join(told))
        elif told:
            ElementTree.SubElement(case, "system-out").text = _plain("\n".join(told))
        elif rule in (skipped or {}):
            why = f"not looked at: {(skipped or {})[rule]}"
            ElementTree.SubElement(case, "skipped", message=_plain(why))
    for kind, attribute in (("failure", "failures"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{kind}"))))
    body = ElementTree.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _plain(text: str) -> str:
    """Return a text without what XML cannot hold, as the colours of a terminal."""
    return _NOT_XML.sub("", text)


def sarif(
    found: Sequence[Mapping[str, Any]], rules: Mapping[str, str], uri: str, anchor: str
) -> str:
    """Return a SARIF log with one run.

    :param uri: where the tool is described.
    :param anchor: the file of what has none: GitHub takes no log with a result without a place.
    """
    results = []
    for one in found:
        place = {
            "artifactLocation": {"uri": str(one.get("file") or anchor)},
            "region": {"startLine": int(one.get("line") or 1)},
        }
        result: dict[str, Any] = {
            "ruleId": one["rule"],
            "level": one["level"],
            "message": {"text": _text(one)},
            "locations": [{"physicalLocation": place}],
        }
        if one.get("waived"):
            result["suppressions"] = [{"kind": "external", "justification": one["waived"]}]
        results.append(result)
    driver = {
        "name": "carrental.ops",
        "informationUri": uri,
        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in rules.items()],
    }
    run = {"tool": {"driver": driver}, "results": results}
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"
