# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that runs inside a test: its arguments, with any supported ansible-core, and its answer.

``ansible.module_utils.testing`` does the same from 2.19 on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
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


def answer(
    capfd: pytest.CaptureFixture[str],
    module: ModuleType,
    *,
    check_mode: bool = False,
    **given: Any,
) -> dict[str, Any]:
    """Run a module as Ansible does, and return what it prints."""
    with (
        module_arguments({**given, "_ansible_check_mode": check_mode}),
        pytest.raises(SystemExit),
    ):
        module.main()
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found
