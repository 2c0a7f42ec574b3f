# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""What is secret in an environment, so that it is masked in what is printed."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import _env_file
from ._masking import Masker

# A user, a database, a bucket: what names of variables end with that hold no secret.
_PUBLIC = ("USER", "USERNAME", "DB", "DATABASE", "BUCKET", "HOST", "PORT", "NAME", "ENV")


def masker(dest: str, given: Mapping[str, str], env_file: str | None = None) -> Masker:
    """Return what knows the secrets of the old and of the new ``.env``."""
    environments = [_environment(os.path.join(dest, ".env")), given]
    if env_file:
        environments.append(_environment(env_file))
    known = Masker(public=[name for one in environments for name in public_names(one)])
    for environment in environments:
        known.add_environment(environment)
    return known


def container_masker(environment: Mapping[str, str], project: str) -> Masker:
    """Know what is secret in what a container prints."""
    known = Masker(public=[project, *public_names(environment)])
    known.add_environment(environment)
    return known


def _environment(path: str) -> Mapping[str, str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            found = _env_file.values(stream.read())
    except (_env_file.EnvFileError, OSError):
        return {}
    return {key: value for key, value in found.items() if value}


def public_names(environment: Mapping[str, str]) -> list[str]:
    """Return the values that are printed anyway; a secret like one of them cannot be hidden."""
    return [value for key, value in environment.items() if key.upper().endswith(_PUBLIC)]
