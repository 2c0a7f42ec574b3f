# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach Redis. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  service:
    description: Compose service of the server. Not used when O(login_host) is given.
    type: str
    default: redis
  login_host:
    description:
      - Host name or address of the server, for one that does not run in a container of the stack.
        Without it the address of the container is used, whether its port is published or not.
    type: str
  login_port:
    description: Port of the server.
    type: int
    default: 6379
  login_user:
    description: User of the access control list. Without it, the default user.
    type: str
  login_password_file:
    description:
      - File on the server that holds the password. Without it, what the container was told on its
        command line, in its configuration file or in E(REDIS_PASSWORD). A password is never an
        option, for it would stand in logs.
    type: path
  login_tls:
    description: Whether to use TLS.
    type: bool
    default: false
  ca_file:
    description: File on the server with the certificates to verify the server's by.
    type: path
"""
