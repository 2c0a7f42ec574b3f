# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of modules that answer incidents. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  services:
    description: The services of the stack, as C(carrental_services) describes them.
    type: dict
    required: true
  database:
    description: Database of the application.
    type: str
    default: carrental
  bucket:
    description: Bucket of the application.
    type: str
    default: carrental
  domain:
    description: Domain under which customers reach the proxy.
    type: str
    default: ""
  backup_dir:
    description: Directory of the backups, whose file system is looked at.
    type: path
    default: /opt/carrental/backups
  images:
    description: Repositories of the images of released services, without a tag.
    type: dict
    default: {}
  keep_releases:
    description: Of how many releases the images stay.
    type: int
    default: 5
  monitor_projects:
    description: Names of the compose projects that Alertmanager may belong to.
    type: list
    elements: str
    default: []
  alertmanager_service:
    description: Service of Alertmanager, as compose calls it.
    type: str
    default: alertmanager
  alertmanager_port:
    description: Port that it listens on.
    type: int
    default: 9093
  thresholds:
    description: From which value on a measured number is a finding, as of M(carrental.ops.stack_health).
    type: dict
    default: {}
    suboptions:
      disk_warn:
        description: Percent of a file system that are used.
        type: int
        default: 85
      disk_fail:
        description: Percent of a file system that are used.
        type: int
        default: 95
      memory_warn:
        description: Percent of the memory of the server.
        type: int
        default: 90
      memory_fail:
        description: Percent of the memory of the server.
        type: int
        default: 97
  idle_in_transaction:
    description: Seconds from which on a session that sits idle in its transaction is forgotten.
    type: int
    default: 300
"""
