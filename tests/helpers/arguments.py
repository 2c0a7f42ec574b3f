# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments for a module that runs inside a test, with any supported ansible-core.

``ansible.module_utils.testing`` does the same from 2.19 on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from ansible.module_utils import basic


@contextmanager
def module_arguments(given: Mapping[str, Any]) -> Iterator[None]:
    """Let every AnsibleModule that is made inside find these arguments."""
    text = json.dumps({"ANSIBLE_MODULE_ARGS": dict(given)}).encode()
    with (
        mock.patch.object(basic, "_ANSIBLE_ARGS", text),
        # 2.18 has no profiles.
        mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy", create=True),
    ):
        yield
