# SPDX-License-Identifier: GPL-3.0-or-later
"""What the databases of a server say of restores."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _restore_names as names

MARK = names.Mark(names.READY, "car_rental_backup_20261125_020000", "abc", rows=5)
MOMENT = datetime(2026, 11, 25, 2, 3, 4, tzinfo=timezone.utc)


def row(name: str, *, allows: bool = True, comment: str = "") -> dict[str, Any]:
    return {"name": name, "oid": 1, "allows": allows, "size_bytes": 7, "comment": comment}


def test_names_of_one_restore_belong_together() -> None:
    made = names.new_name("carrental", MOMENT)
    assert made == "carrental_restore_20261125_020304"
    assert names.beside(made, "before") == "carrental_before_20261125_020304"


@pytest.mark.parametrize("database", ["x" * 63, "ü" * 31, "a_restore_b"])
def test_a_name_is_never_cut_by_the_server(database: str) -> None:
    made = names.new_name(database, MOMENT)
    assert len(made.encode()) <= 63
    found = names.find(database, [row(database), row(made), row(names.beside(made, "failed"))])
    assert found.live
    assert [one.name for one in found.made] == [made]
    assert len(found.failed) == 1


def test_others_are_no_business_of_ours() -> None:
    rows = [row("carrental"), row("carrental2_restore_20261125_020304"), row("carrental_restore_x")]
    found = names.find("carrental", rows)
    assert (found.made, found.previous, found.failed) == ([], [], [])


def test_a_mark_survives_its_comment() -> None:
    assert names.mark(MARK.text()) == MARK
    assert names.mark("the database of the car rental") is None
    assert names.mark('{"carrental.ops restore": {"unknown": 1}}') is None
    assert names.mark(None) is None


def test_only_the_very_same_backup_is_taken_up() -> None:
    made = names.new_name("carrental", MOMENT)
    found = names.find("carrental", [row("carrental"), row(made, comment=MARK.text())])
    assert found.ready("abc")
    assert found.ready("other") is None
    loading = MARK.at(names.LOADING)
    found = names.find("carrental", [row("carrental"), row(made, comment=loading.text())])
    assert found.ready("abc") is None


def test_a_swap_without_a_verdict_is_seen() -> None:
    swapped = MARK.at(names.SWAPPED, previous="carrental_before_20261125_020304")
    assert names.find("carrental", [row("carrental", comment=swapped.text())]).unverified
    assert not names.find("carrental", [row("carrental")]).unverified


def test_repairs() -> None:
    old, older = "carrental_before_20261125_020304", "carrental_before_20261124_020304"
    assert names.repairs("carrental", names.find("carrental", [row("carrental")])) == []
    closed = names.find("carrental", [row("carrental", allows=False)])
    assert [one.kind for one in names.repairs("carrental", closed)] == ["allow"]
    gone = names.find("carrental", [row(older), row(old)])
    assert [(one.kind, one.database) for one in names.repairs("carrental", gone)] == [
        ("return", old)
    ]
    assert names.repairs("carrental", names.find("carrental", [])) == []
