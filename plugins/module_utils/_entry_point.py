# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A program on the server that is made of the files which a module was sent with.

Ansible sends a module with all that it imports. Packed again, without Ansible, that is the same
engine for what the server does by itself.
"""

from __future__ import annotations

import io
import sys
import zipfile
from types import ModuleType

_PACKAGE = "carrental_ops"
# What some modules of the engine call the others by.
_OURS = b"ansible_collections.carrental.ops.plugins.module_utils"
# The same content must be the same bytes, or it would change every time.
_WHEN = (2026, 1, 1, 0, 0, 0)
_MAIN = """\
# SPDX-License-Identifier: GPL-3.0-or-later
import sys

from {package}.{module} import main

sys.exit(main(sys.argv[1:]))
"""


def program(module: ModuleType) -> bytes:
    """Return a program that runs the function ``main`` of a module of this package."""
    here, _dot, name = module.__name__.rpartition(".")
    files = {
        f"{_PACKAGE}/__init__.py": b"",
        "__main__.py": _MAIN.format(package=_PACKAGE, module=name).encode(),
    }
    for other in _imported(here):
        files[f"{_PACKAGE}/{other.__name__.rpartition('.')[2]}.py"] = _source(other)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(path, _WHEN), content)
    return b"#!/usr/bin/python3\n" + packed.getvalue()


def _imported(package: str) -> list[ModuleType]:
    """Return the modules of a package that are loaded, but for those that need Ansible."""
    found = []
    for name, module in sorted(sys.modules.items()):
        if name.rpartition(".")[0] == package and not _needs_ansible(_source(module)):
            found.append(module)
    return found


def _needs_ansible(source: bytes) -> bool:
    lines = source.splitlines()
    return any(line.startswith((b"from ansible.", b"import ansible")) for line in lines)


def _source(module: ModuleType) -> bytes:
    loader, path = module.__loader__, module.__file__
    if loader is None or path is None:
        raise AssertionError(f"{module.__name__} has no source")
    data: bytes = loader.get_data(path)  # type: ignore[attr-defined]
    return data.replace(_OURS, _PACKAGE.encode())
