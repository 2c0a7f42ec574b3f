# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What has to be right before a deploy begins, by name, and who waived what and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ._checks import FAIL, NOT_RUN, OK, WARN, Check, format_line
from ._disk_space import Disk
from ._host import size

# By name, what each check of this preflight makes sure of. Each can be waived.
CHECKS = {
    "health": "what runs now is well; what this deploy would mend does not stop it",
    "database": "PostgreSQL takes writes, and no long transaction blocks migrations",
    "proxy": "the proxy serves, and accepts the configuration that it has now",
    "space": "the disks hold the new images and a dump of the database",
    "memory": "the server holds the new containers beside the old ones",
    "ci": "CI passed for the commit (with deploy_ci_repository and deploy_ci_token)",
    "outside": "what runs is what the last deploy left",
}
# What is made sure of elsewhere, and what to set where one knows better.
ELSEWHERE = {
    "lock": "no other operation changes this server, and none is forbidden (a freeze)",
    "environment": ".env has each variable that the compose files demand (carrental_env)",
    "configuration": "compose reads its files, and services accept their new ones",
    "images": "each image is in its registry and can be pulled, by digest",
    "migrations": "none that is pending is destructive (deploy_allow_destructive_migration)",
    "schema": "the release knows what is destructive in the database (deploy_allow_schema_ahead)",
}
_SEVERITY = {"health": "P2", "space": "P2", "memory": "P2", "ci": "P2", "outside": "P3"}
# What a dump may have grown since the last one.
_GROWTH = 1.2
# What new containers need beside their limits: the engine's processes, page tables, buffers.
_BESIDE = 1.1
_UNMENDED = ("database", "proxy")
# Behind a proxy that works.
_GATEWAY = (502, 503, 504)
# Time and process, when nginx writes to a log that is its standard error.
_STAMP = re.compile(r"^\d{4}/\S+ \S+ (?=\[)|(?<=\]) \d+#\d+:")
_PASSED = ("success", "neutral", "skipped")


class WaiverError(ValueError):
    """A waiver that makes no sense; the text is a whole sentence."""


