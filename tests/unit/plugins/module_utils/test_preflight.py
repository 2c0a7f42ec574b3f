# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops a deploy before it begins, what is waived, and what is only told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _disk_space,
    _preflight,
    _preflight_look,
)
from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    FAIL,
    NOT_RUN,
    OK,
    WARN,
    Check,
    Subject,
)
from ansible_collections.carrental.ops.plugins.module_utils._preflight import (
    Blocker,
    CiAnswer,
    Disk,
    MemoryNeed,
    ProxyTest,
    SpaceNeed,
    WaiverError,
)

ROLES = {"api": "stateless", "postgres": "database", "nginx": "proxy", "redis": "cache"}
MIB = 1024 * 1024


def check(service: str, status: str = FAIL, **evidence: Any) -> Check:
    summary = f"{service} is down"
    return Check(f"{service}.x", service, status, "P1", summary, "why", evidence=evidence)


def health(*checks: Check, replaced: tuple[str, ...] = ("api",)) -> dict[str, str]:
    found = _preflight.judge_health(checks, ROLES, replaced)
    return {name: one.check.status for name, one in found.items()}


WELL = {"health": OK, "database": OK, "proxy": OK}


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([], {}),
        ([check("api")], {"health": WARN}),
        ([check("redis", WARN), check("host", FAIL)], {"health": WARN}),
        ([check("postgres")], {"database": FAIL}),
        ([check("postgres", WARN)], {"database": WARN}),
        ([check("nginx")], {"proxy": FAIL}),
        # It works; what stands behind it does not, and a deploy may mend that.
        ([check("nginx", status_code=502), check("api")], {"proxy": WARN, "health": WARN}),
        ([check("nginx", status_code=500)], {"proxy": FAIL}),
    ],
)
def test_only_what_a_deploy_cannot_mend_stops_it(
    checks: list[Check], expected: dict[str, str]
) -> None:
    assert health(*checks) == {**WELL, **expected}


def test_proxy_that_is_not_there_is_made_by_the_deploy() -> None:
    nginx = Subject("nginx", "Nginx", "P1", "it serves", "it does not")
    absent = nginx.down("container", "there is no container of it")
    stopped = nginx.down("container", "it was stopped", state="exited")
    assert health(absent, replaced=("nginx",)) == {**WELL, "health": WARN}
    assert health(absent) == {**WELL, "proxy": FAIL}
    assert health(stopped, replaced=("nginx",)) == {**WELL, "proxy": FAIL}


def test_what_is_replaced_is_named() -> None:
    found = _preflight.judge_health([check("api"), check("api"), check("redis")], ROLES, ["api"])
    assert found["health"].line == (
        "[WARN] Not all that runs now is well: api is down (why); redis is down (why); this deploy "
        "replaces api; for the rest see playbooks/health.yml"
    )


def test_sessions_that_hold_locks() -> None:
    database = _preflight.says("database", OK, "PostgreSQL takes writes")
    found = _preflight.with_blockers(database, [Blocker(7, "app", 90, "cars")], 5)
    assert found.check.status == WARN
    assert "session 7 of app holds locks on cars for 90 s" in found.line
    assert "pg_terminate_backend(7)" in found.line
    assert _preflight.with_blockers(database, [], 5) is database


def test_blockers_are_read() -> None:
    output = "77 carrental 150 bookings, cars\nSET\n"
    assert _preflight_look.parse_blockers(output) == [
        Blocker(77, "carrental", 150, "bookings, cars")
    ]


EMERG = 'nginx: [emerg] host not found in upstream "api:3000" in /etc/nginx/nginx.conf:31'
TYPO = 'nginx: [emerg] unexpected "}" in /etc/nginx/nginx.conf:12'


