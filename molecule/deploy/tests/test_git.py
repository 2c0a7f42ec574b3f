# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy.yml from the clone that the project directory is: built beside production, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support import Run, fetch, inspect, on_server, playbook, release, serving, tree
from tiers import proof

GHCR = "ghcr.carrental.test:5000/carrental"
ROOT = "/opt/carrental"
REMOTE = "/home/deploy/repo.git"
# The repository of the application, with two versions, and a clone of it where the stack lives.
SET_UP = r"""
set -e
rm -rf /home/deploy/repo.git /home/deploy/work
git init -q --bare -b main /home/deploy/repo.git
git clone -q /home/deploy/repo.git /home/deploy/work
cd /home/deploy/work
git checkout -q -b main
git config user.name Test
git config user.email test@example.org
cp -r /opt/carrental/docker-compose.*.yml /opt/carrental/monitoring /opt/carrental/nginx .
rm -rf nginx/ssl
printf '/%s\n' .env .env.releases/ .ops/ backups/ compose.release.yml nginx/ssl/ > .gitignore
mkdir -p app docker
version() {
  for pair in api:backend web:frontend; do
    service=${pair%%:*}
    {
      echo "FROM GHCR/${pair#*:}:$1"
      echo "COPY app/$service.txt /app/"
      echo 'ARG VERSION=unknown'
      echo 'ENV VERSION=${VERSION}'
    } > docker/Dockerfile.$service.prod
    echo "$2" > app/$service.txt
  done
  git add -A
  git commit -q -m "$2"
  git push -q origin HEAD
}
sed -i 's/keepalive_timeout [0-9]*;/keepalive_timeout 65;/' nginx/nginx.conf
version V1 one
sed -i 's/keepalive_timeout 65;/keepalive_timeout 64;/' nginx/nginx.conf
echo 'of the second version' > app/added.txt
version V2 two
cd /opt/carrental
git init -q -b main
git remote add origin /home/deploy/repo.git
git fetch -q origin
git reset -q --mixed origin/main~1
git checkout -q -- .
echo 'of somebody' > notes.txt
"""


@dataclass(frozen=True)
class Repository:
    one: str
    two: str


def as_deploy(script: str) -> str:
    return on_server(
        *("runuser", "-u", "deploy", "--", "env", "HOME=/home/deploy", "sh", "-s"), stdin=script
    )


@pytest.fixture(name="repository", scope="module")
def a_clone_on_the_server() -> Iterator[Repository]:
    on_server("sh", "-c", "which git || apt-get install -y --no-install-recommends git")
    script = SET_UP.replace("GHCR", GHCR).replace("V1", release("v1")).replace("V2", release("v2"))
    as_deploy(script)
    one, two = as_deploy(f"git -C {REMOTE} rev-parse main~1 main").split()
    yield Repository(one, two)
    on_server(
        "sh", "-c", f"cd {ROOT} && rm -rf .git .gitignore app notes.txt {REMOTE} ~deploy/work"
    )


def deploy(version: str, *argv: str, **extra: Any) -> Run:
    source: dict[str, Any] = {
        "deploy_source": "git",
        "deploy_config_dir": "",
        "deploy_watch": False,
    }
    return playbook("deploy", *argv, deploy_version=version, **source, **extra)


def refused(version: str, says: str) -> Run:
    """A deploy that is refused and leaves every container, file and image as it was."""
    before = (tree(reports=False), containers(), images())
    run = deploy(version)
    assert run.code != 0
    assert run.result["verdict"] == "refused", run.output
    assert says in run.result["headline"], run.result["headline"]
    assert (tree(reports=False), containers(), images()) == before
    return run


def containers() -> str:
    return on_server(
        "docker", "ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"
    )


def images() -> set[str]:
    listed = on_server("docker", "images", "--all", "--no-trunc", "--format", "{{.ID}} {{.Tag}}")
    return set(listed.splitlines())


def clone() -> tuple[str, str]:
    """The commit that is checked out, and what differs from it; untracked files do not count."""
    git = f"git -C {ROOT} --no-optional-locks"
    return as_deploy(f"{git} rev-parse HEAD"), as_deploy(f"{git} status --short -uno")


def newest_record() -> dict[str, Any]:
    path = on_server("sh", "-c", f"ls {ROOT}/.ops/releases/*.json | sort | tail -n 1")
    record: dict[str, Any] = json.loads(on_server("cat", path))
    return record


def test_work_of_somebody_in_the_clone_is_named_and_not_lost(repository: Repository) -> None:
    as_deploy(f"echo '# mine' >> {ROOT}/nginx/nginx.conf")
    try:
        refused(repository.two, "nginx/nginx.conf")
    finally:
        # In place: nginx has this very file mounted, which "git checkout" would replace.
        as_deploy(f"cd {ROOT} && git show HEAD:nginx/nginx.conf > nginx/nginx.conf")


