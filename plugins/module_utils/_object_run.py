# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""One run with the objects of a bucket, whichever way, from what is asked to what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from . import (
    _object_inventory,
    _object_plan,
    _object_return,
    _object_store,
    _object_verify,
    _postgres,
)
from ._object_bucket import Bucket
from ._object_plan import Sums
from ._object_save import Report, Save
from ._object_snapshots import Snapshots

_SAID = 5
Step = Callable[..., None]


class RunError(Exception):
    """It was not done; the text is a whole sentence."""


@dataclass
class Logins:
    """Who is talked to."""

    store: _object_store.Login | None = None
    other: _object_store.Login | None = None
    database: _postgres.Login | None = None

    def need(self) -> _object_store.Login:
        """Return the store of the stack."""
        if self.store is None:
            raise AssertionError("every state that needs a store looks for it")
        return self.store

    def need_other(self) -> _object_store.Login:
        """Return the other store."""
        if self.other is None:
            raise AssertionError("only a copy needs another store, and looks for it")
        return self.other


@dataclass(frozen=True)
class Job:
    """What is asked for."""

    folder: str
    name: str
    now: datetime
    delete: bool
    max_delete: str
    confirm: str
    safety: bool
    key_query: str
    max_missing: int
    keep_days: int
    keep_least: int
    workers: int


@dataclass
class Outcome:
    """What came of it; ``why`` says why it is no success."""

    changed: bool = False
    snapshot: str = ""
    plan: dict[str, int] = field(default_factory=dict)
    moved: int = 0
    moved_bytes: int = 0
    deleted: int = 0
    resumed: int = 0
    vanished: int = 0
    kept: int = 0
    kept_objects: list[str] = field(default_factory=list)
    failed_objects: list[dict[str, str]] = field(default_factory=list)
    references: dict[str, Any] = field(default_factory=dict)
    saved_first: str = ""
    removed: list[str] = field(default_factory=list)
    why: str = ""


def _plan(sums: Sums) -> dict[str, int]:
    return {"objects": sums.objects, **asdict(sums)}


def save(
    job: Job, bucket: Bucket, database: _postgres.Login | None, scratch: str, step: Step
) -> Outcome:
    """Take a snapshot.

    :param scratch: with it nothing but this folder is written to: only the plan is wanted.
    """
    snapshots = Snapshots(job.folder)
    only_plan = bool(scratch)
    if not only_plan:
        snapshots.begin()
        scratch = snapshots.work
    asked = ""
    if database:
        # Before the bucket is listed: what is referred to now is in the bucket by then.
        step("ask the database for keys")
        asked = _object_verify.keys(database, job.key_query, scratch)
    step("list objects")
    run = Save(bucket, snapshots, job.name, scratch)
    sums = run.look()
    refused = run.refusal(job.max_delete)
    if refused:
        if not only_plan:
            snapshots.drop_next()
        raise RunError(refused)
    outcome = Outcome(run.needed, job.name, _plan(sums))
    if only_plan:
        return outcome
    report = Report(snapshot=job.name)
    if run.needed:
        at = job.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        identity = f"{job.name}/{job.now:%Y%m%dT%H%M%SZ}"
        report = run.take(job.workers, at, identity, step)
    _look_for_keys(job, snapshots, asked, outcome)
    snapshots.clear()
    outcome.moved, outcome.moved_bytes = report.fetched, report.fetched_bytes
    outcome.resumed, outcome.vanished = report.resumed, report.vanished
    outcome.failed_objects = report.failed
    missing = outcome.why
    if report.failures:
        kept = f"Snapshot {job.name} has the others"
        outcome.why = " ".join([_not_done(report.failures, report.failed, "read", kept), missing])
    elif job.keep_days and not missing:
        # What the database refers to and the bucket lacks may be in an old one.
        outcome.removed = _prune(job, snapshots, step)
        outcome.changed = outcome.changed or bool(outcome.removed)
    outcome.why = outcome.why.strip()
    return outcome


