# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gate finds, rule by rule, and what it leaves alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _gate,
    _gate_compose,
    _gate_inventory,
    _gate_release,
)
from ansible_collections.carrental.ops.plugins.plugin_utils import _finding_reports

compose = pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    != 0,
    reason="compose is not installed",
)

TEXT = """services:
  api:
    image: example/api
    environment:
      KEY: ${KEY:?}
      OTHER: ${OTHER?} ${KEY:?}
"""


def rules(found: Any) -> list[str]:
    return [one.rule for one in found]


def test_a_variable_that_only_the_server_has_is_told_once_at_its_first_place() -> None:
    found = _gate_compose.variables({"a.yml": TEXT}, {"OTHER": ""})
    assert [(one.level, one.message, one.file, one.line) for one in found] == [
        (
            "warning",
            "KEY is demanded and not in carrental_env; the server has to have it in its .env.",
            "a.yml",
            5,
        )
    ]


def test_a_variable_that_carrental_env_empties_is_an_error() -> None:
    found = _gate_compose.variables({"a.yml": TEXT}, {"OTHER": "", "KEY": ""})
    assert [(one.level, one.message) for one in found] == [
        ("error", "KEY is demanded and empty in carrental_env.")
    ]


def test_what_compose_warns_of_is_told() -> None:
    warnings = [
        'The "OTHER" variable is not set. Defaulting to a blank string.',
        "the attribute `version` is obsolete",
    ]
    found = _gate_compose.heard(warnings, {"a.yml": TEXT})
    assert [(one.rule, one.level, one.file, one.line) for one in found] == [
        ("compose.variable", "warning", "a.yml", 6),
        ("compose.warning", "note", "a.yml", 0),
    ]
    assert found[0].message.startswith("OTHER is used and not in carrental_env;")


@compose
def test_a_variable_without_a_value_reaches_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JWT_SECRET", raising=False)
    text = "services:\n  api:\n    image: a:1\n    environment:\n      JWT: ${JWT_SECRET}\n"
    (tmp_path / "a.yml").write_text(text)
    unset, _model = _gate_compose.look(str(tmp_path), ["a.yml"], {}, [], [])
    assert ("compose.variable", 5) in [(one.rule, one.line) for one in unset]
    for value in ("", "x"):
        given = {"JWT_SECRET": value}
        found, _model = _gate_compose.look(str(tmp_path), ["a.yml"], given, [], [])
        assert "compose.variable" not in rules(found)


def service(**settings: Any) -> dict[str, Any]:
    well = {
        "image": "example/api:1",
        "restart": "unless-stopped",
        "deploy": {"resources": {"limits": {"memory": str(256 * 2**20)}}},
    }
    return {"services": {"api": {**well, **settings}}}


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({}, ""),
        ({"image": "example/api"}, "compose.image"),
        ({"image": "example/api:latest"}, "compose.image"),
        ({"image": "MyOrg/redis:7"}, "compose.image"),
        ({"image": "example/api", "build": {"context": "."}}, ""),
        ({"deploy": {}}, "compose.memory"),
        ({"restart": "no"}, "compose.restart"),
        ({"environment": {"NODE_OPTIONS": "--max-old-space-size=193"}}, "compose.heap"),
        ({"environment": {"NODE_OPTIONS": "--max-old-space-size=192"}}, ""),
        (
            {
                "container_name": "api",
                "deploy": {
                    "replicas": 2,
                    "resources": service()["services"]["api"]["deploy"]["resources"],
                },
            },
            "compose.replicas",
        ),
        ({"ports": [{"published": "5432"}]}, "compose.published"),
        ({"ports": [{"published": "5432", "host_ip": "127.0.0.1"}]}, ""),
    ],
)
def test_traps_of_a_service(settings: dict[str, Any], rule: str) -> None:
    found = _gate_compose.judge(service(**settings), {"a.yml": TEXT}, ["api"], [])
    assert rules(found) == ([rule] if rule else [])
    assert all((one.file, one.line) == ("a.yml", 2) for one in found)


def test_two_files_that_define_a_service() -> None:
    models = {"a.yml": service(), "b.yml": service(), "c.yml": {"services": {"api": {"ports": []}}}}
    found = _gate_compose.twice(models, dict.fromkeys(models, TEXT))
    assert [(one.rule, one.file, one.line) for one in found] == [("compose.twice", "b.yml", 2)]


