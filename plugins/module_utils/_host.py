# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""The server under the stack: file systems, memory, clock, names."""

from __future__ import annotations

import ctypes
import math
import os
import socket
import struct
from dataclasses import dataclass

from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    FAIL,
    NOT_RUN,
    OK,
    WARN,
    Check,
    Subject,
    Thresholds,
    level,
    worst,
)

HOST = Subject("host", "Host", "P2", "Host is healthy", "Host is not healthy")
_GIB = 1024**3
# adjtimex(2): bits of the status, and where the fields lie on 64-bit Linux.
_UNSYNCHRONISED, _NANOSECONDS = 0x0040, 0x2000
# File systems of disks; what lives in memory or on the network is looked at where it is used.
_ON_DISK = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "xfs", "zfs"})
_TIMEX = struct.Struct("<I4xqqqqi")


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    point: str
    device: str
    type: str


@dataclass(frozen=True)
class Usage:
    """What statvfs says, in bytes and inodes."""

    used: int
    available: int
    total: int
    inodes_used: int = 0
    inodes_available: int = 0
    read_only: bool = False

    @property
    def percent(self) -> int:
        """As df counts: blocks kept for root are neither used nor available."""
        return _percent(self.used, self.available)

    @property
    def inodes_percent(self) -> int:
        """0 where the file system makes inodes as it needs them."""
        return _percent(self.inodes_used, self.inodes_available)


def _percent(used: int, available: int) -> int:
    return math.ceil(used * 100 / (used + available)) if used + available else 0


def parse_mounts(text: str) -> list[Mount]:
    """``/proc/self/mountinfo`` in the order of mounting."""
    found = []
    for line in text.splitlines():
        left, _dash, right = line.partition(" - ")
        words = left.split()
        if len(words) >= 5 and right:
            point = words[4].encode().decode("unicode_escape") if "\\" in words[4] else words[4]
            found.append(Mount(point, words[2], right.split()[0]))
    return found


def mounts() -> list[Mount]:
    """What is mounted now; does not touch the file systems."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as stream:
        return parse_mounts(stream.read())


def mount_of(path: str, mounted: list[Mount]) -> Mount:
    """The file system that a path lies on. A later mount hides an earlier one."""
    best = Mount("/", "", "")
    for mount in mounted:
        inside = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        if inside and len(mount.point) >= len(best.point):
            best = mount
    return best


def further(paths: list[str], mounted: list[Mount], project: str) -> list[str]:
    """Mount points that none of the paths lies on: other disks, and what is mounted in the project.

    A disk of its own for logs or a home fills up as well, and takes the server along.
    """
    seen = {mount_of(path, mounted).device for path in paths}
    found = []
    for mount in mounted:
        ours = mount.type in _ON_DISK or mount.point.startswith(project.rstrip("/") + "/")
        hidden = mount_of(mount.point, mounted) != mount
        if ours and not hidden and mount.device not in seen:
            seen.add(mount.device)
            found.append(mount.point)
    return found


def disk(path: str, thresholds: Thresholds) -> list[Check]:
    """Space and inodes of the file system that a path lies on."""
    mount = mount_of(os.path.realpath(path), mounts())
    try:
        found = os.statvfs(mount.point)
    except PermissionError:
        return [HOST.skipped(f"disk:{mount.point}", f"{mount.point} may not be looked at")]
    except OSError as error:
        return [
            HOST.says(
                f"disk:{mount.point}",
                FAIL,
                f"Disk {mount.point} cannot be read",
                f"{error.strerror}; see: dmesg",
                device=mount.device,
            )
        ]
    usage = Usage(
        (found.f_blocks - found.f_bfree) * found.f_frsize,
        found.f_bavail * found.f_frsize,
        found.f_blocks * found.f_frsize,
        found.f_files - found.f_ffree,
        found.f_favail,
        bool(found.f_flag & os.ST_RDONLY),
    )
    return [judge_disk(mount.point, mount.device, usage, thresholds)]


def judge_disk(point: str, device: str, usage: Usage, thresholds: Thresholds) -> Check:
    """A line as the runbook prints it, and why it is not well."""
    space = level(usage.percent, thresholds.disk_warn, thresholds.disk_fail)
    inodes = level(usage.inodes_percent, thresholds.inodes_warn, thresholds.inodes_fail)
    where = "" if point == "/" else f" on {point}"
    reasons = []
    if usage.read_only:
        reasons.append(
            f"{point} is mounted read-only, usually after an error of the disk: see dmesg"
        )
    if space != OK:
        reasons.append(
            f"{size(usage.available)} of {size(usage.total)} are free; see docker system df and "
            f"du -xh {point}: images, logs and old backups are the usual cause"
        )
    if inodes != OK:
        reasons.append(
            f"{usage.inodes_percent}% of the inodes are used: many small files, see "
            f"du -x --inodes {point}"
        )
    status = worst([space, inodes, FAIL if usage.read_only else OK])
    return HOST.says(
        f"disk:{point}",
        status,
        f"Disk usage at {usage.percent}%{where}",
        "; ".join(reasons),
        device=device,
        used_bytes=usage.used,
        available_bytes=usage.available,
        inodes_percent=usage.inodes_percent,
        read_only=usage.read_only,
    )


def parse_df(text: str) -> tuple[int, int, int]:
    """Used, available and total of ``df -P -k``, in units of its own."""
    words = text.strip().splitlines()[-1].split()
    total, used, available = (int(word) for word in words[-5:-2])
    return used, available, total


def size(number: float) -> str:
    """A number of bytes for people."""
    if number >= _GIB:
        return f"{number / _GIB:.1f} GiB"
    if number >= 1024**2:
        return f"{number / 1024**2:.0f} MiB"
    return f"{number / 1024:.0f} KiB" if number >= 1024 else f"{number:.0f} B"


def memory(thresholds: Thresholds) -> list[Check]:
    """Memory that is really in use: what can be had at once counts as free."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        return [judge_memory(stream.read(), thresholds)]


