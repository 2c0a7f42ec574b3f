# SPDX-License-Identifier: GPL-3.0-or-later
"""The .env file: read as compose reads it, changed key by key, never quoted in an error."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _env_file

# Each line beside the value that docker compose 2.26.1 and 5.6.1 give it.
READ_BY_COMPOSE = [
    ("K=plain", "plain"),
    ("K=pl#ain", "pl#ain"),
    ("K=pl #ain", "pl"),
    ("K=#x", "#x"),
    ("K=", ""),
    ('K=""', ""),
    ("export K=exp", "exp"),
    ("K: yaml", "yaml"),
    (" K = spaced ", "spaced"),
    ("K=a\\nb", "a\\nb"),
    ('K=a"b"c', 'a"b"c'),
    ('K="x" # c', "x"),
    ("K='x' # c", "x"),
    ("K=a=b=c", "a=b=c"),
    ("K=a$", "a$"),
    ("K=$$P", "$P"),
    ("K='a $X b'", "a $X b"),
    ("K='it\\'s'", "it's"),
    ("K='back\\\\slash'", "back\\\\slash"),
    ("K='multi\nline'", "multi\nline"),
    ('K="multi\nline"', "multi\nline"),
    ('K="q\\"q\\\\w\\nz\\tt"', 'q"q\\w\nz\tt'),
    ('K="\\${P}"', "${P}"),
    ('K="\\z\\\'"', "\\z\\'"),
    ("K=$P", None),
    ("K=${P}z", None),
    ('K="a$P"', None),
    ("K", None),
]


@pytest.mark.parametrize(("line", "value"), READ_BY_COMPOSE)
def test_values_are_those_of_compose(line: str, value: str | None) -> None:
    assert _env_file.values(f"# first\n{line}\nLAST=1\n") == {"K": value, "LAST": "1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "A=1\nno assignment here\n",
            ".env line 2 is not an assignment; write NAME=value, with quotes around a value of "
            "several words.",
        ),
        ('A=1\nB="hunter2\n', '.env line 2 opens a quote (") that is never closed.'),
        ("A='x' hunter2\n", ".env line 1 goes on after the closing quote."),
    ],
)
def test_what_compose_would_not_read_is_named_without_its_value(text: str, message: str) -> None:
    with pytest.raises(_env_file.EnvFileError) as error:
        _env_file.parse(text)
    assert str(error.value) == message


OLD = """# Database
POSTGRES_USER=carrental
POSTGRES_PASSWORD='o$d'  # rotate me

# Cache
REDIS_PASSWORD=old
"""


def test_merge_keeps_comments_order_and_what_was_not_asked_for() -> None:
    merged = _env_file.merge(
        OLD, {"POSTGRES_PASSWORD": "n w", "NEW_KEY": "1"}, remove=["REDIS_PASSWORD", "ABSENT"]
    )
    assert merged.text == (
        "# Database\nPOSTGRES_USER=carrental\nPOSTGRES_PASSWORD='n w'\n\n# Cache\nNEW_KEY=1\n"
    )
    assert (merged.added, merged.changed, merged.removed) == (
        ["NEW_KEY"],
        ["POSTGRES_PASSWORD"],
        ["REDIS_PASSWORD"],
    )


def test_merge_of_what_is_there_changes_nothing() -> None:
    merged = _env_file.merge(OLD, {"POSTGRES_PASSWORD": "o$d", "POSTGRES_USER": "carrental"})
    assert merged == _env_file.Merged(OLD, [], [], [])


def test_merge_into_nothing() -> None:
    assert _env_file.merge("", {"B": "2", "A": ""}).text == "A=''\nB=2\n"


def test_merge_into_a_last_line_without_end() -> None:
    assert _env_file.merge("A=1", {"B": "2"}).text == "A=1\nB=2\n"


def test_a_key_that_stands_twice_is_left_once() -> None:
    assert _env_file.merge("A=1\nB=2\nA=3\n", {"A": "4"}).text == "B=2\nA=4\n"


def test_a_key_to_set_is_not_removed() -> None:
    assert _env_file.merge("A=1\n", {"A": "1"}, remove=["A"]).text == "A=1\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"A": "x", "B": 5432, "C": True, "D": False, "E": 1.5},
            ["x", "5432", "true", "false", "1.5"],
        ),
        ({}, []),
    ],
)
def test_wanted_is_text(given: dict[str, Any], expected: list[str]) -> None:
    assert list(_env_file.wanted(given).values()) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"A-B": "x"},
            "'A-B' cannot be the name of a variable; use letters, digits and underscores.",
        ),
        (
            {"A": None},
            "The value of A is empty, and a variable holds one text; "
            "give '' for an empty one, or name the key among those to remove.",
        ),
        (
            {"A": ["hunter2"]},
            "The value of A is a list, and a variable holds one text; "
            "give '' for an empty one, or name the key among those to remove.",
        ),
    ],
)
def test_what_cannot_be_a_variable_is_named_without_its_value(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(_env_file.EnvFileError) as error:
        _env_file.wanted(given)
    assert str(error.value) == message


def test_fingerprint_holds_names_and_no_value() -> None:
    assert _env_file.fingerprint("B=hunter2\nA=1\n") == {
        "sha256": "2a3d75d336682b6d08feaecb96a96cc1f01f088ee53d1ec3de87e7448300a480",
        "keys": ["A", "B"],
    }


ODD = ["", " ", "a b", "it's", 'q"q', "a$b", "${P}", "back\\slash", "end\\", "a\nb", "#x", "x #y"]


@pytest.mark.parametrize("value", [*ODD, "'", "\"'", "\\'", "$$", "a\\nb", "é", "\tx", "a\r\nb"])
def test_a_written_value_is_read_again(value: str) -> None:
    assert _env_file.values(f"K={_env_file.quote(value)}\n") == {"K": value}


def has_compose() -> bool:
    command = ["docker", "compose", "version"]
    return bool(
        shutil.which("docker")
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not has_compose(), reason="docker compose is not installed")
def test_compose_reads_what_was_written(tmp_path: Path) -> None:
    letters = "aB1 _.-/:@%+,=~^#'\"\\$`!(){}[]<>|&;*?\n\té"
    source = random.Random(7)  # noqa: S311  # the same cases in each run
    given = {
        f"K{number}": "".join(source.choices(letters, k=source.randint(0, 12)))
        for number in range(300)
    }
    (tmp_path / "test.env").write_text(_env_file.merge("", given).text)
    (tmp_path / "compose.yml").write_text("services: {a: {image: x, env_file: test.env}}\n")
    output = subprocess.run(
        ["docker", "compose", "-f", "compose.yml", "config", "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    read = json.loads(output)["services"]["a"]["environment"]
    assert {key: value.replace("$$", "$") for key, value in read.items()} == given