def test_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_KEPT", "before")
    monkeypatch.delenv("GATE_NEW", raising=False)
    import os

    with _gate_compose.environment({"GATE_KEPT": "x", "GATE_NEW": "y"}):
        assert (os.environ["GATE_KEPT"], os.environ["GATE_NEW"]) == ("x", "y")
    assert os.environ["GATE_KEPT"] == "before"
    assert "GATE_NEW" not in os.environ


DROP = "-- why\nALTER TABLE cars DROP COLUMN colour;\n"


def test_a_new_migration_is_judged_and_an_old_one_is_not() -> None:
    scripts = {"1_drop": DROP, "2_drop": DROP, "3_add": "CREATE TABLE x (id int);"}
    found = _gate_release.judge(scripts, "m", {"1_drop"}, lock_timeout=True)
    assert [(one.rule, one.file, one.line) for one in found] == [
        ("migration.destructive", "m/2_drop/migration.sql", 2)
    ]


def test_the_first_migrations_of_all_lose_nothing() -> None:
    assert _gate_release.judge({"1_drop": DROP}, "m", set(), lock_timeout=True) == []


def test_an_index_locks() -> None:
    scripts = {"0": "", "1": "CREATE INDEX i ON cars (id);"}
    found = _gate_release.judge(scripts, "m", {"0"}, lock_timeout=True)
    assert [(one.rule, one.level) for one in found] == [("migration.locking", "warning")]


def test_what_is_no_name_of_an_image_is_a_finding() -> None:
    found = _gate_release.images(["MyOrg/redis:7"], {}, "amd64", [])
    assert rules(found) == ["image.missing"]
    assert "is not the name of an image" in found[0].message


def git(folder: Path, *argv: str) -> None:
    own = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    subprocess.run(["git", "-C", str(folder), *own, *argv], check=True, capture_output=True)


def test_migrations_of_the_branch_that_is_merged_into(tmp_path: Path) -> None:
    folder = tmp_path / "prisma/migrations"
    for name in ("1_old", "2_new"):
        (folder / name).mkdir(parents=True)
        (folder / name / "migration.sql").write_text("SELECT 1;")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "prisma/migrations/1_old")
    git(tmp_path, "commit", "-qm", "old")
    assert _gate_release.known(str(tmp_path), "HEAD") == {"1_old"}
    assert list(_gate_release.migrations(str(tmp_path), "prisma/migrations")) == ["1_old", "2_new"]
    with pytest.raises(_gate.GateError, match="gate_base is a branch or commit"):
        _gate_release.known(str(tmp_path), "nowhere")


def test_without_a_base_what_an_earlier_migration_made_is_not_new() -> None:
    scripts = {
        "1_init": "CREATE TABLE cars (id int, colour text); CREATE TABLE bookings (id int);",
        "2_drop": "ALTER TABLE cars DROP COLUMN colour;\nDROP TABLE bookings;",
        "3_both": "CREATE TABLE x (id int);\nDROP TABLE x;",
    }
    found = _gate_release.judge(scripts, "m", None, lock_timeout=True)
    assert [(one.rule, one.file, one.line) for one in found] == [
        ("migration.destructive", "m/2_drop/migration.sql", 1),
        ("migration.destructive", "m/2_drop/migration.sql", 2),
    ]


def test_migrations_that_were_moved_are_not_the_first_ones(tmp_path: Path) -> None:
    old = tmp_path / "backend/prisma/migrations/1_init"
    old.mkdir(parents=True)
    (old / "migration.sql").write_text("CREATE TABLE cars (id int);")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "backend")
    git(tmp_path, "commit", "-qm", "old")
    git(tmp_path, "mv", "backend/prisma", "prisma")
    new = tmp_path / "prisma/migrations/2_drop"
    new.mkdir()
    (new / "migration.sql").write_text("DROP TABLE cars;")
    already = _gate_release.known(str(tmp_path / "prisma"), "HEAD")
    scripts = _gate_release.migrations(str(tmp_path), "prisma/migrations")
    found = _gate_release.judge(scripts, "prisma/migrations", already, lock_timeout=True)
    assert [(one.rule, one.file) for one in found] == [
        ("migration.destructive", "prisma/migrations/2_drop/migration.sql")
    ]


KNOWN = {
    "deploy_version": {"type": "str"},
    "deploy_source": {"choices": ["git"]},
    "n": {"type": "int"},
}


def test_what_is_nearly_ours_is_misspelt_and_the_rest_is_the_users_own() -> None:
    found = _gate_inventory.names(
        {"deploy_versoin": 1, "deploy_x": 1, "other": 1}, KNOWN, ["deploy_"]
    )
    assert [(one.message.split()[0], one.level) for one in found] == [
        ("deploy_versoin", "error"),
        ("deploy_x", "warning"),
    ]


