# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What has to be done to make a copy of a bucket what the bucket is; no I/O here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from ._object_entry import Listed, is_md5

KEEP, FETCH, REFRESH, GONE = "keep", "fetch", "refresh", "gone"
# A share of little is nothing: so many may go before a share is asked for.
_FEW = 10
# What the name of a snapshot of a day ends with after a lesser one took its name.
REPLACED = "-replaced"
_SNAPSHOT = re.compile(rf"minio-backup-(?P<day>\d{{8}})(?:-\d{{6}}(?:{REPLACED})?)?")


@dataclass(frozen=True)
class Step:
    """One object, and what becomes of it."""

    action: str
    source: Listed | None
    copy: Listed | None

    @property
    def size(self) -> int:
        return self.source.size if self.source else 0


@dataclass
class Sums:
    """What a plan amounts to."""

    keep: int = 0
    fetch: int = 0
    refresh: int = 0
    gone: int = 0
    # Of those that are fetched, the ones of which the copy has something else.
    changed: int = 0
    bytes: int = 0
    fetch_bytes: int = 0

    def add(self, step: Step) -> None:
        """Count a step."""
        self.changed += step.action == FETCH and step.copy is not None
        setattr(self, step.action, getattr(self, step.action) + 1)
        self.bytes += step.size
        if step.action == FETCH:
            self.fetch_bytes += step.size

    @property
    def objects(self) -> int:
        """How many there are in the source."""
        return self.keep + self.fetch + self.refresh

    @property
    def known(self) -> int:
        """How many there are in the copy."""
        return self.keep + self.refresh + self.changed + self.gone

    @property
    def change(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.fetch or self.refresh or self.gone)


def compare(
    source: Iterable[Listed],
    copy: Iterable[Listed],
    judge: Callable[[Listed, Listed], str],
) -> Iterator[Step]:
    """Walk through both at once, each sorted by its keys.

    :param judge: what becomes of an object that both have.
    """
    left, right = iter(source), iter(copy)
    wanted, had = next(left, None), next(right, None)
    while wanted or had:
        if had is None or (wanted is not None and wanted.key < had.key):
            yield Step(FETCH, wanted, None)
            wanted = next(left, None)
        elif wanted is None or had.key < wanted.key:
            yield Step(GONE, None, had)
            had = next(right, None)
        else:
            yield Step(judge(wanted, had), wanted, had)
            wanted, had = next(left, None), next(right, None)


def in_snapshot(listed: Listed, had: Listed) -> str:
    """Judge an object by what an inventory says of the copy: the etag is the store's own."""
    if had.size != listed.size or had.etag != listed.etag:
        return FETCH
    # An object put again with the same content has another time, and perhaps other metadata.
    return REFRESH if had.mtime != listed.mtime else KEEP


def from_snapshot(wanted: Listed, there: Listed) -> str:
    """Judge an object of a bucket that goes back to what a snapshot has, however new it is."""
    if wanted.size != there.size or wanted.etag != there.etag:
        return FETCH
    # Put again with the same content, perhaps with other metadata.
    return REFRESH if there.mtime > wanted.mtime else KEEP


def in_bucket(wanted: Listed, there: Listed) -> str:
    """Judge an object by what another store lists, whose etags may be made another way."""
    if wanted.size != there.size:
        return FETCH
    if wanted.etag != there.etag:
        both_plain = is_md5(wanted.etag) and is_md5(there.etag)
        return FETCH if both_plain or there.mtime < wanted.mtime else KEEP
    return KEEP if there.mtime >= wanted.mtime else FETCH


def limit(text: str, known: int) -> int:
    """Return how many objects may go, of so many.

    :raises ValueError: the text is neither a number nor a share.
    """
    match = re.fullmatch(r"(\d+)\s*(%?)", text.strip())
    if not match or (match[2] and int(match[1]) > 100):
        raise ValueError(text)
    if not match[2]:
        return int(match[1])
    return max(_FEW, known * int(match[1]) // 100)


def too_many(sums: Sums, allowed: str, where: str) -> str:
    """Return why so many deletions are refused; empty when they are not.

    :param where: what the objects would be missing from.
    """
    known = sums.known
    if not sums.gone:
        return ""
    if not sums.objects:
        return (
            f"The source is empty, and {where} holds {known} objects: a source that lost "
            "everything must not take the copy with it. Nothing was changed."
        )
    most = limit(allowed, known)
    if sums.gone <= most:
        return ""
    return (
        f"{sums.gone} of {known} objects of {where} are not in the source any more, and max_delete "
        f"{allowed} allows {most}; find out who deleted them, or give max_delete={sums.gone}. "
        "Nothing was changed."
    )


def is_snapshot(name: str) -> bool:
    """Return whether a directory is called like a snapshot."""
    return bool(_SNAPSHOT.fullmatch(name))


def is_of_a_day(name: str) -> bool:
    """Return whether a snapshot is that of a day, or was, and not one taken before a change."""
    told = name.removeprefix("minio-backup-")
    return is_snapshot(name) and ("-" not in told or told.endswith(REPLACED))


def replaced(at: str) -> str:
    """Return what a snapshot is called after another one took its name.

    :param at: when it was taken, as its inventory says.
    """
    day, _middle, moment = re.sub(r"[-:Z]", "", at).partition("T")
    return f"minio-backup-{day}-{moment}{REPLACED}"


def outdated(complete: dict[str, bool], today: str, keep_days: int, keep_least: int) -> list[str]:
    """Return the snapshots that may go, oldest first.

    :param complete: names of snapshots, and whether each holds everything that it should.
    :param today: YYYYMMDD.
    """
    # Names sort by time, that of a day behind what it replaced; what is not complete does not
    # count for the least.
    names = sorted((name for name in complete if is_snapshot(name)), key=lambda name: f"{name}~")
    whole = [name for name in names if complete[name]]
    kept = set(whole[-max(keep_least, 1) :]) | set(names[-1:])
    return [name for name in names if name not in kept and _age(name, today) > keep_days]


def _age(name: str, today: str) -> int:
    match = _SNAPSHOT.fullmatch(name)
    try:
        day = datetime.strptime(match["day"] if match else "", "%Y%m%d")
    except ValueError:
        return 0
    return (datetime.strptime(today, "%Y%m%d") - day).days
