# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of modules that look at a compose stack. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  project_name:
    description:
      - Name of the compose project. Containers are found by their compose labels, and by their
        names where they have none.
    type: str
    default: carrental
  project_src:
    description: Directory of the compose project on the server.
    type: path
    default: /opt/carrental
  compose_files:
    description:
      - Compose files, relative to O(project_src), in compose's order. Used to tell a stack that is
        down from one that never was, and in the commands that are proposed.
    type: list
    elements: str
    default: [docker-compose.prod.yml, docker-compose.monitoring.yml]
  docker_socket:
    description: Socket of the Docker engine.
    type: path
    default: /var/run/docker.sock
  probe_timeout:
    description:
      - Seconds that one probe may take. Each runs in a process of its own, which is killed then.
    type: float
    default: 3.0
"""
