# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator is told of the difference between two releases."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _comparison


def release(**changed: Any) -> Any:
    return {
        "services": {"api": {"image_id": "a1"}, "web": {"image_id": "w1"}},
        "config": {
            "files": {"compose.yml": "1", "nginx/nginx.conf": "1", "compose.release.yml": "1"},
            "env": {"sha256": "e1", "keys": ["A", "B"]},
        },
        "migrations": {"head": "m1", "applied": ["m1"]},
        **changed,
    }


def config(files: dict[str, str], sha256: str, *keys: str) -> dict[str, Any]:
    return {"files": files, "env": {"sha256": sha256, "keys": list(keys)}}


def test_what_runs_differs_in_nothing_from_itself() -> None:
    found = _comparison.differences(release(), release())
    assert _comparison.words(found) == ""


def test_every_kind_of_difference_is_told() -> None:
    now = release(
        services={"api": {"image_id": "a2"}, "web": {"image_id": "w1"}, "new": {"image_id": "n1"}},
        config=config(
            {"compose.yml": "1", "nginx/nginx.conf": "2", "compose.release.yml": "2"},
            "e2",
            "B",
            "C",
        ),
        migrations={"head": "m3", "applied": ["m1", "m2", "m3"]},
    )
    found = _comparison.differences(release(), now)
    assert found == {
        "images": ["api", "new"],
        "files": ["nginx/nginx.conf"],
        "env": {"added": ["C"], "removed": ["A"], "values": False},
        "migrations": ["m2", "m3"],
    }
    assert _comparison.words(found) == (
        "images of api, new; nginx/nginx.conf; .env since then +C -A; 2 migrations since then"
    )


def test_values_of_the_environment_are_a_difference_without_a_name() -> None:
    now = release(config=config(release()["config"]["files"], "e2", "A", "B"))
    assert _comparison.words(_comparison.differences(release(), now)) == ".env (values)"


def test_many_files_are_counted() -> None:
    then = release(config=config({f"monitoring/{name}": "1" for name in "abcdef"}, "e1", "A", "B"))
    now = release(config=config({}, "e1", "A", "B"))
    assert _comparison.words(_comparison.differences(then, now)) == (
        "monitoring/a, monitoring/b, monitoring/c, monitoring/d and 2 more"
    )


def test_record_of_an_older_version_is_compared_as_far_as_it_goes() -> None:
    found = _comparison.differences({"services": {}, "version": "x"}, release())  # type: ignore[typeddict-item]
    assert found["images"] == ["api", "web"]


def test_age_is_unknown_where_the_record_does_not_tell() -> None:
    now = datetime(2026, 11, 23, 22, 0, tzinfo=timezone.utc)
    assert _comparison.age(release(finished_at="2026-11-23T21:00:00Z"), now) == 3600
    assert _comparison.age(release(), now) is None
    assert _comparison.age(release(finished_at="yesterday"), now) is None


def described(name: str, **changed: Any) -> dict[str, Any]:
    return {
        "id": name,
        "age_s": 7200.0,
        "verdict": "ok",
        "who": "alice",
        "differs_said": "images of api",
        "missing_images": [],
        "missing_files": [],
        **changed,
    }


def test_lines_say_what_a_rollback_lacks_and_stand_in_columns() -> None:
    found = [
        described("new"),
        described("failed-one", verdict="failed", missing_images=["api"]),
        described("older", who="", missing_images=["api", "web"], age_s=None),
        described("oldest", missing_files=[".env"], differs_said=""),
    ]
    assert _comparison.lines(found, "new") == [
        "new         2 h ago  ok      alice  the current release",
        "failed-one  2 h ago  failed  alice  images of api",
        "older       ?        ok      ?      images of api; a rollback needs the registry "
        "(image of api, web)",
        "oldest      2 h ago  ok      alice  as the current one; not kept: .env",
    ]
    assert _comparison.lines([], "") == []
    # Its record holds what ran in the end, which is the release before it.
    broken = described("broken", verdict="rolled_back", differs_said="")
    (line,) = _comparison.lines([broken], "new")
    assert line.endswith("rolled_back  alice  did not pass; the release before it was put back")
