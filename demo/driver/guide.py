# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the demo's server, and what to try next."""

from __future__ import annotations

import json

from . import vps
from .console import say
from .releases import named
from .settings import Instance

# The newest record of a release that went well; records are named by time.
NEWEST_GOOD = (
    "cd /opt/carrental/.ops/releases 2>/dev/null"
    ' && grep -l \'"verdict": "ok"\' *.json 2>/dev/null | sort | tail -n 1 | xargs -r cat'
)


def deployed_version(instance: Instance) -> str:
    """The version that was deployed last; v1 where nothing was."""
    text = vps.ssh(instance, NEWEST_GOOD).stdout
    return str(json.loads(text)["version"]) if text else named("v1").version


def next_steps(instance: Instance) -> None:
    """The commands that show most, ready to be pasted."""
    play = "ansible-playbook -i inventories/demo"
    stop = "python3 demo/demo.py ssh docker"
    for line in (
        "",
        f"The stack is up: https://127.0.0.1:{instance.https_port}/ (self-signed certificate)",
        "Try next, from this directory:",
        "  . .venv/bin/activate",
        f"  {play} deploy.yml -e deploy_version={named('v2').version} --check --diff",
        f"  {play} deploy.yml -e deploy_version={named('v2').version}",
        f"  {play} playbooks/rollback.yml -e rollback_to=previous",
        f"  {play} playbooks/backup.yml",
        f"  {play} playbooks/status.yml",
        f"  {stop} stop redis && {play} playbooks/health.yml; {stop} start redis",
        f"  {stop} pause postgres && {play} playbooks/health.yml; {stop} unpause postgres",
        "  python3 demo/demo.py releases      the releases there are, good and broken",
        "  make demo-clean                    remove all of it, and other clones' demos with it",
    ):
        say(line)
