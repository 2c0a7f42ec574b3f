# SPDX-License-Identifier: GPL-3.0-or-later
"""What it takes to change a setting of PostgreSQL, by what governs it now."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _pg_settings as settings
from ansible_collections.carrental.ops.plugins.module_utils._pg_settings import Entry, Row

CONF, AUTO = "/data/postgresql.conf", "/data/postgresql.auto.conf"
BUFFERS = Row(
    *("shared_buffers", "16384", "8kB", "postmaster", "integer", "configuration file", CONF, 127),
    boot_val="16384",
    min_val="16",
    max_val="1073741823",
)
WORK = Row(
    *("work_mem", "4096", "kB", "user", "integer", "default"),
    boot_val="4096",
    min_val="64",
    max_val="2147483647",
)
LOG = Row(
    *("log_min_duration_statement", "-1", "ms", "superuser", "integer", "default"),
    min_val="-1",
    max_val="2147483647",
)
JIT = Row("jit", "on", "", "user", "bool", "default", boot_val="on")
COST = Row("random_page_cost", "4", "", "user", "real", "default", min_val="0", max_val="1e308")
LIBRARIES = Row("shared_preload_libraries", "", "", "postmaster", "string", "default")
HUGE = Row(
    *("huge_pages", "try", "", "postmaster", "enum", "default"), enumvals=("off", "on", "try")
)


@pytest.mark.parametrize(
    ("row", "given", "expected"),
    [
        (BUFFERS, "512MB", "65536"),
        (BUFFERS, "0.5 GB", "65536"),
        (BUFFERS, "65536", "65536"),
        (WORK, "16MB", "16384"),
        (WORK, "4854kB", "4854"),
        (LOG, "1s", "1000"),
        (LOG, "2min", "120000"),
        (LOG, "-1", "-1"),
        (JIT, "FALSE", "off"),
        (COST, "1.1", "1.1"),
        (HUGE, "Try", "try"),
        (LIBRARIES, 'a,"b" , c', "a, b, c"),
    ],
)
def test_values_as_the_server_would_show_them(row: Row, given: str, expected: str) -> None:
    assert settings.normal(row, given) == expected


@pytest.mark.parametrize(
    ("row", "given", "said"),
    [
        (BUFFERS, "512mb", "their case counts"),
        (BUFFERS, "1kB", "lies between 128kB and"),
        (WORK, "lots", "which is no number"),
        (WORK, "1min", "units are B, kB, MB, GB, TB"),
        (JIT, "maybe", "give on or off"),
        (HUGE, "always", "one of off, on, try"),
        (COST, "1MB", "it has no unit"),
    ],
)
def test_what_the_server_would_refuse(row: Row, given: str, said: str) -> None:
    with pytest.raises(settings.SettingError, match=said):
        settings.normal(row, given)


@pytest.mark.parametrize(
    ("row", "wanted", "entries", "action", "write"),
    [
        (WORK, "4MB", [], settings.KEEP, False),
        (WORK, "8MB", [], settings.RELOAD, True),
        (BUFFERS, "128MB", [Entry("shared_buffers", "128MB", CONF)], settings.KEEP, False),
        (BUFFERS, "256MB", [Entry("shared_buffers", "128MB", CONF)], settings.RESTART, True),
        # Written by somebody before, and waiting for a restart.
        (BUFFERS, "256MB", [Entry("shared_buffers", "256MB", AUTO)], settings.RESTART, False),
        # In force, but the next restart would take what somebody wrote since.
        (BUFFERS, "128MB", [Entry("shared_buffers", "1GB", AUTO)], settings.RELOAD, True),
        (replace(WORK, source="command line"), "8MB", [], settings.BLOCKED, False),
        (
            replace(WORK, source="command line"),
            "4MB",
            [Entry("work_mem", "9MB", AUTO)],
            settings.KEEP,
            False,
        ),
        (replace(WORK, source="user"), "8MB", [], settings.BLOCKED, False),
        (replace(WORK, context="internal"), "8MB", [], settings.BLOCKED, False),
        (WORK, None, [Entry("work_mem", "4MB", AUTO)], settings.RELOAD, True),
        (WORK, None, [Entry("work_mem", "4MB", CONF)], settings.KEEP, False),
        (
            replace(BUFFERS, setting="32768"),
            None,
            [Entry("shared_buffers", "128MB", CONF), Entry("shared_buffers", "256MB", AUTO)],
            settings.RESTART,
            True,
        ),
    ],
)
def test_the_step_of_a_setting(
    row: Row, wanted: str | None, entries: list[Entry], action: str, write: bool
) -> None:
    found = settings.step(row, wanted, entries)
    assert (found.action, found.write) == (action, write)


@pytest.mark.parametrize(("given", "written"), [("2min", "2min"), ("1500", "1500ms")])
def test_what_is_written_is_what_was_given(given: str, written: str) -> None:
    assert settings.step(LOG, given, []).wanted == written


def test_a_blocked_setting_says_where_it_is_fixed() -> None:
    found = settings.step(replace(BUFFERS, source="command line"), "1GB", [])
    assert "128MB is fixed on the command line" in found.why


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        ("", "new"),
        ("a", "a, new"),
        ("new", "new"),
        ('a, "new"', "a, new"),
        ("a,new,b", "a, new, b"),
    ],
)
def test_a_library_is_added_and_none_is_lost(current: str, expected: str) -> None:
    assert settings.with_library(current, "new") == expected


def test_lists_are_given_name_by_name() -> None:
    assert settings.literals("shared_preload_libraries", "a, b") == ["a", "b"]
    assert settings.literals("shared_preload_libraries", "") == [""]
    assert settings.literals("work_mem", "4MB") == ["4MB"]


def test_the_file_that_alter_system_writes() -> None:
    text = "# Do not edit\nwork_mem = '8MB'\nx.y = 'it''s'\nwork_mem = '16MB'\n"
    assert settings.parse_auto(text) == {"work_mem": "16MB", "x.y": "it's"}


@pytest.mark.parametrize(
    ("row", "setting", "said"),
    [
        (BUFFERS, "16384", "128MB"),
        (WORK, "4854", "4854kB"),
        (LOG, "1000", "1000ms"),
        (LOG, "-1", "-1"),
    ],
)
def test_values_for_people(row: Row, setting: str, said: str) -> None:
    assert settings.shown(row, setting) == said
    assert settings.equal(row, said, setting)
