# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Whether a release can work with a database that is ahead of it.

A database is ahead when it holds migrations that the release does not know. They stay; what
each did is judged by its own text, which other images on the server hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _image_files, _migration_plan, _migrations, _registry, _releases
from ._docker import Container
from ._engine import Engine

# In how many records, and in how many images, the text of a migration is looked for.
_RECORDS = 10


@dataclass(frozen=True)
class Ahead:
    """The migrations that the database holds and the release does not know.

    :param names: in the order in which they were applied.
    :param harmful: those with which the release cannot work, or of which nobody can tell.
    :param lines: what each does, for an operator.
    """

    names: tuple[str, ...] = ()
    harmful: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def held(engine: Engine, params: Mapping[str, Any]) -> _migrations.Held | None:
    """Return the migrations that the database holds; nothing where nobody can tell.

    :param params: C(project), C(database_service) and C(database).
    """
    return _migrations.held(engine, _database(engine, params), params["database"])


def judge(
    engine: Engine,
    releases: Sequence[_releases.Release],
    names: Sequence[str],
    params: Mapping[str, Any],
    *,
    create: bool,
) -> Ahead:
    """Judge the migrations by which the database is ahead of a release.

    :param names: in the order in which they were applied.
    :param params: C(project), C(database_service), C(database), C(migrate_service) and
        C(migrations_path).
    :param create: a container may be created to read a text out of an image. Without it a text
        that only an image holds stays unread, which is said and counts as harmless.
    """
    if not names:
        return Ahead()
    texts = _texts(engine, releases, names, params, create=create)
    sizes = _migration_plan.tables(engine, _database(engine, params), params["database"])
    plan = _migration_plan.plan(names, texts, _migrations.Held(), sizes, lock_timeout=True)
    harmful = [name for name in plan.destructive if create or name in texts]
    return Ahead(tuple(names), tuple(harmful), tuple(_said(plan)))


def _database(engine: Engine, params: Mapping[str, Any]) -> Container | None:
    containers = engine.services(params["project"])
    return next((one for one in containers if one.service == params["database_service"]), None)


def _said(plan: _migration_plan.Plan) -> list[str]:
    found = []
    for name, one in plan.risks.items():
        found.append(f"{name}: {one.risk}")
        found += [f"{name}: {said.statement}: {said.why}" for said in one.findings]
    return found


def _texts(
    engine: Engine,
    releases: Sequence[_releases.Release],
    names: Sequence[str],
    params: Mapping[str, Any],
    *,
    create: bool,
) -> dict[str, str]:
    """Return the text of migrations, from whichever image on the server holds them."""
    project, service = params["project"], params["migrate_service"]
    images = [one.image_id for one in engine.services(project) if one.service == service]
    images += [one.image_id for one in engine.beside(project, service)]
    images += [
        one["services"][service]["image_id"]
        for one in releases[:_RECORDS]
        if service in one["services"]
    ]
    images += _of_no_release(engine, releases, service)
    found: dict[str, str] = {}
    for image_id in dict.fromkeys(images):
        if all(name in found for name in names):
            break
        try:
            found |= _migration_plan.scripts(
                engine,
                engine.image(image_id),
                params["migrations_path"],
                project=project,
                create=create,
            )
        except _image_files.NotReadableError:
            # Another image may tell.
            continue
    return found


def _of_no_release(
    engine: Engine, releases: Sequence[_releases.Release], service: str
) -> list[str]:
    """Return the newest images of a service's repositories.

    A release that failed before its switch, or whose run died there, has migrated and left
    neither a container nor a record: only its image is there to tell what it did.
    """
    own = {
        _registry.parse(one["services"][service]["reference"]).name
        for one in releases
        if service in one["services"]
    }
    found = []
    for image in engine.get("/images/json"):
        if any(_registry.parse(name).name in own for name in _registry.names(image)):
            found.append((image["Created"], str(image["Id"])))
    return [image_id for _created, image_id in sorted(found, reverse=True)[:_RECORDS]]
