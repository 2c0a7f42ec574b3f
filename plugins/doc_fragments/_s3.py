# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach an object store. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  service:
    description: Compose service of the store. Not used when O(login_host) is given.
    type: str
    default: minio
  login_host:
    description:
      - Host name or address of the store, for one that does not run in a container of the stack.
        Without it the address of the container is used, whether its port is published or not.
    type: str
  login_port:
    description: Port of the store.
    type: int
    default: 9000
  login_user:
    description:
      - Access key. Without it, what the container was told in E(MINIO_ROOT_USER) or
        E(MINIO_ACCESS_KEY).
    type: str
  login_password_file:
    description:
      - File on the server that holds the secret key. Without it, what the container was told in
        E(MINIO_ROOT_PASSWORD) or E(MINIO_SECRET_KEY). A secret is never an option, for it would
        stand in logs.
    type: path
  login_tls:
    description: Whether to use TLS.
    type: bool
    default: false
  ca_file:
    description: File on the server with the certificates to verify the store's by.
    type: path
  region:
    description: Region that requests are signed for.
    type: str
    default: us-east-1
  bucket:
    description: Bucket that has to exist.
    type: str
    default: carrental
requirements:
  - boto3 (package python3-boto3) on the server
"""
