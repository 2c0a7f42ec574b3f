#!/usr/bin/python
# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Save the objects of a bucket, bring them back, copy them to another store."""

from __future__ import annotations

DOCUMENTATION = r"""
module: object_mirror
short_description: Save the objects of a bucket, bring them back, copy them to another store
version_added: 0.1.0
description:
  - Saves a bucket as a directory that is a snapshot of it. What did not change is a hard link to
    the snapshot before and is not fetched again. Its C(inventory.json) says of every object the
    size, etag, time, SHA-256, content type, other headers and metadata.
  - Brings a snapshot back into a bucket, with content types and metadata, or copies a bucket into
    another one, also of another store.
  - Many objects go at once. A run that was interrupted is gone on with by the next one, and what is
    not complete is never called like a snapshot. Large objects are proven by their checksum and
    never held in memory.
  - An object that cannot be read is named and the others go on; the module fails at the end.
  - A source that lost its objects does not take the copy with it, see O(max_delete). An empty source
    never does.
author:
  - Car Rental Platform Team (@carrental)
extends_documentation_fragment:
  - carrental.ops._s3
  - carrental.ops._stack
  - carrental.ops._attributes
  - carrental.ops._operation
attributes:
  check_mode:
    support: full
    details:
      - Both sides are listed and nothing is written.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - With V(saved) a snapshot of the bucket is taken below O(path).
      - With V(restored) the bucket becomes what O(snapshot) is, and is made where there is none.
      - With V(copied) the bucket of O(to) becomes what the bucket is.
      - With V(verified) every file of O(snapshot) is read and compared with its inventory. The
        module fails when one is not what was saved; it gets the time 0 then, by which the next
        snapshot fetches it again instead of sharing it.
    type: str
    choices: [saved, restored, copied, verified]
    default: saved
  path:
    description: Directory of the snapshots. Needed but for O(state=copied).
    type: path
  snapshot:
    description:
      - With O(state=saved) the name of the snapshot that is taken; one of the same name is replaced.
        C(minio-backup-YYYYMMDD), with C(-HHMMSS) behind it if wanted. Empty means that of the day,
        in UTC. One of another bucket is never replaced.
      - One that is replaced stays as C(minio-backup-YYYYMMDD-HHMMSS-replaced), under the time at which
        it was taken, where the new one lacks objects that it has, or is not complete.
      - Otherwise the snapshot that is used. V(latest) is the newest one of a day that is complete,
        replaced or not; the others with a time in their names were taken before something was
        overwritten. With O(state=restored) it is the newest one of O(bucket), where there is any.
    type: str
    default: ""
  to:
    description: The other store. What is not given is as in the store of the stack.
    type: dict
    suboptions:
      host:
        description: Host name or address. Without it the store itself.
        type: str
      port:
        description: Port.
        type: int
      user:
        description: Access key.
        type: str
      password_file:
        description: File on the server that holds the secret key.
        type: path
      tls:
        description: Whether to use TLS.
        type: bool
        default: false
      ca_file:
        description: File on the server with the certificates to verify the store's by.
        type: path
      region:
        description: Region that requests are signed for.
        type: str
        default: us-east-1
      bucket:
        description: The bucket, which is made where there is none.
        type: str
        required: true
  delete:
    description:
      - With O(state=restored) and O(state=copied), whether objects are deleted that the source does
        not have.
    type: bool
    default: false
  max_delete:
    description:
      - How many objects may be missing from the source that the copy has, as a number or as a share
        like V(10%). A share always allows 10. More are refused before anything is changed.
      - With O(state=saved) the copy is the newest complete snapshot of a day.
    type: str
    default: 10%
  confirm:
    description:
      - With O(state=restored), the name of the bucket, typed. Needed when objects of it would be
        overwritten or deleted.
    type: str
    default: ""
  safety:
    description:
      - With O(state=restored), whether the bucket is saved first when objects of it would be
        overwritten or deleted, as a snapshot with the time in its name.
    type: bool
    default: true
  key_query:
    description:
      - With O(state=saved), a query that returns the keys that the database refers to, in one column
        of texts. It is asked before the bucket is listed; keys that are not in the snapshot then are
        missing, and the module fails at the end.
    type: str
    default: ""
  database_service:
    description: Compose service of the database that O(key_query) is for.
    type: str
    default: postgres
  database:
    description: Database that O(key_query) is for. Empty means the one the server was made with.
    type: str
    default: ""
  max_missing:
    description: So many keys of the database may be missing.
    type: int
    default: 0
  keep_days:
    description:
      - With O(state=saved), snapshots older than this are removed after a complete one was taken. V(0)
        removes none.
    type: int
    default: 30
  keep_least:
    description: So many complete snapshots stay, however old they are.
    type: int
    default: 3
  workers:
    description: Objects that are under way at once.
    type: int
    default: 8
  timeout:
    description: Seconds that the store may say nothing.
    type: float
    default: 30.0
notes:
  - Only the newest version of an object is saved where a bucket keeps several, and no tags.
seealso:
  - module: carrental.ops.minio_live
"""

