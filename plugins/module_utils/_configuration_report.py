# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a proved configuration changes: for the record, for the plan and for a reader."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

from . import _compose, _delivered, _env_file
from ._configuration import Candidate, read
from ._masking import Masker
from ._releases import Config

_DIFF_BYTES = 256 * 1024


def fingerprint(proved: Candidate) -> Config:
    """Return what a record says about this configuration: hashes and names, no value."""
    files: dict[str, str] = {}
    for mounted in proved.mounted.values():
        files.update(mounted)
    for file in proved.project.files:
        content = read(os.path.join(proved.project.directory, file)) or b""
        files[file] = hashlib.sha256(content).hexdigest()
    env = _env_file.fingerprint(proved.env_text)
    return {"files": dict(sorted(files.items())), "env": env}


def reloads(
    proved: Candidate, recorded: Mapping[str, str] | None, kept: Sequence[str]
) -> dict[str, list[str]]:
    """Return the mounted files that kept containers have not read in their new form.

    The last good release tells what was read, not the files: a run that was
    killed between writing and reloading must not look like one with nothing to do.
    """
    touched = {change.path for change in proved.changes if change.content}
    found: dict[str, list[str]] = {}
    for service in kept:
        for relative, digest in proved.mounted.get(service, {}).items():
            unread = recorded is not None and recorded.get(relative) != digest
            if relative in touched or unread:
                found.setdefault(service, []).append(relative)
    gone = [change.path for change in proved.changes if change.new is None]
    for service, source, _target in _compose.binds(proved.model) if gone else []:
        inside = [one for one in gone if f"{proved.wish.dest}/{one}".startswith(f"{source}/")]
        if service in kept and inside:
            found.setdefault(service, []).extend(inside)
    return found


def differing(proved: Candidate) -> dict[str, list[str]]:
    """Return the services whose definition changes, with the names of the changed members."""
    new = _compose.services(proved.model)
    old = _compose.services(proved.old_model) if proved.old_model else {}
    found: dict[str, list[str]] = {}
    for name, service in new.items():
        if name not in old:
            found[name] = ["new"]
            continue
        # Neither makes compose replace a container.
        ignored = {"build", "pull_policy", "depends_on", "scale"}
        members = sorted(
            member
            for member in (service.keys() | old[name].keys()) - ignored
            if service.get(member) != old[name].get(member)
        )
        if members:
            found[name] = members
    return found


def diff(proved: Candidate, masker: Masker) -> list[dict[str, str]]:
    """Return what changes for a reader: text as text, secrets as names."""
    found = []
    for change in proved.changes:
        header = os.path.join(proved.wish.dest, change.path)
        if change.path == _compose.ENV_FILE:
            before, after = _env_diff(proved.env)
        elif _delivered.is_private(change.path):
            before = "" if change.old is None else "(a secret)\n"
            after = "(another secret)\n" if change.old is not None else "(a secret)\n"
        else:
            before, after = _shown(change.old, masker), _shown(change.new, masker)
        if not change.content:
            before = after = ""
        stays = change.new is not None and change.old_mode is not None
        if stays and change.old_mode != change.mode:
            before += f"mode: {change.old_mode:04o}\n"
            after += f"mode: {change.mode:04o}\n"
        found.append(
            {"before_header": header, "after_header": header, "before": before, "after": after}
        )
    return found


def _env_diff(env: _env_file.Merged) -> tuple[str, str]:
    before = [f"{key}=(old value)" for key in env.changed] + [f"{key}=…" for key in env.removed]
    after = [f"{key}=(new value)" for key in env.changed] + [f"{key}=…" for key in env.added]
    return "".join(f"{one}\n" for one in before), "".join(f"{one}\n" for one in after)


def _shown(content: bytes | None, masker: Masker) -> str:
    if content is None:
        return ""
    if len(content) > _DIFF_BYTES or b"\0" in content:
        return f"({len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()})\n"
    return masker.text(content.decode("utf-8", "replace"))
