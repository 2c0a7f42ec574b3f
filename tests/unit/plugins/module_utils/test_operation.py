# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock with real processes: kernel locks, signals and environments are not imitated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _freeze,
    _journal,
    _lock_file,
    _operation,
    _operation_info,
    _operation_module,
    _operation_rules,
    _operation_work,
    _remains,
)
from ansible_collections.carrental.ops.plugins.module_utils._operation import (
    OperationError,
    Request,
)

COLLECTIONS = Path(__file__).resolve().parents[4] / "collections"
ANNA = Request("deploy", who="anna", host="shop", origin="laptop-17", ttl=60)
# Works for an operation until it is killed, says so, and may start what outlives it.
WORKER = """
import sys, time, subprocess
sys.path.insert(0, sys.argv[1])
from ansible_collections.carrental.ops.plugins.module_utils import _operation_work
with _operation_work.join(sys.argv[2], sys.argv[3], "worker") as operation:
    operation.step(sys.argv[4])
    if "child" in sys.argv:
        child = subprocess.Popen(["sleep", "300"])
        print(child.pid, flush=True)
    else:
        print("works", flush=True)
    if "stubborn" in sys.argv:
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("stubborn", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / ".ops")


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        one.kill()
        one.wait()
        assert one.stdout is not None
        one.stdout.close()


def work(
    workers: list[subprocess.Popen[str]], state: str, operation: str, step: str, *more: str
) -> tuple[subprocess.Popen[str], str]:
    """Start a process that works for an operation; return it and what it said first."""
    argv = [sys.executable, "-c", WORKER, str(COLLECTIONS), state, operation, step, *more]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    workers.append(process)
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    assert said
    return process, said


def silence(state: str, name: str = "lock") -> None:
    """Make the last heartbeat an old one."""
    file = _lock_file.LockFile(os.path.join(state, name))
    record = file.read()
    assert record is not None
    file.write(replace(record, heartbeat=time.time() - 3600))
    file.close()


def test_the_lock_is_private_and_says_who_has_it(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    assert os.stat(state).st_mode & 0o777 == 0o700
    assert os.stat(f"{state}/lock").st_mode & 0o777 == 0o600
    told = json.loads(Path(f"{state}/lock").read_text())
    assert told["id"] == begun.id
    assert (told["who"], told["origin"], told["kind"]) == ("anna", "laptop-17", "deploy")


def test_the_second_is_refused_and_told_by_whom(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    with pytest.raises(OperationError) as refused:
        _operation.acquire(state, Request("scale", who="bert"))
    text = str(refused.value)
    for wanted in (begun.id, "anna", "laptop-17", "since 20", "heartbeat", "playbooks/lock.yml"):
        assert wanted in text
    assert text.endswith("Nothing was changed.")
    assert refused.value.facts["holder"]["id"] == begun.id


def test_returned_it_is_free_and_the_verdict_is_the_last_line(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    assert _operation.release(state, begun.id, "ok", "v2 is released")
    last = _journal.ending(_journal.read(state, begun.id))
    assert last is not None
    assert (last["verdict"], last["headline"]) == ("ok", "v2 is released")
    assert not _operation.release(state, begun.id, "ok")
    assert _operation.acquire(state, ANNA).taken_over == []


def test_of_many_at_once_one_gets_it(state: str) -> None:
    """Real processes, begun together."""
    code = (
        "import sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from ansible_collections.carrental.ops.plugins.module_utils import _operation\n"
        "time.sleep(max(0, float(sys.argv[3]) - time.time()))\n"
        "try:\n"
        "    print(_operation.acquire(sys.argv[2], _operation.Request('deploy')).id)\n"
        "except _operation.OperationError as error:\n"
        "    print('refused', error)\n"
    )
    argv = [sys.executable, "-c", code, str(COLLECTIONS), state, str(time.time() + 2)]
    racers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _one in range(6)]
    said = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    won = [one for one in said if not one.startswith("refused")]
    assert len(won) == 1, said
    assert all(won[0] in one for one in said)


def test_waiting_gets_it_when_it_is_returned(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    code = (
        "import sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from ansible_collections.carrental.ops.plugins.module_utils import _operation\n"
        "time.sleep(1)\n"
        "_operation.release(sys.argv[2], sys.argv[3], 'ok')\n"
    )
    argv = [sys.executable, "-c", code, str(COLLECTIONS), state, begun.id]
    with subprocess.Popen(argv):
        assert _operation.acquire(state, ANNA, wait=30).id != begun.id


def test_a_backup_works_beside_a_deploy_and_not_beside_a_restore(state: str) -> None:
    deploy = _operation.acquire(state, ANNA)
    backup = _operation.acquire(state, Request("backup", who="cron"))
    _operation.acquire(state, Request("drill", who="cron"))
    with pytest.raises(OperationError, match=f"backup {backup.id} by cron"):
        _operation.acquire(state, Request("backup"))
    _operation.release(state, deploy.id, "ok")
    with pytest.raises(OperationError, match=f"backup {backup.id} by cron"):
        _operation.acquire(state, Request("restore"))


def test_a_freeze_stops_deploy_and_not_rollback_or_backup(state: str) -> None:
    os.mkdir(state)
    end = datetime.now(timezone.utc) + timedelta(hours=1)
    _operation.freeze(state, _freeze.planned("summer sale", end.isoformat(), "carla"))
    for kind in ("deploy", "scale", "tune"):
        with pytest.raises(OperationError, match=r"by carla.*summer sale.*lock_thaw=true"):
            _operation.acquire(state, Request(kind))
    _operation.release(state, _operation.acquire(state, Request("backup")).id, "ok")
    _operation.release(state, _operation.acquire(state, Request("rollback")).id, "ok")
    assert _operation.thaw(state)
    assert not _operation.thaw(state)
    _operation.acquire(state, ANNA)


def test_while_it_works_it_is_not_taken_over_however_long_it_was_silent(
    state: str, workers: list[subprocess.Popen[str]]
) -> None:
    begun = _operation.acquire(state, ANNA)
    process, _line = work(workers, state, begun.id, "up api")
    os.kill(process.pid, signal.SIGSTOP)  # neither does its heartbeat go on
    silence(state)
    with pytest.raises(OperationError) as refused:
        _operation.acquire(state, ANNA)
    assert f"process {process.pid}" in str(refused.value)
    assert '"up api"' in str(refused.value)


def test_dead_and_silent_for_its_time_it_is_taken_over(
    state: str, workers: list[subprocess.Popen[str]]
) -> None:
    begun = _operation.acquire(state, ANNA)
    process, _line = work(workers, state, begun.id, "up api")
    process.kill()
    process.wait()
    with pytest.raises(OperationError, match="can be taken over in"):
        _operation.acquire(state, ANNA)
    silence(state)
    [found] = _operation.acquire(state, Request("deploy", who="bert")).taken_over
    assert (found["id"], found["who"], found["step"]) == (begun.id, "anna", "up api")
    assert found["died_at"] == _journal.read(state, begun.id)[1]["at"]
    assert 'died at step "up api"' in _operation.died(found)
    last = _journal.ending(_journal.read(state, begun.id))
    assert last is not None
    assert (last["event"], last["verdict"], last["who"]) == ("taken over", "unknown", "bert")


def test_what_a_killed_module_started_keeps_others_out(
    state: str, workers: list[subprocess.Popen[str]]
) -> None:
    begun = _operation.acquire(state, ANNA)
    process, child = work(workers, state, begun.id, "up api", "child")
    process.kill()
    process.wait()
    silence(state)
    try:
        assert _remains.tagged(begun.id) == [int(child)]
        with pytest.raises(OperationError, match=rf"process {child} \(sleep\)"):
            _operation.acquire(state, ANNA)
        with pytest.raises(OperationError, match=f"kill {child}"):
            _operation.unlock(state, begun.id, "bert")
    finally:
        os.kill(int(child), signal.SIGKILL)
    _lock_file.until(lambda: not _remains.tagged(begun.id), 10)
    assert len(_operation.acquire(state, ANNA).taken_over) == 1


def test_a_database_session_keeps_others_out(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    silence(state)
    asked: list[str] = []

    def remains(operation: str) -> list[str]:
        asked.append(operation)
        return ["database session 4711"]

    with pytest.raises(OperationError, match="database session 4711"):
        _operation.acquire(state, ANNA, remains=remains)
    assert asked == [begun.id]


def test_a_rollback_ends_a_deploy_when_it_is_given_its_id(
    state: str, workers: list[subprocess.Popen[str]]
) -> None:
    begun = _operation.acquire(state, ANNA)
    process, _line = work(workers, state, begun.id, "up api")
    with pytest.raises(OperationError, match=f"operation_takeover={begun.id}"):
        _operation.acquire(state, Request("rollback"))
    assert process.poll() is None
    ending = Request("rollback", who="bert", takeover_id=begun.id)
    [found] = _operation.acquire(state, ending).taken_over
    assert found["step"] == "up api"
    assert process.wait() == -signal.SIGTERM


@pytest.mark.parametrize("request_kind", ["deploy", "restore", "scale"])
def test_nobody_but_a_rollback_ends_a_deploy(state: str, request_kind: str) -> None:
    begun = _operation.acquire(state, ANNA)
    with pytest.raises(OperationError, match="has the lock"):
        _operation.acquire(state, Request(request_kind, takeover_id=begun.id))


def test_a_deploy_that_does_not_end_is_not_killed(
    state: str, workers: list[subprocess.Popen[str]]
) -> None:
    begun = _operation.acquire(state, ANNA)
    process, _line = work(workers, state, begun.id, "up api", "stubborn")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "stubborn"
    ending = Request("rollback", takeover_id=begun.id)
    with pytest.raises(OperationError, match=rf"kill -KILL {process.pid}"):
        _operation.acquire(state, ending, end_wait=1)
    assert process.poll() is None


def test_who_lost_the_lock_stops_before_the_next_step(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    with _operation_work.join(state, begun.id, "test") as operation:
        operation.step("pull")
        Path(f"{state}/lock").unlink()
        with pytest.raises(OperationError, match=r"does not have the lock any more.*up api"):
            operation.step("up api")
    steps = [line.get("step") for line in _journal.read(state, begun.id)]
    assert "up api" not in steps


def test_who_was_taken_over_cannot_go_on(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    silence(state)
    other = _operation.acquire(state, Request("deploy", who="bert"))
    with (
        pytest.raises(OperationError, match=f"{begun.id} does not have.*{other.id} by bert"),
        _operation_work.join(state, begun.id, "compose_up"),
    ):
        raise AssertionError("it went on")
    assert not _operation.release(state, begun.id, "ok")
    assert _operation_info.holders(state)[0]["id"] == other.id


def test_the_environment_of_what_is_started_names_the_operation(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    with _operation_work.join(state, begun.id, "test"):
        assert os.environ[_remains.VARIABLE] == begun.id
    assert _remains.VARIABLE not in os.environ


def test_it_beats_while_it_works(state: str) -> None:
    begun = _operation.acquire(state, Request("deploy", ttl=1))
    with _operation_work.join(state, begun.id, "test") as operation:
        operation.step("pull")
        silence(state)
        path = f"{state}/lock"

        def fresh() -> bool:
            record = _lock_file.peek(path)
            return record is not None and record.age() < 1 and record.step == "pull"

        assert _lock_file.until(fresh, 10)


def test_a_reader_never_sees_half_a_record(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    long, short = "x" * 140, "y"
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from ansible_collections.carrental.ops.plugins.module_utils import _operation_work\n"
        "with _operation_work.join(sys.argv[2], sys.argv[3], 't') as operation:\n"
        "    for _one in range(300):\n"
        f"        operation.step({long!r}); operation.step({short!r})\n"
    )
    argv = [sys.executable, "-c", code, str(COLLECTIONS), state, begun.id]
    seen = set()
    with subprocess.Popen(argv) as writer:
        while writer.poll() is None:
            record = _lock_file.peek(f"{state}/lock")
            assert record is not None
            assert record.id == begun.id
            seen.add(record.step)
    assert seen <= {"", long, short}


@pytest.mark.parametrize("content", [b"{", b"\0" * 4096, b"[]", b'{"id": 1, "heartbeat": "x"}'])
def test_a_lock_that_cannot_be_read_is_held_until_its_time_is_up(
    state: str, content: bytes
) -> None:
    os.mkdir(state)
    path = Path(f"{state}/lock")
    path.write_bytes(content)
    with pytest.raises(OperationError, match="unreadable"):
        _operation.acquire(state, ANNA)
    os.utime(path, (1, 1))
    assert [one["id"] for one in _operation.acquire(state, ANNA).taken_over] == ["unreadable"]


def test_unlocking_needs_the_exact_id_and_is_written_down(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    assert not _operation.unlock(state, begun.id[:-1], "bert")
    assert _operation_info.holders(state)[0]["id"] == begun.id
    assert _operation.unlock(state, begun.id, "bert")
    assert _operation_info.holders(state) == []
    last = _journal.ending(_journal.read(state, begun.id))
    assert last is not None
    assert (last["event"], last["who"], last["verdict"]) == ("unlocked", "bert", "unknown")


def test_looking_writes_nothing(state: str, tmp_path: Path) -> None:
    assert _operation_info.info(state) == {
        "holders": [],
        "freeze": {},
        "operations": [],
        "report": [],
    }
    assert _operation.blocked_now(state, ANNA, _operation.nothing_remains) is None
    assert list(tmp_path.iterdir()) == []
    begun = _operation.acquire(state, ANNA)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    blocked = _operation.blocked_now(state, ANNA, _operation.nothing_remains)
    assert blocked is not None
    assert blocked.record.id == begun.id
    assert _operation_info.info(state)["operations"][0]["verdict"] == "running"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_call_on_its_own_is_an_operation(state: str) -> None:
    with _operation_work.alone(state, "compose_up") as operation:
        operation.step("up api")
        with pytest.raises(OperationError, match="compose_up"):
            _operation.acquire(state, ANNA)
    [told] = _operation_info.info(state)["operations"]
    assert (told["kind"], told["verdict"], told["step"]) == ("compose_up", "ok", "up api")


@pytest.mark.parametrize(
    ("raised", "verdict"),
    [(SystemExit(0), "ok"), (SystemExit(1), "failed"), (OSError("no space"), "failed")],
)
def test_a_call_on_its_own_ends_with_its_verdict(
    state: str, raised: BaseException, verdict: str
) -> None:
    with pytest.raises(type(raised)), _operation_work.alone(state, "compose_up"):
        raise raised
    assert _operation_info.info(state)["operations"][0]["verdict"] == verdict
    assert _operation_info.holders(state) == []


class Module:
    """What :class:`OperationModule` needs of an AnsibleModule."""

    def __init__(self, check_mode: bool = False, **params: Any) -> None:
        self.params = params
        self.check_mode = check_mode
        self.no_log_values: set[str] = set()

    def warn(self, text: str) -> None:
        raise AssertionError(text)


@pytest.mark.parametrize(
    ("joins", "changes", "check_mode", "kind"),
    [
        (True, True, False, "deploy"),
        (True, False, False, "deploy"),
        (True, True, True, ""),
        (False, True, False, "compose_up"),
        (False, False, False, ""),
        (False, True, True, ""),
    ],
)
def test_what_a_module_works_for(
    state: str, joins: bool, changes: bool, check_mode: bool, kind: str
) -> None:
    begun = _operation.acquire(state, ANNA).id if joins else ""
    module: Any = Module(check_mode, state_dir=state, operation_id=begun)
    run = _operation_module.OperationModule(module)
    with run.operation("compose_up", changes=changes) as operation:
        operation.step("up api")
        assert _operation_rules.kind_of(operation.id) == kind
    assert [one["id"] for one in _operation_info.holders(state)] == ([begun] if joins else [])


def test_facts_of_a_step_are_masked(state: str) -> None:
    begun = _operation.acquire(state, ANNA)

    def mask(data: Any) -> Any:
        return {key: "***" if key == "secret" else value for key, value in data.items()}

    with _operation_work.join(state, begun.id, "test", mask=mask) as operation:
        operation.step("pull", secret="hunter2")
    assert "hunter2" not in Path(_journal.path(state, begun.id)).read_text()


def test_a_journal_that_cannot_be_written_stops_nobody(state: str) -> None:
    begun = _operation.acquire(state, ANNA)
    os.unlink(_journal.path(state, begun.id))
    os.mkdir(_journal.path(state, begun.id))
    told: list[str] = []
    with _operation_work.join(state, begun.id, "test", warn=told.append) as operation:
        operation.step("pull")
    assert len(told) == 1
    assert begun.id in told[0]


def test_it_stops_at_a_step_when_a_test_wants_it(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = _operation.acquire(state, ANNA)
    monkeypatch.setenv("CARRENTAL_OPS_STOP_AT", "migrate")
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(COLLECTIONS), state, begun.id, "migrate"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        stopped = Path(f"{state}/stopped-at")
        assert _lock_file.until(stopped.exists, 20)
        assert json.loads(stopped.read_text()) == {"step": "migrate", "pid": process.pid}
        assert _operation_info.holders(state)[0]["running"]
        stopped.unlink()
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "works"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["", "Deploy", "../x", "a b"])
def test_a_kind_is_a_word(state: str, kind: str) -> None:
    with pytest.raises(OperationError, match="no kind of operation"):
        _operation.acquire(state, Request(kind))


def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"bootstrap\.yml.*Nothing was changed\."):
        _operation.acquire(str(tmp_path / "missing" / ".ops"), ANNA)


def test_what_docker_and_the_database_still_do_keeps_the_lock(state: str) -> None:
    """A migration in a container of its own outlives the module that was killed."""
    begun = _operation.acquire(state, ANNA)
    silence(state)

    def remains(operation: str) -> list[str]:
        return ["container carrental-migrate"] if operation == begun.id else []

    (holder,) = _operation_info.holders(state, remains)
    assert _operation_info.is_active(holder)
    assert "container carrental-migrate" in holder["says"]
    with pytest.raises(OperationError, match=r"still works: container carrental-migrate.*Nothing"):
        _operation.unlock(state, begun.id, "bert", remains=remains)
    assert not _operation_info.is_active(_operation_info.holders(state)[0])
    assert _operation.unlock(state, begun.id, "bert")
