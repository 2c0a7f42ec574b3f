# SPDX-License-Identifier: GPL-3.0-or-later
"""Write ``job_templates.yml``: what AWX shows of the playbooks, from what they say of themselves.

    python3 awx/generate.py            writes the file
    python3 awx/generate.py --check    ends with 1 when the file is not what it would write

A playbook that runs a role on servers becomes two job templates, one of them in check mode.
The survey asks for the settings that the header of the playbook names in its commands, with the
types, choices and defaults of the role's argument specification. So a setting is in the survey
once it is documented, and a question cannot ask for what is not there.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "awx" / "job_templates.yml"
HEADER = """---
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Written by awx/generate.py from the playbooks and the argument specifications of their roles.
# Do not edit it: "make awx" writes it anew, and the tests compare it.
"""
# What AWX asks in its own way, or what belongs into the inventory: the default of a question would
# replace it there, answered or not.
NOT_ASKED = {
    "backup_format",
    "carrental_report_dir",
    "deploy_source",
    "gate_level",
    "host_firewall",
}
# Questions of a survey hold text; lists and dictionaries go into the extra variables.
KINDS = {"str": "text", "path": "text", "raw": "text", "int": "integer", "float": "float"}
LONGEST = 1024


def option_names(header: str) -> list[str]:
    """Return the names that the commands of a header set, in their order.

    :param header: the comment above the first play.
    """
    found = re.findall(r"-e '?([a-z_]+)=|[{,] ?\"([a-z_]+)\":", header)
    return list(dict.fromkeys(name or other for name, other in found))


def plain(text: str) -> str:
    """Return a sentence of the documentation without its markup."""
    return re.sub(r"\b[A-Z]\(([^)]*)\)", r"\1", " ".join(text.split()))


def description(spec: dict[str, Any]) -> str:
    """Return the first sentence of an option's description."""
    told = spec.get("description", "")
    return plain(told[0] if isinstance(told, list) else told)


def options(role: str) -> dict[str, Any]:
    """Return the options of a role by name."""
    path = ROOT / "roles" / role / "meta" / "argument_specs.yml"
    found: dict[str, Any] = yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
    return found


def question(name: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    """Return the question for an option; nothing for what is no text."""
    kind = spec.get("type", "str")
    default = spec.get("default", "")
    asked: dict[str, Any] = {
        "question_name": name,
        "question_description": description(spec),
        "variable": name,
        "required": bool(spec.get("required", False)),
        "new_question": True,
    }
    if kind == "bool" or spec.get("choices"):
        choices = spec.get("choices") or ["true", "false"]
        shown = str(default).lower() if kind == "bool" else str(default)
        return {
            **asked,
            "type": "multiplechoice",
            "choices": [str(one) for one in choices],
            "default": shown,
        }
    if kind not in KINDS:
        return None
    if "{{" in str(default):
        # The inventory may have made something else of it.
        default = ""
    limits = (
        {"min": 0, "max": LONGEST} if kind in ("str", "path", "raw") else {"min": 0, "max": 2**31}
    )
    shape = "password" if spec.get("no_log") else KINDS[kind]
    # AWX gives the default of every question to the job, answered or not, an empty one too; over
    # what the inventory says.
    known = {} if default == "" else {"default": default}
    return {**asked, "type": shape, **known, **limits}


TARGET: dict[str, Any] = {
    "question_name": "target",
    "question_description": "Host or group of the inventory that the playbook works on.",
    "variable": "target",
    "required": False,
    "new_question": True,
    "type": "text",
    "default": "carrental",
    "min": 0,
    "max": LONGEST,
}


def roles_of(plays: list[dict[str, Any]]) -> list[str]:
    """Return the roles that a playbook runs as operations."""
    found = []
    for play in plays:
        for task in play.get("tasks") or []:
            role = str((task.get("vars") or {}).get("operate_role", ""))
            if role:
                found.append(role.rpartition(".")[2])
    return found


def survey(header: str, roles: list[str]) -> list[dict[str, Any]]:
    """Return the questions of a playbook."""
    known: dict[str, Any] = {}
    for role in [*roles, "stack"]:
        known = {**options(role), **known}
    names = [name for name in option_names(header) if name in known and name not in NOT_ASKED]
    names += [
        name for role in roles for name, spec in options(role).items() if spec.get("required")
    ]
    asked = (question(name, known[name]) for name in dict.fromkeys(names))
    return [TARGET, *(one for one in asked if one)]


def summary(header: str) -> str:
    """Return the first sentence of a header."""
    text = re.sub(r"^# ?", "", header, flags=re.MULTILINE)
    paragraph = text.split("\n\n")[1] if text.startswith("SPDX") else text.split("\n\n")[0]
    return plain(paragraph).partition(". ")[0].rstrip(".") + "."


def templates() -> Iterator[dict[str, Any]]:
    """Yield the job templates of all playbooks that run a role on servers."""
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        text = path.read_text()
        plays = yaml.safe_load(text)
        roles = roles_of(plays)
        if not roles or "target" not in str(plays[0].get("hosts", "")):
            continue
        header = text.partition("\n- ")[0].removeprefix("---\n")
        for kind in ("run", "check"):
            yield {
                "name": f"carrental {path.stem}" + (" (check)" if kind == "check" else ""),
                "description": summary(header),
                "playbook": f"playbooks/{path.name}",
                "job_type": kind,
                "diff_mode": kind == "check",
                "survey": {
                    "name": path.stem,
                    "description": summary(header),
                    "spec": survey(header, roles),
                },
            }


class _Dumper(yaml.SafeDumper):
    """Without anchors, and with lists indented as in the rest of the tree."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def text() -> str:
    """Return what the file has to hold."""
    data = {"awx_job_templates_generated": list(templates())}
    dumped = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return HEADER + dumped


def main(argv: list[str]) -> int:
    """Write the file, or compare it."""
    wanted = text()
    found = FILE.read_text() if FILE.exists() else ""
    if argv == ["--check"]:
        difference = difflib.unified_diff(
            found.splitlines(), wanted.splitlines(), "is", "has to be", lineterm="", n=1
        )
        shown = list(difference)
        print("\n".join(shown) or f"{FILE.name} is what the playbooks say")
        return 1 if shown else 0
    if argv:
        print(f"usage: awx/generate.py [--check]; got {' '.join(argv)}", file=sys.stderr)
        return 2
    FILE.write_text(wanted)
    print(f"wrote {FILE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
