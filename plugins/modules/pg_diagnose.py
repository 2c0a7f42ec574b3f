#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what makes PostgreSQL slow, and change nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_diagnose
short_description: Say what makes PostgreSQL slow, and change nothing
version_added: 0.1.0
description:
  - Asks PostgreSQL what it counts of itself, and judges it. Statements by all the time that they
    took and by their mean, sessions that block others as a tree, connections, forgotten
    transactions, the cache, temporary files, tables that are read whole, foreign keys without an
    index, dead rows, bloat, and indexes that nobody reads.
  - Statements are shown without their literals, which are data of customers.
  - Nothing is reset, for that would take the evidence away.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._postgres
  - carrental.ops._attributes
  - carrental.ops._attributes.read_only
options:
  project_name:
    description: Name of the compose project.
    type: str
    default: carrental
  limit:
    description: Findings of each kind.
    type: int
    default: 10
  min_calls:
    description: A statement that was called less often is not called slow by its mean.
    type: int
    default: 20
  min_table_mb:
    description: Smaller tables are read whole rightly, and their indexes cost nothing.
    type: int
    default: 10
seealso:
  - module: carrental.ops.pg_health
  - module: carrental.ops.pg_tune
"""

EXAMPLES = r"""
- name: Look what makes the database slow
  carrental.ops.pg_diagnose:
    project_name: carrental
  register: diagnosis

- name: Show it
  ansible.builtin.debug:
    msg: "{{ diagnosis.table }}"
"""

RETURN = r"""
findings:
  description: What was found, the heaviest of each kind first.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Which question it answers.
      type: str
      sample: missing_index
    what:
      description: The statement, table, index or session.
      type: str
      sample: public.bookings
    detail:
      description: The numbers.
      type: str
      sample: 120 MB, 900000 rows; read whole 4300 times, 900000 rows each, by an index 12 times
    advice:
      description: What to do about it.
      type: str
      sample: CREATE INDEX CONCURRENTLY
    weight:
      description: By which findings of a kind are ordered.
      type: float
      sample: 3870000000
    facts:
      description: What else is known of it, as its C(queryid) or C(pid).
      type: dict
      sample: {}
table:
  description: The findings for a terminal.
  returned: success
  type: list
  elements: str
  sample: ["Tables that are read whole:"]
lines:
  description: The first finding of each kind, for a summary.
  returned: success
  type: list
  elements: str
  sample: []
ticket:
  description: The findings as the text of a ticket, in Markdown.
  returned: success
  type: str
  sample: "## Tables that are read whole"
states:
  description: Sessions by their state.
  returned: success
  type: dict
  sample: {idle: 21, active: 2}
notes:
  description: What could not be seen, and why.
  returned: success
  type: list
  elements: str
  sample: []
server_version:
  description: What the server says it is.
  returned: success
  type: str
  sample: "16.14"
"""

from importlib.util import find_spec

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _docker,
    _engine,
    _masking,
    _pg_diagnosis,
    _pg_diagnosis_look,
    _pg_server,
    _postgres,
    _service_module,
    _services,
)
from ansible_collections.carrental.ops.plugins.module_utils._arguments import (
    login_argument_spec,
    login_endpoint,
)


def login(params: dict[str, object]) -> _postgres.Login:
    """Return how to reach the server: where it was given, or where its container is."""
    given = login_endpoint({**params, "database": params["login_db"]})
    endpoint = _services.Endpoint(
        **{name: value for name, value in given.items() if name != "password_file"},
        password=_services.read_secret(given["password_file"]) if "password_file" in given else "",
    )
    if endpoint.host:
        return _pg_server.elsewhere(endpoint)
    server = _pg_server.PgServer(
        _engine.Engine(), str(params["project_name"]), str(params["service"]), endpoint.database
    )
    return server.login(endpoint)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **login_argument_spec("postgres", 5432),
            "login_db": {"type": "str"},
            "project_name": {"type": "str", "default": "carrental"},
            "limit": {"type": "int", "default": 10},
            "min_calls": {"type": "int", "default": 20},
            "min_table_mb": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    _service_module.require(
        module, find_spec(_postgres.LIBRARY) is not None, _postgres.LIBRARY, _postgres.PACKAGE
    )
    params = module.params
    limits = _pg_diagnosis.Limits(params["limit"], params["min_calls"], params["min_table_mb"])
    masker = _masking.Masker()
    try:
        target = login(params)
        masker.add(target.password)
        with _pg_server.session(target, "carrental.ops diagnose") as session:
            found = _pg_diagnosis_look.look(session, limits)
    except (_docker.DockerError, _pg_server.ServerError, _services.InputError) as error:
        said = str(error).removesuffix("Nothing was changed.").strip().rstrip(".")
        module.fail_json(msg=masker.text(f"{said}. Nothing was changed."))
    module.exit_json(
        changed=False,
        **masker.data(
            {
                "findings": [one.as_dict() for one in found.findings],
                "table": _pg_diagnosis.table(found.findings, found.notes),
                "lines": _pg_diagnosis.short(found.findings),
                "ticket": _pg_diagnosis.ticket(found.findings, found.notes, found.facts),
                "states": found.states,
                "notes": found.notes,
                "server_version": found.facts["version"],
            }
        ),
    )


if __name__ == "__main__":
    main()