EXAMPLES = r"""
---
- name: Save the objects
  carrental.ops.object_mirror:
    path: /opt/carrental/backups
    bucket: carrental
    key_query: SELECT photo_key FROM cars
    state_dir: /opt/carrental/.ops
  register: objects

- name: Say what bringing them back would do
  carrental.ops.object_mirror:
    state: restored
    path: /opt/carrental/backups
    snapshot: latest
    delete: true
  check_mode: true

- name: Keep a copy in another store
  carrental.ops.object_mirror:
    state: copied
    to:
      host: s3.example.com
      port: 443
      tls: true
      user: carrental-backup
      password_file: /opt/carrental/.secrets/offsite
      bucket: carrental-objects
"""

RETURN = r"""
snapshot:
  description: The snapshot that was taken or used; empty with O(state=copied).
  returned: always
  type: str
  sample: minio-backup-20261125
plan:
  description: What there was to do, in objects and bytes.
  returned: when both sides could be listed
  type: dict
  sample: {objects: 5000, bytes: 20480000, keep: 4990, fetch: 10, refresh: 0, gone: 0, fetch_bytes: 40960}
moved:
  description: Objects that were fetched or sent.
  returned: always
  type: int
  sample: 10
moved_bytes:
  description: Their bytes.
  returned: always
  type: int
  sample: 40960
deleted:
  description: Objects that were deleted from a bucket.
  returned: always
  type: int
  sample: 0
resumed:
  description: Objects that a run before had fetched which did not come to its end.
  returned: always
  type: int
  sample: 0
failed_objects:
  description: Objects that could not be read or written, each with its key and the reason.
  returned: always
  type: list
  elements: dict
  sample: []
references:
  description: How many keys the database refers to, how many of them are missing, and the first ones.
  returned: when O(key_query) was given
  type: dict
  sample: {asked: 320, missing: 0, first: []}
saved_first:
  description: Snapshot of the bucket as it was before; empty when none was needed.
  returned: always
  type: str
  sample: ""
vanished:
  description: Objects that were deleted from the source while it was read.
  returned: always
  type: int
  sample: 0
kept:
  description:
    - Objects that somebody else wrote or deleted between the look at the bucket and their turn, and
      which stay as they are. A store that knows no conditions is asked before each object instead.
  returned: always
  type: int
  sample: 0
kept_objects:
  description: The first of their keys.
  returned: always
  type: list
  elements: str
  sample: []
removed:
  description: Snapshots that were removed for their age.
  returned: always
  type: list
  elements: str
  sample: []
numbers:
  description: What was measured.
  returned: always
  type: dict
  sample: {seconds: 2.1, rss_mib: 61}
"""

import os
import resource
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _object_arguments,
    _object_bucket,
    _object_run,
    _operation_module,
)

_KINDS = {"saved": "backup", "restored": "restore", "copied": "backup", "verified": "backup"}


def work(run: _operation_module.OperationModule) -> _object_run.Outcome:
    """Do what is asked for."""
    asked, check = _object_arguments.job(run.params), run.module.check_mode
    state = run.params["state"]
    with ExitStack() as stack:
        changes = state != "verified"
        operation = stack.enter_context(run.operation(_KINDS[state], changes=changes))
        operation.step("find the store")
        found = _object_arguments.logins(run.params, run.masker.add)
        if state == "verified":
            return _object_run.verify(asked, check, operation.step)
        source = _object_bucket.Bucket(found.need())
        if state == "saved":
            scratch = run.module.tmpdir if check else ""
            return _object_run.save(asked, source, found.database, scratch, operation.step)
        scratch = run.module.tmpdir
        if state == "restored":
            return _object_run.restore(asked, source, scratch, check, operation.step)
        other = _object_bucket.Bucket(found.need_other())
        return _object_run.copy(asked, (source, other), scratch, check, operation.step)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_operation_module.OPERATION_OPTIONS,
            **_object_arguments.OPTIONS,
        },
        required_if=[
            ("state", "saved", ["path"]),
            ("state", "restored", ["path", "snapshot"]),
            ("state", "verified", ["path", "snapshot"]),
            ("state", "copied", ["to"]),
        ],
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    # What is saved is nobody else's, whatever the server's own mask is.
    os.umask(0o077)
    began = time.monotonic()
    try:
        outcome = work(run)
    except _object_arguments.EXPECTED as error:
        run.fail(str(error))
    except OSError as error:
        run.fail(
            f"{error.filename or run.params['path']}: {error.strerror}; what was fetched is kept, "
            "and the next run goes on from there."
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    result: dict[str, Any] = {
        **asdict(outcome),
        "numbers": {"seconds": round(time.monotonic() - began, 2), "rss_mib": peak},
    }
    why = result.pop("why")
    if why:
        run.fail(why, **result)
    run.exit(result)


if __name__ == "__main__":
    main()
