# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gate finds in configurations of nginx, however they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def test_files_that_are_called_so_and_files_that_a_container_reads(tmp_path: Path) -> None:
    for name in (
        "nginx/nginx.conf",
        "nginx/default.conf.template",
        "nginx/index.html",
        "node_modules/nginx/nginx.conf",
        "gateway/main.conf",
        "gateway/more.inc",
        "proxy/sites-enabled/rental",
        "api/api.conf",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def service(source: str, target: str, **settings: Any) -> dict[str, Any]:
        volume = {"type": "bind", "source": str(tmp_path / source), "target": target}
        return {"volumes": [volume], **settings}

    called = ["nginx/default.conf.template", "nginx/nginx.conf"]
    assert _gate_nginx.files(str(tmp_path), {}) == called
    named = ["nginx", "-c", "/config/main.conf"]
    model = {
        "services": {
            "gateway": service("gateway", "/config", command=named),
            "proxy": service("proxy/sites-enabled", "/etc/nginx/sites-enabled"),
            "api": service("api", "/config", command=["api", "-c", "/config/api.conf"]),
            "outside": service("..", "/etc/nginx/conf.d"),
        }
    }
    assert _gate_nginx.files(str(tmp_path), model) == [
        "gateway/main.conf",
        "gateway/more.inc",
        *called,
        "proxy/sites-enabled/rental",
    ]


def test_what_is_no_text_has_no_traps(tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_bytes(b"\0" + REPEAT.encode())
    (tmp_path / "y.conf").write_text(REPEAT)
    found = _gate_nginx.look(str(tmp_path), ["x.conf", "y.conf", "gone.conf"])
    assert [one.file for one in found] == ["y.conf"]