def _look_for_keys(job: Job, snapshots: Snapshots, asked: str, outcome: Outcome) -> None:
    if not asked:
        return
    inventory = _object_inventory.read(snapshots.path(job.name))
    number, found = _object_verify.missing(asked, inventory)
    outcome.references = {"asked": number, "missing": found.number, "first": found.first}
    if found.number > job.max_missing:
        outcome.why = (
            f"{found.number} of {number} objects that the database refers to are not there "
            f"({', '.join(found.first[:_SAID])}{', …' if found.number > _SAID else ''}); snapshot "
            f"{job.name} was taken without them. Look in an older one, or correct the rows."
        )


def _not_done(number: int, failed: list[dict[str, str]], verb: str, kept: str) -> str:
    named = "; ".join(f"{one['key']}: {one['why']}" for one in failed[:_SAID])
    more = f"; and {number - _SAID} more" if number > _SAID else ""
    return (
        f"{number} objects could not be {verb} ({named}{more}). {kept}; "
        "mend the store and run it again, it tries what is missing."
    )


def _prune(job: Job, snapshots: Snapshots, step: Step) -> list[str]:
    told = snapshots.summaries()
    complete = {name: name in told and told[name].complete for name in snapshots.names()}
    today = f"{job.now:%Y%m%d}"
    old = _object_plan.outdated(complete, today, job.keep_days, job.keep_least)
    if old:
        step("remove old snapshots", snapshots=old)
        snapshots.remove(old)
    return old


def _chosen(snapshots: Snapshots, name: str, bucket: str = "") -> str:
    """Return the snapshot that is meant.

    :param bucket: of which the latest one is; empty when it is all the same.
    """
    names = snapshots.names()
    if name == "latest":
        name = _latest(snapshots, names, bucket)
    if name not in names:
        raise RunError(
            f"There is no snapshot {name!r} in {snapshots.folder}; there are "
            f"{', '.join(names) or 'none'}. Nothing was changed."
        )
    if not _object_inventory.checked(snapshots.path(name)):
        raise RunError(
            f"The inventory of {name} is not what was written (sha256); take another snapshot of "
            f"{', '.join(names)}. Nothing was changed."
        )
    return name


def _latest(snapshots: Snapshots, names: list[str], bucket: str) -> str:
    whole = {
        name: told
        for name, told in snapshots.summaries().items()
        if told.complete and _object_plan.is_of_a_day(name)
    }
    # A bucket may come back under another name, where nothing else can be meant.
    own = {name: told for name, told in whole.items() if told.bucket == bucket} or whole
    if not own:
        raise RunError(
            f"There is no complete snapshot in {snapshots.folder}"
            f"{'; there are ' + ', '.join(names) if names else ''}. Nothing was changed."
        )
    buckets = sorted({told.bucket for told in own.values()})
    if bucket and len(buckets) > 1:
        raise RunError(
            f"The snapshots in {snapshots.folder} are of the buckets {', '.join(buckets)}, and "
            f"none is of {bucket}; name the one that is meant. Nothing was changed."
        )
    return max(own, key=lambda name: (own[name].at, name))


def restore(job: Job, bucket: Bucket, scratch: str, check: bool, step: Step) -> Outcome:
    """Make the bucket what a snapshot is."""
    snapshots = Snapshots(job.folder)
    name = _chosen(snapshots, job.name, bucket.login.bucket)
    source = _object_return.FromSnapshot(snapshots, name)
    outcome = _return(
        job, _object_return.Return(source, bucket, scratch, job.delete), check, step, snapshots
    )
    outcome.snapshot = name
    return outcome


