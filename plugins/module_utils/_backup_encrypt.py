# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Encrypt a backup to recipients, whose private keys are not on the server.

It is encrypted after it was read to its end: nothing could be proved afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

from . import _backup_verify
from ._backups import BackupError

PROGRAMS = ("age", "gpg")


def require(program: str, recipients: Sequence[str]) -> None:
    """Refuse an encryption that cannot work here.

    :raises BackupError: the program or its recipients are missing.
    """
    if not program:
        return
    if not recipients:
        raise BackupError(
            f"backup_encryption is {program} and backup_recipients is empty; give the public keys. "
            "Nothing was changed."
        )
    if shutil.which(program) is None:
        raise BackupError(
            f"backup_encryption is {program}, and {program} is not on this server; install it. "
            "Nothing was changed."
        )


def encrypt(path: str, program: str, recipients: Sequence[str]) -> str:
    """Replace a file by its encrypted form; return its checksum.

    :raises BackupError: it could not be encrypted; the file is as it was.
    """
    scratch = f"{path}.{program}"
    try:
        with open(scratch, "wb") as out:
            os.fchmod(out.fileno(), 0o600)
            write(path, out, program, recipients)
            os.fsync(out.fileno())
        os.replace(scratch, path)
    finally:
        if os.path.exists(scratch):
            os.unlink(scratch)
    return _backup_verify.sha256(path)


def write(path: str, out: IO[bytes], program: str, recipients: Sequence[str]) -> None:
    """Write the encrypted form of a file.

    :raises BackupError: it could not be encrypted.
    """
    if program == "age":
        argv = ["age", "-e"]
        for one in recipients:
            argv += ["-r", one]
        _run([*argv, path], out)
    else:
        _gpg(path, out, recipients)


def _gpg(path: str, out: IO[bytes], recipients: Sequence[str]) -> None:
    """Encrypt with public keys that are given as text, in a keyring of this run alone."""
    with tempfile.TemporaryDirectory(prefix="carrental-gpg-") as home:
        files = []
        for number, one in enumerate(recipients):
            file = os.path.join(home, f"{number}.asc")
            with open(file, "w", encoding="utf-8") as stream:
                stream.write(one if one.endswith("\n") else one + "\n")
            files += ["--recipient-file", file]
        argv = ["gpg", "--homedir", home, "--batch", "--quiet", "--no-tty", "--trust-model"]
        _run([*argv, "always", "--compress-algo", "none", *files, "-o", "-", "-e", path], out)


def _run(argv: Sequence[str], out: IO[bytes]) -> None:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, check=False
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise BackupError(
            f"{argv[0]} could not encrypt the backup: {(lines or ['no reason given'])[0].strip()}."
        )
