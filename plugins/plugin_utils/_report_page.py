# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection; it may change at any time.
"""The result of a run as one page that needs no other file and no network.

The page shows what the results hold and nothing that it would have to ask for. Results are
text of servers: everything is escaped, the charts alone are markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import _report_charts

TEMPLATE = "report.html.j2"
_FOLDER = Path(__file__).resolve().parents[2] / "roles" / "stack" / "templates"
# The colour of a word, wherever it stands.
_TONES = {
    "ok": "good",
    "no_change": "good",
    "warn": "warn",
    "refused": "warn",
    "rolled_back": "warn",
    "not_run": "mute",
    "fail": "bad",
    "failed": "bad",
    "unknown": "bad",
}
# What the bad ones are first for.
_ORDER = {"fail": 0, "warn": 1, "ok": 2, "not_run": 3}


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None


def durations(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return steps with the seconds until the next one began; the last has none.

    :param steps: each with ``step`` and ``at``, in the order of the journal.
    """
    found = []
    for number, one in enumerate(steps):
        begun = _moment(one.get("at"))
        ended = _moment(steps[number + 1].get("at")) if number + 1 < len(steps) else None
        seconds = (ended - begun).total_seconds() if begun and ended else None
        found.append({"step": one.get("step", ""), "at": one.get("at", ""), "seconds": seconds})
    return found


def compared(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return checks by name with their status before and after, what got worse first."""
    old = {str(one.get("name")): one for one in before}
    new = {str(one.get("name")): one for one in after}
    rows = []
    for name in dict.fromkeys([*new, *old]):
        told = new.get(name) or old.get(name) or {}
        rows.append(
            {
                "name": name,
                "before": str(old.get(name, {}).get("status", "")),
                "after": str(new.get(name, {}).get("status", "")),
                "summary": told.get("summary", ""),
                "detail": told.get("detail", ""),
            }
        )
    return sorted(rows, key=lambda one: _ORDER.get(one["after"] or one["before"], 9))


def size(number: Any) -> str:
    """Return a number of bytes for people; empty for what is none."""
    if not isinstance(number, (int, float)):
        return ""
    unit, name = _report_charts.unit(number)
    return f"{number / unit:.1f} {name}"


def tone(word: Any) -> str:
    """Return the class of a verdict or of a status."""
    return _TONES.get(str(word), "mute")


def _charts(result: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    watch = result.get("watch") or {}
    samples = watch.get("samples") or []
    services = sorted(watch.get("numbers") or {})
    drawn = {name: _report_charts.requests(samples, name) for name in services}
    return {
        "steps": Markup(_report_charts.timeline(steps)),  # noqa: S704  # made here, of numbers
        "backups": Markup(_report_charts.backups(result.get("backups") or [])),  # noqa: S704
        "memory": Markup(_report_charts.memory(result.get("memory") or {})),  # noqa: S704
        "requests": {name: Markup(svg) for name, svg in drawn.items() if svg},  # noqa: S704
    }


def _switched(measured: Any) -> dict[str, Any]:
    """Return what requests met by service, if that is what was measured."""
    if not isinstance(measured, Mapping):
        return {}
    return {
        name: told
        for name, told in measured.items()
        if isinstance(told, Mapping) and "requests" in told and "failed" in told
    }


def _host(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    steps = durations(result.get("steps") or [])
    after = result.get("health_after") or result.get("checks") or []
    before = result.get("health_before") or []
    return {
        "name": name,
        "result": result,
        "steps": steps,
        "checks": compared(before, after),
        "has_before": bool(before),
        "measured": _switched(result.get("measured")),
        "charts": _charts(result, steps),
    }


def page(run: Mapping[str, Any], made_at: str) -> str:
    """Return a run as HTML.

    :param run: ``operation``, ``verdict`` and ``hosts``, as in ``carrental_result``, and
        ``check`` for a run in check mode.
    :param made_at: when, for the foot of the page.
    :raises jinja2.TemplateError: when the template is broken.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(size=size, tone=tone)
    return environment.get_template(TEMPLATE).render(
        operation=run["operation"],
        verdict=run["verdict"],
        check=bool(run.get("check")),
        hosts=[_host(name, result) for name, result in sorted(run["hosts"].items())],
        made_at=made_at,
        has_charts=_report_charts.HAS_PYGAL,
    )
