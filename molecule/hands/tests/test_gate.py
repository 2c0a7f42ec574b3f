# SPDX-License-Identifier: GPL-3.0-or-later
"""ci_gate.yml on the sample stack: green as it is, and right about what is broken in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support import REPO, playbook, release, tree
from tiers import proof

# The registry of the sample answers the server of the tests alone.
NOT_HERE = {"image.missing": "only the server reaches it"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sample stack that may be broken."""
    folder = tmp_path / "checkout"
    shutil.copytree(REPO / "demo/stack", folder)
    return folder


def test_sample_stack_passes_and_the_server_is_not_touched(tmp_path: Path) -> None:
    before = tree()
    run = playbook("ci_gate", carrental_report_dir=str(tmp_path))
    assert run.code == 0, run.output
    assert tree() == before
    assert run.changed == 0
    told = json.loads(next(tmp_path.glob("gate-*.sarif")).read_text())
    assert [one for one in told["runs"][0]["results"] if one["level"] == "error"] == []


def test_what_is_broken_is_refused_with_its_place(checkout: Path, tmp_path: Path) -> None:
    compose = checkout / "docker-compose.prod.yml"
    compose.write_text(
        compose.read_text().replace(
            "NODE_ENV: production",
            "NODE_ENV: production\n"
            "      NODE_OPTIONS: --max-old-space-size=256\n"
            "      NEW_KEY: ${NEW_KEY:?}",
            1,
        )
    )
    added = checkout / "prisma/migrations/20261101_drop"
    added.mkdir(parents=True)
    (added / "migration.sql").write_text("ALTER TABLE cars DROP COLUMN colour;\n")
    inventory = tmp_path / "inventory.yml"
    inventory.write_text("carrental:\n  vars:\n    deploy_versoin: x\n    my_password: hunter2\n")
    run = playbook(
        "ci_gate", "-i", str(inventory), gate_dir=str(checkout), carrental_report_dir=str(tmp_path)
    )
    assert run.code != 0
    told = json.loads(next(tmp_path.glob("ci_gate-*.json")).read_text())
    assert told["verdict"] == "refused"
    line = compose.read_text().splitlines().index("      NEW_KEY: ${NEW_KEY:?}") + 1
    places = {(one["rule"], one["file"], one["line"]) for one in told["findings"]}
    assert {
        ("compose.variable", "docker-compose.prod.yml", line),
        ("compose.heap", "docker-compose.prod.yml", 7),
        ("migration.destructive", "prisma/migrations/20261101_drop/migration.sql", 1),
    } <= places
    assert {"inventory.unknown", "inventory.secret"} <= {one["rule"] for one in told["findings"]}
    assert "hunter2" not in run.output
    suite = ElementTree.fromstring(next(tmp_path.glob("gate-*.junit.xml")).read_text())
    assert suite.attrib["failures"] == "4"


@proof
def test_an_image_that_is_not_there_is_found(tmp_path: Path) -> None:
    run = playbook(
        "ci_gate",
        gate_version="0000000",
        carrental_images={"api": "127.0.0.1:1/carrental/backend"},
        gate_insecure_registries=["127.0.0.1:1"],
    )
    assert run.code != 0
    assert run.line("error: 127.0.0.1:1/carrental/backend:0000000 cannot be had")


@proof
def test_a_reason_waives_a_rule(checkout: Path) -> None:
    proxy = checkout / "nginx/nginx.conf"
    proxy.write_text(proxy.read_text() + "# end\nproxy_next_upstream error non_idempotent;\n")
    assert playbook("ci_gate", gate_dir=str(checkout)).code != 0
    reason = {"nginx.repeat": "every POST of ours has a key"}
    run = playbook("ci_gate", gate_dir=str(checkout), gate_waive=reason)
    assert run.code == 0, run.output
    assert run.line("(waived: every POST of ours has a key)")


@proof
def test_the_release_is_planned_against_the_server() -> None:
    before = tree(reports=False)
    good = playbook("ci_gate", gate_version="", gate_deploy=True)
    assert good.code != 0, "a plan needs a version"
    assert good.line("deploy.yml --check ends with refused")
    run = playbook("ci_gate", gate_deploy=True, gate_version=release("v2"), gate_waive=NOT_HERE)
    assert run.code == 0, run.output
    assert run.line("[OK] preflight: health")
    assert tree(reports=False) == before
