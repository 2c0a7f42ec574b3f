# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Look at an object store: its own health, its bucket, and an object put, read and deleted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import _http
from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    NOT_RUN,
    OK,
    Check,
    Subject,
)

LIBRARY, PACKAGE = "boto3", "python3-boto3"
# Names of our own, which no application lists.
CANARY_PREFIX = ".carrental-ops/health/"
_LEFTOVER_AGE = timedelta(hours=1)
_NO_CREDENTIALS = (
    "its bucket cannot be checked: no credentials in the container's environment "
    "(MINIO_ROOT_USER and MINIO_ROOT_PASSWORD); give user and password_file in endpoints"
)


@dataclass(frozen=True)
class Login:
    """How to reach a store, as whom, and which bucket matters."""

    host: str
    port: int
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str
    tls: bool = False
    ca_file: str = ""
    verify: bool = True
    region: str = "us-east-1"
    timeout: float = 2.5

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def endpoint(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def check(subject: Subject, login: Login, deep: bool = True, canary: bool = True) -> list[Check]:
    """All checks of a store; who does not answer at all is not asked for a bucket."""
    checks = live(subject, login, deep)
    if checks[0].status in (OK, NOT_RUN):
        checks += bucket(subject, login, deep, canary)
    return checks


def live(subject: Subject, login: Login, deep: bool = True) -> list[Check]:
    """MinIO's own endpoints: alive, and able to write with a quorum of its disks."""
    checks: list[Check] = []
    for name in ("live", "cluster") if deep else ("live",):
        wanted = _http.Request(
            login.host,
            login.port,
            f"/minio/health/{name}",
            login.tls,
            timeout=login.timeout,
            verify=login.tls and login.verify,
            ca_file=login.ca_file,
        )
        try:
            answer = _http.request(wanted)
        except _http.HttpError as error:
            return [*checks, subject.down(name, str(error), place=login.place)]
        checks.append(judge_live(subject, name, answer))
    return checks


def judge_live(subject: Subject, name: str, answer: _http.Answer) -> Check:
    """What an answer of one of the two endpoints means."""
    evidence: dict[str, Any] = {
        "status_code": answer.status,
        "server": answer.headers.get("server", ""),
        "latency_ms": answer.latency_ms,
    }
    if answer.status == 200:
        return subject.passed(name, **evidence)
    # Another store than MinIO does not have them; the bucket decides there.
    if answer.status in (403, 404):
        return subject.skipped(name, f"it has no /minio/health/{name}", **evidence)
    if name == "cluster":
        return subject.down(
            name,
            f"it is alive, but cannot write: /minio/health/cluster answers {answer.status}, "
            "too few of its disks are online",
            **evidence,
        )
    return subject.down(name, f"/minio/health/{name} answers {answer.status}", **evidence)


def bucket(subject: Subject, login: Login, deep: bool = True, canary: bool = True) -> list[Check]:
    """The bucket with the credentials, and an object through its whole life."""
    try:
        # In the process of the probe only: it is slow to import.
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError:
        return [subject.down("bucket", missing_library())]
    if not login.access_key or not login.secret_key:
        return [subject.down("bucket", _NO_CREDENTIALS)]
    store = client(login)
    started = time.monotonic()
    try:
        listing = store.list_objects_v2(Bucket=login.bucket, Prefix=CANARY_PREFIX)
    except (ClientError, BotoCoreError) as error:
        return [subject.down("bucket", cause(error, login, explain), code=code_of(error))]
    latency = round((time.monotonic() - started) * 1000, 1)
    checks = [subject.passed("bucket", bucket=login.bucket, latency_ms=latency)]
    if not deep:
        return checks
    if not canary:
        return [*checks, subject.skipped("canary", "left out, as asked")]
    try:
        _remove_leftovers(store, login.bucket, listing.get("Contents") or [])
        checks.append(_canary(subject, store, login))
    except (ClientError, BotoCoreError) as error:
        reason = cause(error, login, explain_write)
        checks.append(subject.down("canary", reason, code=code_of(error)))
    return checks


def missing_library() -> str:
    """What to do when the library is not on the server."""
    return (
        f"its bucket cannot be checked, the Python library {LIBRARY} is missing on the server; "
        f"run playbooks/bootstrap.yml, which installs {PACKAGE}"
    )


def client(login: Login) -> Any:
    """A client of a store, with nothing of what is set up for another one."""
    # The lower half of boto3: its resources cost time and are not used.
    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    # What is set up for another store must not reach this one.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    settings: dict[str, Any] = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": "path"},
        "retries": {"total_max_attempts": 1},
        "connect_timeout": login.timeout,
        "read_timeout": login.timeout,
        "proxies": {},
    }
    try:
        # Newer versions add checksums to every request that many stores do not know.
        config = Config(
            **settings,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
    except TypeError:
        config = Config(**settings)
    return botocore.session.Session().create_client(
        "s3",
        region_name=login.region,
        endpoint_url=login.endpoint,
        aws_access_key_id=login.access_key,
        aws_secret_access_key=login.secret_key,
        verify=(login.ca_file or True) if login.verify else False,
        config=config,
    )


def _canary(subject: Subject, client: Any, login: Login) -> Check:
    key, content = CANARY_PREFIX + os.urandom(8).hex(), os.urandom(1024)
    started = time.monotonic()
    target = {"Bucket": login.bucket, "Key": key}
    version: dict[str, str] = {}
    try:
        stored = client.put_object(**target, Body=content)
        # In a bucket with versions a plain delete leaves the object behind a marker.
        if stored.get("VersionId"):
            version = {"VersionId": stored["VersionId"]}
        found = client.get_object(**target)["Body"].read(len(content) + 1)
    finally:
        client.delete_object(**target, **version)
    if found != content:
        return subject.down("canary", "it answers, but an object does not come back as it was put")
    left = client.list_objects_v2(Bucket=login.bucket, Prefix=key).get("KeyCount", 0)
    if left:
        return subject.down("canary", "it answers, but a deleted object is still there")
    return subject.passed("canary", latency_ms=round((time.monotonic() - started) * 1000, 1))


def _remove_leftovers(client: Any, name: str, contents: list[dict[str, Any]]) -> None:
    """Delete what checks left behind that were killed between put and delete."""
    for item in leftovers(contents, datetime.now(timezone.utc)):
        client.delete_object(Bucket=name, Key=item)


def leftovers(contents: list[dict[str, Any]], now: datetime) -> list[str]:
    """Canaries old enough to belong to nobody."""
    return [
        item["Key"]
        for item in contents
        if item["Key"].startswith(CANARY_PREFIX) and now - item["LastModified"] > _LEFTOVER_AGE
    ]


def explain(code: str, login: Login) -> str:
    """The cause in an error code, when the bucket was listed."""
    if code in ("NoSuchBucket", "404"):
        return (
            f"it answers, but bucket {login.bucket} does not exist; create it, or bring it back "
            "from the copy of the objects"
        )
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
        return (
            f"wrong credentials: it refuses the access key of the container's environment "
            f"({code}); it was changed elsewhere, restart the service or change it back"
        )
    if code in ("AccessDenied", "403"):
        return f"access to bucket {login.bucket} is denied (403); check credentials and policy"
    if code in ("RequestTimeTooSkewed",):
        return f"the clocks of host and store differ too much ({code}); check the clock"
    return f"it answers, but listing bucket {login.bucket} failed: {code}"


def explain_write(code: str, login: Login) -> str:
    """The cause in an error code, when the canary was written."""
    if code in ("AccessDenied", "403"):
        return f"it answers, but writing to bucket {login.bucket} is denied (403)"
    if code in ("XMinioStorageFull", "InsufficientStorage", "507", "QuotaExceeded"):
        return f"it answers, but its disk is full ({code}); free space or enlarge the volume"
    return f"it answers, but an object cannot be put, read and deleted in {login.bucket}: {code}"


def cause(error: Any, login: Login, named: Callable[[str, Login], str]) -> str:
    """What the store answered, or why it did not."""
    code = code_of(error)
    return named(code, login) if code else f"{login.place}: {' '.join(str(error).split())}"


def code_of(error: Any) -> str:
    """The store's own code of an error; empty when it did not answer."""
    answer = getattr(error, "response", None) or {}
    found = answer.get("Error", {}).get("Code", "")
    return str(found or answer.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
