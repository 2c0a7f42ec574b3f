# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Write a file whole or not at all, also when the server dies meanwhile."""

from __future__ import annotations

import os
import tempfile


def write(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file beside its place, on disk, and move it there.

    :param mode: of the file, whatever the umask is.
    :raises OSError: the disk is full, or the directory may not be written; nothing is left then.
    """
    folder = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
        temporary = ""
        # The name is on disk only when its directory is.
        folder_handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder_handle)
        finally:
            os.close(folder_handle)
    finally:
        if temporary:
            os.unlink(temporary)
