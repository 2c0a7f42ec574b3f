# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Ask a store what is asked once a run: whether there is the bucket, and what is in it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from functools import cached_property, partial
from typing import Any
from urllib.parse import unquote_plus

from . import _object_store, _s3_wire
from ._object_entry import Listed

_CONTENTS = re.compile(r"<Contents>(.*?)</Contents>", re.DOTALL)
_FIELD = re.compile(r"<(Key|Size|ETag|LastModified)>([^<]*)<")
_GONE = ("NoSuchBucket", "404")


class StoreError(Exception):
    """The store refuses, or does not answer; the text is a whole sentence."""


class Bucket:
    """One bucket of one store."""

    def __init__(self, login: _object_store.Login) -> None:
        self.login = login

    @cached_property
    def _botocore(self) -> tuple[Any, tuple[type[Exception], ...]]:
        """The client of AWS and its errors; most runs get along without it, and it loads slowly.

        :raises StoreError: the library is not on the server.
        """
        try:
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  # slow
        except ImportError as error:
            raise StoreError(
                f"The Python library {_object_store.LIBRARY} is missing on the server; run "
                f"playbooks/bootstrap.yml, which installs {_object_store.PACKAGE}."
            ) from error
        return _object_store.client(self.login), (BotoCoreError, ClientError)

    def list(self) -> Iterator[list[Any]]:
        """Yield key, size, etag and time of all objects, in the order of the store.

        :raises StoreError: it cannot be listed.
        """
        # Page by page over a connection of our own: to read the dates of a page alone takes
        # botocore longer than all the rest takes here.
        query = {"list-type": "2", "max-keys": "1000", "encoding-type": "url"}
        with closing(_s3_wire.Wire(self.login)) as wire:
            while True:
                try:
                    body = wire.call("GET", "", query=query).body
                    page = b"".join(iter(partial(_s3_wire.read_piece, body), b""))
                except _s3_wire.WireError as error:
                    raise self._refused(error) from error
                rows, following = parse_page(page, self.login)
                yield from (
                    row for row in rows if not row[0].startswith(_object_store.CANARY_PREFIX)
                )
                if not following:
                    return
                query["continuation-token"] = following

    def _refused(self, error: _s3_wire.WireError) -> StoreError:
        """Return why a list was refused; who does not answer has no code."""
        why = str(error)
        if error.code not in ("", "again"):
            why = _object_store.explain(error.code, self.login)
        return StoreError(f"Object store at {self.login.place}: {why}.")

    def has(self, key: str) -> bool:
        """Return whether an object is listed, which is not the same as that it can be read.

        :raises StoreError: it cannot be listed.
        """
        client, errors = self._botocore
        try:
            page = client.list_objects_v2(Bucket=self.login.bucket, Prefix=key, MaxKeys=1)
        except errors as error:
            raise self._explained(error) from error
        return any(item["Key"] == key for item in page.get("Contents") or [])

    def exists(self) -> bool:
        """Return whether there is the bucket.

        :raises StoreError: nobody can tell.
        """
        client, errors = self._botocore
        try:
            client.head_bucket(Bucket=self.login.bucket)
        except errors as error:
            if _object_store.code_of(error) in _GONE:
                return False
            raise self._explained(error) from error
        return True

    def make(self) -> None:
        """Create the bucket.

        :raises StoreError: it cannot be created.
        """
        client, errors = self._botocore
        try:
            client.create_bucket(Bucket=self.login.bucket)
        except errors as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> StoreError:
        why = _object_store.cause(error, self.login, _object_store.explain)
        return StoreError(f"Object store at {self.login.place}: {why}.")


def parse_page(page: bytes, login: _object_store.Login) -> tuple[list[list[Any]], str]:
    """Return the objects of a page of a list, and the token of the next page.

    :raises StoreError: it is no such page.
    """
    text = page.decode("utf-8", "replace")
    if "</ListBucketResult>" not in text:
        raise StoreError(
            f"Object store at {login.place}: what answers does not speak S3; check its address."
        )
    quoted = "<EncodingType>url</EncodingType>" in text
    rows = []
    for item in _CONTENTS.findall(text):
        found = {name: html.unescape(value) for name, value in _FIELD.findall(item)}
        key = unquote_plus(found["Key"]) if quoted else found["Key"]
        # strptime takes longer for it than all else does for a row.
        moment = datetime.fromisoformat(f"{found['LastModified'][:19]}+00:00")
        mtime = int(moment.timestamp())
        rows.append([key, int(found["Size"]), found.get("ETag", "").strip('"'), mtime])
    if "<IsTruncated>true</IsTruncated>" not in text:
        return rows, ""
    following = _s3_wire.text_of(page, "NextContinuationToken")
    if not following:
        raise StoreError(
            f"Object store at {login.place}: it cuts its list of {login.bucket} and does not say "
            "how to go on (NextContinuationToken), so the rest of the bucket is not known; look at "
            "the store, or at what is in front of it."
        )
    return rows, following


def listed(row: list[Any]) -> Listed:
    """Return what a row of a list describes."""
    return Listed(row[0], row[1], row[2], row[3])
