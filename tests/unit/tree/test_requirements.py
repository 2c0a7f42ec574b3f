# SPDX-License-Identifier: GPL-3.0-or-later
"""The development environment is what requirements-dev.in asks for, at one version each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPO = Path(__file__).resolve().parents[3]
WANTED = [
    line
    for line in (REPO / "requirements-dev.in").read_text().splitlines()
    if line and not line.startswith("#")
]
PINNED = (REPO / "requirements-dev.txt").read_text()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("line", WANTED)
def test_what_is_asked_for_is_pinned(line: str) -> None:
    wanted = Requirement(line)
    versions = [
        version
        for name, version in re.findall(r"^(\S+?)==([^\s;]+)", PINNED, re.MULTILINE)
        if normal(name) == normal(wanted.name)
    ]
    assert versions, f"{wanted.name} is not pinned; run: make requirements"
    assert all(one in wanted.specifier for one in versions), versions


def test_every_version_has_hashes() -> None:
    blocks = re.split(r"^(?=\S+==)", PINNED, flags=re.MULTILINE)[1:]
    assert len(blocks) > len(WANTED)
    assert [one.split()[0] for one in blocks if "--hash=sha256:" not in one] == []
