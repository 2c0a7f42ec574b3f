#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether a service answers over HTTP, and with what."""

from __future__ import annotations

DOCUMENTATION = r"""
module: http_live
short_description: Say whether a service answers over HTTP, and with what
version_added: 0.1.0
description:
  - Asks once and judges the status, members of a JSON body, and the version in it.
  - Asks either a O(url), or a O(service) of the stack at the address of its container, whether its
    port is published or not.
  - That nobody answers is no failure of this module but its result.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._stack
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
options:
  url:
    description: What to ask. Redirects are not followed.
    type: str
  service:
    description: Compose service to ask, instead of a O(url).
    type: str
  port:
    description: Port of the O(service).
    type: int
    default: 3000
  path:
    description: Path to ask of the O(service).
    type: str
    default: /
  status:
    description: Status codes that are good.
    type: list
    elements: int
    default: [200]
  json:
    description: Members that the JSON body has to have, with their values.
    type: dict
    default: {}
  json_degraded:
    description: Members that a body has which is degraded; that is a warning.
    type: dict
    default: {}
  version_key:
    description: Member of the JSON body that holds the version.
    type: str
    default: ""
  version:
    description: Version that it has to be; a short form of a sha counts.
    type: str
    default: ""
  hostname:
    description: Name to ask for, when it differs from the host in the O(url).
    type: str
    default: ""
  validate_certs:
    description: Whether the certificate has to be trusted.
    type: bool
    default: true
  ca_file:
    description: File on the server with the certificates to verify by.
    type: path
  thresholds:
    description: From which value on something is a finding.
    type: dict
    default: {}
    suboptions:
      cert_warn_days:
        description: Days before the certificate expires to warn of.
        type: int
        default: 21
      cert_fail_days:
        description: Days before the certificate expires that are a failure.
        type: int
        default: 3
seealso:
  - module: carrental.ops.stack_health
"""

EXAMPLES = r"""
---
- name: Wait until the site answers with the version that was deployed
  carrental.ops.http_live:
    url: https://rental.example.com/api/v1/health
    json:
      status: ok
    version_key: version
    version: "{{ deploy_version }}"
  register: site
  until: site.available
  retries: 20
  delay: 3

- name: Ask the API at its own address
  carrental.ops.http_live:
    service: api
    port: 3000
    path: /api/v1/health
  register: api
"""

RETURN = r"""
available:
  description: Whether it does what it is there for; warnings do not count.
  returned: success
  type: bool
  sample: true
verdict:
  description: The worst of all checks, V(ok), V(warn) or V(fail).
  returned: success
  type: str
  sample: ok
checks:
  description: Every check.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Service and check.
      type: str
      sample: api.http
    service:
      description: The service.
      type: str
      sample: api
    status:
      description: One of V(ok), V(warn), V(fail) and V(not_run).
      type: str
      sample: ok
    down:
      description: Whether the service does not do its work; a warning may be less than that.
      type: bool
      sample: false
    severity:
      description: Always V(P1), for this module is asked about one service alone.
      type: str
      sample: P1
    summary:
      description: The state of the service in a few words.
      type: str
      sample: api is healthy
    detail:
      description: What was found, and what to do next.
      type: str
      sample: ""
    latency_ms:
      description: How long it took, if it was asked for something.
      type: float
      sample: 3.4
    evidence:
      description: What the statement rests on; keys differ by check.
      type: dict
      sample: {}
line:
  description: The checks in one line, as the runbook prints it.
  returned: success
  type: str
  sample: "[OK] api is healthy"
latency_ms:
  description: How long the first round trip took; V(null) when there was none.
  returned: success
  type: float
  sample: 3.4
server_version:
  description: What the server says it is; empty when it does not.
  returned: success
  type: str
  sample: "e849ff1"
error:
  description: Why it is not available; empty when it is.
  returned: success
  type: str
  sample: ""
"""

from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils._arguments import (
    stack_argument_spec,
    threshold_options,
)
from ansible_collections.carrental.ops.plugins.module_utils._service_module import evidence, run
from ansible_collections.carrental.ops.plugins.module_utils._services import InputError


def parse_url(url: str) -> tuple[str, int, bool, str]:
    """Host, port, whether it is TLS, and path with query."""
    try:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in url:
        raise InputError(
            f"{url} is not a URL of http or https; one looks like "
            "https://rental.example.com/api/v1/health. Nothing was changed."
        )
    if parts.username or parts.password:
        raise InputError(
            "The URL holds a user or a password; leave them out, they would stand in logs. "
            "Nothing was changed."
        )
    path = parts.path or "/"
    return parts.hostname, port, tls, f"{path}?{parts.query}" if parts.query else path


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **stack_argument_spec(),
            "url": {"type": "str"},
            "service": {"type": "str"},
            "port": {"type": "int", "default": 3000},
            "path": {"type": "str", "default": "/"},
            "status": {"type": "list", "elements": "int", "default": [200]},
            "json": {"type": "dict", "default": {}},
            "json_degraded": {"type": "dict", "default": {}},
            # The name of a member, which is no secret.
            "version_key": {"type": "str", "default": "", "no_log": False},
            "version": {"type": "str", "default": ""},
            "hostname": {"type": "str", "default": ""},
            "validate_certs": {"type": "bool", "default": True},
            "ca_file": {"type": "path"},
            "thresholds": {
                "type": "dict",
                "default": {},
                "options": threshold_options("cert_warn_days", "cert_fail_days"),
            },
        },
        required_one_of=[("url", "service")],
        mutually_exclusive=[("url", "service")],
        supports_check_mode=True,
    )
    params = module.params
    endpoint = {"hostname": params["hostname"], "validate_certs": params["validate_certs"]}
    name, port, path = params["service"], params["port"], params["path"]
    if params["url"]:
        try:
            host, port, tls, path = parse_url(params["url"])
        except InputError as error:
            secret = urlsplit(params["url"]).password if "@" in params["url"] else ""
            if secret:
                # Ansible repeats the arguments in its result.
                module.no_log_values.add(secret)
            module.fail_json(msg=str(error))
        name = host
        endpoint.update(host=host, tls=tls, ca_file=params["ca_file"] or "")
    entry = {
        "title": name,
        "probe": "http",
        "port": port,
        "path": path,
        "status": params["status"],
        "json": params["json"],
        "json_degraded": params["json_degraded"],
        "version_key": params["version_key"],
    }
    run(
        module,
        name,
        entry,
        endpoint,
        lambda health: (
            evidence(health, f"{name}.version", "version")
            or evidence(health, f"{name}.http", "server")
        ),
    )


if __name__ == "__main__":
    main()
