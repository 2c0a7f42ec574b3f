#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell people something, by every channel that hears of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notify_send
short_description: Tell people something, by every channel that hears of it
version_added: 0.1.0
description:
  - Sends a message from the server by Slack, by e-mail and to webhooks.
  - A channel that does not take it is told in RV(untold). It fails nothing, for what is told
    of matters more than the telling.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._attributes
attributes:
  check_mode:
    support: full
    details: [Nothing is sent.]
  diff_mode:
    support: none
  idempotent:
    support: none
    details: [Every call sends.]
options:
  channels:
    description:
      - Whom to tell, as C(carrental_channels) of the role P(carrental.ops.stack#role) describes it.
      - Never returned, shown or logged.
    type: list
    elements: dict
    required: true
  severity:
    description: How grave it is. A channel hears of its own severities only.
    type: str
    choices: [P1, P2, P3, P4]
    required: true
  event:
    description: What kind of message it is, for a webhook.
    type: str
    default: update
  subject:
    description: One line.
    type: str
    required: true
  text:
    description: The message.
    type: str
    default: ""
  facts:
    description: Further members of what a webhook gets.
    type: dict
    default: {}
  timeout:
    description: Seconds that one channel may take.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: Declare an incident
  carrental.ops.notify_send:
    channels: "{{ carrental_channels }}"
    severity: P1
    event: declaration
    subject: The API does not answer
    text: On-call has 15 minutes.
"""

RETURN = r"""
told:
  description: Names of the channels that took the message.
  returned: success
  type: list
  elements: str
  sample: [alerts]
untold:
  description: The channels that did not, each with its reason.
  returned: success
  type: list
  elements: str
  sample: ["mail: smtp.example.com:587 does not answer: timed out"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import _notify, _operation_module


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "channels": {"type": "list", "elements": "dict", "required": True, "no_log": True},
            "severity": {"type": "str", "choices": ["P1", "P2", "P3", "P4"], "required": True},
            "event": {"type": "str", "default": "update"},
            "subject": {"type": "str", "required": True},
            "text": {"type": "str", "default": ""},
            "facts": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    params = run.params
    message = _notify.Message(
        params["severity"], params["event"], params["subject"], params["text"], params["facts"]
    )
    told: list[str] = []
    untold: list[str] = []
    for channel in params["channels"]:
        if not _notify.hears(channel, message.severity):
            continue
        name = str(channel.get("name", "(without a name)"))
        for secret in ("url", "password"):
            run.masker.add(str(channel.get(secret) or ""))
        if module.check_mode:
            continue
        try:
            _notify.send(channel, message, float(params["timeout"]))
            told.append(name)
        except (_notify.NotifyError, KeyError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            untold.append(f"{name}: {reason}")
    run.exit({"changed": bool(told), "told": told, "untold": untold})


if __name__ == "__main__":
    main()
