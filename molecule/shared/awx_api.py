# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of an AWX as ``awx.awx`` asks for: objects that are found, made, changed and linked.

It knows nothing of what the objects mean. What it holds is what the modules sent, and a second
run that changes something is seen as such.
"""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Thing = dict[str, Any]
# Lists of one object that link it with others, or hold its own children.
LINKS = (
    "credentials",
    "labels",
    "instance_groups",
    "notification_templates_started",
    "notification_templates_success",
    "notification_templates_error",
    "notification_templates_approvals",
    "success_nodes",
    "failure_nodes",
    "always_nodes",
)
_UNIFIED = ("job_templates", "workflow_job_templates", "projects", "inventory_sources")
_V2 = "/api/v2/"


@dataclass
class Store:
    """The objects by kind and id."""

    things: dict[str, dict[int, Thing]] = field(default_factory=lambda: defaultdict(dict))
    links: dict[tuple[str, int, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    writes: int = 0
    last: int = 0

    def add(self, kind: str, thing: Thing) -> Thing:
        self.last += 1
        base = f"{_V2}{kind}/{self.last}/"
        related = {name: f"{base}{name}/" for name in (*LINKS, "survey_spec", "workflow_nodes")}
        related["create_approval_template"] = f"{base}create_approval_template/"
        made = {"id": self.last, "type": kind, "url": base, "related": related, **thing}
        if kind == "projects":
            made.update(status="successful", scm_revision="0" * 40, summary_fields={})
        self.things[kind][self.last] = made
        return made

    def find(self, kind: str, query: dict[str, str]) -> list[Thing]:
        kinds = _UNIFIED if kind == "unified_job_templates" else (kind,)
        found = [one for name in kinds for one in self.things[name].values()]
        either = {key[4:]: value for key, value in query.items() if key.startswith("or__")}
        exact = {
            key: value
            for key, value in query.items()
            if not key.startswith("or__") and key not in ("page_size", "order_by")
        }
        if either:
            found = [
                one
                for one in found
                if any(str(one.get(key)) == value for key, value in either.items())
            ]
        return [
            one
            for one in found
            if all(
                key not in one or str(one[key]) == value
                for key, value in exact.items()
                if not key.startswith("__")
            )
        ]


class Handler(BaseHTTPRequestHandler):
    """REST, as far as it goes."""

    store: Store

    def log_message(self, *_args: Any) -> None:
        return

    def _body(self) -> Thing:
        size = int(self.headers.get("Content-Length") or 0)
        return dict(json.loads(self.rfile.read(size))) if size else {}

    def _say(self, code: int, body: Any = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", "24.6.1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _listed(self, found: list[Thing]) -> None:
        self._say(200, {"count": len(found), "next": None, "previous": None, "results": found})

    def _place(self) -> tuple[str, int | None, str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {key: value[0] for key, value in parse_qs(parts.query).items()}
        match = re.fullmatch(rf"{_V2}(\w+)/(?:(\d+)/(?:(\w+)/)?)?", parts.path)
        if match is None:
            return "", None, "", query
        return match[1], int(match[2]) if match[2] else None, match[3] or "", query

    def do_GET(self) -> None:
        kind, number, sub, query = self._place()
        if kind in ("ping", "config", ""):
            self._say(200, {"version": "24.6.1", "license_info": {"license_type": "open"}})
        elif number is None:
            self._listed(self.store.find(kind, query))
        elif sub == "survey_spec":
            self._say(200, self.store.things[kind][number].get("_survey", {}))
        elif sub == "workflow_nodes":
            nodes = self.store.things["workflow_job_template_nodes"].values()
            self._listed([one for one in nodes if one["workflow_job_template"] == number])
        elif sub:
            linked = self.store.links[(kind, number, sub)]
            every = {
                key: one for things in self.store.things.values() for key, one in things.items()
            }
            self._listed([every[one] for one in linked])
        elif number in self.store.things[kind]:
            self._say(200, self.store.things[kind][number])
        else:
            self._say(404, {"detail": "Not found."})

    def do_POST(self) -> None:
        kind, number, sub, _query = self._place()
        body = self._body()
        self.store.writes += 1
        if number is None:
            self._say(201, self.store.add(kind, body))
        elif sub == "survey_spec":
            self.store.things[kind][number]["_survey"] = body
            self._say(200, {})
        elif sub == "create_approval_template":
            made = self.store.add("workflow_approval_templates", body)
            self.store.things[kind][number]["unified_job_template"] = made["id"]
            self.store.things[kind][number]["related"]["unified_job_template"] = made["url"]
            self._say(201, made)
        else:
            links = self.store.links[(kind, number, sub)]
            if body.get("disassociate"):
                links.remove(body["id"])
            else:
                links.append(body["id"])
            self._say(204)

    def do_PATCH(self) -> None:
        kind, number, _sub, _query = self._place()
        self.store.writes += 1
        thing = self.store.things[kind][number or 0]
        thing.update(self._body())
        self._say(200, thing)


@contextmanager
def awx() -> Iterator[tuple[str, Store]]:
    """An empty AWX with one organization; its address and what it holds."""
    store = Store()
    store.add("organizations", {"name": "Default"})
    handler = type("Bound", (Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
