#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample stack with another nginx: what deploy_config_dir takes in its place.

nginx 1.27.4 and later can leave idle connections open for a while when it reloads
(keepalive_min_timeout), so that nobody sends a request into one that closes.

    python3 molecule/shared/variants.py .build/stack-nginx-1.30
    ansible-playbook ... -e deploy_config_dir=$PWD/.build/stack-nginx-1.30
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
MIN_TIMEOUT = "keepalive_min_timeout 10s;"


def replace_once(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    if text.count(old) != 1:
        raise ValueError(f"{file} has {old!r} {text.count(old)} times, once was expected")
    file.write_text(text.replace(old, new))


def nginx_1_30(folder: Path) -> Path:
    """Make the variant in ``folder``, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(REPO / "demo/stack", folder)
    replace_once(folder / "docker-compose.prod.yml", "image: nginx:1.22", "image: nginx:1.30")
    timeout = "keepalive_timeout 65;"
    replace_once(folder / "nginx/nginx.conf", timeout, f"{timeout}\n  {MIN_TIMEOUT}")
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: variants.py FOLDER; got {sys.argv[1:]}")
    print(nginx_1_30(Path(sys.argv[1]).resolve()))