@proof
def test_check_mode_tells_what_would_be_fetched_and_built(repository: Repository) -> None:
    as_deploy(
        f"cd {REMOTE}/../work && echo 3 > app/api.txt && git commit -qam three && git push -q"
    )
    try:
        three = as_deploy(f"git -C {REMOTE} rev-parse main")
        before = (tree(), containers(), images())
        run = deploy(three, "--check", "--diff")
        assert run.code == 0, run.output
        run.line(f"fetch {three[:12]} from origin")
        run.line("build api, web")
        assert (tree(), containers(), images()) == before
    finally:
        as_deploy(f"git -C {REMOTE} update-ref refs/heads/main {repository.two}")


@proof
@pytest.mark.parametrize(
    ("version", "says"),
    [("f" * 40, "has no commit and no tag"), ("main", "main is a branch"), ("v9", "no tag v9")],
)
def test_version_that_the_remote_has_not_is_refused(
    repository: Repository, version: str, says: str
) -> None:
    refused(version, says)


@proof
def test_commit_is_built_and_released_and_the_clone_follows(repository: Repository) -> None:
    run = deploy(repository.one)
    assert run.code == 0, run.output
    run.line("build api, web")
    assert serving() == repository.one
    assert clone() == (repository.one, "")
    record = newest_record()
    assert (record["version"], record["git_sha"]) == (repository.one, repository.one)
    for service, repo in (("api", "backend"), ("web", "frontend")):
        image = on_server("docker", "image", "inspect", f"{GHCR}/{repo}:{repository.one}")
        found = json.loads(image)[0]
        assert found["Id"] == inspect(service, "{{.Image}}")
        assert record["services"][service]["image_id"] == found["Id"]
        labels = found["Config"]["Labels"]
        assert labels["org.opencontainers.image.revision"] == repository.one
    assert playbook("health").code == 0

    before = containers()
    again = deploy(repository.one[:8])
    assert again.code == 0, again.output
    assert again.changed == 0
    assert again.result["verdict"] == "no_change"
    assert containers() == before


@proof
def test_build_that_fails_leaves_production_as_it_is(repository: Repository) -> None:
    as_deploy(
        f"cd {REMOTE}/../work && echo 'RUN echo cannot find the wheel && false' >>"
        " docker/Dockerfile.web.prod && git commit -qam broken && git push -q -f origin HEAD:broken"
    )
    broken = as_deploy(f"git -C {REMOTE} rev-parse broken")
    serves, files, running = fetch("/api/v1/health"), tree(reports=False), containers()
    run = deploy(broken)
    assert run.code != 0
    assert run.result["verdict"] == "refused", run.output
    assert "cannot be built" in run.result["headline"]
    run.line("cannot find the wheel")
    assert containers() == running
    assert fetch("/api/v1/health")[0] == serves[0]
    # The commit is in the clone now, and nothing else.
    outside = [line for line in tree(reports=False).splitlines() if "./.git" not in line]
    assert [
        line for line in outside if "./.ops" not in line and line not in files.splitlines()
    ] == []


@proof
def test_rollback_needs_neither_the_remote_nor_a_build(repository: Repository) -> None:
    if serving() != repository.one:
        assert deploy(repository.one).code == 0
    run = deploy(repository.two[:9])
    assert run.code == 0, run.output
    assert serving() == repository.two
    assert clone() == (repository.two, "")
    assert on_server("cat", f"{ROOT}/app/added.txt") == "of the second version"
    assert on_server("cat", f"{ROOT}/notes.txt") == "of somebody"
    assert "keepalive_timeout 64" in on_server(
        "docker", "exec", "nginx", "cat", "/etc/nginx/nginx.conf"
    )
    on_server("mv", REMOTE, f"{REMOTE}.gone")
    try:
        before = images()
        back = playbook("rollback", rollback_to="previous")
        assert back.code == 0, back.output
        assert serving() == repository.one
        assert newest_record()["git_sha"] == repository.one
        assert clone() == (repository.one, "")
        assert "keepalive_timeout 65" in on_server("cat", f"{ROOT}/nginx/nginx.conf")
        # Names go to other images; none is new.
        assert {one.split()[0] for one in images()} <= {one.split()[0] for one in before}
        # And on again: what was built and fetched is still there.
        on = deploy(repository.two)
        assert on.code == 0, on.output
        assert not any(line.startswith(("build ", "fetch ")) for line in on.result["lines"])
        assert serving() == repository.two
    finally:
        on_server("mv", f"{REMOTE}.gone", REMOTE)
