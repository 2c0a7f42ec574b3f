# SPDX-License-Identifier: GPL-3.0-or-later
"""One result everywhere: the picture of a server, its page, and what AWX and CI are handed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support import INVENTORY, REPO, eventually, inspect, on_server, playbook, release
from tiers import proof

ALERT = "ReportOfTheTests"
_ADDRESS = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"


@contextmanager
def alert() -> Iterator[None]:
    """An alert that fires, put there by hand; Alertmanager itself is asked whether it does."""
    base = f"http://{inspect('alertmanager', _ADDRESS).split()[0]}:9093/api/v2/alerts"
    now = datetime.now(timezone.utc)

    def post(ends: datetime) -> None:
        body = [
            {
                "labels": {"alertname": ALERT, "severity": "P2"},
                "annotations": {"summary": "seen by the status"},
                "startsAt": (now - timedelta(minutes=7)).isoformat(),
                "endsAt": ends.isoformat(),
            }
        ]
        on_server(
            *("curl", "-sf", "-H", "Content-Type: application/json"),
            *("-d", json.dumps(body), base),
        )

    post(now + timedelta(minutes=30))
    try:
        eventually(lambda: ALERT in on_server("curl", "-sf", base), "the alert fires")
        yield
    finally:
        post(datetime.now(timezone.utc))


def page(folder: Path, name: str) -> str:
    return (folder / f"{name}.html").read_text()


def test_status_is_the_whole_picture(tmp_path: Path) -> None:
    with alert():
        run = playbook("status", carrental_report_dir=str(tmp_path), carrental_report_html=True)
    assert run.code == 0, run.output
    told = json.loads(next(tmp_path.glob("status-*.json")).read_text())
    assert run.line(f"alert P2 {ALERT} for 7 min: seen by the status")
    assert ALERT in [one["name"] for one in told["alerts"]]
    assert run.line("Nobody has the lock.")
    assert run.line("[OK] Disk usage at ")
    # The budget, added up from docker inspect.
    names = on_server(
        "docker",
        "ps",
        "--format",
        "{{.Names}}",
        "--filter",
        "label=com.docker.compose.project=carrental",
    )
    limits = [int(inspect(name, "{{.HostConfig.Memory}}")) // 2**20 for name in names.split()]
    assert told["memory"]["limits"] == sum(limits) > 0
    assert len(told["memory"]["containers"]) == len(limits)
    assert all(one["used"] for one in told["memory"]["containers"])
    html = page(tmp_path, "status")
    for word in (ALERT, "Memory budget", "Releases", "Last operations"):
        assert word in html
    assert run.changed == 0


def test_what_cannot_be_known_hides_nothing_else() -> None:
    on_server("docker", "stop", "alertmanager")
    try:
        assert inspect("alertmanager", "{{.State.Running}}") == "false"
        run = playbook("status")
    finally:
        on_server("docker", "start", "alertmanager")
    assert run.code == 0, run.output
    assert run.line("alerts not known: no container of service alertmanager runs")
    assert run.line("MiB promised to containers")
    assert run.result["alerts"] == []
    assert "no container of service alertmanager runs" in run.result["alerts_unknown"]


@proof
def test_awx_is_handed_the_verdict_under_one_key() -> None:
    done = subprocess.run(
        ["ansible-playbook", "-i", INVENTORY, "playbooks/status.yml", "-e", "status_limit=1"],
        cwd=REPO,
        env={
            **os.environ,
            "ANSIBLE_SHOW_CUSTOM_STATS": "1",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
        },
        text=True,
        capture_output=True,
        check=True,
    )
    stats = done.stdout.split("CUSTOM STATS:")[1].split("\n", 1)[1]
    handed = json.loads(stats[stats.index("{") : stats.rindex("}") + 1])
    assert list(handed) == ["carrental_result"]
    assert handed["carrental_result"]["verdict"] == "ok"
    assert handed["carrental_result"]["hosts"]["test"]["operation"] == "status"


@proof
def test_report_of_a_deploy_has_its_course(tmp_path: Path) -> None:
    run = playbook(
        "deploy",
        deploy_version=release("v2"),
        carrental_report_dir=str(tmp_path),
        carrental_report_html=True,
    )
    assert run.code == 0, run.output
    told = json.loads(next(tmp_path.glob("deploy-*.json")).read_text())
    steps = [one["step"] for one in told["steps"]]
    journal = on_server("sh", "-c", f"cat /opt/carrental/.ops/journal/{told['operation_id']}.jsonl")
    written = [json.loads(line) for line in journal.splitlines()]
    assert steps == [one.get("step") or one["event"] for one in written]
    assert all(told[f"health_{moment}"] for moment in ("before", "after"))
    assert told["measured"]["api"]["failed"] == 0
    html = page(tmp_path, "deploy")
    for word in ("Timeline", "Health before and after", "Requests during the switch"):
        assert word in html


@proof
def test_no_page_of_a_refusal_is_broken(tmp_path: Path) -> None:
    run = playbook("deploy", carrental_report_dir=str(tmp_path), carrental_report_html=True)
    assert run.code != 0
    assert "refused" in page(tmp_path, "deploy")


MEASURE = """<!DOCTYPE html><title>?</title><iframe id=f src="report.html"
style="width:{width}px;height:700px;border:0"></iframe><script>
f.onload = () => {{ const page = f.contentDocument.documentElement;
document.title = page.scrollWidth + " " + f.contentDocument.querySelectorAll("svg").length; }}
</script>"""


def browser(folder: Path, *argv: str) -> str:
    binary = shutil.which("chromium")
    if not binary:
        pytest.fail("install the package chromium: this test looks at the page in a browser")
    done = subprocess.run(
        [
            *(
                binary,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--allow-file-access-from-files",
            ),
            *("--virtual-time-budget=5000", f"--user-data-dir={folder / 'profile'}", *argv),
        ],
        text=True,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return done.stdout


@proof
@pytest.mark.parametrize("width", [360, 1000])
def test_page_fits_a_phone_and_a_screen(tmp_path: Path, width: int) -> None:
    run = playbook("status", carrental_report_dir=str(tmp_path), carrental_report_html=True)
    assert run.code == 0, run.output
    (tmp_path / "status.html").rename(tmp_path / "report.html")
    (tmp_path / "measure.html").write_text(MEASURE.format(width=width))
    dom = browser(tmp_path, "--dump-dom", f"file://{tmp_path}/measure.html")
    found = re.search(r"<title>(\d+) (\d+)</title>", dom)
    assert found, dom[:500]
    assert int(found[1]) <= width, "it has to be scrolled sideways"
    assert int(found[2]) >= 1, "no chart"


@proof
def test_page_is_drawn_light_and_dark(tmp_path: Path) -> None:
    run = playbook("status", carrental_report_dir=str(tmp_path), carrental_report_html=True)
    assert run.code == 0, run.output
    shots: dict[str, Any] = {}
    for mode, option in (("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"])):
        shot = tmp_path / f"{mode}.png"
        browser(
            tmp_path,
            *option,
            f"--screenshot={shot}",
            "--window-size=800,1200",
            f"file://{tmp_path}/status.html",
        )
        shots[mode] = shot.read_bytes()
    assert len(shots["light"]) > 20_000, "an empty page compresses to less"
    assert shots["light"] != shots["dark"]
