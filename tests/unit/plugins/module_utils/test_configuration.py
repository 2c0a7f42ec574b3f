# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration: proved by the real compose, written without a half file."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import (
    _configuration,
    _configuration_report,
    _configuration_write,
    _environment_masking,
)
from ansible_collections.carrental.ops.plugins.module_utils._compose import ComposeError
from ansible_collections.carrental.ops.plugins.module_utils._configuration import Wish
from ansible_collections.carrental.ops.plugins.module_utils._masking import Masker


def has_compose() -> bool:
    command = ["docker", "compose", "version"]
    return bool(
        shutil.which("docker")
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


needs_compose = pytest.mark.skipif(not has_compose(), reason="docker compose is not installed")

COMPOSE = """services:
  api:
    build: .
    environment:
      SECRET: ${SECRET:?}
      OTHER: ${OTHER:?}
  nginx:
    image: nginx:1
    volumes:
      - ./nginx/nginx.conf:/etc/nginx/nginx.conf:ro
      - ./nginx/ssl:/etc/nginx/ssl:ro
"""


@pytest.fixture(name="wish")
def delivered(tmp_path: Path) -> Wish:
    src, dest = tmp_path / "src", tmp_path / "dest"
    (src / "nginx" / "ssl").mkdir(parents=True)
    dest.mkdir()
    (src / "compose.yml").write_text(COMPOSE)
    (src / "nginx" / "nginx.conf").write_text("new\n")
    (src / "nginx" / "ssl" / "privkey.pem").write_text("key\n")
    (src / "deploy.sh").write_text("#!/bin/sh\n")
    (src / "deploy.sh").chmod(0o750)
    (src / ".env").write_text("SECRET=not delivered\n")
    env = {"SECRET": "hunter2hunter2", "OTHER": "o"}
    return Wish(str(dest), ("compose.yml",), "p", str(src), env)


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other runs on this machine leave in the common one is not ours to count."""
    own = tmp_path / "tmp"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))


def candidates() -> list[str]:
    return [
        name for name in os.listdir(tempfile.gettempdir()) if name.startswith("carrental-candidate")
    ]


@needs_compose
def test_proved_and_written(wish: Wish) -> None:
    with _configuration.candidate(wish) as proved:
        assert [(one.path, one.action) for one in proved.changes] == [
            ("deploy.sh", "added"),
            ("nginx/nginx.conf", "added"),
            ("nginx/ssl/privkey.pem", "added"),
            (".env", "added"),
            ("compose.yml", "added"),
        ]
        assert set(proved.mounted["nginx"]) == {"nginx/nginx.conf", "nginx/ssl/privkey.pem"}
        assert proved.plain_images == {"api": "p-api", "nginx": "nginx:1"}
        assert proved.in_place == {"nginx/nginx.conf"}
        _configuration_write.apply(proved)
    dest = Path(wish.dest)
    modes = {
        one: stat.S_IMODE((dest / one).stat().st_mode)
        for one in (".env", "compose.yml", "deploy.sh", "nginx/ssl/privkey.pem")
    }
    assert modes == {
        ".env": 0o600,
        "compose.yml": 0o644,
        "deploy.sh": 0o755,
        "nginx/ssl/privkey.pem": 0o600,
    }
    assert (dest / ".env").read_text() == "OTHER=o\nSECRET=hunter2hunter2\n"
    assert candidates() == []
    with _configuration.candidate(wish) as proved:
        assert proved.changes == []


@needs_compose
def test_only_a_file_mounted_by_itself_keeps_its_inode(wish: Wish) -> None:
    with _configuration.candidate(wish) as proved:
        _configuration_write.apply(proved)
    mounted, compose = Path(wish.dest, "nginx/nginx.conf"), Path(wish.dest, "compose.yml")
    inodes = mounted.stat().st_ino, compose.stat().st_ino
    Path(str(wish.src), "nginx/nginx.conf").write_text("n\n")
    Path(str(wish.src), "compose.yml").write_text(COMPOSE + "# changed\n")
    with _configuration.candidate(wish) as proved:
        assert _configuration_report.reloads(proved, None, ["nginx"]) == {
            "nginx": ["nginx/nginx.conf"]
        }
        _configuration_write.apply(proved)
    assert mounted.read_text() == "n\n"
    assert mounted.stat().st_ino == inodes[0]
    assert compose.stat().st_ino != inodes[1]
    assert sorted(os.listdir(wish.dest)) == [".env", "compose.yml", "deploy.sh", "nginx"]


@needs_compose
def test_what_a_killed_run_wrote_is_still_unread(wish: Wish) -> None:
    with _configuration.candidate(wish) as proved:
        _configuration_write.apply(proved)
        recorded = {**proved.mounted["nginx"], "nginx/nginx.conf": "before"}
    with _configuration.candidate(wish) as proved:
        assert proved.changes == []
        found = _configuration_report.reloads(proved, recorded, ["nginx"])
    assert found == {"nginx": ["nginx/nginx.conf"]}


@needs_compose
def test_pins_are_the_last_file_and_change_only_the_image(wish: Wish) -> None:
    with _configuration.candidate(wish) as proved:
        _configuration_write.apply(proved)
    pinned = Wish(**{**vars(wish), "pins": {"api": "r.test/api@sha256:" + "a" * 64}})
    with _configuration.candidate(pinned) as proved:
        assert proved.project.files == ("compose.yml", "compose.release.yml")
        assert _configuration_report.differing(proved) == {"api": ["image"]}
        assert [one.path for one in proved.changes] == ["compose.release.yml"]


def refusal(wish: Wish) -> str:
    refusals = (_configuration.ConfigurationError, ComposeError)
    with pytest.raises(refusals) as error, _configuration.candidate(wish):
        pass
    assert os.listdir(wish.dest) == []
    assert candidates() == []
    return str(error.value)


@needs_compose
def test_all_missing_variables_are_refused_at_once(wish: Wish) -> None:
    assert refusal(Wish(**{**vars(wish), "env": {}})) == (
        f"{wish.dest}/.env would lack what the compose files demand: SECRET (compose.yml line 5), "
        "OTHER (compose.yml line 6); set it in carrental_env."
    )


@needs_compose
def test_a_mount_that_is_not_there_is_refused(wish: Wish) -> None:
    Path(str(wish.src), "nginx/nginx.conf").unlink()
    assert refusal(wish) == (
        f"What containers mount is not there: {wish.dest}/nginx/nginx.conf (service nginx); "
        "deliver or create it, for Docker would make an empty directory of root in its place."
    )


@needs_compose
def test_broken_yaml_is_named_with_file_and_line(wish: Wish) -> None:
    Path(str(wish.src), "more.yml").write_text("services:\n  x:\n  image: [x\n")
    message = refusal(Wish(**{**vars(wish), "files": ("compose.yml", "more.yml")}))
    assert message in {
        f"more.yml line {line} is not valid YAML: did not find expected ',' or ']'."
        for line in (2, 3)  # as different versions of compose count
    }


@needs_compose
def test_an_unknown_service_is_refused(wish: Wish) -> None:
    assert refusal(Wish(**{**vars(wish), "services": ("api", "worker")})) == (
        "carrental_services describes worker, and none of compose.yml has such a service; "
        "add it there, or set enabled: false for it."
    )


def test_a_compose_file_that_nobody_delivered_is_refused(wish: Wish) -> None:
    assert refusal(Wish(**{**vars(wish), "files": ("compose.yml", "x.yml")})) == (
        f"{wish.dest} and what was delivered have no x.yml; deliver the configuration "
        "(deploy_config_dir) or correct carrental_compose_files."
    )


@needs_compose
def test_the_diff_holds_no_secret(wish: Wish) -> None:
    Path(str(wish.src), "nginx/nginx.conf").write_text("token hunter2hunter2\n")
    with _configuration.candidate(wish) as proved:
        found = _configuration_report.diff(proved, _environment_masking.masker(wish.dest, wish.env))
    shown = {one["after_header"].removeprefix(wish.dest + "/"): one["after"] for one in found}
    assert shown[".env"] == "OTHER=…\nSECRET=…\n"
    assert shown["nginx/nginx.conf"] == "token ********\n"
    assert shown["nginx/ssl/privkey.pem"] == "(a secret)\n"
    assert "hunter2" not in str(found)


def test_names_of_users_are_not_masked() -> None:
    env = {"POSTGRES_USER": "carrental", "MINIO_ACCESS_KEY": "carrental", "JWT_SECRET": "s3cr3ts3"}
    masker: Masker = _environment_masking.masker("/nonexistent", env)
    assert masker.text("/opt/carrental s3cr3ts3") == "/opt/carrental ********"


@needs_compose
def test_whole_environment_takes_the_place_of_the_one_in_use(wish: Wish, tmp_path: Path) -> None:
    with _configuration.candidate(wish) as proved:
        _configuration_write.apply(proved)
    kept = tmp_path / "kept"
    kept.write_text("# of old\nSECRET=before-before\nOTHER='o'\nTHIRD=3\n")
    whole = Wish(wish.dest, wish.files, "p", env_file=str(kept))
    with _configuration.candidate(whole) as proved:
        known = _environment_masking.masker(wish.dest, {}, str(kept))
        shown = _configuration_report.diff(proved, known)
        assert "before-before" not in str(shown)
        assert known.text("before-before hunter2hunter2") == "******** ********"
        assert (proved.env.added, proved.env.changed, proved.env.removed) == (
            ["THIRD"],
            ["SECRET"],
            [],
        )
        _configuration_write.apply(proved)
    assert (Path(wish.dest) / ".env").read_text() == kept.read_text()
    assert stat.S_IMODE((Path(wish.dest) / ".env").stat().st_mode) == 0o600
    with _configuration.candidate(whole) as proved:
        assert proved.changes == []


@needs_compose
def test_environment_that_is_not_there_is_refused(wish: Wish, tmp_path: Path) -> None:
    whole = Wish(wish.dest, wish.files, "p", wish.src, env_file=str(tmp_path / "gone"))
    with (
        pytest.raises(_configuration.ConfigurationError, match="There is no"),
        _configuration.candidate(whole),
    ):
        pass


CONF_D = COMPOSE + "      - ./nginx/conf.d:/etc/nginx/conf.d:ro\n"


@needs_compose
def test_file_of_a_later_release_goes_when_an_earlier_one_comes_back(wish: Wish) -> None:
    src, dest = Path(wish.src or ""), Path(wish.dest)
    (src / "compose.yml").write_text(CONF_D)
    (src / "nginx/conf.d").mkdir()
    (src / "nginx/conf.d/old.conf").write_text("old\n")
    with _configuration.candidate(wish) as proved:
        recorded = _configuration_report.fingerprint(proved)
        _configuration_write.apply(proved)
    (dest / "nginx/conf.d/later.conf").write_text("later\n")
    (dest / "nginx/conf.d/foreign.txt").write_text("not ours\n")
    (src / "nginx/conf.d/foreign.txt").write_text("not ours\n")
    back = replace(wish, absent=("nginx/conf.d/later.conf", "nginx/conf.d/never.conf"))
    with _configuration.candidate(back) as proved:
        assert [(one.path, one.action) for one in proved.changes] == [
            ("nginx/conf.d/later.conf", "removed")
        ]
        assert "nginx/conf.d/later.conf" not in _configuration_report.fingerprint(proved)["files"]
        assert _configuration_report.reloads(proved, None, ["nginx"]) == {
            "nginx": ["nginx/conf.d/later.conf"]
        }
        shown = _configuration_report.diff(proved, Masker())
        assert (shown[0]["before"], shown[0]["after"]) == ("later\n", "")
        _configuration_write.apply(proved)
    assert sorted(os.listdir(dest / "nginx/conf.d")) == ["foreign.txt", "old.conf"]
    (src / "nginx/conf.d/foreign.txt").unlink()
    (dest / "nginx/conf.d/foreign.txt").unlink()
    with _configuration.candidate(back) as proved:
        assert proved.changes == []
        assert _configuration_report.fingerprint(proved) == recorded


@needs_compose
def test_candidate_never_removes_through_a_link(wish: Wish) -> None:
    with _configuration.candidate(wish) as proved:
        _configuration_write.apply(proved)
    later = Path(wish.dest) / "later"
    later.mkdir()
    (later / "new.conf").write_text("later\n")
    with _configuration.candidate(replace(wish, absent=("later/new.conf",))) as proved:
        assert (later / "new.conf").exists(), "a candidate changes nothing"
        _configuration_write.apply(proved)
    assert not (later / "new.conf").exists()


@needs_compose
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../x", ".env", "compose.yml", "nginx/ssl/privkey.pem"]
)
def test_nothing_else_can_be_removed(wish: Wish, path: str) -> None:
    with (
        pytest.raises(_configuration.ConfigurationError, match="cannot be removed"),
        _configuration.candidate(replace(wish, absent=(path,))),
    ):
        pass


@needs_compose
def test_the_same_files_count_as_configuration_with_and_without_a_delivery(wish: Wish) -> None:
    """What only the server has, a directory of it and many files, is no part of a release."""
    compose = COMPOSE.replace("./nginx/ssl:/etc/nginx/ssl:ro", "./nginx:/etc/nginx/all:ro")
    Path(str(wish.src), "compose.yml").write_text(compose)
    wish = replace(wish, env={"SECRET": "hunter2hunter2", "OTHER": "o"})
    with _configuration.candidate(wish) as proved:
        _configuration_write.apply(proved)
        first = proved.mounted["nginx"]
    own = Path(wish.dest, "nginx", "cache")
    own.mkdir()
    for number in range(250):
        (own / str(number)).write_text("of the server\n")
    assert "nginx/nginx.conf" in first
    with _configuration.candidate(wish) as proved:
        assert proved.mounted["nginx"] == first
    again = replace(wish, src=None, known=("compose.yml", *first))
    with _configuration.candidate(again) as proved:
        assert proved.mounted["nginx"] == first
        assert proved.changes == []
