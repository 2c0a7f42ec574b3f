# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-playbook on this machine, for tests of what roles say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def ansible_playbook(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it in the tree, without colours; more of the environment by name."""
    return subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", *argv],
        cwd=REPO,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
            **environment,
        },
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
