#!/usr/bin/python
# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the images of a release on the server, from a commit of its git clone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_build
short_description: Build the images of a release on the server, from a commit of its git clone
version_added: 0.1.0
description:
  - For servers whose project directory is a clone of the repository of the application. It takes
    the place of M(carrental.ops.release_pull) where no registry has the images.
  - The files in O(dest) do not change before the images are there. A commit is laid out in a
    directory of its own, and built from there. Afterwards, with O(state=checked_out), the clone
    follows.
  - C(git pull) is never run, no branch is moved, and untracked files are left alone.
  - What compose builds is decided by the C(build) sections of the compose files of the commit,
    with the C(.env) of the server. The contexts do not contain that file.
author:
  - Car Rental Platform Team (@carrental)
requirements:
  - git 2.29 or later and the Docker engine with Compose 2.20 or later on the server.
extends_documentation_fragment:
  - carrental.ops._attributes
  - carrental.ops._operation
attributes:
  check_mode:
    support: full
    details:
      - In check mode a commit that is not in the clone is fetched beside it, to a directory that is
        removed. Nothing is built, and the clone does not change.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  dest:
    description: Directory of the compose project on the server, which is the clone.
    type: path
    required: true
  version:
    description: >-
      Commit as its sha, of which 7 letters are enough, or a tag of the remote. A branch is refused,
      for what it stands for changes. Except for O(state=exported) it has to be a whole sha.
    type: str
    required: true
  state:
    description:
      - With V(exported) the clone is proved to be clean, the commit is fetched if it is not here, and
        laid out in O(tree); what the stack reads as files goes to O(src), too.
      - With V(present) the images of O(released) are there, built from O(tree) where they were not.
      - With V(checked_out) the clone is at the commit. Files that have its content are not touched,
        and files that left it stay when they are secret or when a container mounts them.
    type: str
    choices: [exported, present, checked_out]
    default: present
  remote:
    description: Remote of the clone.
    type: str
    default: origin
  tree:
    description: Directory for all files of the commit. Demanded but for O(state=checked_out).
    type: path
  src:
    description: Directory for the configuration alone, as M(carrental.ops.stack_config) takes it.
    type: path
  files:
    description: Compose files relative to O(dest), in the order of C(-f).
    type: list
    elements: str
    required: true
  project:
    description: Name of the compose project.
    type: str
    required: true
  env:
    description: Keys of C(.env) as they will be, see M(carrental.ops.stack_config).
    type: dict
    default: {}
  env_remove:
    description: Keys that will not be in C(.env) any more.
    type: list
    elements: str
    default: []
  released:
    description: >-
      Repository of the image of each released service, without a tag. The tag is the whole sha. An
      empty one stands for the name that compose derives.
    type: dict
    default: {}
  version_argument:
    description: >-
      Build argument that is given the whole sha, unless the compose file gives it. Empty gives none.
    type: str
    default: ""
  registry_username:
    description: >-
      User of the registries of O(released), where images are based on what is there.
    type: str
    default: ""
  registry_password:
    description:
      - Password or token of that user.
      - Compose reads a login from a file only. It lies in a private temporary directory as long as
        the build takes.
    type: str
    default: ""
  min_free_mb:
    description: Space that has to be free where Docker keeps its images, before anything is built.
    type: int
    default: 1024
  fetch_timeout:
    description: Seconds that the remote may take.
    type: int
    default: 120
  build_timeout:
    description: Seconds that the build may take.
    type: int
    default: 1800
"""

EXAMPLES = r"""
- name: Lay a commit out beside production
  carrental.ops.release_build:
    dest: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml]
    version: 2e2e585
    tree: /tmp/commit
    src: /tmp/configuration
    state: exported
  register: commit

- name: Build its images
  carrental.ops.release_build:
    dest: /opt/carrental
    project: carrental
    files: [docker-compose.prod.yml]
    tree: /tmp/commit
    src: /tmp/configuration
    version: "{{ commit.git_sha }}"
    released:
      api: ghcr.io/example/backend
      web: ghcr.io/example/frontend
    state: present
  register: built
"""

RETURN = r"""
git_sha:
  description: The commit, in full.
  returned: success
  type: str
  sample: 2e2e585eb17bf081e2aeb370d6bab51cafc30108
src:
  description: Directory of the configuration.
  returned: when O(state=exported)
  type: str
  sample: /tmp/configuration
images:
  description: >-
    The image of each released service, as M(carrental.ops.release_pull) returns them. There is no
    digest. In check mode C(image_id) is empty for one that is not there yet.
  returned: when O(state=present)
  type: dict
  sample:
    api:
      image: ghcr.io/example/backend:2e2e585eb17bf081e2aeb370d6bab51cafc30108
      digest: null
      reference: ghcr.io/example/backend:2e2e585eb17bf081e2aeb370d6bab51cafc30108
      image_id: sha256:1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014
      pulled: false
      built: true
