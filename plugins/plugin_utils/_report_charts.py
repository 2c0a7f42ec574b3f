# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection; it may change at any time.
"""The charts of a report, as SVG that stands in the page and needs nothing else.

Colours come from the page, which knows whether it is read in the dark or on paper. Without
pygal there are no charts; the tables beside them hold the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

try:
    import pygal
    from pygal.style import Style
except ImportError:
    HAS_PYGAL = False
else:
    HAS_PYGAL = True

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
# Steps shorter than this are no bar that anybody sees.
_SHORTEST_S = 0.05
_BAR = 34


def drawable(*series: Sequence[float | None]) -> bool:
    """Return whether there is anything to draw: a number above zero."""
    return any((value or 0) > 0 for one in series for value in one)


def unit(number: float) -> tuple[int, str]:
    """Return the unit in which a number of bytes reads best: its bytes and its name."""
    return next(((size, name) for size, name in _UNITS if number >= size), _UNITS[-1])


def _options(height: int, **more: Any) -> dict[str, Any]:
    style = Style(
        font_family="inherit",
        label_font_size=12,
        major_label_font_size=12,
        value_font_size=12,
        legend_font_size=13,
        tooltip_font_size=12,
        background="transparent",
        plot_background="transparent",
    )
    return {
        "width": 760,
        "height": height,
        "style": style,
        "js": [],
        "disable_xml_declaration": True,
        "explicit_size": False,
        "no_prefix": False,
        "margin": 12,
        "legend_at_bottom": True,
        "show_y_guides": True,
        "print_values": False,
        **more,
    }


def _svg(chart: Any, label: str) -> str:
    """Return a chart without the scripts of its library, and with a name for those who hear it."""
    tree = chart.render_tree()
    for parent in tree.iter():
        for child in list(parent):
            if str(child.tag).rpartition("}")[2] == "script":
                parent.remove(child)
    tree.set("role", "img")
    tree.set("aria-label", label)
    # What is there serves readers with a screen; on paper and phones a fixed size would be cut.
    for size in ("width", "height"):
        tree.attrib.pop(size, None)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return str(ElementTree.tostring(tree, encoding="unicode"))


def timeline(steps: Sequence[Mapping[str, Any]]) -> str:
    """Return how long each step took; empty where none took long enough to be seen."""
    shown = [one for one in steps if (one.get("seconds") or 0) >= _SHORTEST_S]
    if not HAS_PYGAL or not shown:
        return ""
    chart = pygal.HorizontalBar(
        **_options(90 + _BAR * len(shown), show_legend=False, truncate_label=40)
    )
    # A horizontal chart draws its first entry at the bottom; people read from the top.
    ordered = list(reversed(shown))
    chart.x_labels = [str(one["step"]) for one in ordered]
    chart.add("seconds", [round(float(one["seconds"]), 2) for one in ordered])
    return _svg(chart, "Seconds that each step took")


def requests(samples: Sequence[Mapping[str, Any]], service: str) -> str:
    """Return the requests and the failures of a service while a release was watched."""
    points = [one for one in samples if isinstance(one.get(service), Mapping)]
    seconds = [float(one.get("second") or 0) for one in points]
    answered = [one[service].get("requests") for one in points]
    failed = [one[service].get("errors") for one in points]
    if not HAS_PYGAL or not drawable(answered):
        return ""
    chart = pygal.XY(**_options(260, x_title="seconds after the switch", dots_size=3))
    chart.add("requests", list(zip(seconds, answered, strict=True)))
    chart.add("failed (5xx)", list(zip(seconds, failed, strict=True)))
    return _svg(chart, f"Requests that {service} answered, and those of them that failed")


def backups(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the sizes of backups over time, oldest first."""
    known = [one for one in found if one.get("bytes")]
    if not HAS_PYGAL or len(known) < 2:
        return ""
    size, name = unit(max(float(one["bytes"]) for one in known))
    chart = pygal.Bar(**_options(240, show_legend=False, x_label_rotation=30, y_title=name))
    ordered = sorted(known, key=lambda one: str(one.get("at") or one["id"]))
    chart.x_labels = [str(one.get("at") or one["id"])[:16].replace("T", " ") for one in ordered]
    chart.add("size", [round(float(one["bytes"]) / size, 2) for one in ordered])
    return _svg(chart, f"Size of each backup in {name}")


def memory(budget: Mapping[str, Any]) -> str:
    """Return what each container uses of its limit, and what is left of it."""
    limited = [one for one in budget.get("containers") or [] if one.get("limit")]
    if not HAS_PYGAL or not limited:
        return ""
    chart = pygal.HorizontalStackedBar(**_options(110 + _BAR * len(limited), x_title="MiB"))
    ordered = list(reversed(limited))
    chart.x_labels = [str(one["container"]) for one in ordered]
    used = [int(one.get("used") or 0) for one in ordered]
    chart.add("used", used)
    limits = zip(ordered, used, strict=True)
    chart.add("rest of its limit", [max(int(one["limit"]) - now, 0) for one, now in limits])
    return _svg(chart, "Memory of each container in MiB")
