# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the releases of the shop and push them, as its CI would."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "demo"))

from driver import registries  # after the path
from driver.console import docker

# Tag, and whether it cuts every connection instead of answering.
RELEASES = {"2026.1": "", "2026.2": "", "2026.3": "", "2026.4": "yes"}

for tag, broken in RELEASES.items():
    local = f"carrental-demo/shop:{tag}"
    arguments = ["--build-arg", f"VERSION={tag}", "--build-arg", f"BROKEN={broken}"]
    docker("build", "--quiet", "--tag", local, *arguments, HERE)
    registries.push(registries.GHCR, local, f"shop/store:{tag}")
