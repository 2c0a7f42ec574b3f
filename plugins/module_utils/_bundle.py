# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Keep what was seen of an incident, before anything is done about it: one directory each."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence

from . import _ledger, _masking, _whole_file
from ._facts import Facts
from ._incidents import Cause

_KEEP = 50
_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[a-z_]+")


class BundleError(Exception):
    """Evidence that could not be kept; the text is a whole sentence."""


def folder(state_dir: str) -> str:
    """Return where the evidence of incidents lies."""
    return os.path.join(_ledger.directory(state_dir), "evidence")


def name(facts: Facts) -> str:
    """Return the name of a bundle: sortable by time, with the incident for people."""
    return f"{re.sub(r'[-:]', '', facts.at)}-{facts.incident}"


def save(state_dir: str, facts: Facts, causes: Sequence[Cause], masker: _masking.Masker) -> str:
    """Write everything that was seen, without secrets, and return the directory.

    :raises BundleError: the disk is full, or the directory is not ours.
    """
    target = os.path.join(folder(state_dir), name(facts))
    files = {
        "facts.json": json.dumps(masker.data(facts.as_dict()), indent=2, default=str),
        "causes.json": json.dumps(masker.data([one.as_dict() for one in causes]), indent=2),
        "summary.txt": "\n".join(
            [f"{facts.at} {facts.incident} on {facts.host}"]
            + [masker.text(one.sentence) for one in causes]
            + [
                masker.text(f"{one['status']}: {one['summary']} {one['detail']}".strip())
                for one in facts.checks
                if one["status"] in ("warn", "fail")
            ]
            + [masker.text(f"not looked at: {one}") for one in facts.notes]
        ),
    }
    for container, lines in facts.logs.items():
        files[f"{container}.log"] = masker.text("\n".join(lines))
    try:
        os.makedirs(target, mode=0o700, exist_ok=True)
        for file, text in files.items():
            _whole_file.write(os.path.join(target, file), text.encode() + b"\n")
        _prune(folder(state_dir))
    except OSError as error:
        raise BundleError(
            f"The evidence could not be kept in {target}: {error.strerror}."
        ) from error
    return target


def _prune(directory: str) -> None:
    """Remove the oldest bundles; what is not named like one stays."""
    names = sorted(one for one in os.listdir(directory) if _NAME.fullmatch(one))
    for old in names[:-_KEEP]:
        shutil.rmtree(os.path.join(directory, old), ignore_errors=True)
