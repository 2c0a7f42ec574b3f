# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a maintenance window."""

from __future__ import annotations

from ansible_collections.carrental.ops.plugins.module_utils import _maintenance


def test_the_page_cannot_break_out_of_the_configuration() -> None:
    found = _maintenance.configuration([3000, 80, 3000], "<b>it's $5\\</b>", 60)
    assert "listen 80;\n    listen 3000;" in found
    assert "Retry-After 60 always" in found
    assert "&lt;b&gt;it&#x27;s &#36;5\\\\&lt;/b&gt;" in found
