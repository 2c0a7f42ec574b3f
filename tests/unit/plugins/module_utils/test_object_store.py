# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The object store: what its answers mean."""

from __future__ import annotations

import socket
import sys
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _http, _object_store
from ansible_collections.carrental.ops.plugins.module_utils._checks import Subject
from ansible_collections.carrental.ops.plugins.module_utils._object_store import Login

MINIO = Subject("minio", "MinIO", "P2", "MinIO is healthy", "MinIO is not responding")
LOGIN = Login("10.0.0.4", 9000, "key", "s3cret", "carrental")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("name", "code", "status", "detail"),
    [
        ("live", 200, "ok", ""),
        ("live", 503, "fail", "/minio/health/live answers 503"),
        ("live", 404, "not_run", "it has no /minio/health/live"),
        ("cluster", 200, "ok", ""),
        (
            "cluster",
            503,
            "fail",
            "it is alive, but cannot write: /minio/health/cluster answers 503, too few of "
            "its disks are online",
        ),
    ],
)
def test_live(name: str, code: int, status: str, detail: str) -> None:
    check = _object_store.judge_live(MINIO, name, _http.Answer(code, {}, b"", 1.0))
    assert (check.status, check.detail) == (status, detail)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "NoSuchBucket",
            "it answers, but bucket carrental does not exist; create it, or bring it back from the "
            "copy of the objects",
        ),
        (
            "SignatureDoesNotMatch",
            "wrong credentials: it refuses the access key of the container's environment "
            "(SignatureDoesNotMatch); it was changed elsewhere, restart the service "
            "or change it back",
        ),
        (
            "AccessDenied",
            "access to bucket carrental is denied (403); check credentials and policy",
        ),
        (
            "RequestTimeTooSkewed",
            "the clocks of host and store differ too much (RequestTimeTooSkewed); check the clock",
        ),
        ("Other", "it answers, but listing bucket carrental failed: Other"),
    ],
)
def test_bucket_errors(code: str, reason: str) -> None:
    assert _object_store.explain(code, LOGIN) == reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("AccessDenied", "it answers, but writing to bucket carrental is denied (403)"),
        (
            "XMinioStorageFull",
            "it answers, but its disk is full (XMinioStorageFull); free space or "
            "enlarge the volume",
        ),
        (
            "Other",
            "it answers, but an object cannot be put, read and deleted in carrental: Other",
        ),
    ],
)
def test_canary_errors(code: str, reason: str) -> None:
    assert _object_store.explain_write(code, LOGIN) == reason


def test_only_old_canaries_are_leftovers() -> None:
    contents = [
        {"Key": ".carrental-ops/health/old", "LastModified": NOW - timedelta(hours=2)},
        {"Key": ".carrental-ops/health/new", "LastModified": NOW - timedelta(minutes=2)},
        {"Key": "photos/car.jpg", "LastModified": NOW - timedelta(days=2)},
    ]
    assert _object_store.leftovers(contents, NOW) == [".carrental-ops/health/old"]


def test_who_does_not_answer_is_not_asked_for_a_bucket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    checks = _object_store.check(MINIO, Login("127.0.0.1", port, "key", "s3cret", "carrental"))
    assert [check.line for check in checks] == [
        f"[FAIL] MinIO is not responding: connection refused at 127.0.0.1:{port}: "
        "no process listens there"
    ]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    (check,) = _object_store.bucket(MINIO, LOGIN)
    assert check.detail == (
        "its bucket cannot be checked, the Python library boto3 is missing on the server; "
        "run playbooks/bootstrap.yml, which installs python3-boto3"
    )


def test_no_credentials() -> None:
    (check,) = _object_store.bucket(MINIO, Login("10.0.0.4", 9000, "", "", "carrental"))
    assert check.detail == (
        "its bucket cannot be checked: no credentials in the container's environment "
        "(MINIO_ROOT_USER and MINIO_ROOT_PASSWORD); give user and password_file in endpoints"
    )


def test_secrets_and_places() -> None:
    assert "s3cret" not in repr(LOGIN)
    assert LOGIN.endpoint == "http://10.0.0.4:9000"
    assert Login("fd00::1", 443, "k", "s", "b", tls=True).endpoint == "https://[fd00::1]:443"
