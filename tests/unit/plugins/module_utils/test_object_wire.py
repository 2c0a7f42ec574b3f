# SPDX-License-Identifier: GPL-3.0-or-later
"""One object on its way over a line, against a store that answers what it is told to."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _object_fetch as fetches
from ansible_collections.carrental.ops.plugins.module_utils import _object_put as puts
from ansible_collections.carrental.ops.plugins.module_utils import _object_return as returns
from ansible_collections.carrental.ops.plugins.module_utils._object_bucket import Bucket
from ansible_collections.carrental.ops.plugins.module_utils._object_entry import Listed, name_of
from ansible_collections.carrental.ops.plugins.module_utils._object_store import Login
from ansible_collections.carrental.ops.plugins.module_utils._s3_wire import (
    Answer,
    Wire,
    WireError,
)

md5 = partial(hashlib.md5, usedforsecurity=False)
MIB = 1024 * 1024
LOGIN = Login("store", 9000, "user", "secret", "carrental")


class Line:
    """A line to a store that says yes to everything."""

    def __init__(self) -> None:
        self.sent = b""

    def sendall(self, octets: bytes) -> None:
        self.sent += octets

    def makefile(self, *_how: object) -> io.BufferedReader:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        return io.BufferedReader(io.BytesIO(answer))

    def close(self) -> None:
        pass


def test_what_breaks_off_is_sent_again_over_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[Line] = []

    def connect(wire: Wire) -> Line:
        lines.append(Line())
        wire._socket = lines[-1]  # type: ignore[assignment]
        return lines[-1]

    def read() -> Iterator[bytes]:
        yield b"A" * 1000
        if len(lines) == 1:
            raise WireError("the line broke: the other store went away")
        yield b"A" * 1000

    @contextmanager
    def opened(_begin: int, _length: int) -> Iterator[Iterable[bytes]]:
        yield read()

    monkeypatch.setattr(Wire, "_connect", connect)
    puts.put(Wire(LOGIN), "cars/1", puts.Content(2000, "", {}, opened))
    bodies = [line.sent.partition(b"\r\n\r\n")[2] for line in lines]
    assert bodies == [b"A" * 1000, b"A" * 2000]


def in_parts(content: bytes, size: int) -> str:
    """The etag of a content that was put in parts of a size."""
    hashed = [md5(content[at : at + size]).digest() for at in range(0, len(content), size)]
    return f"{md5(b''.join(hashed)).hexdigest()}-{len(hashed)}"


class Body:
    def __init__(self, content: bytes) -> None:
        self.left = memoryview(content)

    def take(self, buffer: memoryview) -> int:
        piece, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


class Large:
    """A store that has one large object."""

    def __init__(self, content: bytes, etag: str, **headers: str) -> None:
        self.content = content
        self.etag = etag
        self.headers = headers
        self.asked: list[int] = []

    def close(self) -> None:
        pass

    def call(self, _method: str, _key: str, headers: dict[str, str]) -> Answer:
        begin = int(headers.get("range", "bytes=0-").removeprefix("bytes=")[:-1])
        self.asked.append(begin)
        size = len(self.content)
        told = {
            "etag": f'"{self.etag}"',
            "content-length": str(size - begin),
            "content-range": f"bytes {begin}-{size - 1}/{size}",
            **{name.replace("_", "-"): value for name, value in self.headers.items()},
        }
        body = Body(self.content[begin:])
        return Answer(206 if begin else 200, told, body)  # type: ignore[arg-type]


LARGE = os.urandom(20 * MIB)
WHOLE = md5(LARGE).hexdigest()
EIGHT = in_parts(LARGE, 8 * MIB)


@pytest.mark.parametrize(
    ("listed", "said", "headers", "good", "asked"),
    [
        pytest.param(EIGHT, EIGHT, {}, True, [10 * MIB], id="parts"),
        pytest.param(EIGHT, EIGHT, {}, False, [10 * MIB, 0], id="parts, bad bytes"),
        pytest.param(WHOLE, WHOLE, {}, True, [10 * MIB], id="whole"),
        pytest.param(WHOLE, WHOLE, {}, False, [10 * MIB, 0], id="whole, bad bytes"),
        pytest.param(EIGHT, WHOLE, {}, True, [10 * MIB, 0], id="changed"),
        pytest.param("strange", "strange", {}, True, [0], id="an etag that proves nothing"),
        pytest.param(
            *(in_parts(LARGE, 7 * MIB), in_parts(LARGE, 9 * MIB), {}, True, [10 * MIB, 0]),
            id="changed, in parts",
        ),
        pytest.param(
            *("9" * 32, "9" * 32, {"x_amz_server_side_encryption": "aws:kms"}),
            *(True, [10 * MIB, 0]),
            id="encrypted",
        ),
    ],
)
def test_a_large_object_is_gone_on_with_when_what_is_there_is_proven(
    *, tmp_path: Path, listed: str, said: str, headers: dict[str, str], good: bool, asked: list[int]
) -> None:
    wanted = Listed("large", len(LARGE), listed, 1000)
    begun = bytearray(LARGE[: 10 * MIB])
    if not good:
        begun[4096:8192] = bytes(4096)
    (tmp_path / f"{name_of(wanted)}.partial").write_bytes(begun)
    store = Large(LARGE, said, **headers)
    one, content = fetches.fetch(store, wanted, str(tmp_path))  # type: ignore[arg-type]
    assert store.asked == asked
    assert Path(content).read_bytes() == LARGE
    assert (one.etag, one.sha256) == (said, hashlib.sha256(LARGE).hexdigest())


class Target:
    """A store that takes one object, and tells an etag of it."""

    def __init__(self, etag: str, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.headers["etag"] = f'"{etag}"'

    def send(self, _key: str, chunks: Iterable[bytes], _length: int, **_more: object) -> Answer:
        b"".join(chunks)
        return Answer(200, self.headers, Read())  # type: ignore[arg-type]


class Read:
    def read(self) -> bytes:
        return b""


SMALL = b"photo"
OTHER = "9" * 32
KMS = {"x_amz_server_side_encryption": "aws:kms"}


@pytest.mark.parametrize(
    ("source", "sha256", "target", "said"),
    [
        pytest.param(md5(SMALL).hexdigest(), "", Target(OTHER, **KMS), "", id="to an encrypted"),
        pytest.param(OTHER, "f" * 64, Target(md5(SMALL).hexdigest()), "", id="saved of one"),
        pytest.param("", "", Target(md5(SMALL).hexdigest()), "", id="copied of one"),
        pytest.param(OTHER, "", Target(md5(SMALL).hexdigest()), "should be 99", id="bad source"),
        pytest.param(OTHER, "", Target(OTHER, **KMS), "should be 99", id="bad source to one"),
        pytest.param("", "", Target(OTHER), "says etag 99", id="bad target"),
    ],
)
def test_what_is_put_is_proven_by_what_is_an_md5(
    source: str, sha256: str, target: Target, said: str
) -> None:
    @contextmanager
    def opened(_begin: int, _length: int) -> Iterator[Iterable[bytes]]:
        yield [SMALL]

    content = puts.Content(len(SMALL), source, {}, opened, sha256)
    expected = pytest.raises(fetches.DamagedError, match=said) if said else nullcontext()
    with expected:
        puts.put(target, "cars/1", content)  # type: ignore[arg-type]


@pytest.mark.parametrize("kms", [True, False])
def test_an_etag_of_an_encrypted_source_is_no_md5(
    monkeypatch: pytest.MonkeyPatch, *, kms: bool
) -> None:
    headers = {"etag": f'"{OTHER}"', "content-type": "image/jpeg"}
    if kms:
        headers["x-amz-server-side-encryption"] = "aws:kms"
    monkeypatch.setattr(Wire, "call", lambda *_, **__: Answer(200, headers, Read()))  # type: ignore[arg-type]
    source = returns.FromBucket(Bucket(LOGIN))
    content = source.content(Wire(LOGIN), Listed("cars/1", len(SMALL), OTHER, 1000))
    assert content.etag == ("" if kms else OTHER)
    assert content.headers == {"content-type": "image/jpeg"}


class Joining:
    """A store that takes parts, and says 200 before it knows that it cannot join them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []

    def send(self, _key: str, chunks: Iterable[bytes], _length: int, **_more: object) -> Answer:
        etag = md5(b"".join(chunks)).hexdigest()
        return Answer(200, {"etag": etag}, Read())  # type: ignore[arg-type]

    def call(self, method: str, _key: str, **more: dict[str, str]) -> Answer:
        self.asked.append((method, dict(more.get("headers") or {})))
        said = b"<UploadId>1</UploadId><Error><Code>PreconditionFailed</Code></Error>"
        return Answer(200, {}, Said(said))  # type: ignore[arg-type]


class Said:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, _most: int = 0) -> bytes:
        return self.content


def test_parts_are_joined_on_the_condition() -> None:
    @contextmanager
    def opened(_begin: int, length: int) -> Iterator[Iterable[bytes]]:
        yield [bytes(length)]

    store = Joining()
    content = puts.Content(20, "", {"content-type": "image/jpeg"}, opened, part=10)
    with pytest.raises(WireError) as raised:
        puts.put(store, "cars/1", content, {"if-none-match": "*"})  # type: ignore[arg-type]
    assert raised.value.code == "PreconditionFailed"
    assert store.asked == [
        ("POST", {"content-type": "image/jpeg"}),
        ("POST", {"if-none-match": "*"}),
        ("DELETE", {}),
    ]
