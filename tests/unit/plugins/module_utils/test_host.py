# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server under the stack."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _host
from ansible_collections.carrental.ops.plugins.module_utils._checks import Thresholds
from ansible_collections.carrental.ops.plugins.module_utils._host import Usage

GIB = 1024**3
MOUNTS = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 254:1 / /var/lib/docker rw - xfs /dev/vdb rw
29 27 254:2 / /mnt/with\\040space rw shared:1 - ext4 /dev/vdc rw
30 27 254:3 / /var/lib/docker rw - ext4 /dev/vdd rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "point", "device"),
    [
        ("/etc", "/", "254:0"),
        ("/var/lib/docker", "/var/lib/docker", "254:3"),
        ("/var/lib/docker/volumes/x", "/var/lib/docker", "254:3"),
        ("/var/lib/dockerfile", "/", "254:0"),
        ("/mnt/with space/x", "/mnt/with space", "254:2"),
    ],
)
def test_mount_of(path: str, point: str, device: str) -> None:
    mount = _host.mount_of(path, _host.parse_mounts(MOUNTS))
    assert (mount.point, mount.device) == (point, device)


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ("31 27 254:9 / /home rw - ext4 /dev/vde rw", ["/home"]),
        ("31 27 254:9 / /opt/carrental/backups rw - tmpfs tmpfs rw", ["/opt/carrental/backups"]),
        ("31 27 254:9 / /run rw - tmpfs tmpfs rw", []),
        ("31 27 254:0 /etc/hosts /etc/hosts rw - ext4 /dev/vda rw", []),
        ("31 27 254:9 / /opt/carrental-old rw - tmpfs tmpfs rw", []),
    ],
)
def test_further(more: str, found: list[str]) -> None:
    mounted = _host.parse_mounts(MOUNTS + more)
    paths = ["/", "/var/lib/docker", "/mnt/with space"]
    assert _host.further(paths, mounted, "/opt/carrental") == found


@pytest.mark.parametrize(
    ("used", "line"),
    [
        (41, "[OK] Disk usage at 41%"),
        (85, "[OK] Disk usage at 85%"),
        (
            91,
            "[WARN] Disk usage at 91%: 9.0 GiB of 105.0 GiB are free; see docker system df and "
            "du -xh /: images, logs and old backups are the usual cause",
        ),
        (
            100,
            "[FAIL] Disk usage at 100%: 0 B of 105.0 GiB are free; see docker system df and "
            "du -xh /: images, logs and old backups are the usual cause",
        ),
    ],
)
def test_disk(used: int, line: str) -> None:
    usage = Usage(used * GIB, (100 - used) * GIB, 105 * GIB)
    assert _host.judge_disk("/", "254:0", usage, Thresholds()).line == line


def test_other_file_systems_are_named() -> None:
    check = _host.judge_disk("/srv", "254:1", Usage(41, 59, 100), Thresholds())
    assert check.line == "[OK] Disk usage at 41% on /srv"


def test_a_file_system_without_inodes_or_read_only() -> None:
    usage = Usage(1, 99, 100, 96, 4, read_only=True)
    check = _host.judge_disk("/srv", "254:1", usage, Thresholds())
    assert check.line == (
        "[FAIL] Disk usage at 1% on /srv: /srv is mounted read-only, usually after an error of the "
        "disk: see dmesg; 96% of the inodes are used: many small files, see du -x --inodes /srv"
    )
    assert Usage(1, 1, 2).inodes_percent == 0


def test_percent_is_rounded_up_as_df_does() -> None:
    assert Usage(1, 999, 1000).percent == 1


def test_a_real_file_system(tmp_path: Path) -> None:
    (check,) = _host.disk(str(tmp_path / "not" / "there"), Thresholds(disk_warn=100, disk_fail=100))
    assert check.evidence["used_bytes"] > 0
    assert check.evidence["device"]


@pytest.mark.parametrize(
    ("available", "line"),
    [
        (50, "[OK] Memory usage at 50%"),
        (
            5,
            "[WARN] Memory usage at 95%: 5 MiB of 100 MiB are available; "
            "see docker stats for who has them",
        ),
        (
            1,
            "[FAIL] Memory usage at 99%: 1 MiB of 100 MiB are available; "
            "see docker stats for who has them",
        ),
    ],
)
def test_memory(available: int, line: str) -> None:
    text = (
        f"MemTotal: 102400 kB\nMemFree: 1 kB\nMemAvailable: {available * 1024} kB\nHugePages: 0\n"
    )
    assert _host.judge_memory(text, Thresholds()).line == line


@pytest.mark.parametrize(
    ("offset", "status", "inside", "found"),
    [
        (100, 0x0001, False, "ok"),
        (1_500_000, 0x0001, False, "warn"),
        (1_500_000, 0x2001, False, "ok"),
        (-1_500_000_000, 0x2001, False, "warn"),
        (0, 0x0040, False, "warn"),
        (0, 0x0040, True, "not_run"),
    ],
)
def test_clock(offset: int, status: int, inside: bool, found: str) -> None:
    assert _host.judge_clock(offset, status, inside, Thresholds()).status == found


def test_the_real_clock_and_memory_can_be_asked() -> None:
    assert len(_host.clock(Thresholds())) == 1
    assert len(_host.memory(Thresholds())) == 1


@pytest.mark.parametrize(
    ("unknown", "silent", "line"),
    [
        ([], [], "[OK] DNS is working on the host"),
        (
            ["a"],
            [],
            "[WARN] DNS does not know a name on the host: a cannot be resolved; "
            "check the name, or its record",
        ),
        (
            ["a"],
            ["b"],
            "[FAIL] DNS is not working on the host: no name server answers for b; "
            "see /etc/resolv.conf and resolvectl",
        ),
    ],
)
def test_names(unknown: list[str], silent: list[str], line: str) -> None:
    assert _host.judge_names(["a", "b"], unknown, silent).line == line


def test_a_name_is_really_looked_up() -> None:
    assert _host.names([socket.gethostname(), "localhost"])[0].service == "host"
    assert _host.names(["localhost"])[0].status == "ok"


def test_df_of_a_container() -> None:
    text = (
        "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 100 90 10 90% /da ta\n"
    )
    assert _host.parse_df(text.replace("da ta", "data")) == (90, 10, 100)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (70_000, "68 KiB"), (5 * 1024**2, "5 MiB"), (1.5 * GIB, "1.5 GiB")],
)
def test_size(number: float, text: str) -> None:
    assert _host.size(number) == text
