# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What several checks say together, and what runs besides the services of the table."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

from ansible_collections.carrental.ops.plugins.module_utils import (
    _containers,
    _host,
)
from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    FAIL,
    NOT_RUN,
    OK,
    WARN,
    Check,
    Subject,
    Thresholds,
    format_line,
)
from ansible_collections.carrental.ops.plugins.module_utils._docker import (
    Container,
    Docker,
    DockerError,
)
from ansible_collections.carrental.ops.plugins.module_utils._probes import Probe
from ansible_collections.carrental.ops.plugins.module_utils._releases import Release
from ansible_collections.carrental.ops.plugins.module_utils._running import Running
from ansible_collections.carrental.ops.plugins.module_utils._services import Service

# Reserved for documentation and tests (RFC 2606): no name server knows them.
_NEVER_IN_DNS = (".test", ".example", ".invalid", ".localhost")


def conclude(services: list[Service], checks: list[Check]) -> list[Check]:
    """Join what belongs together: replicas, causes at the proxy, one file system twice."""
    found = _without_repetition(checks)
    proxies = {service.name for service in services if service.probe == "proxy"}
    proxy_works = not any(
        check.service in proxies and check.status == FAIL and not _is_certificate(check)
        for check in found
    )
    reload = _reload(found, proxies)
    result = []
    for check in found:
        own = [other for other in found if other.service == check.service]
        through = check.name.endswith(".proxy")
        result.append(_proxy_cause(check, own, proxy_works, reload) if through else check)
    return [_one_of_several(check, result) for check in result]


def _is_certificate(check: Check) -> bool:
    return check.name.endswith(".certificate")


def _reload(checks: list[Check], proxies: set[str]) -> str:
    """The command that has the proxy look up addresses again."""
    names = (
        check.evidence.get("container")
        for check in checks
        if check.service in proxies and check.name.endswith(".container")
    )
    return f"docker exec {next(filter(None, names), 'nginx')} nginx -s reload"


def _proxy_cause(check: Check, own: list[Check], proxy_works: bool, reload: str) -> Check:
    """Why a service does not answer through the proxy."""
    if check.status not in (FAIL, WARN):
        return check
    if not proxy_works:
        return replace(check, status=NOT_RUN, down=False, detail="the proxy does not serve")
    direct = [other for other in own if other.name.endswith((".container", ".http"))]
    if any(other.down or other.status == FAIL for other in direct):
        # The cause is told already; that users feel it stays in the checks.
        return replace(check, detail="", evidence={**check.evidence, "reason": check.detail})
    if any(other.name.endswith(".http") and not other.down for other in direct):
        return replace(
            check,
            detail=f"{check.detail}, although it answers itself: nginx looks its address up once, "
            f"at start; have it look again with: {reload}",
        )
    return check


def _one_of_several(check: Check, checks: list[Check]) -> Check:
    """A service with several containers works while one of them does."""
    siblings = [other for other in checks if other.name == check.name]
    bad = [other for other in siblings if other.status in (FAIL, WARN)]
    if check not in bad or len(bad) == len(siblings) or check.name.startswith("host."):
        return check
    if check.name.endswith(".version"):
        # Two releases at once is what an unfinished switch looks like.
        return check
    healthy = next(other for other in siblings if other.status == OK)
    return replace(
        check,
        status=WARN,
        down=False,
        summary=healthy.summary,
        detail=f"{len(bad)} of {len(siblings)} containers: {check.detail}",
    )


def _without_repetition(checks: list[Check]) -> list[Check]:
    """Several paths on one file system are one finding."""
    seen, result = set(), []
    for check in checks:
        device = check.evidence.get("device")
        if device is not None and device in seen:
            continue
        if device is not None:
            seen.add(device)
        result.append(check)
    return result


def image(subject: Subject, container: Container, release: Release) -> Check:
    """Whether a container runs the image that was released."""
    wanted = release["services"].get(container.service)
    if not wanted:
        return subject.skipped("image", "the release does not name its image")
    evidence: dict[str, Any] = {"image": container.image, "release": release["id"]}
    if not wanted.get("image_id") or wanted["image_id"] == container.image_id:
        return subject.passed("image", **evidence)
    return subject.finding(
        "image",
        f"container {container.name} runs {_short(container.image_id)} ({container.image}), but "
        f"release {release['id']} has {_short(wanted['image_id'])}: a deploy is under way or was "
        "cut off (playbooks/lock.yml tells), or somebody changed it outside a deploy; deploy again",
        **evidence,
    )


def _short(image_id: str) -> str:
    return image_id.partition(":")[2][:12] or image_id


