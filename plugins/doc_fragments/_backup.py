# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the backups lie, and the database that they are of."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that work on backups."""

    DOCUMENTATION = r"""
options:
  directory:
    description: Directory of the backups on the server.
    type: path
    required: true
"""

    DATABASE = r"""
options:
  project:
    description: Name of the compose project.
    type: str
    default: carrental
  database_service:
    description: The database, as compose calls it. Its container runs C(pg_dump) and C(pg_restore).
    type: str
    default: postgres
  database:
    description: Name of the database.
    type: str
    default: carrental
  login_user:
    description:
      - The role that reads the database, over the socket in its container.
      - Empty takes the one that the container was told to create (C(POSTGRES_USER)).
    type: str
    default: ""
"""

    RESTORE = r"""
options:
  database:
    description: Name of the database.
    type: str
    required: true
  database_service:
    description: The service of the database, as compose calls it.
    type: str
    default: postgres
  project:
    description: Name of the compose project.
    type: str
    required: true
  identity:
    description: File on the server with the private key, for a backup that is encrypted.
    type: path
  jobs:
    description: How many jobs load an archive. V(0) is as many as there are processors.
    type: int
    default: 0
"""
