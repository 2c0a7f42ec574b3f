# SPDX-License-Identifier: GPL-3.0-or-later
"""From a stopped service to its answer: Prometheus, Alertmanager, rulebook, respond.yml."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import INVENTORY, REPO, STATE, eventually, fetch, inspect, on_server, playbook

TOKEN = "a-token-of-the-tests"
PORT = 5071
VENV = REPO / ".build/venv-eda"
PLACE = REPO / ".build/eda"
ALERTS = "/opt/carrental/monitoring/alerts.yml"
ACT: dict[str, Any] = {"response_mode": "act", "response_cooldown": 0}


def gateway() -> str:
    """The address of this machine as servers of the demo see it."""
    return subprocess.run(
        [
            *("docker", "network", "inspect", "carrental-demo", "-f"),
            "{{(index .IPAM.Config 0).Gateway}}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


class Rulebook:
    """A rulebook that runs; its output is what it did."""

    def __init__(self) -> None:
        PLACE.mkdir(parents=True, exist_ok=True)
        settings = yaml.safe_load((REPO / "extensions/eda/vars.yml").read_text())
        assert settings["carrental_eda_host"] == "127.0.0.1", "nobody else reaches it by default"
        settings |= {
            "carrental_eda_host": gateway(),
            "carrental_eda_port": PORT,
            "carrental_eda_mode": "act",
        }
        (PLACE / "vars.yml").write_text(yaml.safe_dump(settings))
        self._output = PLACE / "output"
        self._process = subprocess.Popen(
            [
                *(str(VENV / "bin/ansible-rulebook"), "--rulebook"),
                *("extensions/eda/rulebooks/alerts.yml", "-i", str(inventory())),
                *("--vars", str(PLACE / "vars.yml"), "--env-vars", "CARRENTAL_EDA_TOKEN"),
            ],
            cwd=REPO,
            env={
                **os.environ,
                "CARRENTAL_EDA_TOKEN": TOKEN,
                "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
                "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(REPO / "collections"),
            },
            stdin=subprocess.DEVNULL,
            stdout=self._output.open("w"),
            stderr=subprocess.STDOUT,
        )
        eventually(lambda: self.post({}, "") == 401, f"it listens:\n{self.said()}", 60)

    def said(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", self._output.read_text())

    def runs(self) -> int:
        return self.said().count("PLAY RECAP")

    def post(self, body: dict[str, Any], token: str = TOKEN) -> int:
        head = ["-H", f"Authorization: Bearer {token}"] if token else []
        done = subprocess.run(
            [
                *("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"),
                *(*head, "-d", json.dumps(body), f"http://{gateway()}:{PORT}/alerts"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return int(done.stdout or 0)

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(30)


def inventory() -> Path:
    """The inventory with paths that hold where a rulebook copies it to."""
    source = REPO / INVENTORY
    source = source if source.is_dir() else source.parent
    target = PLACE / "inventory"
    target.mkdir(parents=True, exist_ok=True)
    hosts = yaml.safe_load((source / "hosts.yml").read_text())
    hosts.pop("bare", None)
    group = hosts["carrental"]
    for host in group["hosts"].values():
        host["demo_state_dir"] = str(REPO / "demo/.state")
    (target / "hosts.yml").write_text(yaml.safe_dump(hosts))
    for path in (source / "group_vars/carrental").resolve().glob("*.yml"):
        (target / "group_vars/carrental").mkdir(parents=True, exist_ok=True)
        (target / "group_vars/carrental" / path.name).write_text(path.read_text())
    for path in (target / "group_vars/carrental").glob("*.yml"):
        path.chmod(0o600)
    return target


@pytest.fixture(scope="module")
def rulebook() -> Iterator[Rulebook]:
    if not (VENV / "bin/ansible-rulebook").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run(
            [str(VENV / "bin/pip"), "install", "-q", "-r", "requirements-eda.txt"],
            cwd=REPO,
            check=True,
        )
    run = playbook(
        "monitor",
        monitoring_interval="3s",
        monitoring_responder_url=f"http://{gateway()}:{PORT}/alerts",
        monitoring_responder_token=TOKEN,
    )
    assert run.code == 0, run.output
    # The token is in the volume of Alertmanager, and in no configuration.
    written = on_server("cat", "/opt/carrental/monitoring/alertmanager.yml")
    assert TOKEN not in written
    assert "carrental-secrets/responder" in written
    shorten("RedisDown")
    started = Rulebook()
    yield started
    started.end()
    on_server("docker", "start", "redis")


def shorten(alert: str) -> None:
    """Let an alert fire after seconds instead of a minute; everything else stays as it is."""
    text = on_server("cat", ALERTS)
    head, tail = text.split(f"alert: {alert}\n", 1)
    tail = re.sub(r"for: \w+", "for: 3s", tail, count=1)
    on_server("sh", "-c", f"cat > {ALERTS}", stdin=f"{head}alert: {alert}\n{tail}")
    on_server("docker", "kill", "-s", "HUP", "prometheus")


def attempts() -> int:
    text = on_server("cat", f"{STATE}/response/ledger.jsonl", check=False)
    return sum(json.loads(line)["event"] == "attempt" for line in text.splitlines())


def storm(group: str, count: int) -> dict[str, Any]:
    return {"status": "firing", "groupKey": group, "alerts": [{"status": "firing"}] * count}


def test_a_stopped_cache_is_back_within_a_minute(rulebook: Rulebook) -> None:
    before, runs = attempts(), rulebook.runs()
    on_server("docker", "stop", "-t", "2", "redis")
    began = time.monotonic()
    eventually(lambda: inspect("redis", "{{.State.Running}}") == "true", rulebook.said(), 60)
    started = time.monotonic() - began
    eventually(lambda: rulebook.runs() > runs, f"it ends:\n{rulebook.said()}", 60)
    verified = time.monotonic() - began
    assert "tried start_container on redis: fixed" in rulebook.said()
    status, body = fetch("/api/v1/health")
    assert (status, json.loads(body)["dependencies"]["cache"]["status"]) == (200, "up")
    assert attempts() == before + 1
    print(f"redis ran after {started:.1f} s, verified after {verified:.1f} s")
    assert verified < 60, (started, verified)


def test_five_hundred_deliveries_are_one_look_and_no_remedy(rulebook: Rulebook) -> None:
    before, runs = attempts(), rulebook.runs()
    with ThreadPoolExecutor(20) as pool:
        codes = list(pool.map(lambda _one: rulebook.post(storm("storm", 3)), range(500)))
    assert set(codes) == {200}
    eventually(lambda: rulebook.runs() > runs, "it looks", 60)
    time.sleep(15)
    assert (rulebook.runs(), attempts()) == (runs + 1, before), rulebook.said()[-3000:]
    assert "nothing has to be answered" in rulebook.said()


def test_a_forged_post_is_refused_and_a_resolved_alert_is_none(rulebook: Rulebook) -> None:
    runs = rulebook.runs()
    assert rulebook.post(storm("forged", 1), "") == 401
    assert rulebook.post(storm("forged", 1), "wrong") == 401
    assert rulebook.post({**storm("over", 1), "status": "resolved"}) == 200
    assert rulebook.post({"alerts": "no such thing"}) == 200
    time.sleep(8)
    assert rulebook.runs() == runs, rulebook.said()[-3000:]


def test_without_a_rulebook_what_fires_is_answered_once(rulebook: Rulebook) -> None:
    """From a timer: the first call answers, the second finds it answered."""
    rulebook.end()
    before = attempts()
    on_server("docker", "stop", "-t", "2", "redis")
    wanted = "http://127.0.0.1:9093/api/v2/alerts?filter=alertname%3D%22RedisDown%22"
    eventually(lambda: "RedisDown" in on_server("curl", "-s", wanted), "the alert fires", 60)
    first = playbook("respond", **ACT)
    assert first.code == 0, first.output
    mended = [one for one in first.result["incidents"] if one["incident"] == "redis_down"]
    assert [one["remedy"] for each in mended for one in each["attempts"]] == ["start_container"]
    assert inspect("redis", "{{.State.Running}}") == "true"
    second = playbook("respond", **ACT)
    assert (second.code, second.result["verdict"]) == (0, "no_change"), second.output
    assert attempts() == before + 1
