# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies elsewhere: whole, once, and never the last ones removed. The store is the stack's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import inspect, on_server, playbook
from tiers import proof

BACKUPS = "/opt/carrental/backups"
BUCKET = "elsewhere"
_STORE = """
import boto3, hashlib, json, sys
from botocore.config import Config
endpoint, access, secret, verb, bucket = sys.argv[1:6]
s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=access,
                  aws_secret_access_key=secret, region_name="us-east-1",
                  config=Config(s3={"addressing_style": "path"}))
if verb == "create":
    s3.create_bucket(Bucket=bucket)
if verb == "age":
    # The same copy under the name and time of 200 days ago.
    old, new = sys.argv[6:8]
    for suffix in ("", ".sha256", ".json"):
        data = s3.get_object(Bucket=bucket, Key=f"db/{old}{suffix}")["Body"].read()
        if suffix == ".json":
            told = json.loads(data)
            told.update(file=new, id=new.split(".")[0], started_at="2026-03-01T02:00:00Z")
            data = json.dumps(told).encode()
        s3.put_object(Bucket=bucket, Key=f"db/{new}{suffix}", Body=data)
found = {}
for one in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
    data = s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
    found[one["Key"]] = hashlib.sha256(data).hexdigest()
print(json.dumps(found))
"""


def login() -> tuple[str, str, str]:
    address = inspect("minio", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
    lines = inspect("minio", "{{range .Config.Env}}{{println .}}{{end}}").splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    return (
        f"http://{address}:9000",
        environment["MINIO_ROOT_USER"],
        environment["MINIO_ROOT_PASSWORD"],
    )


def store(verb: str, *argv: str) -> dict[str, str]:
    """What the bucket holds, by another client: sha256 by key."""
    said = on_server("python3", "-", *login(), verb, BUCKET, *argv, stdin=_STORE)
    found: dict[str, str] = json.loads(said)
    return found


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
    store("age", file, old)
    # Three younger ones are there, so the old copy goes, and they do not.
    playbook("backup", **settings)
    left = store("list")
    assert not [key for key in left if "20260301" in key]
    assert f"db/{file}" in left

    # By night, too.
    on_server("systemctl", "start", "carrental-backup")
    assert len(store("list")) == len(left) + 3
    assert "carrental_backup_offsite_lag_seconds" in on_server(
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
