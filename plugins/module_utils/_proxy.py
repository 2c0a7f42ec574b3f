# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""An nginx in a container, led to the containers that we choose and to no other.

nginx looks up the names of its upstreams when it reads its configuration, and it
asks ``/etc/hosts`` before the DNS of Docker. One marked line there and a reload lead
every new request to one container, without a change of the configuration; the old
workers finish what they have begun. The line is wiped when the container restarts.
"""

from __future__ import annotations

import itertools
import re
import socket
import struct
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ._docker import Container, DockerError, split
from ._engine import Engine

MARK = "# carrental.ops"
_HOSTS = "/etc/hosts"
_RELOAD_SECONDS = 15.0
_SHUTTING_DOWN = "worker process is shutting down"
_WORKER = "nginx: worker process"
_LEADS = r"(?:proxy_pass|grpc_pass|fastcgi_pass|uwsgi_pass)\s+[^;]*"
_ABSENT = re.compile(r'host not found in upstream "([^":]+)')
_NAMES = ("nginx", "nginx-debug", "openresty")
# Options of nginx that decide what it reads, and where its process id stands.
_OPTIONS = ("-c", "-p", "-g", "-e")
_SHORT_ID = re.compile(r"[0-9a-f]{12}\Z")


class ProxyError(Exception):
    """What the proxy does not do; the text is a whole sentence."""


@dataclass(frozen=True)
class Workers:
    """The processes of nginx that serve requests, and those that only finish some."""

    serving: frozenset[str]
    finishing: frozenset[str]


def names_of(container: Container) -> list[str]:
    """Return the names by which others on its networks reach a container."""
    networks = (container.raw.get("NetworkSettings") or {}).get("Networks") or {}
    found = [container.service, container.name]
    for network in networks.values():
        found += [*(network.get("Aliases") or []), *(network.get("DNSNames") or [])]
    names = [name for name in dict.fromkeys(found) if name and not _SHORT_ID.match(name)]
    return sorted(names)


def pinned(hosts: str) -> dict[str, frozenset[str]]:
    """Return the addresses that marked lines give to each name."""
    found: dict[str, set[str]] = {}
    for line in hosts.splitlines():
        if line.rstrip().endswith(MARK):
            words = line.rsplit(MARK, 1)[0].split()
            for name in words[1:]:
                found.setdefault(name, set()).add(words[0])
    return {name: frozenset(addresses) for name, addresses in found.items()}


def of_others(
    pins: Mapping[str, Collection[str]], own: Collection[str], alive: Collection[str]
) -> dict[str, Collection[str]]:
    """Return the pins that are none of a service's: what stays when its own go.

    :param own: names of the service.
    :param alive: names that some service has. One that nobody has any more was that of a
        container that is gone, as there is with each replica less.
    """
    return {name: to for name, to in pins.items() if name in alive and name not in own}


def with_pins(hosts: str, pins: Mapping[str, Collection[str]]) -> str:
    """Return the text of a hosts file that holds these pins and no others."""
    kept = [line for line in hosts.splitlines() if not line.rstrip().endswith(MARK)]
    by_address: dict[str, list[str]] = {}
    for name, addresses in sorted(pins.items()):
        for address in sorted(addresses):
            by_address.setdefault(address, []).append(name)
    kept += [f"{address} {' '.join(names)} {MARK}" for address, names in by_address.items()]
    return "\n".join(kept) + "\n"


def program(words: Sequence[str]) -> list[str]:
    """Return how nginx is to be called beside the one that runs, so that it reads the same files.

    :param words: the command of the container, as the engine shows it.
    """
    for at, word in enumerate(words):
        if word.rpartition("/")[2] in _NAMES:
            pairs = itertools.pairwise(words[at:])
            return [word, *(part for pair in pairs if pair[0] in _OPTIONS for part in pair)]
    # For a shell, in one word.
    inner = next((word for word in words if " " in word and "nginx" in word), "")
    return program(split(inner)) if inner else ["nginx"]


def leads_to(configuration: str, names: Collection[str]) -> str:
    """Return how a configuration leads to a service: ``static``, ``dynamic`` or ``no``.

    :param configuration: what ``nginx -T`` prints.
    :param names: names of the service, see :func:`names_of`.
    """
    text = re.sub(r"(?m)(^|\s)#.*$", "", configuration)
    any_name = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    host = rf"(?<![\w.-])(?:{any_name})(?![\w.-])"
    variables = re.findall(rf"\bset\s+\$(\w+)\s+[^;]*{host}", text)
    if any(re.search(rf"{_LEADS}\$\{{?{name}\b", text) for name in variables):
        return "dynamic"
    if re.search(rf"\bserver\s+{host}(?::\d+)?\s[^;{{]*\bresolve\b", text):
        return "dynamic"
    if re.search(rf"\bserver\s+{host}(?::\d+)?[\s;]", text) or re.search(rf"{_LEADS}{host}", text):
        return "static"
    return "no"


def workers(processes: Sequence[Sequence[str]]) -> Workers:
    """Return the workers among the processes of a container.

    :param processes: pid and command line of each.
    """
    serving, finishing = set(), set()
    for pid, command in processes:
        if _SHUTTING_DOWN in command:
            finishing.add(pid)
        elif command.startswith(_WORKER):
            serving.add(pid)
    return Workers(frozenset(serving), frozenset(finishing))


def peers(table: str) -> frozenset[str]:
    """Return the addresses to which ``/proc/net/tcp`` or ``tcp6`` shows connections."""
    found = set()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 4 or ":" not in fields[2]:
            continue
        raw = fields[2].split(":")[0]
        if len(raw) == 8:
            found.add(socket.inet_ntoa(struct.pack("=I", int(raw, 16))))
        elif len(raw) == 32:
            words = struct.pack("=4I", *(int(raw[at : at + 8], 16) for at in range(0, 32, 8)))
            address = socket.inet_ntop(socket.AF_INET6, words)
            found.add(address.removeprefix("::ffff:"))
    return frozenset(found)


def peers_of(engine: Engine, container: str) -> frozenset[str]:
    """Return the addresses that a container is or was just connected to."""
    _rc, table = engine.execute(container, ["cat", "/proc/net/tcp", "/proc/net/tcp6"], user="0")
    return peers(table)


class Nginx:
    """One running proxy."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self.engine = engine
        self.container = container
        self._program = program(
            [container.raw.get("Path") or "", *(container.raw.get("Args") or [])]
        )

    @property
    def name(self) -> str:
        """Return the name of its container."""
        return self.container.name

    def _execute(self, *argv: str) -> tuple[int, str]:
        return self.engine.execute(self.container.id, list(argv), user="0")

    def unfit(self, names: Collection[str]) -> str:
        """Return why it cannot be led to a container by a pin; nothing when it can."""
        try:
            rc, configuration = self._execute(*self._program, "-T")
        except DockerError as error:
            return f"no command can run in {self.name} ({error})"
        if rc != 0:
            absent = _ABSENT.search(configuration)
            if absent:
                # Nothing to wait for: what does not run serves nobody.
                return f"{self.name} cannot be reloaded while {absent[1]} does not run"
            if "nginx:" in configuration:
                raise ProxyError(
                    f"{self.name} refuses the configuration that is there by now: "
                    f"{self._said(configuration)} Mend what somebody changed since it started; "
                    "and what another nginx is needed for is released by itself, before services "
                    "are switched behind it"
                )
            return f"{self.name} is no nginx"
        way = leads_to(configuration, names)
        if way == "no":
            return f"{self.name} leads nothing to {' or '.join(names)}"
        if way == "dynamic":
            return f"{self.name} looks its name up at every request (resolver)"
        rc, _said = self._execute("sh", "-c", f"test -w {_HOSTS}")
        return f"{_HOSTS} of {self.name} cannot be written" if rc != 0 else ""

    def address_of(self, other: Container) -> str:
        """Return the address under which this proxy reaches a container."""
        shared = [one for name, one in other.networks.items() if name in self.container.networks]
        return next((address for address in shared if address), other.address)

    def pins(self) -> dict[str, frozenset[str]]:
        """Return where it is pinned to, by name."""
        return pinned(self._hosts())

    def _hosts(self) -> str:
        rc, hosts = self._execute("cat", _HOSTS)
        if rc != 0:
            raise ProxyError(f"Cannot read {_HOSTS} of {self.name}: {hosts.strip()}.")
        return hosts

    def write_pins(self, pins: Mapping[str, Collection[str]]) -> None:
        """Write pins for these names, in place of all that this collection wrote before.

        In place, for the file is mounted into the container; nginx reads it with a reload.
        """
        hosts = with_pins(self._hosts(), pins)
        script = f'printf "%s" "$1" > {_HOSTS}'
        rc, said = self._execute("sh", "-c", script, "sh", hosts)
        if rc != 0:
            raise ProxyError(f"Cannot write {_HOSTS} of {self.name}: {said.strip()}.")

    def reload(self) -> None:
        """Let it read its configuration anew, and see that new workers serve.

        ``nginx -s reload`` only sends a signal and says 0 whatever comes of it.
        """
        rc, said = self._execute(*self._program, "-t")
        if rc != 0:
            raise ProxyError(
                f"{self.name} refuses its configuration, so it was not reloaded: {self._said(said)}"
            )
        before = self.workers()
        rc, said = self._execute(*self._program, "-s", "reload")
        if rc != 0:
            raise ProxyError(f"{self.name} cannot be reloaded: {self._said(said)}")
        deadline = time.monotonic() + _RELOAD_SECONDS
        while True:
            now = self.workers()
            if now.serving and not now.serving & before.serving:
                return
            if time.monotonic() > deadline:
                raise ProxyError(
                    f"{self.name} has no new workers {_RELOAD_SECONDS:g} s after its reload; "
                    f"see: docker logs --tail 20 {self.name}"
                )
            time.sleep(0.1)

    def workers(self) -> Workers:
        """Return its workers as the engine lists them."""
        return workers(self.engine.processes(self.container.id))

    def peers(self) -> frozenset[str]:
        """Return the addresses that it is or was just connected to."""
        return peers_of(self.engine, self.container.id)

    @staticmethod
    def _said(output: str) -> str:
        """Return nginx's own sentence without its time stamps."""
        for line in output.splitlines():
            found = re.search(r"\[(?:emerg|crit|alert)\]\s*(?:\d+#\d+:\s*)?(.*)", line)
            if found:
                return found[1].rstrip(".") + "."
        return " ".join(output.split())[-200:]