@pytest.mark.parametrize(
    ("test", "status", "says"),
    [
        (ProxyTest("nginx -t", 0), OK, ""),
        (ProxyTest("nginx -t", 1, ["nginx: [warn] x", TYPO, "test failed"]), FAIL, TYPO[7:]),
        (ProxyTest("nginx -t", 1, [EMERG]), FAIL, EMERG[7:]),
        # A stopped service has no address; the deploy starts it.
        (ProxyTest("nginx -t", 1, [EMERG], absent=["api"]), WARN, "api does not run"),
        (
            ProxyTest("nginx -t", 1, [f"2026/11/24 02:44:12 {TYPO[7:14]} 28#28:{TYPO[14:]}"]),
            FAIL,
            TYPO[7:],
        ),
        (ProxyTest("caddy validate", 1, ["bad line 5"]), FAIL, "bad line 5"),
        (ProxyTest("nginx -t", 1), FAIL, "no reason given"),
        (ProxyTest("nginx -t", 0, unseen=["nginx.conf"]), WARN, "nginx.conf was replaced"),
    ],
)
def test_what_the_proxy_says_of_its_configuration(test: ProxyTest, status: str, says: str) -> None:
    found = _preflight.with_test(_preflight.says("proxy", OK, "The proxy serves"), test)
    assert found.check.status == status
    assert says in found.line


def test_a_proxy_that_is_down_says_that() -> None:
    down = _preflight.says("proxy", FAIL, "Nginx is not serving")
    assert _preflight.with_test(down, ProxyTest("nginx -t", 1, [TYPO])) is down


def test_memory() -> None:
    needs = [MemoryNeed("api", 256 * MIB), MemoryNeed("web", 100 * MIB, False)]
    wanted = int(356 * MIB * 1.1)
    assert _preflight.judge_memory(needs, wanted).check.status == OK
    found = _preflight.judge_memory(needs, wanted - 1)
    assert found.check.status == FAIL
    assert "392 MiB are wanted (api 256 MiB + web 100 MiB (no limit; used now)" in found.line
    assert "392 MiB are available" in found.line
    assert _preflight.judge_memory([], 0).check.status == OK


def test_used_memory_leaves_out_what_can_be_taken_back() -> None:
    stats = {"usage": 100, "stats": {"inactive_file": 30}}
    assert _preflight_look.used_memory(stats) == 70
    assert _preflight_look.used_memory({}) == 0


def test_what_lies_on_one_disk_adds_up() -> None:
    one, other = Disk("/a", 1, 100 * MIB), Disk("/b", 2, 100 * MIB)
    both = [SpaceNeed(one, 60 * MIB, "images"), SpaceNeed(one, 60 * MIB, "a dump")]
    found = _preflight.judge_space(both)
    assert found.check.status == FAIL
    assert "/a has 100 MiB free, wanted are 60 MiB for images and 60 MiB for a dump" in found.line
    assert (
        _preflight.judge_space([both[0], SpaceNeed(other, 60 * MIB, "a dump")]).check.status == OK
    )
    assert _preflight.judge_space([]).check.status == OK


def test_the_last_dump(tmp_path: Path) -> None:
    assert _preflight_look.last_dump(str(tmp_path / "none")) == 0
    assert _preflight_look.last_dump(str(tmp_path)) == 0
    for age, (name, length) in enumerate(
        [
            ("car_rental_backup_20261123_020000.sql.gz", 30),
            ("car_rental_backup_20261122_020000.dump", 20),
            ("car_rental_backup_20261123_020000.json", 5),
            ("other.sql.gz", 7),
        ]
    ):
        path = tmp_path / name
        path.write_bytes(b"x" * length)
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    assert _preflight_look.last_dump(str(tmp_path)) == 30
    assert _preflight.dump_need(30) == 36


def test_the_disk_of_what_is_not_there_is_that_of_its_parent(tmp_path: Path) -> None:
    assert _disk_space.look(str(tmp_path / "a" / "b")).path == str(tmp_path)


def ci(**given: Any) -> str:
    answer = CiAnswer("a" * 40, "owner/name", **given)
    return _preflight.judge_ci(answer, ["deploy"]).check.status


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"statuses": {"build": "success"}, "runs": {"test": "skipped"}}, OK),
        ({"statuses": {"build": "pending"}}, FAIL),
        ({"runs": {"test": "failure"}}, FAIL),
        ({"runs": {"test": "in_progress"}}, FAIL),
        ({"runs": {"test": "success", "deploy": "in_progress"}}, OK),
        ({"runs": {"deploy": "success"}}, FAIL),
        ({}, FAIL),
        ({"error": "it refuses the token"}, FAIL),
    ],
)
def test_ci(given: dict[str, Any], status: str) -> None:
    assert ci(**given) == status


