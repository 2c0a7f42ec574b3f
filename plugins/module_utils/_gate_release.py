# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What a gate finds in the release itself: its migrations, and its images."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

from . import (
    _gate,
    _gate_files,
    _gate_git,
    _migration_findings,
    _migration_risk,
    _registry,
    _registry_client,
)

_FILE = "migration.sql"
# Where Prisma has them; what the role looks for when nobody says otherwise.
USUAL = "prisma/migrations"


def known(folder: str, base: str) -> set[str]:
    """Return the names of the migrations that a commit has already, wherever they lie in it.

    Who moves the directory has had the migrations before all the same.
    """
    return {
        os.path.basename(os.path.dirname(name))
        for name in _gate_git.files(folder, base)
        if os.path.basename(name) == _FILE
    }


def migrations(folder: str, path: str) -> dict[str, str]:
    """Return the text of each migration of a checkout by its name, in order."""
    found = {}
    base = os.path.join(folder, path)
    for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        file = os.path.join(base, name, _FILE)
        if os.path.isfile(file):
            with open(file, encoding="utf-8", errors="replace") as stream:
                found[name] = stream.read()
    return found


def elsewhere(folder: str) -> list[str]:
    """Return the directories of a checkout that have migrations, whatever they are called."""
    found = [one for one in _gate_files.below(folder) if os.path.basename(one) == _FILE]
    return sorted({os.path.dirname(os.path.dirname(one)) or "." for one in found})


def assess(
    scripts: Mapping[str, str], already: Collection[str] | None, *, lock_timeout: bool
) -> dict[str, _migration_risk.Assessment]:
    """Return what new migrations do, as far as their text tells.

    Before a merge nobody knows the sizes of the tables: each counts as a large one.
    """
    if already is None:
        # Any of them may have been released alone: what one makes is not new in the next.
        return {
            name: _migration_risk.assess(
                text, _migration_findings.Known(None, lock_timeout=lock_timeout)
            )
            for name, text in scripts.items()
        }
    new = {name: text for name, text in scripts.items() if name not in already}
    # Where all are new there is no release before that could suffer.
    tables: dict[str, int] | None = None if already else {}
    state = _migration_findings.Known(tables, lock_timeout=lock_timeout)
    return _migration_risk.assess_all(new, state)


def judge(
    scripts: Mapping[str, str], path: str, already: Collection[str] | None, *, lock_timeout: bool
) -> list[_gate.Finding]:
    """Return what new migrations do to production.

    :param already: names that need no judgement; nothing where nobody can tell which.
    :param lock_timeout: a deploy gives one.
    """
    result = []
    for name, assessment in assess(scripts, already, lock_timeout=lock_timeout).items():
        for one in assessment.findings:
            if one.risk == _migration_risk.ADDITIVE:
                continue
            lost = one.risk == _migration_risk.DESTRUCTIVE
            fix = (
                "Add first and remove a release later, or vouch for it in a comment "
                "(-- carrental.ops: additive, because …), or deploy it in a maintenance window "
                "(deploy_destructive)."
                if lost
                else "See the explanation; on a small table it takes no time, and can be waived."
            )
            result.append(
                _gate.Finding(
                    f"migration.{one.risk}",
                    _gate.ERROR if lost else _gate.WARNING,
                    f"{one.statement}: {one.why}.",
                    fix,
                    os.path.join(path, name, _FILE),
                    _line(scripts[name], one.statement),
                )
            )
    return result


def _line(text: str, statement: str) -> int:
    """Return where a statement begins, as far as its excerpt tells."""
    words = statement.lower().rstrip("…").split()[:3]
    lines = text.lower().replace(";", " ").splitlines()
    return next((n for n, line in enumerate(lines, 1) if line.split()[: len(words)] == words), 1)


def images(
    names: Sequence[str],
    login: Mapping[str, str],
    architecture: str,
    insecure: Collection[str],
) -> list[_gate.Finding]:
    """Return the images that cannot be had.

    :param login: ``username`` and ``password``, or nothing.
    :param insecure: registries without a certificate that anybody trusts.
    """
    result = []
    for name in names:
        try:
            reference = _registry.parse(name)
            client = _registry_client.Client(
                reference, login or None, insecure=reference.registry in insecure
            )
            client.manifest(architecture)
        except (_registry.RegistryError, _registry_client.ReadError) as error:
            result.append(
                _gate.Finding(
                    "image.missing",
                    _gate.ERROR,
                    f"{name} cannot be had: {str(error).rstrip('.')}.",
                    "Let the build push it before the gate, and check the login of the registry.",
                )
            )
    return result