def excused(checks: list[Check], switching: str) -> list[Check]:
    """Take another release than the recorded one for what it is while one is switched to.

    :param switching: the operation that does it, and whose it is; empty where none does.
    """
    if not switching:
        return checks
    return [
        replace(
            check,
            status=WARN,
            detail=f"{switching} is at work, and records at its end what runs then; ask again then",
        )
        if check.name.endswith((".version", ".image")) and check.status in (FAIL, WARN)
        else check
        for check in checks
    ]


def engine(running: Running) -> list[Check]:
    """A line for Docker when it does not run; that it does is seen by everything else."""
    if not running.down:
        return []
    host = _host.HOST
    return [host.says("docker", FAIL, "Docker does not answer", running.down)]


def besides(running: Running, release: Release | None = None) -> list[Check]:
    """Containers of the project that the table does not name, and what was left behind."""
    now = datetime.now(timezone.utc)
    checks = []
    for container in running.others:
        title = container.name
        subject = Subject(title, title, "P3", f"{title} is running", f"{title} is not running")
        checks.append(
            _containers.judge(subject, container, running.events.get(container.id, []), now)
        )
        if container.running and release:
            checks.append(image(subject, container, release))
    for container in running.one_offs:
        status = str(container.state.get("Status", ""))
        age = _containers.seconds_since(str(container.raw.get("Created", "")), now)
        since = f" for {_containers.duration(age)}" if age is not None else ""
        what = (
            "a migration or a deploy that is under way, or was cut off"
            if container.running
            else "left behind by a command that was cut off; remove it with: docker rm "
            f"{container.name}"
        )
        checks.append(
            _host.HOST.says(
                f"one_off:{container.name}",
                WARN,
                f"One-off container {container.name} has been {status}{since}",
                what,
                container=container.name,
            )
        )
    return checks


def fold_others(lines: list[str], checks: list[Check], running: Running) -> list[str]:
    """One line for all other containers that are well."""
    names = {container.name for container in running.others}
    names -= {check.service for check in checks if check.status in (WARN, FAIL)}
    well = [check for check in checks if check.service in names and check.status == OK]
    single = {format_line(OK, check.summary) for check in well}
    folded, done = [], False
    for line in lines:
        if line not in single:
            folded.append(line)
        elif not done:
            done = True
            listed = ", ".join(sorted({check.service for check in well}))
            folded.append(format_line(OK, f"Other containers are running: {listed}"))
    return folded


def volume_probes(running: Running, thresholds: Thresholds) -> list[Probe]:
    """Volumes on file systems of their own, which a look at Docker's directory misses."""
    if not running.root:
        return []
    mounted = _host.mounts()
    base = {_host.mount_of(running.root, mounted).device, _host.mount_of("/", mounted).device}
    probes = []
    for container in running.all():
        for source, destination in container.volumes:
            mount = _host.mount_of(source, mounted)
            if mount.device in base or not mount.device:
                continue
            base.add(mount.device)
            probes.append(
                Probe(
                    _host.HOST,
                    f"disk:{mount.point}",
                    f"the file system of {mount.point}",
                    partial(_volume, running.docker, container, destination, mount, thresholds),
                    "a network disk that is gone hangs like this",
                    f"Disk of {mount.point} cannot be read",
                )
            )
    return probes


def _volume(
    docker: Docker, container: Container, inside: str, mount: _host.Mount, thresholds: Thresholds
) -> list[Check]:
    """Docker's directories are closed to other users: then look from inside the container."""
    found = _host.disk(mount.point, thresholds)
    if found[0].status != NOT_RUN or not container.running:
        return found
    try:
        code, text = docker.execute(container.id, ["df", "-P", "-k", inside])
        used, available, total = _host.parse_df(text) if code == 0 else (0, 0, 0)
    except (DockerError, ValueError, IndexError):
        return found
    if not total:
        return found
    usage = _host.Usage(used * 1024, available * 1024, total * 1024)
    return [_host.judge_disk(mount.point, mount.device, usage, thresholds)]


def names_to_resolve(running: Running, domain: str) -> list[str]:
    """Names that the host needs: where its images come from, and its own."""
    hosts = [registry_host(container.image) for container in running.all()]
    wanted = [*hosts, "" if domain.endswith(_NEVER_IN_DNS) else domain]
    return [name for name in dict.fromkeys(wanted) if name and not _is_local(name)]


def registry_host(image_name: str) -> str:
    """The registry in the name of an image; empty when it names none."""
    first, slash, _rest = image_name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        return ""
    return first.rsplit(":", 1)[0] if not first.startswith("[") else first.strip("[]")


def _is_local(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
