# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Which variables look like ours, which of them nothing reads, and what may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

# Settings of the role stack begin with no name of a role.
SHARED = ("carrental_", "operation_")
# No role has these among its options: a playbook reads them before the first role.
_PLAYBOOKS = ("recover_bootstrap", "recover_login")
_OTHERS = (
    *_PLAYBOOKS,
    # A role itself sets these, and AWX hands on what the job before gave.
    "carrental_outcome",
    "carrental_result",
    "carrental_operation",
    "carrental_operation_id",
    "carrental_services_enabled",
    # The rulebook reads these.
    "carrental_eda_confirm",
    "carrental_eda_host",
    "carrental_eda_mode",
    "carrental_eda_port",
)


def unread(given: Iterable[str], known: Collection[str], prefixes: Sequence[str]) -> list[str]:
    """Return names that look like ours and that nothing reads.

    :param known: the options of roles.
    :param prefixes: how they begin, beside :data:`SHARED`.
    """
    ours = (*prefixes, *SHARED)
    return [
        name
        for name in sorted(given)
        if name.startswith(ours) and name not in known and name not in _OTHERS
    ]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what a misspelt name may have meant, or nothing."""
    near = difflib.get_close_matches(name, [*known, *_PLAYBOOKS], n=1, cutoff=0.8)
    return near[0] if near else ""


def alike(name: str, known: Iterable[str]) -> list[str]:
    """Return names that are like one that is wrong, the most likely first; what they all begin
    with does not count."""
    start = name.partition("_")[0] + "_"
    ends = [one[len(start) :] for one in (*known, *_PLAYBOOKS) if one.startswith(start)]
    near = difflib.get_close_matches(name[len(start) :], ends, n=3, cutoff=0.6)
    return [start + one for one in near]
