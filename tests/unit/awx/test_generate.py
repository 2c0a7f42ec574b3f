# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX shows is what the playbooks say of themselves."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[3]
_SPEC = importlib.util.spec_from_file_location("awx_generate", REPO / "awx/generate.py")
assert _SPEC is not None
assert _SPEC.loader is not None
generate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(generate)


def test_the_file_is_what_the_playbooks_say() -> None:
    """After a change of a header or of a specification: make awx."""
    assert generate.main(["--check"]) == 0


def test_every_playbook_of_an_operation_has_a_pair_of_templates() -> None:
    made = list(generate.templates())
    names = [one["name"] for one in made]
    for path in (REPO / "playbooks").glob("*.yml"):
        text = path.read_text()
        if "operate_role" in text and "default('carrental')" in text:
            assert f"carrental {path.stem}" in names
            assert f"carrental {path.stem} (check)" in names
    assert {one["job_type"] for one in made} == {"run", "check"}


def test_no_question_is_about_nothing() -> None:
    for one in generate.templates():
        for asked in one["survey"]["spec"]:
            assert asked["question_description"], asked
            if asked["type"] == "multiplechoice":
                assert asked["default"] in (*asked["choices"], ""), asked


def test_names_in_the_commands_of_a_header() -> None:
    header = (
        "# Undo:  -e tuning_undo=true goes back\n"
        '#   ansible-playbook x.yml -e a_b=1 -e \'{"c_d": 1, "e_f": 2}\'\n'
        "#   ansible-playbook x.yml -e 'lock_freeze=\"summer sale\"' -e a_b=2\n"
    )
    assert generate.option_names(header) == ["tuning_undo", "a_b", "c_d", "e_f", "lock_freeze"]


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"type": "str"}, "text"),
        ({"type": "int", "default": 5}, "integer"),
        ({"type": "bool", "default": True}, "multiplechoice"),
        ({"type": "str", "choices": ["a"], "default": "a"}, "multiplechoice"),
        ({"type": "str", "no_log": True}, "password"),
    ],
)
def test_kinds_of_questions(spec: dict[str, Any], kind: str) -> None:
    asked = generate.question("x", spec)
    assert asked is not None
    assert asked["type"] == kind


def test_no_empty_default_replaces_what_the_inventory_says() -> None:
    asked = generate.question("x", {"type": "str", "default": ""})
    assert "default" not in asked
    assert generate.question("x", {"type": "str", "default": "latest"})["default"] == "latest"


def test_lists_and_dictionaries_are_left_to_extra_variables() -> None:
    assert generate.question("x", {"type": "dict"}) is None
    assert generate.question("x", {"type": "list"}) is None


def test_markup_of_the_documentation_is_left_out() -> None:
    assert generate.plain("With O(a=b) and\n  V(x), C(y z).") == "With a=b and x, y z."
