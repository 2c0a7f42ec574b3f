# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that is gone comes back from its backups.

What it was is noted by SQL, boto3 and sha256sum. Then everything of it is removed but the backups,
and what comes back is compared by the same means.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bucket import ELSEWHERE, bucket, elsewhere, login
from support import (
    GHCR,
    REPO,
    STATE,
    Started,
    fetch,
    on_server,
    playbook,
    release,
    sql,
    stop_at,
    wait_stopped,
)
from tiers import proof

ROOT = "/opt/carrental"
BACKUPS = f"{ROOT}/backups"
SAVED = "/root/saved"
HOME = "/home/deploy"
KEY = "/root/recover.key"
GRAFANA = "/var/lib/grafana/grafana.db"
_LOSE = f"""
set -e
docker ps -a --format '{{{{.Names}}}}' | grep -vx '{ELSEWHERE}' | xargs -r docker rm -f
docker volume ls -q | xargs -r docker volume rm >/dev/null 2>&1 || true
docker network prune -f
rm -rf {ROOT}
mkdir -p -m 700 {BACKUPS} {STATE} {STATE}/reports {STATE}/releases
"""


def rows() -> list[str]:
    return sql(
        "SELECT md5(string_agg(b::text, ',' ORDER BY id)) FROM bookings b"
        " UNION ALL SELECT count(*)::text FROM cars UNION ALL SELECT count(*)::text FROM customers"
    ).splitlines()


def configuration() -> list[str]:
    """Hashes and modes of what is no data."""
    found = f"cd {ROOT} && find . -path ./backups -prune -o -path ./.ops -prune -o -type f"
    said = on_server("sh", "-c", f"{found} -exec sha256sum {{}} + && {found} -printf '%p %m %u\\n'")
    return sorted(said.splitlines())


def dashboards() -> str:
    on_server("docker", "cp", f"grafana:{GRAFANA}", "/root/g.db")
    read = "sqlite3.connect('/root/g.db').execute('SELECT title FROM dashboard').fetchall()"
    return on_server("python3", "-c", f"import sqlite3; print({read})")


def fill(folder: Path) -> None:
    """Give the stack what a first deploy does not have."""
    bucket("fill", "carrental", "40")
    local = folder / "grafana.db"
    with sqlite3.connect(local) as database:
        database.execute("CREATE TABLE dashboard (title)")
        database.execute("INSERT INTO dashboard VALUES ('fleet')")
    database.close()
    encoded = base64.b64encode(local.read_bytes()).decode()
    on_server("sh", "-c", "base64 -d > /root/grafana.db", stdin=encoded)
    on_server("docker", "cp", "/root/grafana.db", f"grafana:{GRAFANA}")


def records() -> list[str]:
    return on_server("ls", f"{STATE}/releases").split()


class Lost:
    """What the server was, and how its backups are opened."""

    def __init__(self, folder: Path) -> None:
        fill(folder)
        key = folder / "recover.key"
        key.write_text(on_server("cat", KEY) + "\n")
        key.chmod(0o600)
        self.encrypted: dict[str, Any] = {
            "backup_encryption": "age",
            "backup_recipients": [on_server("age-keygen", "-y", KEY)],
        }
        self.given: dict[str, Any] = {
            **self.encrypted,
            "recover_identity": str(key),
            "recover_confirm": "carrental",
        }
        self.secret = key.read_text().splitlines()[-1]
        run = playbook("backup", **self.encrypted)
        assert run.code == 0, run.output
        on_server("sh", "-c", f"rm -rf {SAVED} && cp -a {BACKUPS} {SAVED}")
        self.was = self.look()
        self.records = len(records())

    @staticmethod
    def look(*, dashboard: bool = True) -> dict[str, Any]:
        return {
            "rows": rows(),
            "objects": bucket("list", "carrental"),
            "configuration": configuration(),
            "dashboards": dashboards() if dashboard else "",
        }


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Lost:
    return Lost(tmp_path_factory.mktemp("lost"))


@pytest.fixture
def bare(lost: Lost) -> Iterator[Lost]:
    """The server as bootstrap leaves one, with its images and the backups that somebody brought."""
    on_server("sh", "-c", _LOSE)
    on_server("sh", "-c", f"cp -a {SAVED}/. {BACKUPS}/ && chown -R deploy: {ROOT}")
    assert on_server("docker", "ps", "-aq") == ""
    yield lost


@pytest.fixture
def moved_tag() -> Iterator[None]:
    """The tag of v1 stands for the image of v2 since."""
    address = f"http://{GHCR}:5000/v2/carrental/backend/manifests"
    secrets = yaml.safe_load(
        (REPO / "inventories/demo/group_vars/carrental/secrets.yml").read_text()
    )
    who = "{deploy_registry_username}:{deploy_registry_password}".format(**secrets)
    kind = "application/vnd.docker.distribution.manifest.v2+json"

    def read(version: str) -> str:
        asked = ("curl", "-sf", "-u", who, "-H", f"Accept: {kind}")
        return on_server(*asked, f"{address}/{release(version)}")

    def write(manifest: str) -> None:
        put = ("curl", "-sf", "-u", who, "-X", "PUT", "-H", f"Content-Type: {kind}")
        on_server(*put, "--data-binary", "@-", f"{address}/{release('v1')}", stdin=manifest)

    was, other = read("v1"), read("v2")
    assert was != other
    write(other)
    yield
    write(was)


