# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bucket holds, by another client than the code's, and a second store to copy to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support import eventually, inspect, on_server

_CLIENT = """
import boto3, hashlib, json, sys
from botocore.config import Config
endpoint, access, secret, verb, bucket = sys.argv[1:6]
s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=access,
                  aws_secret_access_key=secret, region_name="us-east-1",
                  config=Config(s3={"addressing_style": "path"}))
if verb == "create":
    s3.create_bucket(Bucket=bucket)
if verb == "fill":
    for at in range(int(sys.argv[6])):
        s3.put_object(Bucket=bucket, Key=f"cars/{at}.jpg", Body=b"x" * (1000 + at),
                      ContentType="image/jpeg", Metadata={"owner": str(at)})
if verb == "copy":
    source = {"Bucket": bucket, "Key": sys.argv[6]}
    s3.copy_object(Bucket=bucket, Key=sys.argv[7], CopySource=source)
if verb == "put":
    s3.put_object(Bucket=bucket, Key=sys.argv[6], Body=sys.argv[7].encode())
if verb == "damage":
    body = bytearray(s3.get_object(Bucket=bucket, Key=sys.argv[6])["Body"].read())
    body[len(body) // 2] ^= 1
    s3.put_object(Bucket=bucket, Key=sys.argv[6], Body=bytes(body))
found = {}
for one in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
    got = s3.get_object(Bucket=bucket, Key=one["Key"])
    found[one["Key"]] = [hashlib.sha256(got["Body"].read()).hexdigest(), got["ContentType"],
                         got["Metadata"]]
print(json.dumps(found))
"""
_ADDRESS = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
ELSEWHERE = "elsewhere"


def login(container: str = "minio") -> tuple[str, str, str]:
    """Endpoint, access key and secret key of a store in a container."""
    lines = inspect(container, "{{range .Config.Env}}{{println .}}{{end}}").splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    return (
        f"http://{inspect(container, _ADDRESS)}:9000",
        environment["MINIO_ROOT_USER"],
        environment["MINIO_ROOT_PASSWORD"],
    )


def bucket(verb: str, name: str, *argv: str, container: str = "minio") -> dict[str, list[Any]]:
    """Do something in a bucket; return what it holds then: sha256, type and metadata by key."""
    said = on_server("python3", "-", *login(container), verb, name, *argv, stdin=_CLIENT)
    found: dict[str, list[Any]] = json.loads(said)
    return found


@contextmanager
def elsewhere(name: str) -> Iterator[None]:
    """A store that is no part of the stack, with an empty bucket."""
    image = inspect("minio", "{{.Config.Image}}")
    command = json.loads(inspect("minio", "{{json .Config.Cmd}}")) or []
    on_server(
        *("docker", "run", "-d", "--name", ELSEWHERE),
        *("-e", "MINIO_ROOT_USER=provider", "-e", "MINIO_ROOT_PASSWORD=of-another-town"),
        *(image, *command),
    )
    try:
        eventually(lambda: _answers(name), "the other store answers", 30)
        yield
    finally:
        on_server("docker", "rm", "-fv", ELSEWHERE)


def _answers(name: str) -> bool:
    try:
        bucket("create", name, container=ELSEWHERE)
    except AssertionError:
        return False
    return True