actions:
  description: What was done, or has to be done, in words.
  returned: success
  type: list
  elements: str
  sample: ["fetch 2e2e585eb17b from origin", "build api, web"]
notes:
  description: What an operator should know.
  returned: success
  type: list
  elements: str
  sample: ["nginx/ssl/privkey.pem left the repository and stays on the server"]
report:
  description: The last lines of a build that failed.
  returned: failure
  type: list
  elements: str
  sample: ["build | npm error code E404"]
"""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrental.ops.plugins.module_utils import (
    _building,
    _compose,
    _configuration,
    _configuration_module,
    _delivered,
    _docker,
    _engine,
    _env_file,
    _history,
    _operation,
    _operation_module,
    _operation_work,
    _owned,
    _registry,
    _releases,
    _source,
)

EXPECTED = (
    _compose.ComposeError,
    _configuration.ConfigurationError,
    _docker.DockerError,
    _env_file.EnvFileError,
    _operation.OperationError,
    _registry.RegistryError,
    _releases.ReleaseError,
    _source.SourceError,
)
# How many releases back files of one may lie in the clone.
_RECORDS = 20


class Builder:
    """One call of the module."""

    def __init__(self, run: _operation_module.OperationModule) -> None:
        self.run = run
        self.params = run.params
        self.check = run.module.check_mode
        state_dir = self.params["state_dir"] or ""
        self.clone = _source.Clone(
            self.params["dest"],
            self.params["remote"],
            float(self.params["fetch_timeout"]),
            content=_history.content_dir(state_dir) if state_dir else "",
            owned=_owned.paths(state_dir, self.params["dest"]),
        )
        self.actions: list[str] = []
        self.notes: list[str] = []

    def result(self, sha: str, **more: Any) -> dict[str, Any]:
        """Return what every state returns."""
        found = {"changed": bool(self.actions), "git_sha": sha}
        return {**found, "actions": self.actions, "notes": self.notes, **more}

    def released(self) -> list[str]:
        """Return the commits of the last releases."""
        if not self.params["state_dir"]:
            return []
        records = _releases.load(self.params["state_dir"])[:_RECORDS]
        return [sha for one in records if (sha := one.get("git_sha", ""))]

    def export(self) -> dict[str, Any]:
        """Lay the commit out, after proving that nobody's work is lost by it."""
        clone, params = self.clone, self.params
        clone.head()
        for secret in _source.logins(clone.url()):
            self.run.masker.add(secret)
        releases = self.released()
        edited = clone.edited(releases)
        if edited:
            raise _source.SourceError(
                f"The clone {clone.folder} has files that somebody changed: "
                f"{_source.some(edited)}. Commit and push them (git diff shows what), or give "
                f"them up: git -C {clone.folder} checkout -- {edited[0]}"
            )
        with tempfile.TemporaryDirectory(prefix=_delivered.PREFIX) as own:
            if self.check:
                # The clone stays as it is, without an object more.
                clone.objects = own
            sha = clone.resolve(params["version"], self.fetch)
            wrong = _source.forbidden(clone.tree(sha))
            if wrong:
                raise _source.SourceError(f"{sha[:12]} cannot be deployed: {wrong}.")
            collisions = clone.collisions(sha, releases)
            if collisions:
                raise _source.SourceError(
                    f"{sha[:12]} has {_source.some(collisions)}, and {clone.folder} has other "
                    "files there that are not in git; move them away."
                )
            clone.lay_out(sha, params["tree"])
        with _configuration.candidate(self.wish()) as proved:
            paths = _building.configuration(
                proved.model, params["files"], params["dest"], params["tree"]
            )
        _building.copy_files(paths, params["tree"], params["src"])
        return self.result(sha, src=params["src"])

    def wish(self) -> _configuration.Wish:
        """Return the configuration of the commit, as far as images are built by it."""
        whole = _configuration_module.wish({**self.params, "src": self.params["tree"]})
        return replace(whole, partial=True)

    def fetch(self, commits: Sequence[str]) -> None:
        """Fetch commits, under the lock."""
        if not commits:
            return
        what = commits[0][:12] if len(commits) == 1 else f"{len(commits)} branches and tags"
        self.actions.append(f"fetch {what} from {self.params['remote']}")
        with self.run.operation("release_build") as operation:
            operation.step("fetch", commits=len(commits))
            self.clone.fetch(commits)

    def build(self) -> dict[str, Any]:
        """Have an image of every released service."""
        params = self.params
        sha, tree = params["version"], params["tree"]
        engine = _engine.Engine()
        with _configuration.candidate(self.wish()) as proved:
            made = _building.plan(
                proved.model,
                {name: str(one or "") for name, one in params["released"].items()},
                project=params["project"],
                revision=sha,
                dest=params["dest"],
                tree=tree,
                argument=params["version_argument"],
            )
            env_text = proved.env_text
        project = params["project"]
        found = {name: _building.present(engine, made, name, project, tree) for name in made.images}
        wanted = [name for name, image in found.items() if not image]
        unnamed = [name for name in made.images if name not in wanted]
        unnamed = [name for name in unnamed if not _has_name(found[name], made.images[name])]
        if wanted:
            engine.require_space(params["min_free_mb"])
            self.actions.append(f"build {', '.join(wanted)}")
        changes = bool(wanted or unnamed)
        with self.run.operation("release_build", changes=changes) as operation:
            if not self.check:
                for name in unnamed:
                    engine.tag(str(found[name]["Id"]), made.images[name])
                self.build_images(made, wanted, env_text, operation)
                found = {name: engine.image(image) or {} for name, image in made.images.items()}
        images = {
            name: {
                "image": image,
                "digest": None,
                "reference": image,
                "image_id": str(found[name].get("Id", "")),
                "pulled": False,
                "built": name in wanted,
            }
            for name, image in made.images.items()
        }
        return self.result(sha, images=images)

    def build_images(
        self,
        made: _building.Plan,
        wanted: list[str],
        env_text: str,
        operation: _operation_work.Operation,
    ) -> None:
        """Build what is not there."""
        if not wanted:
            return
        params = self.params
        operation.step(f"build {', '.join(wanted)}", commit=made.revision)
        _building.build(
            made,
            wanted,
            project=params["project"],
            tree=params["tree"],
            env_text=env_text,
            login=(params["registry_username"], params["registry_password"]),
            timeout=float(params["build_timeout"]),
        )

    def check_out(self) -> dict[str, Any]:
        """Have the clone at the commit."""
        clone, sha = self.clone, self.params["version"]
        if clone.head() == sha and not clone.changes():
            return self.result(sha)
        if not clone.has(sha):
            raise _source.SourceError(f"The clone {clone.folder} has no commit {sha}.")
        self.actions.append(f"check out {sha[:12]}")
        if self.check:
            return self.result(sha)
        mounts = self.mounts()
        with self.run.operation("release_build") as operation:
            operation.step("checkout", commit=sha)
            left = clone.move_to(sha, lambda path: _source.stays(path, mounts))
        self.notes += [f"{path} left the repository and stays on the server" for path in left]
        return self.result(sha)

    def mounts(self) -> list[str]:
        """Return what containers mount, relative to the project."""
        params = self.params
        files = list(params["files"])
        if os.path.isfile(os.path.join(params["dest"], _compose.RELEASE_FILE)):
            files.append(_compose.RELEASE_FILE)
        model, _warnings = _compose.Project(params["dest"], params["project"], tuple(files)).model()
        binds = _compose.binds(model)
        return [os.path.relpath(source, params["dest"]) for _service, source, _target in binds]