def judge_memory(text: str, thresholds: Thresholds) -> Check:
    """Judge ``/proc/meminfo``."""
    values = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines() if ":" in line}
    total, available = values["MemTotal"] * 1024, values["MemAvailable"] * 1024
    percent = math.ceil((total - available) * 100 / total)
    status = level(percent, thresholds.memory_warn, thresholds.memory_fail)
    detail = ""
    if status != OK:
        detail = (
            f"{size(available)} of {size(total)} are available; see docker stats for who has them"
        )
    return HOST.says(
        "memory",
        status,
        f"Memory usage at {percent}%",
        detail,
        available_bytes=available,
        total_bytes=total,
    )


def clock(thresholds: Thresholds) -> list[Check]:
    """Whether the kernel's clock is disciplined, asked without changing anything."""
    buffer = ctypes.create_string_buffer(512)
    if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
        reason = os.strerror(ctypes.get_errno())
        return [_clock(NOT_RUN, "Clock is synchronised", f"the kernel does not tell: {reason}")]
    _modes, offset, _frequency, _maximum, _estimate, status = _TIMEX.unpack_from(buffer)
    inside = os.path.exists("/run/systemd/container") or os.path.exists("/.dockerenv")
    return [judge_clock(offset, status, inside, thresholds)]


def judge_clock(offset: int, status: int, inside: bool, thresholds: Thresholds) -> Check:
    """Judge what adjtimex(2) returned.

    :param inside: this server is a container, whose clock is its host's business.
    """
    seconds = abs(offset) / (1e9 if status & _NANOSECONDS else 1e6)
    if status & _UNSYNCHRONISED:
        if inside:
            return _clock(NOT_RUN, "Clock is synchronised", "a container has its host's clock")
        return _clock(
            WARN,
            "Clock is not synchronised",
            "certificates, backups and logs depend on it; see timedatectl, "
            "and install systemd-timesyncd",
        )
    if seconds > thresholds.clock_offset_s:
        return _clock(
            WARN, "Clock is being corrected", f"it is {seconds:.1f} s off; see timedatectl"
        )
    return _clock(OK, "Clock is synchronised", "")


def _clock(status: str, summary: str, detail: str) -> Check:
    return HOST.says("clock", status, summary, detail)


def names(wanted: list[str]) -> list[Check]:
    """Whether the server resolves the names that it needs."""
    unknown: list[str] = []
    silent: list[str] = []
    for name in wanted:
        try:
            socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
        except socket.gaierror as error:
            (silent if error.errno == socket.EAI_AGAIN else unknown).append(name)
    return [judge_names(wanted, unknown, silent)]


def judge_names(wanted: list[str], unknown: list[str], silent: list[str]) -> Check:
    """Judge the lookups: a name that is not there is one thing, nobody to ask another."""
    evidence = {"names": ", ".join(wanted)}
    if silent:
        return HOST.says(
            "dns",
            FAIL,
            "DNS is not working on the host",
            f"no name server answers for {', '.join(silent)}; see /etc/resolv.conf and resolvectl",
            **evidence,
        )
    if unknown:
        return HOST.says(
            "dns",
            WARN,
            "DNS does not know a name on the host",
            f"{', '.join(unknown)} cannot be resolved; check the name, or its record",
            **evidence,
        )
    return HOST.says("dns", OK, "DNS is working on the host", "", **evidence)
