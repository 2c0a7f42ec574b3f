# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed is what requirements-*.in ask for, at one version each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPO = Path(__file__).resolve().parents[3]
FILES = ("requirements-dev", "requirements-release")
WANTED = [
    (name, line)
    for name in FILES
    for line in (REPO / f"{name}.in").read_text().splitlines()
    if line and not line.startswith("#")
]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(("name", "line"), WANTED)
def test_what_is_asked_for_is_pinned(name: str, line: str) -> None:
    wanted = Requirement(line)
    pinned = re.findall(r"^(\S+?)==([^\s;]+)", (REPO / f"{name}.txt").read_text(), re.MULTILINE)
    versions = [
        version for one, version in pinned if normal(one.split("[")[0]) == normal(wanted.name)
    ]
    assert versions, f"{wanted.name} is not pinned; run: make requirements"
    assert all(one in wanted.specifier for one in versions), versions


@pytest.mark.parametrize("name", FILES)
def test_every_version_has_hashes(name: str) -> None:
    blocks = re.split(r"^(?=\S+==)", (REPO / f"{name}.txt").read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) > len([one for one, _line in WANTED if one == name])
    assert [one.split()[0] for one in blocks if "--hash=sha256:" not in one] == []
