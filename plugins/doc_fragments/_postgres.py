# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach PostgreSQL. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  service:
    description: Compose service of the server. Not used when O(login_host) is given.
    type: str
    default: postgres
  login_host:
    description:
      - Host name or address of the server, for one that does not run in a container of the stack.
        Without it the address of the container is used, whether its port is published or not.
    type: str
  login_port:
    description: Port of the server.
    type: int
    default: 5432
  login_user:
    description: Role to log in as. Without it, what the container was told in E(POSTGRES_USER).
    type: str
  login_password_file:
    description:
      - File on the server that holds the password of the role. Without it, what the container was
        told in E(POSTGRES_PASSWORD) or E(POSTGRES_PASSWORD_FILE). A password is never an
        option, for it would stand in logs.
    type: path
  login_db:
    description: Database to log in to. Without it, what the container was told in E(POSTGRES_DB).
    type: str
  login_tls:
    description: Whether to require TLS.
    type: bool
    default: false
  ca_file:
    description:
      - File on the server with the certificates to verify the server's by. Its name is verified too.
    type: path
requirements:
  - psycopg2 (package python3-psycopg2) on the server
"""
