# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of images: what each is made of and the name it has in the field."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from . import downloads
from .downloads import Download
from .settings import DEMO, PREFIX


@dataclass(frozen=True)
class Image:
    """One local image. `parents` maps build arguments to the images they name."""

    name: str
    version: str
    context: Path
    parents: dict[str, str] = field(default_factory=dict)
    files: dict[str, Download] = field(default_factory=dict)
    field_names: tuple[str, ...] = ()
    pulled_from: str = ""
    suite: str = ""

    @property
    def tag(self) -> str:
        return f"{PREFIX}/{self.name}:{self.version}"


IMAGES_DIR = DEMO / "images"
BOOKWORM, TRIXIE = f"{PREFIX}/base:bookworm", f"{PREFIX}/base:trixie"
NODE_TAG, NGINX_TAG = f"{PREFIX}/node:20.20.2", f"{PREFIX}/nginx:1.22.1"
VPS_TAG = f"{PREFIX}/vps:trixie"
REGISTRY_TAG = f"{PREFIX}/registry:2.8.2"
ON_BOOKWORM, ON_TRIXIE, ON_NGINX = {"BOOKWORM": BOOKWORM}, {"TRIXIE": TRIXIE}, {"NGINX": NGINX_TAG}


def bare_tag(suite: str) -> str:
    return f"{PREFIX}/vps-bare:{suite}"


def _image(
    name: str,
    version: str,
    parents: dict[str, str],
    *field_names: str,
    pulled_from: str = "",
    files: dict[str, Download] | None = None,
) -> Image:
    return Image(name, version, IMAGES_DIR / name, parents, files or {}, field_names, pulled_from)


# Field names lie in the mirror, where Docker Hub's official images are "library/…".
# pulled_from is what DEMO_IMAGES=upstream takes instead of building.
IMAGES: tuple[Image, ...] = (
    Image(
        "base",
        "bookworm",
        IMAGES_DIR / "base",
        suite="bookworm",
        pulled_from="docker.io/library/debian:bookworm-slim",
    ),
    Image(
        "base",
        "trixie",
        IMAGES_DIR / "base",
        suite="trixie",
        pulled_from="docker.io/library/debian:trixie-slim",
    ),
    _image(
        "nginx",
        "1.22.1",
        ON_BOOKWORM,
        "library/nginx:1.22",
        pulled_from="docker.io/library/nginx:1.22",
    ),
    # Beside the field's, for what older ones cannot do; the stack does not use it by itself.
    Image(
        "nginx",
        "1.30",
        IMAGES_DIR / "nginx-1.30",
        {"NGINX": NGINX_TAG, "TRIXIE": TRIXIE},
        field_names=("library/nginx:1.30",),
        pulled_from="docker.io/library/nginx:1.30",
    ),
    _image(
        "postgres",
        "16.14",
        ON_BOOKWORM,
        "library/postgres:16",
        pulled_from="docker.io/library/postgres:16",
        files={
            "server.tar.gz": downloads.POSTGRES_SERVER,
            "clients.tar.gz": downloads.POSTGRES_CLIENTS,
        },
    ),
    _image(
        "redis", "7.0.15", ON_BOOKWORM, "library/redis:7", pulled_from="docker.io/library/redis:7"
    ),
    _image(
        "minio",
        "seaweedfs-4.48",
        ON_NGINX,
        "minio/minio:RELEASE.2025-09-07T16-13-09Z",
        pulled_from="quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z",
        files={"weed.tar.gz": downloads.WEED},
    ),
    _image(
        "node",
        "20.20.2",
        ON_BOOKWORM,
        "library/node:20",
        pulled_from="docker.io/library/node:20-bookworm-slim",
        files={"node.tar.gz": downloads.NODE, "npm.tar.gz": downloads.NPM},
    ),
    _image(
        "prometheus",
        "2.53",
        ON_TRIXIE,
        "prom/prometheus:v2.53",
        pulled_from="docker.io/prom/prometheus:v2.53.3",
    ),
    _image(
        "alertmanager",
        "0.28",
        ON_TRIXIE,
        "prom/alertmanager:v0.28",
        pulled_from="docker.io/prom/alertmanager:v0.28.1",
    ),
    _image(
        "node-exporter",
        "1.9",
        ON_TRIXIE,
        "prom/node-exporter:v1.9",
        pulled_from="docker.io/prom/node-exporter:v1.9.1",
    ),
    _image(
        "postgres-exporter",
        "0.17",
        ON_TRIXIE,
        "prometheuscommunity/postgres-exporter:v0.17",
        pulled_from="quay.io/prometheuscommunity/postgres-exporter:v0.17.1",
    ),
    _image(
        "redis-exporter",
        "1.69",
        ON_TRIXIE,
        "oliver006/redis_exporter:v1.69",
        pulled_from="docker.io/oliver006/redis_exporter:v1.69.0",
    ),
    # Not in the stack's own files: playbooks/monitor.yml brings it.
    _image(
        "blackbox-exporter",
        "0.26",
        ON_TRIXIE,
        "prom/blackbox-exporter:v0.26",
        pulled_from="docker.io/prom/blackbox-exporter:v0.26.0",
    ),
    _image(
        "grafana",
        "stand-in",
        ON_NGINX,
        "grafana/grafana:stand-in",
        pulled_from="docker.io/grafana/grafana:11.6.0",
    ),
    _image("registry", "2.8.2", ON_BOOKWORM),
    Image("vps-bare", "bookworm", DEMO / "vps/bare", {"BASE": BOOKWORM}),
    Image("vps-bare", "trixie", DEMO / "vps/bare", {"BASE": TRIXIE}),
    Image("vps", "trixie", DEMO / "vps/docker", {"BARE": bare_tag("trixie")}),
)
