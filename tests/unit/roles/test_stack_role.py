# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator types wrong, as the playbook answers it. This machine stands for the server."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_play import ansible_playbook


@dataclass(frozen=True)
class Answer:
    """What a playbook said, and the report that it left on the controller."""

    code: int
    output: str
    report: dict[str, Any]


def health(tmp_path: Path, *argv: str, name: str = "health") -> Answer:
    """Run a playbook with a typing error that is met before anything is looked at."""
    inventory = tmp_path / "hosts.yml"
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    host |= {"carrental_root": str(tmp_path), "carrental_report_dir": str(tmp_path / "re ports")}
    inventory.write_text(json.dumps({"carrental": {"hosts": {"box": host}}}))
    done = ansible_playbook("-i", str(inventory), f"playbooks/{name}.yml", *argv)
    report = tmp_path / "re ports" / f"{name}-box.json"
    return Answer(
        done.returncode,
        done.stdout + done.stderr,
        json.loads(report.read_text()) if report.exists() else {},
    )


def test_a_choice_that_there_is_not_is_refused(tmp_path: Path) -> None:
    answer = health(tmp_path, "-e", "health_depth=deap")
    assert answer.code == 2, answer.output
    assert (answer.report["verdict"], answer.report["headline"]) == (
        "refused",
        "value of health_depth must be one of: quick, deep, got: deap. Nothing was changed.",
    )


def test_limit_keeps_the_report_and_a_refusal_keeps_the_secret(tmp_path: Path) -> None:
    secret = "s3cret-of-the-vault"
    answer = health(
        tmp_path, "-vvv", "--limit", "box", "-e", json.dumps({"carrental_env": [secret]})
    )
    assert answer.code == 2, answer.output
    assert answer.report["verdict"] == "refused", answer.output
    assert "carrental_env" in answer.report["headline"]
    assert secret not in answer.output + json.dumps(answer.report)


def test_what_a_service_has_not_is_refused(tmp_path: Path) -> None:
    wrong = {
        "api": {"overlp": False},
        "web": {"overlap": "no"},
        "redis": {"enabled": "false"},
        "worker": {"role": "stateless"},
    }
    answer = health(tmp_path, "-e", json.dumps({"carrental_services": wrong}))
    assert answer.report["verdict"] == "refused", answer.output
    for says in (
        "api has the unknown key overlp.",
        "web has overlap=no, which is neither true nor false.",
        "redis has enabled=false, which is neither true nor false.",
        "worker has role=stateless probe=(missing)",
        "Keys of a service are compose_service, container,",
    ):
        assert says in answer.report["headline"]


def test_half_a_value_is_refused(tmp_path: Path) -> None:
    answer = health(tmp_path, "-e", "deploy_maintenance_message=We are back soon")
    assert answer.report["verdict"] == "refused", answer.output
    assert '"are back soon" belongs to no variable' in answer.report["headline"]


def test_a_tag_of_digits_may_be_a_number(tmp_path: Path) -> None:
    answer = health(tmp_path, "-e", json.dumps({"rollback_to": 20261125}), name="rollback")
    assert answer.report["verdict"] == "refused", answer.output
    assert answer.report["headline"].startswith("No release has passed on this server yet")
    answer = health(tmp_path, "-e", json.dumps({"deploy_version": 1.1}), name="deploy")
    assert answer.report["verdict"] == "refused", answer.output
    assert "quote in YAML and JSON what looks like a number" in answer.report["headline"]


def test_half_a_load_balancer_is_refused(tmp_path: Path) -> None:
    tasks = tmp_path / "out.yml"
    tasks.write_text("[]\n")
    answer = health(tmp_path, "-e", f"operation_drain_tasks={tasks}")
    assert answer.code == 2, answer.output
    assert answer.report["verdict"] == "refused", answer.output
    assert "operation_readmit_tasks is" in answer.report["headline"]
    both = {"operation_drain_tasks": str(tasks), "operation_readmit_tasks": "in.yml"}
    answer = health(tmp_path, "-e", json.dumps(both))
    assert "the whole paths of both files" in answer.report["headline"], answer.output


def test_endpoint_of_a_service_that_there_is_not_is_refused(tmp_path: Path) -> None:
    answer = health(tmp_path, "-e", json.dumps({"health_endpoints": {"rediss": {"host": "x"}}}))
    assert answer.code == 2, answer.output
    assert "rediss has role=(missing)" in answer.report["headline"], answer.output


def test_a_misspelt_extra_variable_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    argv = ("-e", "restore_form=a1b2", "-e", "restore_confirm=carrental")
    answer = health(tmp_path, *argv, name="restore")
    assert answer.code == 2, answer.output
    assert (answer.report["verdict"], answer.report["headline"]) == (
        "refused",
        "Refuse a misspelt variable: restore_form is read by nothing. Did you mean restore_from? "
        "Nothing was changed.",
    )
    assert "Take the lock" not in answer.output


def test_variables_of_ones_own_are_no_misspelt_ones(tmp_path: Path) -> None:
    given = ("-e", "_health_ticket=OPS-1", "-e", "health_depth=deap")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/box.yml").write_text("health_depht: quick\n")
    answer = health(tmp_path, *given)
    assert answer.report["headline"].startswith("value of health_depth must"), answer.output