@dataclass(frozen=True)
class Result:
    """One check, what to do about it, and why it does not count."""

    check: Check
    remedy: str = ""
    waived: str = ""

    @property
    def blocks(self) -> bool:
        """Whether nothing may begin."""
        return self.check.status == FAIL and not self.waived

    @property
    def line(self) -> str:
        """The line that an operator reads."""
        waived = f" (waived: {self.waived})" if self.waived else ""
        remedy = f"; {self.remedy}" if self.remedy and not self.waived else ""
        return format_line(
            self.check.status, self.check.summary, f"{self.check.detail}{remedy}{waived}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as a module does."""
        return {**self.check.as_dict(), "remedy": self.remedy, "waived": self.waived}


def says(
    name: str, status: str, summary: str, detail: str = "", remedy: str = "", **evidence: Any
) -> Result:
    """Return the outcome of a check."""
    severity = _SEVERITY.get(name, "P1")
    check = Check(name, "preflight", status, severity, summary, detail, evidence=evidence)
    return Result(check, remedy if status in (WARN, FAIL) else "")


def waive(results: Iterable[Result], reasons: Mapping[str, str]) -> list[Result]:
    """Return the results with what was waived marked; a reason is used where a check failed."""
    return [
        replace(one, waived=" ".join(reasons[one.check.name].split()))
        if one.check.status == FAIL and one.check.name in reasons
        else one
        for one in results
    ]


def require_reasons(reasons: Mapping[str, Any]) -> dict[str, str]:
    """Return the waivers, or refuse what names nothing or gives no reason."""
    unknown = sorted(reasons.keys() - CHECKS.keys())
    if unknown:
        raise WaiverError(
            f"deploy_waive names {', '.join(unknown)}; what can be waived is {', '.join(CHECKS)}."
        )
    silent = sorted(name for name, reason in reasons.items() if not str(reason or "").strip())
    if silent:
        raise WaiverError(
            f"deploy_waive gives no reason for {', '.join(silent)}; it stands in the record "
            f'of the release, as in -e \'{{"deploy_waive": {{"{silent[0]}": "…"}}}}\'.'
        )
    return {name: str(reason) for name, reason in reasons.items()}


def refusal(results: Sequence[Result]) -> str:
    """Return why nothing may begin, and what to do; empty when all may."""
    bad = [one for one in results if one.blocks]
    if not bad:
        return ""
    reasons = [f"{one.check.name}: {one.check.detail}; {one.remedy}" for one in bad]
    name = bad[0].check.name
    return (
        f"{'. '.join(reasons)}. Who knows better waives it by its name, with a reason: "
        f'-e \'{{"deploy_waive": {{"{name}": "…"}}}}\'.'
    )


# --- what runs now


def judge_health(
    checks: Iterable[Check], roles: Mapping[str, str], services: Iterable[str]
) -> dict[str, Result]:
    """Judge a quick look at everything, apart for the database, the proxy and the rest.

    :param roles: role of each service that was looked at.
    :param services: those that this deploy replaces.
    """
    bad: dict[str, list[Check]] = {"health": [], "database": [], "proxy": []}
    replaced = set(services)
    for check in checks:
        role = roles.get(check.service, "")
        # What is not there at all is made, as after a first deploy that was interrupted.
        mends = role not in _UNMENDED or (check.service in replaced and _is_absent(check))
        if check.status in (WARN, FAIL):
            bad["health" if mends else role].append(check)
    # What this deploy replaces may be broken: that is why it is made.
    mended = [one.service for one in bad["health"] if one.service in replaced]
    return {
        "health": _health(bad["health"], list(dict.fromkeys(mended))),
        "database": _unmended("database", bad["database"], "PostgreSQL takes writes"),
        "proxy": _unmended("proxy", bad["proxy"], "The proxy serves"),
    }


def _is_absent(check: Check) -> bool:
    """Whether a service has no container: one that is there, running or not, gives evidence."""
    return check.name == f"{check.service}.container" and not check.evidence


def _health(bad: Sequence[Check], mended: Sequence[str]) -> Result:
    if not bad:
        return says("health", OK, "What runs now is well")
    detail = _details(bad)
    remedy = "see playbooks/health.yml"
    if mended:
        remedy = f"this deploy replaces {', '.join(mended)}; for the rest {remedy}"
    return says("health", WARN, "Not all that runs now is well", detail, remedy)


def _unmended(name: str, bad: Sequence[Check], well: str) -> Result:
    """Judge a service that no release of the application mends."""
    failed = [one for one in bad if one.status == FAIL and not _only_behind(one)]
    if failed:
        summary = failed[0].summary
        remedy = (
            "mend it first, for a deploy does not; playbooks/health.yml says more, and "
            "playbooks/rollback.yml -e rollback_to=<the release that runs> puts its files back "
            "where they were edited"
        )
        return says(name, FAIL, summary, _details(failed), remedy)
    if bad:
        return says(name, WARN, well, _details(bad), "see playbooks/health.yml")
    return says(name, OK, well)


def _only_behind(check: Check) -> bool:
    """Whether a proxy works, and only what stands behind it does not."""
    return check.evidence.get("status_code") in _GATEWAY


def _details(checks: Sequence[Check]) -> str:
    found = [f"{one.summary}{f' ({one.detail})' if one.detail else ''}" for one in checks]
    return "; ".join(dict.fromkeys(found))


@dataclass(frozen=True)
class Blocker:
    """A session that a migration would wait for."""

    pid: int
    user: str
    seconds: int
    tables: str


def with_blockers(database: Result, blockers: Sequence[Blocker], lock_timeout: int) -> Result:
    """Add the sessions that have held locks on tables for long."""
    if not blockers or database.check.status == FAIL:
        return database
    detail = "; ".join(
        f"session {one.pid} of {one.user} holds locks on {one.tables} for {one.seconds} s"
        for one in blockers
    )
    if database.check.detail:
        detail = f"{database.check.detail}; {detail}"
    remedy = (
        f"a migration of such a table gives up after {lock_timeout} s; wait for the session, or "
        f"end it with SELECT pg_terminate_backend({blockers[0].pid})"
    )
    return says("database", WARN, database.check.summary, detail, remedy)


@dataclass(frozen=True)
class ProxyTest:
    """How a proxy judged the configuration that it would read now."""

    command: str
    rc: int
    output: Sequence[str] = ()
    # Mounted files that were replaced on disk, so that the container still has the old ones.
    unseen: Sequence[str] = ()
    # Services that do not run: their names cannot be resolved.
    absent: Sequence[str] = ()


def with_test(proxy: Result, test: ProxyTest) -> Result:
    """Add what the proxy says of its configuration."""
    if proxy.check.status == FAIL:
        return proxy
    if test.rc != 0:
        said = _sentence(test.output)
        missing = [one for one in test.absent if f'host not found in upstream "{one}' in said]
        if missing:
            detail = f"{test.command}: {said}; {missing[0]} does not run"
            return says("proxy", WARN, "The proxy serves", detail, "a deploy starts it")
        remedy = (
            "mend the configuration on the server; until then the proxy would not come back from "
            "a restart, and could not be reloaded"
        )
        summary = "The proxy refuses its own configuration"
        return says("proxy", FAIL, summary, f"{test.command}: {said}", remedy)
    if test.unseen:
        detail = f"{', '.join(test.unseen)} was replaced, and the container still has the old file"
        remedy = "a reload does not show it the new one, a new container does"
        return says("proxy", WARN, proxy.check.summary, detail, remedy)
    return proxy


def _sentence(output: Sequence[str]) -> str:
    """The line that says why; without the prefix and the time that a tool puts before it."""
    lines = [line.strip() for line in output if line.strip()]
    errors = [line for line in lines if "[emerg]" in line or "rror" in line]
    found = (errors or lines[-1:] or ["no reason given"])[0].removeprefix("nginx: ")
    return _STAMP.sub("", found)


def judge_outside(outside: Sequence[Mapping[str, str]]) -> Result:
    """Judge the services that do not run what was recorded."""
    if not outside:
        return says("outside", OK, "What runs is what the last deploy left")
    detail = "; ".join(
        f"{one['service']} "
        + (f"runs {_short(one['running'])}" if one.get("running") else "does not run")
        + f" instead of {_short(one['recorded'])}"
        for one in outside
    )
    remedy = "this deploy replaces it where the release names it"
    return says("outside", WARN, "Something was changed outside a deploy", detail, remedy)


def _short(image_id: str) -> str:
    return image_id.partition(":")[2][:12] or image_id


# --- what the new needs


@dataclass(frozen=True)
class SpaceNeed:
    """What has to fit on a disk, and for what."""

    disk: Disk
    wanted: int
    what: str


def judge_space(needs: Sequence[SpaceNeed]) -> Result:
    """Judge the disks; what lies on the same one adds up."""
    short = []
    told = []
    for device in dict.fromkeys(need.disk.device for need in needs):
        here = [need for need in needs if need.disk.device == device]
        wanted, free = sum(need.wanted for need in here), min(need.disk.free for need in here)
        what = " and ".join(f"{size(need.wanted)} for {need.what}" for need in here)
        text = f"{here[0].disk.path} has {size(free)} free, wanted are {what}"
        told.append(text)
        if free < wanted:
            short.append(text)
    summary = "The disks have room" if not short else "A disk has no room for this deploy"
    remedy = "free space, as with docker image prune, or by moving old backups away"
    detail = "; ".join(short or told)
    return says("space", FAIL if short else OK, summary, detail, remedy)


def dump_need(last: int) -> int:
    """What the next dump needs, by the size of the last one."""
    return int(last * _GROWTH)


@dataclass(frozen=True)
class MemoryNeed:
    """What one more container of a service may take."""

    service: str
    wanted: int
    limited: bool = True


def judge_memory(needs: Sequence[MemoryNeed], available: int) -> Result:
    """Judge the memory for new containers beside the old ones."""
    wanted = int(sum(need.wanted for need in needs) * _BESIDE)
    what = " + ".join(
        f"{need.service} {size(need.wanted)}{'' if need.limited else ' (no limit; used now)'}"
        for need in needs
    )
    numbers: dict[str, Any] = {"wanted_bytes": wanted, "available_bytes": available}
    if not needs:
        return says("memory", OK, "No container runs beside its successor", **numbers)
    detail = f"{size(wanted)} are wanted ({what} and a tenth), {size(available)} are available"
    if available < wanted:
        summary = "The memory does not hold the new containers beside the old ones"
        remedy = "free memory, or lower the limits of these services"
        return says("memory", FAIL, summary, detail, remedy, **numbers)
    return says("memory", OK, "The memory holds old and new", detail, **numbers)


# --- what others say of the commit


@dataclass(frozen=True)
class CiAnswer:
    """What the service of the repository says of a commit."""

    commit: str
    repository: str
    # Why it could not be asked.
    error: str = ""
    statuses: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[str, str] = field(default_factory=dict)


def ci_answer(commit: str, repository: str, answers: Sequence[Mapping[str, Any]]) -> CiAnswer:
    """Read what GitHub answered: the combined status, and the check runs.

    :param answers: status, document and message of both requests.
    """
    for answer in answers:
        code = int(answer.get("status") or 0)
        if code != 200:
            known = {
                401: "it refuses the token (401); check deploy_ci_token",
                403: "the token may not read it (403); it needs the right to read checks",
                404: f"it has no commit {commit} in {repository} (404), or hides it",
                422: f"it has no commit {commit} in {repository} (422)",
            }
            why = known.get(code) or str(answer.get("msg") or f"it answered {code}")
            return CiAnswer(commit, repository, error=why)
    status, runs = (answer.get("json") or {} for answer in answers)
    for told, key in ((status, "statuses"), (runs, "check_runs")):
        seen, there = len(told.get(key) or []), int(told.get("total_count") or 0)
        if there > seen:
            why = f"it has {there} {key.replace('_', ' ')} for {commit}, and {seen} were read"
            return CiAnswer(commit, repository, error=why)
    return CiAnswer(
        commit,
        repository,
        statuses={
            str(one.get("context")): str(one.get("state")) for one in status.get("statuses") or []
        },
        runs={
            str(one.get("name")): str(one.get("conclusion") or one.get("status"))
            for one in runs.get("check_runs") or []
        },
    )


def judge_ci(answer: CiAnswer | None, ignored: Sequence[str]) -> Result:
    """Judge what CI says of the commit."""
    if answer is None:
        why = "deploy_ci_repository or deploy_ci_token is not set"
        return says("ci", NOT_RUN, "CI passed for the commit", why)
    where = f"{answer.repository} at {answer.commit[:12]}"
    if answer.error:
        summary = "CI could not be asked about the commit"
        return says("ci", FAIL, summary, answer.error, "check deploy_ci_url, or try again")
    found = {**answer.statuses, **answer.runs}
    counted = {name: state for name, state in found.items() if name not in ignored}
    bad = {name: state for name, state in counted.items() if state not in _PASSED}
    if not counted:
        detail = f"nothing was run for {where}"
        return says("ci", FAIL, "CI knows nothing of the commit", detail, "let CI run for it first")
    if bad:
        detail = ", ".join(f"{name} is {state}" for name, state in sorted(bad.items()))
        remedy = (
            "wait for it, or mend the commit; a check that is this deploy itself goes into "
            "deploy_ci_ignore"
        )
        return says("ci", FAIL, "CI did not pass for the commit", f"{where}: {detail}", remedy)
    return says("ci", OK, f"CI passed for the commit ({len(counted)} checks)")


def lines(results: Sequence[Result]) -> list[str]:
    """Return what an operator has to see besides a refusal, with one line for what is well."""
    told = [one.line for one in results if one.check.status in (WARN, FAIL) and not one.blocks]
    well = [one.check.name for one in results if one.check.status == OK]
    left: dict[str, list[str]] = {}
    for one in results:
        if one.check.status == NOT_RUN:
            left.setdefault(one.check.detail, []).append(one.check.name)
    if well:
        said = "; ".join(f"{', '.join(names)}, for {why}" for why, names in left.items())
        besides = f" (not run: {said})" if left else ""
        told.append(f"[OK] preflight: {', '.join(well)}{besides}")
    return told


def listed() -> list[str]:
    """Return every check and what it makes sure of."""
    found = [f"{name}: {meaning}" for name, meaning in CHECKS.items()]
    return found + [f"{name}: {meaning}; cannot be waived" for name, meaning in ELSEWHERE.items()]