def _save_first(job: Job, bucket: Bucket, snapshots: Snapshots, step: Step) -> str:
    """Save a bucket as it is, whatever it lost; return the name of the snapshot."""
    name = f"minio-backup-{job.now:%Y%m%d-%H%M%S}"
    snapshots.begin()
    step("save the bucket as it is", snapshot=name)
    run = Save(bucket, snapshots, name, snapshots.work)
    full = run.no_space(run.look())
    if full:
        snapshots.drop_next()
        raise RunError(full)
    report = run.take(job.workers, f"{job.now:%Y-%m-%dT%H:%M:%SZ}", name, step)
    snapshots.clear()
    if report.failures:
        raise RunError(
            f"{report.failures} objects could not be saved before they are overwritten "
            f"({', '.join(str(one['key']) for one in report.failed[:_SAID])}); snapshot {name} has "
            "the others. Nothing of the bucket was changed. Look at the store, or go on without "
            "(objects_safety=false)."
        )
    return name


def copy(job: Job, pair: tuple[Bucket, Bucket], scratch: str, check: bool, step: Step) -> Outcome:
    """Make a bucket what another one is."""
    source, bucket = pair
    one, other = source.login, bucket.login
    if (one.host, one.port, one.bucket) == (other.host, other.port, other.bucket):
        raise RunError(
            f"to is the bucket {one.bucket} at {one.place} itself; name another one. "
            "Nothing was changed."
        )
    there = _object_return.Return(_object_return.FromBucket(source), bucket, scratch, job.delete)
    return _return(job, there, check, step)


def _return(
    job: Job,
    run: _object_return.Return,
    check: bool,
    step: Step,
    snapshots: Snapshots | None = None,
) -> Outcome:
    step("list objects")
    sums = run.look(job.workers)
    refused = _object_plan.too_many(sums, job.max_delete, f"bucket {run.bucket.login.bucket}")
    if refused:
        raise RunError(refused)
    outcome = Outcome(sums.change or not run.exists, plan=_plan(sums))
    if check or not outcome.changed:
        return outcome
    touched = sums.changed + sums.gone
    wanted = run.bucket.login.bucket
    if snapshots and touched and job.confirm != wanted:
        raise RunError(
            f"{sums.changed} objects of bucket {wanted} would be overwritten and "
            f"{sums.gone} deleted, with what {run.source.where} has; confirm it with the name "
            f"of the bucket ({wanted}). Nothing was changed."
        )
    if snapshots and touched and job.safety:
        outcome.saved_first = _save_first(job, run.bucket, snapshots, step)
    report = run.run(job.workers, step)
    outcome.moved, outcome.moved_bytes = report.sent, report.sent_bytes
    outcome.deleted, outcome.vanished = report.deleted, report.vanished
    outcome.kept, outcome.kept_objects = report.kept, report.kept_objects
    outcome.changed = bool(report.sent or report.deleted or not run.exists)
    outcome.failed_objects = report.failed
    if report.failures:
        kept = f"Bucket {wanted} has the others, and nothing was deleted"
        outcome.why = _not_done(report.failures, report.failed, "brought there", kept)
    return outcome


def verify(job: Job, check: bool, step: Step) -> Outcome:
    """Read a snapshot whole; what is damaged is fetched by the next one, but for check mode."""
    snapshots = Snapshots(job.folder)
    name = _chosen(snapshots, job.name)
    step("read every object", snapshot=name)
    read, found, given_up = _object_verify.damaged(snapshots, name, job.workers, give_up=not check)
    outcome = Outcome(bool(given_up), name, {"objects": read})
    outcome.failed_objects = [
        {"key": key, "why": "its file is not what was saved"} for key in found.first
    ]
    if found.number:
        outcome.why = (
            f"{found.number} of {read} objects of {name} are not what was saved "
            f"({', '.join(found.first[:_SAID])}). The next snapshot fetches {given_up} of them "
            f"again{_not_given_up(found.number - given_up, check)}; the older ones share the "
            "damaged files. Look at the disk, and take one while the store has the objects."
        )
    return outcome


def _not_given_up(number: int, check: bool) -> str:
    if not number:
        return ""
    why = (
        "this is check mode" if check else "another run takes a snapshot, or they cannot be touched"
    )
    return f", and {number} only after another verification ({why})"