def _has_name(image: dict[str, Any], name: str) -> bool:
    return name in (image.get("RepoTags") or [])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["exported", "present", "checked_out"],
                "default": "present",
            },
            "remote": {"type": "str", "default": "origin"},
            "tree": {"type": "path"},
            "src": {"type": "path"},
            "files": {"type": "list", "elements": "str", "required": True},
            "project": {"type": "str", "required": True},
            "env": {"type": "dict", "default": {}, "no_log": True},
            "env_remove": {"type": "list", "elements": "str", "default": []},
            "released": {"type": "dict", "default": {}},
            "version_argument": {"type": "str", "default": ""},
            "registry_username": {"type": "str", "default": ""},
            "registry_password": {"type": "str", "default": "", "no_log": True},
            "min_free_mb": {"type": "int", "default": 1024},
            "fetch_timeout": {"type": "int", "default": 120},
            "build_timeout": {"type": "int", "default": 1800},
            **_operation_module.OPERATION_OPTIONS,
        },
        required_if=[("state", "exported", ["tree", "src"]), ("state", "present", ["tree"])],
        supports_check_mode=True,
    )
    run = _operation_module.OperationModule(module)
    state = run.params["state"]
    if state != "exported" and not re.fullmatch(r"[0-9a-f]{40,64}", run.params["version"]):
        run.fail(f"{run.params['version']!r} is no whole sha of a commit.", report=[])
    builder = Builder(run)
    states = {
        "exported": builder.export,
        "present": builder.build,
        "checked_out": builder.check_out,
    }
    try:
        result = states[state]()
    except _building.BuildError as error:
        run.fail(str(error), report=error.report)
    except EXPECTED as error:
        run.fail(str(error), report=[])
    run.exit(result)


if __name__ == "__main__":
    main()
