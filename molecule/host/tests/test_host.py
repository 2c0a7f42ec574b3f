# SPDX-License-Identifier: GPL-3.0-or-later
"""bootstrap.yml on bare Debian 12 and 13: what a stack and our modules need is there."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from support import eventually, playbook
from tiers import PROOF, proof

Host = Any  # testinfra ships no type for its host


@pytest.fixture(autouse=True)
def in_this_tier(host: Host) -> None:
    """Installing an engine takes minutes: CI does it on one of both."""
    if server(host) == "bare12" and not PROOF:
        pytest.skip("exhaustive tier: make proof")


def server(host: Host) -> str:
    """Name of the inventory host that a testinfra host stands for."""
    return str(host.backend.name).removeprefix("carrental-").removesuffix("-vps")


def test_engine_runs_now_and_after_a_reboot(host: Host) -> None:
    assert host.service("docker").is_running
    assert host.service("docker").is_enabled
    assert (
        int(host.check_output("docker version --format '{{.Server.Version}}'").split(".")[0]) >= 20
    )


def test_deploy_user_has_compose_v2(host: Host) -> None:
    version = host.check_output("su - deploy -c 'docker compose version --short'")
    assert int(version.lstrip("v").split(".")[0]) >= 2


def test_deploy_user_reaches_the_engine_without_root(host: Host) -> None:
    assert host.check_output("su - deploy -c 'docker ps -q'") == ""


@pytest.mark.parametrize("package", ["boto3", "psycopg2"])
def test_modules_can_import(host: Host, package: str) -> None:
    assert host.run(f"su - deploy -c 'python3 -c \"import {package}\"'").rc == 0


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/opt/carrental", 0o755),
        ("/opt/carrental/.ops", 0o700),
        ("/opt/carrental/.ops/releases", 0o700),
        ("/opt/carrental/.ops/reports", 0o700),
        ("/opt/carrental/backups", 0o700),
    ],
)
def test_directories_belong_to_the_deploy_user(host: Host, path: str, mode: int) -> None:
    directory = host.file(path)
    assert (directory.user, directory.mode) == ("deploy", mode)


def test_new_containers_rotate_their_logs(host: Host) -> None:
    daemon = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert daemon["live-restore"] is True
    assert daemon["log-opts"] == {"max-size": "10m", "max-file": "5"}


def test_security_updates_leave_the_engine_alone(host: Host) -> None:
    settings = host.check_output("apt-config dump")
    assert 'APT::Periodic::Unattended-Upgrade "1";' in settings
    assert 'Unattended-Upgrade::Package-Blacklist:: "docker";' in settings


def test_firewall_lets_in_what_is_listed(host: Host) -> None:
    status = host.check_output("ufw status verbose")
    assert "deny (incoming)" in status
    for port in (22, 80, 443):
        assert f"{port}/tcp" in status


def test_password_guessers_are_banned(host: Host) -> None:
    assert "sshd" in host.check_output("fail2ban-client status")


def test_given_key_may_log_in(host: Host) -> None:
    keys = host.file("/home/deploy/.ssh/authorized_keys")
    assert "operator@example.com" in keys.content_string
    assert (keys.user, keys.mode) == ("deploy", 0o600)


@proof
def test_a_container_survives_a_changed_daemon(host: Host) -> None:
    """A changed log limit restarts the daemon; what runs must not notice."""
    name = server(host)
    save = subprocess.Popen(
        ["docker", "save", "carrental-demo/base:bookworm"], stdout=subprocess.PIPE
    )
    subprocess.run(
        ["docker", "exec", "-i", f"carrental-{name}-vps", "docker", "load"],
        stdin=save.stdout,
        check=True,
        capture_output=True,
    )
    assert save.wait() == 0
    host.check_output("docker run -d --name witness carrental-demo/base:bookworm sleep 600")
    try:
        started = host.check_output("docker inspect -f '{{.State.StartedAt}}' witness")
        daemon = host.check_output("systemctl show -p MainPID docker")
        run = playbook("bootstrap", target=name, host_docker_log_max_size="20m")
        assert run.code == 0, run.output
        assert host.check_output("systemctl show -p MainPID docker") != daemon
        eventually(lambda: host.run("docker ps").rc == 0, "the daemon answers again")
        assert host.check_output("docker inspect -f '{{.State.StartedAt}}' witness") == started
        assert host.check_output("docker inspect -f '{{.State.Running}}' witness") == "true"
    finally:
        host.run("docker rm -f witness")
        playbook("bootstrap", target=name)


def test_check_mode_changes_nothing(host: Host) -> None:
    before = host.check_output("sha256sum /etc/docker/daemon.json; dpkg -l | sha256sum")
    # A boolean given as key=value is a text; the header of the playbook shows it so.
    run = playbook(
        "bootstrap",
        *("--check", "-e", "host_firewall=true", "-e", "host_fail2ban=false"),
        target=server(host),
        host_docker_log_max_size="33m",
    )
    assert run.code == 0, run.output
    assert run.changed > 0
    assert host.check_output("sha256sum /etc/docker/daemon.json; dpkg -l | sha256sum") == before


def test_firewall_that_locks_out_is_refused(host: Host) -> None:
    run = playbook(
        "bootstrap", target=server(host), host_firewall=True, host_firewall_ports=["80", "443"]
    )
    assert run.code == 2
    assert "lock yourself out" in run.output
    assert "22/tcp" in host.check_output("ufw status")
