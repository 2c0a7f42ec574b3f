# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies elsewhere: whole, once, and never the last ones removed. The store is the stack's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bucket import bucket, login
from support import on_server, playbook
from tiers import proof

BACKUPS = "/opt/carrental/backups"
BUCKET = "elsewhere"


def store(verb: str, *argv: str) -> dict[str, str]:
    """What the bucket holds: sha256 by key."""
    return {key: str(found[0]) for key, found in bucket(verb, BUCKET, *argv).items()}


def age(file: str, old: str) -> None:
    """Have the same copy under the name and time of long ago."""
    for suffix in ("", ".sha256"):
        store("copy", f"db/{file}{suffix}", f"db/{old}{suffix}")
    told = json.loads(on_server("cat", f"{BACKUPS}/{file}.json"))
    told.update(file=old, id=old.split(".", maxsplit=1)[0], started_at="2026-03-01T02:00:00Z")
    store("put", f"db/{old}.json", json.dumps(told))


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, Any]]:
    endpoint, access, secret = login()
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"access_key": access, "secret_key": secret}))
    yield {
        "backup_offsite_bucket": BUCKET,
        "backup_offsite_endpoint": endpoint,
        "backup_offsite_prefix": "db",
        "backup_offsite_credentials": str(keys),
    }
    playbook("backup")


@proof
def test_backups_are_copied_once_and_old_copies_go(settings: dict[str, Any]) -> None:
    store("create")
    run = playbook("backup", **settings)
    assert run.result["verdict"] == "ok", run.output
    _endpoint, _access, secret = login()
    assert secret not in run.output
    file = json.loads(on_server("sh", "-c", f"cat {BACKUPS}/{run.result['backup']}.*.json"))["file"]
    there = store("list")
    content = on_server("sha256sum", f"{BACKUPS}/{file}").split()[0]
    assert there[f"db/{file}"] == content
    assert {f"db/{file}.json", f"db/{file}.sha256"} <= set(there)
    assert on_server("stat", "-c", "%a %U", "/opt/carrental/.ops/offsite.json") == "600 deploy"

    copied = [line for line in run.result["changed"] if line.startswith("copy ")]
    again = playbook("backup", **settings)
    assert len([line for line in again.result["changed"] if line.startswith("copy ")]) == 1
    assert copied

    old = file.replace(file.split(".")[0], "car_rental_backup_20260301_020000")
    age(file, old)
    # Three younger ones are there, so the old copy goes, and they do not.
    playbook("backup", **settings)
    left = store("list")
    assert not [key for key in left if "20260301" in key]
    assert f"db/{file}" in left

    # By night, too.
    on_server("systemctl", "start", "carrental-backup")
    assert len(store("list")) == len(left) + 3
    assert "carrental_backup_last_offsite_timestamp_seconds" in on_server(
        "cat", "/opt/carrental/.ops/metrics/carrental_backup.prom"
    )


@proof
def test_copy_that_fails_fails_the_run_and_keeps_the_backup(settings: dict[str, Any]) -> None:
    run = playbook("backup", **{**settings, "backup_offsite_bucket": "nobody-made-it"})
    assert run.result["verdict"] == "failed", run.output
    assert "of bucket nobody-made-it failed" in run.result["headline"]
    newest = on_server("sh", "-c", f"ls {BACKUPS}/*.sha256 | sort | tail -n 1")
    on_server("sh", "-c", f"cd {BACKUPS} && sha256sum -c {newest}")
    assert hashlib.sha256(b"").hexdigest() not in on_server("cat", newest)