def test_ci_that_is_not_asked_is_not_run() -> None:
    assert _preflight.judge_ci(None, []).check.status == NOT_RUN


def test_answers_of_github() -> None:
    status = {"status": 200, "json": {"statuses": [{"context": "build", "state": "success"}]}}
    runs = {
        "status": 200,
        "json": {
            "check_runs": [
                {"name": "test", "status": "completed", "conclusion": "failure"},
                {"name": "lint", "status": "queued", "conclusion": None},
            ]
        },
    }
    found = _preflight.ci_answer("abc", "owner/name", [status, runs])
    assert found.statuses == {"build": "success"}
    assert found.runs == {"test": "failure", "lint": "queued"}


def test_what_is_on_another_page_is_not_taken_for_passed() -> None:
    status = {"status": 200, "json": {"statuses": [{"context": "a", "state": "success"}]}}
    runs = {"status": 200, "json": {"total_count": 101, "check_runs": [{"name": "test"}] * 100}}
    found = _preflight.ci_answer("abc", "owner/name", [status, runs])
    assert found.error == "it has 101 check runs for abc, and 100 were read"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"status": 401}, "deploy_ci_token"),
        ({"status": 404}, "no commit abc in owner/name"),
        ({"status": -1, "msg": "connection refused"}, "connection refused"),
        ({"status": 500}, "500"),
        ({}, "answered 0"),
    ],
)
def test_a_service_that_does_not_answer(answer: dict[str, Any], says: str) -> None:
    assert says in _preflight.ci_answer("abc", "owner/name", [{"status": 200}, answer]).error


def test_outside() -> None:
    one = {"service": "api", "running": "sha256:" + "a" * 64, "recorded": "sha256:" + "b" * 64}
    found = _preflight.judge_outside([one, {**one, "service": "web", "running": ""}])
    assert found.check.status == WARN
    assert "api runs aaaaaaaaaaaa instead of bbbbbbbbbbbb; web does not run" in found.line
    assert _preflight.judge_outside([]).check.status == OK


def test_what_is_waived_blocks_no_more() -> None:
    bad = _preflight.says("memory", FAIL, "No room", "1 of 2", "free some")
    good = _preflight.says("space", OK, "Room")
    assert "memory: 1 of 2; free some" in _preflight.refusal([bad, good])
    found = _preflight.waive([bad, good], {"memory": "batch\nis stopped", "space": "not needed"})
    assert _preflight.refusal(found) == ""
    assert [one.waived for one in found] == ["batch is stopped", ""]
    assert found[0].line == "[FAIL] No room: 1 of 2 (waived: batch is stopped)"


@pytest.mark.parametrize(
    ("waivers", "says"),
    [
        ({"memroy": "x"}, "memroy"),
        ({"migrations": "x"}, "migrations"),
        ({"memory": " "}, "no reason for memory"),
        ({"memory": None}, "no reason for memory"),
    ],
)
def test_a_waiver_names_a_check_and_a_reason(waivers: dict[str, Any], says: str) -> None:
    with pytest.raises(WaiverError, match=says):
        _preflight.require_reasons(waivers)


def test_lines_are_short_where_all_is_well() -> None:
    found = [
        _preflight.says("health", OK, "a"),
        _preflight.says("space", OK, "b"),
        _preflight.says("database", NOT_RUN, "d", "nothing runs here yet"),
        _preflight.says("outside", NOT_RUN, "o", "nothing runs here yet"),
        _preflight.says("ci", NOT_RUN, "c", "it is not set"),
        _preflight.says("memory", WARN, "d", "e"),
        _preflight.says("proxy", FAIL, "in the refusal"),
    ]
    assert _preflight.lines(found) == [
        "[WARN] d: e",
        "[OK] preflight: health, space (not run: database, outside, for nothing runs here yet; ci, "
        "for it is not set)",
    ]


def test_every_check_is_listed() -> None:
    assert len(_preflight.listed()) == len(_preflight.CHECKS) + len(_preflight.ELSEWHERE)
