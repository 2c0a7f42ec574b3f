# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A page for customers while a service has to be away: 503, when to come again, and why.

It comes from a small responder, made from the proxy's own image, for that is on the
server. The proxy is led to it as it is led to a surge container: by a pin.
"""

from __future__ import annotations

import html
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from . import _http
from ._docker import Container
from ._engine import Engine
from ._proxy import Nginx

LABEL = "carrental.ops.maintenance"
_MEMORY = 64 * 1024 * 1024
_READY_SECONDS = 15.0
_SCRIPT = (
    'printf "%s" "$CARRENTAL_OPS_PAGE" > /tmp/carrental-ops.conf'
    " && exec nginx -c /tmp/carrental-ops.conf -g 'daemon off;'"
)


class MaintenanceError(Exception):
    """A responder that does not answer; the text is a whole sentence."""


def page(message: str) -> str:
    """Return what customers read."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Maintenance</title>'
        f"</head><body><h1>Maintenance</h1><p>{html.escape(message)}</p></body></html>"
    )


def configuration(ports: Iterable[int], message: str, retry_after: int) -> str:
    """Return the configuration of the responder.

    :param ports: ports of the services that it stands in for.
    :param retry_after: seconds after which clients may come again.
    """
    # In a string of nginx a dollar begins a variable, and cannot be written otherwise.
    text = page(message).replace("\\", "\\\\").replace("'", "\\'").replace("$", "&#36;")
    listens = "\n".join(f"    listen {port};" for port in sorted(set(ports)))
    return f"""worker_processes 1;
pid /tmp/carrental-ops.pid;
error_log /dev/stderr;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path /tmp/carrental-ops-body;
  proxy_temp_path /tmp/carrental-ops-proxy;
  fastcgi_temp_path /tmp/carrental-ops-fastcgi;
  uwsgi_temp_path /tmp/carrental-ops-uwsgi;
  scgi_temp_path /tmp/carrental-ops-scgi;
  server {{
{listens}
    default_type text/html;
    add_header Retry-After {retry_after} always;
    add_header Cache-Control no-store always;
    location / {{ return 503 '{text}'; }}
  }}
}}
"""


def responders(engine: Engine, project: str) -> list[Container]:
    """Return the responders of a project, running or not."""
    found = []
    for listed in engine.containers():
        if (listed.get("Labels") or {}).get(LABEL) == project:
            found.append(engine.inspect(listed["Id"]))
    return found


def definition(proxy: Container, network: str, project: str, text: str) -> dict[str, Any]:
    """Return the responder as the engine creates it."""
    return {
        "Image": proxy.image_id,
        "Entrypoint": ["sh", "-c", _SCRIPT],
        "Cmd": [],
        "User": "0",
        "Env": [f"CARRENTAL_OPS_PAGE={text}"],
        "Labels": {LABEL: project},
        "HostConfig": {
            "Memory": _MEMORY,
            "NetworkMode": network,
            "RestartPolicy": {"Name": "unless-stopped"},
        },
        "Healthcheck": {"Test": ["NONE"]},
    }


def begin(  # noqa: PLR0917  # seven facts, named by the one caller
    engine: Engine,
    project: str,
    proxies: list[Nginx],
    names: Mapping[str, list[str]],
    ports: Iterable[int],
    message: str,
    retry_after: int,
) -> Container:
    """Lead the proxies to a responder, and see it answer through them.

    :param names: the names of each service that it stands in for.
    """
    # Customers are led to the old one, where a run before this one was killed, until this one is.
    before = responders(engine, project)
    wanted = sorted(set(ports))
    proxy = proxies[0].container
    network = next(iter(proxy.networks))
    text = configuration(wanted, message, retry_after)
    created = engine.create(
        f"{project}-maintenance-{uuid.uuid4().hex[:6]}", definition(proxy, network, project, text)
    )
    engine.start(created)
    responder = engine.inspect(created)
    _await(responder, wanted[0])
    address = proxies[0].address_of(responder)
    for one in proxies:
        pins = dict(one.pins())
        pins.update({name: frozenset({address}) for own in names.values() for name in own})
        one.write_pins(pins)
        one.reload()
    for old in before:
        engine.remove(old.id)
    return responder


def _await(responder: Container, port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    request = _http.Request(responder.address, port)
    while True:
        try:
            status = _http.request(request).status
            wrong = "" if status == 503 else f"it answers {status}"
        except _http.HttpError as error:
            wrong = str(error)
        if not wrong:
            return
        if time.monotonic() > deadline:
            raise MaintenanceError(
                f"The maintenance page does not answer: {wrong}; see: docker logs "
                f"{responder.name}. Customers still reach the application."
            )
        time.sleep(0.2)


def end(engine: Engine, project: str, proxies: list[Nginx]) -> list[str]:
    """Remove the responders; return whether a proxy still leads to one, in words.

    A responder that a proxy leads to stays: without it customers would wait for nothing.
    """
    kept = []
    for responder in responders(engine, project):
        address = {one for one in responder.networks.values() if one}
        leading = [
            proxy.name for proxy in proxies if any(address & to for to in proxy.pins().values())
        ]
        if leading:
            kept.append(f"{' and '.join(leading)} still lead to {responder.name}")
        else:
            engine.remove(responder.id)
    return kept
