# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what the engine knows of the containers, and what operations left, as metrics.

Stands alone: cron starts it once a minute as the user that deploys, and nothing but
Python's standard library is there. It reads only, but for its own text file.
"""

from __future__ import annotations

import argparse
import datetime
import glob
import http.client
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

SOCKET = "/var/run/docker.sock"
PROJECT = "com.docker.compose.project"
# Two files with one metric would make the exporter refuse both.
OWN = "carrental.prom"
ONE_OFF = "com.docker.compose.oneoff"
_OOM = re.compile(
    r'^carrental_container_oom_events_total\{container="([^"]+)"\} (\S+)$', re.MULTILINE
)
Sample = tuple[str, dict[str, str], float]

HELP = {
    "carrental_container_running": "Whether a container of the stack runs.",
    "carrental_container_healthy": "What the container's own check says; absent without one.",
    "carrental_container_restarts_total": "How often the engine started it again by itself.",
    "carrental_container_oom_killed": "Whether it ended for want of memory.",
    "carrental_container_oom_events_total": "Processes in it that were ended for want of memory.",
    "carrental_container_memory_bytes": "Memory that the kernel cannot take back at once.",
    "carrental_container_memory_limit_bytes": "Its limit; 0 is none.",
    "carrental_container_cpu_seconds_total": "Processor time.",
    "carrental_container_cpu_periods_total": "Periods in which its CPU limit counted.",
    "carrental_container_cpu_throttled_periods_total": "Periods in which it had to wait.",
    "carrental_container_outside_release": "Whether it runs another image than was recorded.",
    "carrental_release_timestamp_seconds": "When the release that is in force was recorded.",
    "carrental_release_info": "The release that is in force.",
    "carrental_operation_last_verdict": "How the last operation of a kind ended.",
    "carrental_operation_last_timestamp_seconds": "When the last operation of a kind ended.",
    "carrental_lock_held_seconds": "For how long an operation has had the lock; 0 is free.",
    "carrental_out_of_balancer_seconds": "For how long it is out of its load balancer; 0 is in.",
    "carrental_backup_expected": "Whether backups were ever made or planned here.",
    "carrental_collector_timestamp_seconds": "When this file was written.",
}


class Engine:
    """The Docker engine, asked over its socket."""

    def ask(self, path: str) -> bytes:
        """Return what it answers."""
        connection = http.client.HTTPConnection("docker", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(10)
        try:
            connection.sock.connect(SOCKET)
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise OSError(f"the engine answers {answer.status} to {path}")
        return body

    def get(self, path: str) -> Any:
        """Return a document that it answers with."""
        return json.loads(self.ask(path))

    def stats(self, container: str) -> dict[str, Any]:
        """Return what it measures of a container; nothing when that went away."""
        try:
            found: dict[str, Any] = self.get(f"/containers/{container}/stats?stream=0&one-shot=1")
        except OSError:
            return {}
        return found

    def out_of_memory(self, since: float, now: float) -> list[dict[str, Any]]:
        """Return the events of containers that reached their memory limit."""
        if not since:
            return []
        wanted = quote(json.dumps({"type": ["container"], "event": ["oom"]}))
        span = f"since={since:.6f}&until={now:.6f}"
        lines = self.ask(f"/events?{span}&filters={wanted}").splitlines()
        return [json.loads(line) for line in lines if line.strip()]


def read(path: str) -> str:
    """Return a file; nothing where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def measured(stats: dict[str, Any], labels: dict[str, str]) -> Iterator[Sample]:
    """Yield what the engine measures of a running container, whatever its control groups are."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    # The first is what control groups of version 1 call it.
    idle = details.get("total_inactive_file", details.get("inactive_file", 0))
    if "usage" in memory:
        used = max(float(memory["usage"]) - float(idle), 0.0)
        yield "carrental_container_memory_bytes", labels, used
    cpu = stats.get("cpu_stats") or {}
    spent = float((cpu.get("cpu_usage") or {}).get("total_usage", 0))
    yield "carrental_container_cpu_seconds_total", labels, spent / 1e9
    limited = cpu.get("throttling_data") or {}
    periods = float(limited.get("periods", 0))
    yield "carrental_container_cpu_periods_total", labels, periods
    waited = float(limited.get("throttled_periods", 0))
    yield "carrental_container_cpu_throttled_periods_total", labels, waited


def names_of(raw: dict[str, Any]) -> dict[str, str]:
    """Return the labels of a container."""
    service = raw["Config"]["Labels"].get("com.docker.compose.service", "")
    return {"container": raw["Name"].lstrip("/"), "service": service}


def last_time(before: str) -> float:
    """Return when the file was written before; 0 when it never was."""
    match = re.search(r"^carrental_collector_timestamp_seconds (\S+)$", before, re.M)
    return float(match[1]) if match else 0.0


def of_container(raw: dict[str, Any], recorded: dict[str, str]) -> Iterator[Sample]:
    """Yield what is known of one container."""
    labels = names_of(raw)
    service = labels["service"]
    state = raw["State"]
    yield "carrental_container_running", labels, float(bool(state.get("Running")))
    health = (state.get("Health") or {}).get("Status")
    if health in ("healthy", "unhealthy"):
        yield "carrental_container_healthy", labels, float(health == "healthy")
    yield "carrental_container_restarts_total", labels, float(raw.get("RestartCount") or 0)
    yield "carrental_container_oom_killed", labels, float(bool(state.get("OOMKilled")))
    if service in recorded:
        outside = raw.get("Image") != recorded[service]
        yield "carrental_container_outside_release", labels, float(outside)
    limit = float((raw.get("HostConfig") or {}).get("Memory") or 0)
    yield "carrental_container_memory_limit_bytes", labels, limit


def of_memory(
    events: Iterable[dict[str, Any]], containers: Iterable[str], before: str
) -> Iterator[Sample]:
    """Yield how often each container reached its memory limit: what was told before, and since."""
    told = dict(_OOM.findall(before))
    since: dict[str, int] = {}
    for event in events:
        name = ((event.get("Actor") or {}).get("Attributes") or {}).get("name", "")
        since[name] = since.get(name, 0) + 1
    for name in containers:
        count = float(told.get(name, 0)) + since.get(name, 0)
        yield "carrental_container_oom_events_total", {"container": name}, count


def seconds(moment: str) -> float:
    """Return a time as the records have it, in seconds."""
    try:
        return datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def current_release(state_dir: str) -> dict[str, Any]:
    """Return the newest record of a release that passed."""
    for path in sorted(glob.glob(f"{glob.escape(state_dir)}/releases/*.json"), reverse=True):
        try:
            record: dict[str, Any] = json.loads(read(path))
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("verdict") == "ok":
            return record
    return {}


def of_release(record: dict[str, Any]) -> Iterator[Sample]:
    """Yield what is known of the release in force."""
    if record:
        finished = seconds(str(record.get("finished_at") or record.get("started_at") or ""))
        yield "carrental_release_timestamp_seconds", {}, finished
        labels = {"release": str(record.get("id", "")), "version": str(record.get("version", ""))}
        yield "carrental_release_info", labels, 1.0


def of_operations(state_dir: str) -> Iterator[Sample]:
    """Yield how the last operation of each kind ended, from the journals."""
    seen: set[str] = set()
    for path in sorted(glob.glob(f"{glob.escape(state_dir)}/journal/*.jsonl"), reverse=True):
        parts = os.path.basename(path).removesuffix(".jsonl").split("-")
        kind = "-".join(parts[1:-1])
        if not kind or kind in seen:
            continue
        last: dict[str, Any] = {}
        for line in read(path).splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("verdict"):
                last = entry
        # Without a verdict it goes on, or died; the next operation says which.
        if not last:
            continue
        seen.add(kind)
        labels = {"kind": kind, "verdict": str(last["verdict"])}
        yield "carrental_operation_last_verdict", labels, 1.0
        yield (
            "carrental_operation_last_timestamp_seconds",
            {"kind": kind},
            os.stat(path).st_mtime,
        )


def of_lock(state_dir: str, now: float) -> Iterator[Sample]:
    """Yield for how long an operation has had the lock."""
    try:
        record = json.loads(read(os.path.join(state_dir, "lock")))
        since, kind = record["since"], str(record.get("kind", ""))
    except (ValueError, KeyError, TypeError):
        yield "carrental_lock_held_seconds", {"kind": ""}, 0.0
        return
    began = since if isinstance(since, (int, float)) else seconds(str(since))
    yield "carrental_lock_held_seconds", {"kind": kind}, max(now - began, 0.0)


def of_balancer(state_dir: str, now: float) -> Iterator[Sample]:
    """Yield for how long an operation has had the server out of its load balancer."""
    try:
        out = now - os.stat(os.path.join(state_dir, "out-of-balancer")).st_mtime
    except OSError:
        out = 0.0
    yield "carrental_out_of_balancer_seconds", {}, max(out, 0.0)


def of_backups(metrics_dir: str, backup_dir: str) -> Iterator[Sample]:
    """Yield whether backups are expected: one was made, one was measured, or one is planned."""
    made = glob.glob(f"{glob.escape(backup_dir)}/car_rental_backup_*")
    planned = glob.glob("/etc/systemd/system/carrental-backup*.timer")
    measured = any(
        "carrental_backup_" in read(path)
        for path in glob.glob(f"{glob.escape(metrics_dir)}/*.prom")
        if os.path.basename(path) != OWN
    )
    yield "carrental_backup_expected", {}, float(bool(made or planned or measured))


def escaped(value: str) -> str:
    """Return a value as the text format has it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def text(samples: Iterable[Sample]) -> str:
    """Return samples in Prometheus' text format."""
    by_name: dict[str, list[str]] = {}
    for name, labels, value in samples:
        inside = ",".join(f'{key}="{escaped(labels[key])}"' for key in sorted(labels))
        lines = by_name.setdefault(name, [])
        lines.append(f"{name}{{{inside}}} {value:.15g}" if inside else f"{name} {value:.15g}")
    out = []
    for name, lines in by_name.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        out += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} {kind}", *lines]
    return "\n".join(out) + "\n"


