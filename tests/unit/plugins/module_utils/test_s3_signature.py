# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests are signed as botocore signs them."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _object_bucket as bucket
from ansible_collections.carrental.ops.plugins.module_utils import _object_store
from ansible_collections.carrental.ops.plugins.module_utils import _s3_signature as signature
from ansible_collections.carrental.ops.plugins.module_utils import _s3_wire as wire

auth = pytest.importorskip("botocore.auth")


@pytest.mark.parametrize("key", ["cars/1", "a b/ü+&=?.jpg", "~x/(1)"])
@pytest.mark.parametrize("query", [{}, {"uploads": ""}, {"partNumber": "2", "uploadId": "a/b=="}])
def test_signature_is_the_same(key: str, query: dict[str, str], monkeypatch: Any) -> None:
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    path = f"/carrental/{quote(key, safe='-_.~/')}"
    headers = {"content-type": "image/jpeg", "x-amz-meta-owner": "a  b"}
    request = AWSRequest(
        "PUT", f"http://store:9000{path}", headers=dict(headers), params=dict(query), data=b""
    )
    auth.S3SigV4Auth(Credentials("user", "secret"), "s3", "us-east-1").add_auth(request)
    theirs = dict(request.headers.items())
    now = datetime.strptime(theirs["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    ours = signature.Signer("user", "secret").sign(
        "PUT", path, query, headers={"host": "store:9000", **headers}, now=now
    )
    assert ours["authorization"] == theirs["Authorization"]


def test_the_secret_is_not_shown() -> None:
    assert "hidden" not in repr(signature.Signer("user", "hidden"))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message/></Error>", "NoSuchKey"),
        (b"<html>Bad gateway</html>", ""),
        (b"", ""),
    ],
)
def test_the_code_of_an_error(content: bytes, code: str) -> None:
    assert wire.error_code(content) == code


LOGIN = _object_store.Login("store", 9000, "user", "secret", "carrental")
PAGE = """<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<NextContinuationToken>a&amp;b</NextContinuationToken>
<Contents><Key>cars/a%20b%2B%26%C3%BC</Key><LastModified>2026-11-25T02:00:00.123Z</LastModified>
<ETag>&quot;0123&quot;</ETag><Size>7</Size><Owner><ID>x</ID></Owner></Contents>
</ListBucketResult>"""


def test_a_page_of_a_list() -> None:
    rows, following = bucket.parse_page(PAGE.encode(), LOGIN)
    assert rows == [["cars/a b+&ü", 7, "0123", 1795572000]]
    assert following == "a&b"
    last = PAGE.replace("true</IsT", "false</IsT").encode()
    assert bucket.parse_page(last, LOGIN)[1] == ""


@pytest.mark.parametrize("page", [b"", b"<html>hello</html>", PAGE[:300].encode()])
def test_what_is_no_list_is_no_empty_bucket(page: bytes) -> None:
    with pytest.raises(bucket.StoreError, match="does not speak S3"):
        bucket.parse_page(page, LOGIN)


@pytest.mark.parametrize("token", ["", "<NextContinuationToken></NextContinuationToken>"])
def test_a_list_that_is_cut_is_no_whole_one(token: str) -> None:
    page = re.sub(r"<NextContinuationToken>.*</NextContinuationToken>", token, PAGE)
    with pytest.raises(bucket.StoreError, match="the rest of the bucket is not known"):
        bucket.parse_page(page.encode(), LOGIN)