def test_types_and_choices() -> None:
    vaulted = {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256 00"}
    given = {"deploy_source": "svn", "n": "{{ later }}", "deploy_version": vaulted}
    known = {**KNOWN, "deploy_version": {"type": "int"}}
    found = _gate_inventory.types(given, known)
    assert [one.message for one in found] == [
        "value of deploy_source must be one of: git, got: svn."
    ]


def test_a_secret_is_not_repeated() -> None:
    found = _gate_inventory.types({"k": ["hunter2"]}, {"k": {"type": "dict", "no_log": True}})
    assert [one.message for one in found] == ["k has not the type dict."]


FOUND = [
    _gate.Finding("image.missing", "error", "x is gone.", "Push it."),
    _gate.Finding("nginx.prefix", "warning", "a slash.", "", "nginx.conf", 7),
]


def test_errors_stop_and_waived_ones_do_not() -> None:
    assert rules(_gate.stops(FOUND, "error")) == ["image.missing"]
    assert rules(_gate.stops(FOUND, "warning")) == ["image.missing", "nginx.prefix"]
    waived = _gate.waive(FOUND, {"image.missing": "pushed by hand later"})
    assert _gate.stops(waived, "error") == []


@pytest.mark.parametrize(
    ("reasons", "said"),
    [({"nope": "a reason"}, "is no rule"), ({"image.missing": "x"}, "no reason")],
)
def test_a_waiver_needs_a_rule_and_a_reason(reasons: dict[str, str], said: str) -> None:
    with pytest.raises(_gate.GateError, match=said):
        _gate.waive(FOUND, reasons)


def test_junit_fails_a_case_for_each_rule_with_an_error() -> None:
    told = [one.as_dict() for one in FOUND]
    suite = ElementTree.fromstring(_finding_reports.junit(told, _gate.RULES, "gate"))  # noqa: S314
    assert suite.attrib["failures"] == "1"
    assert suite.attrib["tests"] == str(len(_gate.RULES))
    failed = [one.attrib["name"] for one in suite if one.find("failure") is not None]
    assert failed == ["image.missing: The images of the release can be had"]
    assert "nginx.conf:7 a slash." in "".join(suite.itertext())


def test_junit_fails_at_the_level_that_stops() -> None:
    told = [one.as_dict() for one in FOUND]
    suite = ElementTree.fromstring(  # noqa: S314
        _finding_reports.junit(told, _gate.RULES, "gate", "warning")
    )
    assert suite.attrib["failures"] == "2"


def test_junit_does_not_pass_what_was_not_looked_at() -> None:
    told = [FOUND[1].as_dict()]
    skipped = {"image.missing": "images, for there are none", "nginx.prefix": "never"}
    suite = ElementTree.fromstring(  # noqa: S314
        _finding_reports.junit(told, _gate.RULES, "gate", skipped=skipped)
    )
    assert suite.attrib["skipped"] == "1"
    (case,) = [one for one in suite if one.find("skipped") is not None]
    assert case.attrib["name"].startswith("image.missing")
    assert case[0].attrib["message"] == "not looked at: images, for there are none"


def test_junit_stays_xml_whatever_was_said() -> None:
    odd = _gate.Finding("image.missing", "error", "a\x1b[31mred\x00 \ud800 & <é>")
    text = _finding_reports.junit([odd.as_dict()], _gate.RULES, "gate")
    suite = ElementTree.fromstring(text.encode())  # noqa: S314
    assert "a[31mred  & <é>" in "".join(suite.itertext())


def test_sarif_has_places_and_suppressions() -> None:
    waived = _gate.waive(FOUND, {"image.missing": "pushed by hand later"})
    log = json.loads(
        _finding_reports.sarif(
            [one.as_dict() for one in waived], _gate.RULES, "https://example.com", "compose.yml"
        )
    )
    run = log["runs"][0]
    assert {one["id"] for one in run["tool"]["driver"]["rules"]} == set(_gate.RULES)
    gone, slash = run["results"]
    assert gone["suppressions"][0]["justification"] == "pushed by hand later"
    place = slash["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "nginx.conf"
    assert place["region"] == {"startLine": 7}
    elsewhere = gone["locations"][0]["physicalLocation"]
    assert elsewhere["artifactLocation"]["uri"] == "compose.yml"
    assert elsewhere["region"] == {"startLine": 1}