def collect(options: argparse.Namespace) -> Iterator[Sample]:
    """Yield everything."""
    now = time.time()
    record = current_release(options.state_dir)
    recorded = {
        name: str(one.get("image_id", "")) for name, one in (record.get("services") or {}).items()
    }
    engine = Engine()
    names = []
    for listed in engine.get("/containers/json?all=1"):
        labels = listed.get("Labels") or {}
        own = labels.get(PROJECT) in (options.project, f"{options.project}-monitoring")
        if not own or labels.get(ONE_OFF, "").lower() == "true":
            continue
        try:
            raw = engine.get(f"/containers/{listed['Id']}/json")
        except OSError:
            # It went away in between.
            continue
        names.append(raw["Name"].lstrip("/"))
        yield from of_container(raw, recorded if labels[PROJECT] == options.project else {})
        if raw["State"].get("Running"):
            yield from measured(engine.stats(listed["Id"]), names_of(raw))
    before = read(os.path.join(options.metrics_dir, OWN))
    yield from of_memory(engine.out_of_memory(last_time(before), now), names, before)
    yield from of_release(record)
    yield from of_operations(options.state_dir)
    yield from of_lock(options.state_dir, now)
    yield from of_balancer(options.state_dir, now)
    yield from of_backups(options.metrics_dir, options.backup_dir)
    yield "carrental_collector_timestamp_seconds", {}, now


def main() -> None:
    """Write the file, whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("state-dir", "metrics-dir", "backup-dir", "project"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    content = text(collect(options))
    handle, temporary = tempfile.mkstemp(dir=options.metrics_dir, suffix=".new")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, os.path.join(options.metrics_dir, OWN))
    except OSError:
        os.unlink(temporary)
        raise


if __name__ == "__main__":
    main()
