# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gate finds in configurations of nginx, however they are written."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _gate_nginx, _gate_nginx_text

REPEAT = "proxy_next_upstream error non_idempotent;"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("location /api/ {\n  proxy_pass http://api;\n}", []),
        ("location /api/ {\n  proxy_pass http://api/;\n}", [("nginx.prefix", 2)]),
        ("location /api/ { proxy_pass http://api/; }", [("nginx.prefix", 1)]),
        ("location ^~ /api/ { proxy_pass http://api/; }", [("nginx.prefix", 1)]),
        ("location /api/\n{\n  proxy_pass\n http://api/;\n}", [("nginx.prefix", 3)]),
        ("location /api/ { proxy_pass http://api/v1/; }", [("nginx.prefix", 1)]),
        ("location /api/ { proxy_pass http://api/api/; }", []),
        ("location /api/ { proxy_pass http://unix:/run/api.sock:/; }", []),
        ("location / { proxy_pass http://web/; }", []),
        ("location = / { proxy_pass http://web/; }", []),
        ("location /api { a b; }\nlocation = / { proxy_pass http://web/; }", []),
        ("location /api { if ($x) { proxy_pass http://web/; } }", [("nginx.prefix", 1)]),
        ("# location /api/ { proxy_pass http://api/; }", []),
        ("add_header x '; proxy_pass http://$up; {';", []),
        ("location / {\n  proxy_pass http://$upstream;\n}", [("nginx.variable", 2)]),
        ("location / { set $up http://api:3000; proxy_pass $up; }", [("nginx.variable", 1)]),
        ("location / { proxy_pass http://${UPSTREAM}/; }", [("nginx.variable", 1)]),
        (REPEAT, [("nginx.repeat", 1)]),
        (f"location /api/ {{ {REPEAT} }}", [("nginx.repeat", 1)]),
        ("\nproxy_next_upstream error # why\n  non_idempotent;", [("nginx.repeat", 2)]),
        ("proxy_next_upstream error timeout;", []),
    ],
)
def test_traps_of_nginx(text: str, told: list[tuple[str, int]]) -> None:
    assert [(one.rule, one.line) for one in _gate_nginx.judge(text, "nginx.conf")] == told


def test_a_finding_says_how_a_path_arrives() -> None:
    text = "location /api/ { proxy_pass http://api/v1/; }"
    (found,) = _gate_nginx.judge(text, "nginx.conf")
    assert found.message.endswith("/api/health arrives as /v1/health.")


def test_a_template_is_filled_in_before_nginx_reads_it() -> None:
    text = "location / { proxy_pass http://${API_HOST}:$API_PORT; }"
    assert list(_gate_nginx.judge(text, "nginx/default.conf.template")) == []
    assert len(list(_gate_nginx.judge(text.lower(), "nginx/default.conf.template"))) == 1


def test_blocks_end_where_they_end() -> None:
    text = "server { location /a { b c; } }\n}\nd e;"
    assert [(one.words, one.line, one.location) for one in _gate_nginx_text.directives(text)] == [
        (("b", "c"), 1, ("/a",)),
        (("d", "e"), 3, ()),
    ]
