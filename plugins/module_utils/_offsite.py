# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Copies of backups in any S3: a disk that dies takes the database and its backups along.

Every part is sent with its MD5, so that the store refuses what was changed on the way. The
manifest is sent last: what has none is no copy. What is there goes by a retention of its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import IO, Any

from . import _backup_verify, _backups, _env_file
from ._backups import Backup, BackupError

_PART = 8 * 1024 * 1024
_PIECE = 1024 * 1024
_MOST_PARTS = 9000
_THREADS = 2
_KEYS = ("BACKUP_S3_ACCESS_KEY", "BACKUP_S3_SECRET_KEY")


class OffsiteError(BackupError):
    """A copy that could not be made or removed; the text is a whole sentence."""


@dataclass(frozen=True)
class Place:
    """A bucket, and as whom it is used."""

    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    endpoint: str = ""
    prefix: str = ""
    region: str = "us-east-1"
    ca_file: str = ""

    def key(self, file: str) -> str:
        """Return the name of a file in the bucket."""
        prefix = self.prefix.strip("/")
        return f"{prefix}/{file}" if prefix else file

    @property
    def where(self) -> str:
        return f"{self.key('')} of bucket {self.bucket}".removeprefix(" of ")


def credentials(credentials_file: str, env_file: str) -> tuple[str, str]:
    """Return the keys: from a file with a JSON object, else from .env.

    :raises OffsiteError: there are none.
    """
    found: dict[str, Any] = {}
    try:
        if credentials_file and os.path.exists(credentials_file):
            with open(credentials_file, encoding="utf-8") as stream:
                given = json.load(stream)
            found = {_KEYS[0]: given["access_key"], _KEYS[1]: given["secret_key"]}
        elif env_file and os.path.exists(env_file):
            with open(env_file, encoding="utf-8") as stream:
                found = dict(_env_file.values(stream.read()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OffsiteError(
            f"The keys of the offsite copy cannot be read ({type(error).__name__}); "
            f"{credentials_file} has to be a JSON object with access_key and secret_key. "
            "Nothing was changed."
        ) from error
    access, secret = (str(found.get(name) or "") for name in _KEYS)
    if not access or not secret:
        raise OffsiteError(
            "There are no keys for the offsite copy: give backup_offsite_credentials, or "
            f"{' and '.join(_KEYS)} in .env. Nothing was changed."
        )
    return access, secret


class Offsite:
    """The backups of a bucket."""

    def __init__(self, place: Place) -> None:
        try:
            # It is slow to import, and large.
            import boto3  # noqa: PLC0415
            from botocore.config import Config  # noqa: PLC0415
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        except ImportError as error:
            raise OffsiteError(
                "The Python library boto3 is missing on the server; run playbooks/bootstrap.yml, "
                "which installs it. Nothing was changed."
            ) from error
        self.place = place
        self._errors = (BotoCoreError, ClientError)
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=5,
            read_timeout=60,
            retries={"max_attempts": 5, "mode": "standard"},
            max_pool_connections=_THREADS + 1,
        )
        self._client = boto3.session.Session().client(
            "s3",
            endpoint_url=place.endpoint or None,
            aws_access_key_id=place.access_key,
            aws_secret_access_key=place.secret_key,
            region_name=place.region,
            verify=place.ca_file or None,
            config=config,
        )

    def _call(self, what: str, name: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, name)(Bucket=self.place.bucket, **arguments)
        except self._errors as error:
            raise OffsiteError(f"{what} {self.place.where} failed: {_reason(error)}.") from error

    def listing(self) -> list[Backup]:
        """Return the whole copies, newest first."""
        sizes = self.sizes()
        found = []
        for file, size in sizes.items():
            known = _backups.name(file)
            if known is None or file + _backups.MANIFEST not in sizes:
                continue
            text = self.read(file + _backups.MANIFEST).decode(errors="replace")
            try:
                manifest = _backups.parse(text, file)
                # One that was damaged must not cost all the others, which are sorted by it.
                _backups.moment(manifest.point_in_time or manifest.started_at)
            except BackupError:
                continue
            problem = "" if manifest.bytes == size else f"it has {size} bytes there"
            found.append(Backup(file, known, size, manifest, problem))
        return sorted(found, key=lambda one: (one.at, one.id), reverse=True)

    def sizes(self) -> dict[str, int]:
        """Return everything that is there: bytes by file."""
        return {key: size for key, size in self._objects() if key}

    def _objects(self) -> Iterator[tuple[str, int]]:
        prefix, token = self.place.key(""), ""
        while True:
            more = {"ContinuationToken": token} if token else {}
            page = self._call("Looking at", "list_objects_v2", Prefix=prefix, **more)
            for one in page.get("Contents") or []:
                yield str(one["Key"]).removeprefix(prefix), int(one["Size"])
            if not page.get("IsTruncated"):
                return
            token = str(page["NextContinuationToken"])

    def read(self, file: str) -> bytes:
        """Return the content of a small object."""
        answer = self._call("Reading from", "get_object", Key=self.place.key(file))
        data: bytes = answer["Body"].read()
        return data

    def fetch(self, file: str, out: IO[bytes]) -> str:
        """Write the content of an object to a file; return its sha256.

        :raises OffsiteError: the store did not give all of it.
        """
        answer = self._call("Reading from", "get_object", Key=self.place.key(file))
        digest = hashlib.sha256()
        try:
            for piece in answer["Body"].iter_chunks(_PIECE):
                digest.update(piece)
                out.write(piece)
        except self._errors as error:
            raise OffsiteError(
                f"Reading {file} from {self.place.where} failed: {_reason(error)}."
            ) from error
        return digest.hexdigest()

    def put(self, path: str) -> dict[str, Any]:
        """Copy a file with its checksum and its manifest; return what is said of the copy.

        :raises OffsiteError: the store refused it, or holds something else afterwards.
        """
        file, length = os.path.basename(path), os.stat(path).st_size
        size = max(_PART, -(-length // _MOST_PARTS))
        upload = self._call("Writing to", "create_multipart_upload", Key=self.place.key(file))
        try:
            parts = self._parts(path, file, upload["UploadId"], size)
            self._call(
                "Writing to",
                "complete_multipart_upload",
                Key=self.place.key(file),
                UploadId=upload["UploadId"],
                MultipartUpload={
                    "Parts": [
                        {"PartNumber": number, "ETag": etag} for number, etag, _digest in parts
                    ]
                },
            )
        except BaseException:
            self._abort(file, upload["UploadId"])
            raise
        self._require_whole(file, length, [digest for _number, _etag, digest in parts])
        for suffix in (_backups.CHECKSUM, _backups.MANIFEST):
            with open(path + suffix, "rb") as stream:
                self._small(file + suffix, stream.read())
        return {
            "endpoint": self.place.endpoint,
            "bucket": self.place.bucket,
            "key": self.place.key(file),
        }

    def _parts(self, path: str, file: str, upload: str, size: int) -> list[tuple[int, str, bytes]]:
        def send(number: int) -> tuple[int, str, bytes]:
            with open(path, "rb") as stream:
                stream.seek((number - 1) * size)
                data = stream.read(size)
            digest = hashlib.md5(data, usedforsecurity=False).digest()
            answer = self._call(
                "Writing to",
                "upload_part",
                Key=self.place.key(file),
                UploadId=upload,
                PartNumber=number,
                Body=data,
                ContentMD5=base64.b64encode(digest).decode(),
            )
            return number, str(answer["ETag"]), digest

        count = max(-(-os.stat(path).st_size // size), 1)
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(send, range(1, count + 1)))

    def _abort(self, file: str, upload: str) -> None:
        try:
            self._client.abort_multipart_upload(
                Bucket=self.place.bucket, Key=self.place.key(file), UploadId=upload
            )
        except self._errors:
            # What stopped it is told; the store drops what was never completed.
            return

    def _require_whole(self, file: str, size: int, digests: list[bytes]) -> None:
        head = self._call("Looking at", "head_object", Key=self.place.key(file))
        if int(head["ContentLength"]) != size:
            raise OffsiteError(
                f"The copy of {file} in {self.place.where} has {head['ContentLength']} bytes "
                f"instead of {size}."
            )
        etag = str(head["ETag"]).strip('"')
        joined = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
        # A store that encrypts with keys of its own gives another form of ETag; each part was
        # compared with its MD5 already.
        if etag.endswith(f"-{len(digests)}") and etag != f"{joined}-{len(digests)}":
            raise OffsiteError(f"The copy of {file} in {self.place.where} holds something else.")

    def _small(self, file: str, data: bytes) -> None:
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        self._call(
            "Writing to",
            "put_object",
            Key=self.place.key(file),
            Body=data,
            ContentMD5=base64.b64encode(digest).decode(),
        )

    def remove(self, file: str) -> None:
        """Remove a copy; its manifest goes first, for without it nothing is a copy."""
        for suffix in (_backups.MANIFEST, _backups.CHECKSUM, ""):
            self._call("Removing from", "delete_object", Key=self.place.key(file + suffix))


def _reason(error: Exception) -> str:
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        told = answer.get("Error") or {}
        return str(told.get("Message") or told.get("Code") or "no reason given").rstrip(".")
    return str(error).rstrip(".")


def copy(
    offsite: Offsite, backups: list[Backup], step: Callable[..., None], most: int, *, write: bool
) -> list[str]:
    """Copy the newest verified backups that are not there yet; return their ids."""
    there = {one.name.file: one for one in offsite.listing()}
    done = []
    for backup in [one for one in backups if one.verified and one.manifest][:most]:
        copied = there.get(backup.name.file)
        if copied and not copied.problem and _is_of(copied, backup):
            continue
        if copied:
            _require_own(offsite, copied, backup)
        if write:
            step("copy a backup elsewhere", id=backup.id, bytes=backup.bytes)
            _copy(offsite, backup)
        done.append(backup.id)
    return done


def _require_own(offsite: Offsite, copied: Backup, backup: Backup) -> None:
    """Refuse to write over what another server has there under the same name."""
    there, here = copied.manifest, backup.manifest
    if there is None or here is None or there.sha256 == here.sha256:
        return
    for what, theirs, ours in (
        ("host", there.host, here.host),
        ("system identifier", there.system_identifier, here.system_identifier),
    ):
        if theirs and ours and theirs != ours:
            raise OffsiteError(
                f"{backup.name.file} in {offsite.place.where} is of {what} {theirs}, and this one "
                f"of {ours}: it would be lost; give each server a place of its own "
                "(backup_offsite_prefix)."
            )


def _is_of(copied: Backup, backup: Backup) -> bool:
    """Return whether a copy is of this very backup: another server may use the same names."""
    if copied.manifest is None or backup.manifest is None or not backup.manifest.offsite:
        return False
    return copied.manifest.sha256 == backup.manifest.sha256


def _copy(offsite: Offsite, backup: Backup) -> None:
    if backup.manifest is None:
        return
    if _backup_verify.sha256(backup.path) != backup.manifest.sha256:
        raise OffsiteError(
            f"{backup.name.file} is not copied: it is damaged, for its sha256 is not that of its "
            f"manifest. Verify it (playbooks/backup.yml -e backup_verify={backup.id})."
        )
    told = offsite.put(backup.path)
    told["at"] = _backups.stamp(datetime.now(timezone.utc))
    _backups.save_manifest(backup.path, replace(backup.manifest, offsite=told))


def checksum(offsite: Offsite, file: str) -> str:
    """Return the sha256 that the manifest of a copy names.

    :raises OffsiteError: it names none.
    """
    try:
        return str(json.loads(offsite.read(file + _backups.MANIFEST))["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise OffsiteError(
            f"The manifest of {file} in {offsite.place.where} is damaged ({error}); take another "
            "one. Nothing was changed."
        ) from error
