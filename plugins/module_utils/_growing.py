# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Whether a file system can grow on the disk it lies on, and by which commands. Pure.

A disk that was enlarged at the provider is still parted as before, and its file system has its
old size: first the partition grows (growpart), then what is in it. Only this order is known to
be safe while it is mounted, and only for the kinds below; on LVM, LUKS or RAID it is said what
there is, and nothing is touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = "NAME,PATH,TYPE,SIZE,FSTYPE,MOUNTPOINTS,PKNAME,PARTN,START"
_SECTOR = 512
# Less is rounding, or what the file system keeps for itself.
_WORTH = 64 * 2**20
# What ext4 and xfs need of a device for their own books.
_SHARE = 0.93
_COMMANDS = {
    "ext4": ["resize2fs", "{device}"],
    "ext3": ["resize2fs", "{device}"],
    "xfs": ["xfs_growfs", "{point}"],
}


@dataclass(frozen=True)
class Plan:
    """How a file system grows.

    :param gain: bytes that it gets, about.
    :param commands: to be run as root, in this order.
    """

    point: str
    device: str
    kind: str
    gain: int
    commands: tuple[tuple[str, ...], ...]


def _nodes(
    devices: Sequence[Mapping[str, Any]], parent: Mapping[str, Any] | None = None
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
    for one in devices:
        yield one, parent
        yield from _nodes(one.get("children") or [], one)


def plan(tree: Mapping[str, Any], point: str, total: int) -> Plan | None:
    """Return how the file system of a mount point can grow; nothing when it cannot.

    :param tree: as ``lsblk --json --bytes`` prints it.
    :param total: bytes of the file system now.
    """
    for node, parent in _nodes(tree.get("blockdevices") or []):
        if point not in (node.get("mountpoints") or ()):
            continue
        kind = str(node.get("fstype") or "")
        if kind not in _COMMANDS:
            return None
        return _plan(node, parent, point, kind, total)
    return None


def _plan(
    node: Mapping[str, Any],
    parent: Mapping[str, Any] | None,
    point: str,
    kind: str,
    total: int,
) -> Plan | None:
    device = str(node.get("path") or f"/dev/{node.get('name')}")
    room = int(node.get("size") or 0)
    commands: list[tuple[str, ...]] = []
    if node.get("type") == "part" and parent is not None and parent.get("type") == "disk":
        behind = _behind(node, parent)
        if behind > _WORTH:
            disk = str(parent.get("path") or f"/dev/{parent.get('name')}")
            commands.append(("growpart", disk, str(_number(node))))
            room += behind
    elif node.get("type") not in ("disk", "loop", "part"):
        return None
    gain = int(room * _SHARE) - total
    if gain < _WORTH:
        return None
    grow = [word.format(device=device, point=point) for word in _COMMANDS[kind]]
    commands.append(tuple(grow))
    return Plan(point, device, kind, gain, tuple(commands))


def _number(node: Mapping[str, Any]) -> int:
    given = node.get("partn")
    if given:
        return int(given)
    found = re.search(r"(\d+)$", str(node.get("name") or ""))
    return int(found[1]) if found else 0


def _behind(node: Mapping[str, Any], parent: Mapping[str, Any]) -> int:
    """Return the bytes of a disk behind a partition that is its last one; 0 for any other."""
    start = int(node.get("start") or 0) * _SECTOR
    last = all(
        int(one.get("start") or 0) * _SECTOR <= start for one in parent.get("children") or ()
    )
    if not start or not last:
        return 0
    return int(parent.get("size") or 0) - start - int(node.get("size") or 0)
