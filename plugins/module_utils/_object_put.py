# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Put one object into a store, in the parts that it was made of, and prove that it is there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from html import escape
from typing import Any

from ._object_entry import hides_md5, is_md5
from ._object_fetch import DamagedError
from ._s3_signature import UNSIGNED
from ._s3_wire import Wire, WireError, error_code, text_of

_TRIES = 3
# Stores take no more in one request.
_MAX_SINGLE = 5 * 1024**3
_LARGE_PART = 512 * 1024 * 1024
_MAX_ANSWER = 1024 * 1024


@dataclass(frozen=True)
class Content:
    """What is to be put: the same bytes each time that a range of it is opened."""

    size: int
    # Proves what is sent where it is an MD5; what is no MD5, or nothing, proves nothing.
    etag: str
    headers: Mapping[str, str]
    open: Callable[[int, int], AbstractContextManager[Iterable[bytes]]]
    # Lets the store itself check what it gets; empty when it is not known.
    sha256: str = ""
    # How large its parts are; 0 for one that is put whole.
    part: int = 0


def put(wire: Wire, key: str, content: Content, condition: Mapping[str, str] | None = None) -> None:
    """Put an object.

    :param condition: headers that say of what is there when it may be replaced.
    :raises WireError, DamagedError: it is not there, or not as it should be.
    """
    part = content.part
    if not part and content.size > _MAX_SINGLE:
        part = _LARGE_PART
    if part:
        _put_parts(wire, key, content, part, condition or {})
        return
    whole = slice(0, content.size)
    headers = {**content.headers, **(condition or {})}
    _etag, md5 = _put_range(wire, key, content, whole, query={}, headers=headers)
    # What a store has that encrypts has an etag of its own; so may what was saved of one, and is
    # proven by its sha256.
    if not content.sha256 and is_md5(content.etag) and md5 != content.etag:
        raise DamagedError(f"what was sent has MD5 {md5}, and it should be {content.etag}")


def _put_range(
    wire: Wire,
    key: str,
    content: Content,
    part: slice,
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
) -> tuple[str, str]:
    """Put a part, or the whole; return its etag, and the MD5 of what was sent."""
    begin, length = part.start, part.stop - part.start
    whole = begin == 0 and length == content.size
    for attempt in range(1, _TRIES + 1):
        md5 = hashlib.md5(usedforsecurity=False)
        try:
            with content.open(begin, length) as chunks:
                answer = wire.send(
                    *(key, _counted(chunks, length, md5), length),
                    query=query,
                    headers=headers,
                    content=content.sha256 if whole and content.sha256 else UNSIGNED,
                )
                answer.body.read()
        except WireError as error:
            if attempt == _TRIES or error.code not in ("", "again"):
                raise
            continue
        etag = str(answer.headers.get("etag") or "").strip('"')
        if is_md5(etag) and etag != md5.hexdigest() and not hides_md5(answer.headers):
            raise DamagedError(
                f"the store says etag {etag} of what was sent with MD5 {md5.hexdigest()}"
            )
        return etag, md5.hexdigest()
    raise AssertionError("the last attempt returns or raises")


def _counted(chunks: Iterable[bytes], length: int, md5: Any) -> Iterator[bytes]:
    sent = 0
    for chunk in chunks:
        sent += len(chunk)
        md5.update(chunk)
        yield chunk
    if sent != length:
        raise WireError(f"{sent} of {length} bytes could be read", "again")


def _put_parts(
    wire: Wire, key: str, content: Content, part: int, condition: Mapping[str, str]
) -> None:
    answer = wire.call("POST", key, query={"uploads": ""}, headers=content.headers)
    upload = text_of(answer.body.read(_MAX_ANSWER), "UploadId")
    etags: list[str] = []
    try:
        for begin in range(0, content.size, part):
            piece = slice(begin, min(begin + part, content.size))
            query = {"partNumber": str(len(etags) + 1), "uploadId": upload}
            etag, _md5 = _put_range(wire, key, content, piece, query=query, headers={})
            etags.append(etag)
        body = completion(etags)
        signed = hashlib.sha256(body).hexdigest()
        asked = {"uploadId": upload}
        answer = wire.call("POST", key, query=asked, headers=condition, body=body, content=signed)
        # A store says 200 before it knows, and an error may follow.
        said = answer.body.read(_MAX_ANSWER)
        if not text_of(said, "ETag"):
            code = error_code(said)
            raise WireError(f"the store did not join the parts ({code or 'no answer'})", code)
    except BaseException:
        # What was sent would be stored for ever, and never be seen.
        with suppress(WireError):
            wire.call("DELETE", key, query={"uploadId": upload}).body.read()
        raise


def completion(etags: list[str]) -> bytes:
    """Return the document that joins parts."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{escape(etag)}&quot;</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