@pytest.mark.usefixtures("moved_tag")
def test_a_lost_server_comes_back(bare: Lost) -> None:
    # Docker and the deploy user are there; the proof of offsite copies prepares the server, too.
    run = playbook("recover", recover_bootstrap=False, **bare.given)
    assert run.code == 0, run.output
    assert run.result["verdict"] == "ok"
    assert bare.look() == bare.was
    status, body = fetch("/api/v1/health")
    assert (status, json.loads(body)["version"]) == (200, release("v1"))
    assert len(records()) == bare.records + 1
    # The database that a new server makes is gone, and so is the key.
    assert sql("SELECT count(*) FROM pg_database WHERE NOT datistemplate", "postgres") == "2"
    assert on_server("ls", "/dev/shm") == ""
    assert bare.secret not in run.output
    assert bare.secret not in on_server("sh", "-c", f"cat {STATE}/reports/* {STATE}/journal/*")
    assert on_server("sh", "-c", f"ls {STATE}/recovering.json 2>/dev/null || true") == ""


@proof
def test_check_says_what_would_come_back_and_leaves_no_trace(bare: Lost) -> None:
    def left() -> str:
        return on_server("sh", "-c", f"find {ROOT} /dev/shm | sort | grep -v reports")

    before = left()
    run = playbook("recover", "--check", **bare.given)
    assert run.result["verdict"] == "no_change", run.output
    assert "config_backup_" in run.result["headline"]
    assert "car_rental_backup_" in run.result["headline"]
    assert left() == before
    assert on_server("docker", "ps", "-aq") == ""


@proof
@pytest.mark.parametrize(
    "step",
    ["unpack the configuration", "load", "swap", "send objects"],
)
def test_a_recovery_that_died_is_gone_on_with(bare: Lost, step: str) -> None:
    with stop_at(step):
        started = Started("recover", recover_bootstrap=False, **bare.given)
        pid = wait_stopped(step, started)
        on_server("kill", "-9", str(pid))
        died = started.wait(300)
    assert died.result["verdict"] == "failed", died.output
    assert "The same command again goes on from there." in died.result["lines"]
    run = playbook("recover", recover_bootstrap=False, **bare.given)
    assert run.code == 0, run.output
    assert bare.look() == bare.was


@proof
def test_another_key_opens_nothing(bare: Lost, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_text(on_server("age-keygen") + "\n")
    given = {**bare.given, "recover_identity": str(other), "recover_bootstrap": False}
    run = playbook("recover", **given)
    assert run.code != 0
    assert "is it the right key?" in run.result["headline"], run.output
    assert on_server("docker", "ps", "-aq") == ""
    assert on_server("sh", "-c", f"ls -A {ROOT} | sort").split() == [".ops", "backups"]
    # And the right one does, in the same place.
    run = playbook("recover", recover_bootstrap=False, **bare.given)
    assert run.code == 0, run.output


@proof
def test_without_an_archive_and_without_an_image(bare: Lost) -> None:
    """The inventory gives the configuration, the registries give the images."""
    # A snapshot of the server also loses what a layer of an image had deleted.
    on_server("sh", "-c", "docker images -q | sort -u | xargs docker rmi -f")
    run = playbook(
        "recover",
        recover_bootstrap=False,
        recover_configuration="inventory",
        recover_version=release("v1"),
        **bare.given,
    )
    assert run.code == 0, run.output
    found = bare.look(dashboard=False)
    assert (found["rows"], found["objects"]) == (bare.was["rows"], bare.was["objects"])
    assert fetch("/api/v1/health")[0] == 200


@proof
def test_everything_comes_from_elsewhere(bare: Lost, tmp_path: Path) -> None:
    # What the tests before left may be without what only an archive brings.
    run = playbook("recover", recover_bootstrap=False, **bare.given)
    assert run.code == 0, run.output
    run = playbook("recover", recover_bootstrap=False, **bare.given)
    assert run.result["verdict"] == "refused", run.output
    assert "A recovery is for a server that has none" in run.result["headline"]
    with elsewhere("copies"):
        bucket("create", "objects", container=ELSEWHERE)
        endpoint, access, secret = login(ELSEWHERE)
        keys = tmp_path / "keys.json"
        keys.write_text(json.dumps({"access_key": access, "secret_key": secret}))
        password = tmp_path / "password"
        password.write_text(secret)
        offsite = {
            "backup_offsite_bucket": "copies",
            "backup_offsite_endpoint": endpoint,
            "backup_offsite_credentials": str(keys),
        }
        store = {
            "host": endpoint.removeprefix("http://").partition(":")[0],
            "port": 9000,
            "user": access,
            "bucket": "objects",
        }
        run = playbook("backup", **bare.encrypted, **offsite)
        assert run.code == 0, run.output
        on_server(
            "sh",
            "-c",
            "cat > /root/password && chmod 644 /root/password && cp /root/password /tmp/",
            stdin=secret,
        )
        copied = {**store, "password_file": "/tmp/password"}
        run = playbook("objects", objects_do="copy", objects_to=copied)
        assert run.code == 0, run.output
        on_server("sh", "-c", f"{_LOSE} chown -R deploy: {ROOT}")
        source = {**store, "password_file": str(password)}
        run = playbook(
            "recover",
            recover_from="offsite",
            recover_objects_from=source,
            **bare.given,
            **offsite,
        )
        assert run.code == 0, run.output
        assert bare.look() == bare.was
        assert secret not in run.output
