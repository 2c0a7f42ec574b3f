# SPDX-License-Identifier: GPL-3.0-or-later
"""The role init writes no template, and says which services of P1 it does not know."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from local_play import REPO, ansible_playbook

PLAY = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: {python}
    init_host: vps.example.com
    init_dir: mine
    __init:
      project: shop
      services: [app, db]
      left_out: {left_out}
      notes: [a note]
      variables:
        carrental_domain: !unsafe '{domain}'
  tasks:
    - ansible.builtin.include_role:
        name: carrental.ops.init
        tasks_from: write.yml
    - ansible.builtin.include_role:
        name: carrental.ops.init
        tasks_from: summary.yml
    - ansible.builtin.copy:
        content: "{{{{ ([carrental_outcome.headline] + carrental_outcome.lines) | join('|') }}}}"
        dest: "{{{{ playbook_dir }}}}/said"
        mode: "0600"
"""


def run(folder: Path, domain: str, left_out: str = "[]") -> tuple[int, str]:
    play = folder / "play.yml"
    play.write_text(PLAY.format(python=sys.executable, domain=domain, left_out=left_out))
    return playbook(folder, "-i", "localhost,", "-c", "local", str(play))


def playbook(folder: Path, *argv: str) -> tuple[int, str]:
    done = ansible_playbook(*argv, PWD=str(folder))
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("text", "begins"),
    [("{{ x }}", True), ("a{%- if x %}", True), ("{# x", True), ("{a: {b: c}}", False)],
)
def test_how_a_template_begins(text: str, begins: bool) -> None:
    settings = yaml.safe_load((REPO / "roles/init/vars/main.yml").read_text())
    assert bool(re.search(settings["_init_template"], text)) is begins


def test_what_ansible_would_execute_is_not_written(tmp_path: Path) -> None:
    code, output = run(tmp_path, '{{ lookup("pipe", "touch executed") }}')
    assert code == 2, output
    assert "main.yml would hold the beginning of a template" in output
    assert "Nothing was changed." in output
    assert not (tmp_path / "mine").exists()


def test_the_summary_warns_of_services_that_are_left_out(tmp_path: Path) -> None:
    code, output = run(tmp_path, "a.com", left_out="[web, postgres]")
    assert code == 0, output
    assert (tmp_path / "said").read_text().split("|") == [
        "2 services of project shop on vps.example.com; mine describes them, without web and "
        "postgres (P1).",
        "warning: no container is known for web and postgres (P1): health proves nothing of that "
        "until carrental_services names one",
        "a note",
    ]


def test_the_summary_warns_of_nothing_that_is_there(tmp_path: Path) -> None:
    code, output = run(tmp_path, "a.com")
    assert code == 0, output
    assert (tmp_path / "said").read_text().split("|") == [
        "2 services of project shop on vps.example.com; mine describes them.",
        "a note",
    ]
    assert (
        "carrental_domain: a.com" in (tmp_path / "mine/group_vars/carrental/main.yml").read_text()
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"init_host": "127.0.0.1"},
            "Refuse a server that does not answer: deploy@127.0.0.1 port 1 cannot be reached:",
        ),
        ({"init_host": "localhost"}, "deploy@localhost port 1 cannot be reached:"),
        ({"init_host": "a.com", "init_name": "localhost"}, "init_name is localhost, which"),
    ],
)
def test_this_machine_may_be_the_server(tmp_path: Path, given: dict[str, str], says: str) -> None:
    """The summary is that of the controller, not that of a server of the same name."""
    settings = {"init_port": 1, "init_dir": str(tmp_path / "mine"), **given}
    code, output = playbook(tmp_path, "playbooks/init.yml", "-e", json.dumps(settings))
    assert code == 2, output
    summary = output.partition("Summary init: refused")[2]
    assert "localhost: init refused: " in summary, output
    assert says in summary
    assert "next: Mend what it says and run the same command again" in summary
    assert not (tmp_path / "mine").exists()
