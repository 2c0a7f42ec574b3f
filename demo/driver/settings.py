# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, ports and paths: everything that two parts of the driver must agree on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .console import DemoError

DEMO = Path(__file__).resolve().parent.parent
REPO = DEMO.parent
STATE = DEMO / ".state"
CACHE = DEMO / ".cache"
RELEASES_FILE = DEMO / "releases.yml"
SECRETS_FILE = REPO / "inventories/demo/group_vars/carrental/secrets.yml"

# Where setup.sh links Compose where Docker has none.
COMPOSE_PLUGIN = Path("/usr/local/lib/docker/cli-plugins/docker-compose")

PREFIX = "carrental-demo"
NETWORK = "carrental-demo"
HASH_LABEL = "carrental.demo.hash"
OWNER_LABEL = "carrental.demo"

# Fixed on purpose: several clones of the repository share these registries,
# which listen on loopback and on the demo's own network, and hold nothing secret.
REGISTRY_USER = "carrental"
REGISTRY_PASSWORD = "demo-pull-7f3c9b1e5a"  # noqa: S105  # see above

SSH_KEY = STATE / "id_ed25519"
KNOWN_HOSTS = STATE / "known_hosts"
SSL_DIR = STATE / "ssl"


def upstream() -> bool:
    """Whether bases and infrastructure are pulled instead of built."""
    value = os.environ.get("DEMO_IMAGES", "built")
    if value not in ("built", "upstream"):
        raise DemoError(f"DEMO_IMAGES is {value!r}; it may be 'built' or 'upstream'")
    return value == "upstream"


@dataclass(frozen=True)
class Instance:
    """One virtual server and the loopback ports it is reached by."""

    name: str
    ssh_port: int
    http_port: int
    https_port: int

    @property
    def container(self) -> str:
        return f"carrental-{self.name}-vps"

    @property
    def volume(self) -> str:
        """The inner /var/lib/docker: overlay file systems cannot lie on overlay."""
        return f"carrental-{self.name}-docker"

    def snapshot_image(self, snapshot: str) -> str:
        return f"{PREFIX}/snapshot-{self.name}:{snapshot}"

    def snapshot_volume(self, snapshot: str) -> str:
        return f"carrental-{self.name}-snapshot-{snapshot}"


KNOWN_PORTS = {"demo": (2222, 8080, 8443), "test": (2322, 8180, 8543)}
PORT_VARIABLES = ("DEMO_SSH_PORT", "DEMO_HTTP_PORT", "DEMO_HTTPS_PORT")


def instance(name: str) -> Instance:
    """The instance of that name; those without ports of their own take the environment's."""
    if name in KNOWN_PORTS:
        return Instance(name, *KNOWN_PORTS[name])
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
        raise DemoError(f"{name!r} is no name of an instance: small letters, digits and '-'")
    ports = [os.environ.get(variable, "") for variable in PORT_VARIABLES]
    if not all(port.isdecimal() for port in ports):
        raise DemoError(
            f"instance {name!r} has no ports of its own: set {', '.join(PORT_VARIABLES)}"
        )
    return Instance(name, *map(int, ports))
