# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of an image in a registry: real layers, from a server that speaks its protocol."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _image_layers, _registry
from ansible_collections.carrental.ops.plugins.module_utils._registry_client import (
    Client,
    ReadError,
    is_insecure,
)

LOGIN = {"username": "reader", "password": "s3cret"}
BASIC = "Basic " + base64.b64encode(b"reader:s3cret").decode()


def layer(*members: str | tuple[str, str], pack: bool = True) -> bytes:
    """A layer with files (path and text) and empty ones (path alone, as whiteouts are)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for one in members:
            path, text = one if isinstance(one, tuple) else (one, "")
            member = tarfile.TarInfo(path)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(buffer.getvalue()) if pack else buffer.getvalue()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry:
    """A registry with one image; ``auth`` is none, basic or bearer."""

    def __init__(self, layers: list[bytes], auth: str = "none", elsewhere: str = "") -> None:
        self.auth = auth
        self.elsewhere = elsewhere
        self.ids = [digest(one + b"unpacked") for one in layers]
        config = json.dumps(
            {"config": {"WorkingDir": "/app"}, "rootfs": {"diff_ids": self.ids}}
        ).encode()
        self.blobs = {digest(one): one for one in [config, *layers]}
        manifest = {
            "config": {"digest": digest(config)},
            "layers": [{"digest": digest(one), "size": len(one)} for one in layers],
        }
        self.documents: dict[str, Any] = {
            "v1": {
                "manifests": [
                    {"digest": "sha256:arm", "platform": {"os": "linux", "architecture": "arm64"}},
                    {"digest": "sha256:amd", "platform": {"os": "linux", "architecture": "amd64"}},
                ]
            },
            "sha256:amd": manifest,
        }
        self.asked: list[str] = []
        self.seen: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                registry.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        given = request.headers.get("Authorization", "")
        name = request.path.rpartition("/")[2]
        self.asked.append(name)
        self.seen.append(given)
        if request.path.startswith("/token"):
            allowed = given == BASIC
            self.send(request, 200 if allowed else 401, json.dumps({"token": "t0ken"}).encode())
            return
        wanted = {"none": "", "basic": BASIC, "bearer": "Bearer t0ken"}[self.auth]
        if wanted and given != wanted:
            realm = f'Bearer realm="http://{self.address}/token",service="x",scope="y"'
            challenge = realm if self.auth == "bearer" else 'Basic realm="x"'
            self.send(request, 401, b"", {"WWW-Authenticate": challenge})
        elif name in self.documents:
            self.send(request, 200, json.dumps(self.documents[name]).encode())
        elif name in self.blobs and self.elsewhere:
            self.send(request, 307, b"", {"Location": f"http://{self.elsewhere}/{name}"})
        elif name in self.blobs:
            self.send(request, 200, self.blobs[name])
        else:
            self.send(request, 404, b"")

    def send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        request.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            request.send_header(key, value)
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def started() -> Iterator[list[Registry]]:
    found: list[Registry] = []
    yield found
    for one in found:
        one.server.shutdown()


def read(
    registry: Registry, local: list[str] | None = None, login: dict[str, str] | None = None
) -> tuple[dict[str, str], bool]:
    reference = _registry.parse(f"{registry.address}/carrental/backend:v1")
    client = Client(reference, login, insecure=True)
    return _image_layers.read(client, "amd64", "prisma/migrations", local or [])


M = "app/prisma/migrations"
OLD = layer((f"{M}/1/migration.sql", "one"), (f"{M}/2/migration.sql", "two"), ("etc/x", "no"))


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ([(f"{M}/3/migration.sql", "three")], {"1": "one", "2": "two", "3": "three"}),
        ([(f"./{M}/2/migration.sql", "new")], {"1": "one", "2": "new"}),
        ([f"{M}/.wh.2"], {"1": "one"}),
        ([f"{M}/2/.wh.migration.sql"], {"1": "one"}),
        ([f"{M}/.wh..wh..opq", (f"{M}/3/migration.sql", "three")], {"3": "three"}),
        (["app/prisma/.wh.migrations"], {}),
        (["app/.wh.prisma", (f"{M}/3/migration.sql", "three")], {"3": "three"}),
        (["app/.wh.other"], {"1": "one", "2": "two"}),
    ],
)
def test_what_lies_above_hides_what_lies_below(
    started: list[Registry], upper: list[str | tuple[str, str]], expected: dict[str, str]
) -> None:
    started.append(Registry([OLD, layer(*upper)]))
    files, whole = read(started[0])
    assert {name.partition("/")[0]: text for name, text in files.items()} == expected
    assert whole


def test_a_directory_that_was_made_anew_ends_the_reading(started: list[Registry]) -> None:
    started.append(Registry([OLD, layer(f"{M}/.wh..wh..opq")]))
    assert read(started[0]) == ({}, True)
    assert digest(OLD) not in started[0].asked


def test_what_runs_already_is_not_read(started: list[Registry]) -> None:
    started.append(Registry([OLD, layer((f"{M}/3/migration.sql", "three"))]))
    files, whole = read(started[0], local=[started[0].ids[0], "sha256:other"])
    assert files == {"3/migration.sql": "three"}
    assert not whole
    assert digest(OLD) not in started[0].asked


def test_a_layer_may_be_plain(started: list[Registry]) -> None:
    started.append(Registry([layer((f"{M}/1/migration.sql", "one"), pack=False)]))
    assert read(started[0])[0] == {"1/migration.sql": "one"}


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login(started: list[Registry], auth: str) -> None:
    started.append(Registry([OLD], auth))
    assert len(read(started[0], login=LOGIN)[0]) == 2
    with pytest.raises(ReadError):
        read(started[0])
    with pytest.raises(ReadError, match=r"401|token"):
        read(started[0], login={**LOGIN, "password": "wrong"})


def test_whoever_keeps_the_layers_does_not_see_the_login(started: list[Registry]) -> None:
    store = Registry([OLD])
    started += [Registry([OLD], "basic", elsewhere=store.address), store]
    store.blobs = started[0].blobs
    assert len(read(started[0], login=LOGIN)[0]) == 2
    assert set(store.seen) == {""}


def test_a_link_cannot_be_followed(started: list[Registry]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("app/prisma")
        member.type, member.linkname = tarfile.SYMTYPE, "../other"
        tar.addfile(member)
    started.append(Registry([buffer.getvalue()]))
    with pytest.raises(ReadError, match="/app/prisma is a link"):
        read(started[0])


def test_what_is_cut_off_is_told(started: list[Registry]) -> None:
    started.append(Registry([OLD[:100]]))
    with pytest.raises(ReadError, match="cannot be read"):
        read(started[0])


def test_too_much_is_not_read(started: list[Registry], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_image_layers, "LIMIT", 10)
    started.append(Registry([OLD]))
    with pytest.raises(ReadError, match="too much"):
        read(started[0])


def test_no_image_for_this_server(started: list[Registry]) -> None:
    started.append(Registry([OLD]))
    started[0].documents["v1"]["manifests"].pop()
    with pytest.raises(ReadError, match="amd64"):
        read(started[0])


def test_nobody_answers() -> None:
    client = Client(_registry.parse("127.0.0.1:1/a:v1"), None, insecure=True)
    with pytest.raises(ReadError, match="refused"):
        _image_layers.read(client, "amd64", "x", [])


def test_a_registry_that_is_not_trusted_is_not_asked_in_clear(started: list[Registry]) -> None:
    started.append(Registry([OLD]))
    client = Client(_registry.parse(f"{started[0].address}/a:v1"), LOGIN)
    with pytest.raises(ReadError):
        _image_layers.read(client, "amd64", "x", [])
    assert started[0].asked == []


@pytest.mark.parametrize(
    ("registry", "insecure"),
    [("a.test:5000", True), ("b.test", False), ("127.0.0.1:5000", True), ("c.test", False)],
)
def test_the_engine_knows_what_is_insecure(registry: str, insecure: bool) -> None:
    known = {"a.test:5000": {"Secure": False}, "b.test": {"Secure": True}}
    assert is_insecure(registry, {"RegistryConfig": {"IndexConfigs": known}}) is insecure
