# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual servers: containers with systemd, sshd and an engine of their own."""

from __future__ import annotations

import socket
import subprocess

from .console import DemoError, docker, run, say, wait_for
from .images import VPS_TAG, bare_tag
from .registries import ensure_network
from .settings import KNOWN_HOSTS, NETWORK, OWNER_LABEL, SSH_KEY, STATE, Instance

TMPFS = ("--tmpfs=/run:exec,size=512m", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec")
# What an inner systemd and Docker need where "--privileged" is refused, as on
# machines that lack CAP_SYS_RESOURCE themselves; vps-init does the rest.
UNPRIVILEGED = (
    *(
        "--cap-add=ALL",
        "--cap-drop=SYS_RESOURCE",
        "--cgroupns=private",
        "--device-cgroup-rule=a *:* rwm",
    ),
    *("--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"),
    "--security-opt=systempaths=unconfined",
)
PRIVILEGED = ("--privileged", "--cgroupns=private")


def up(instance: Instance, bare: str | None) -> None:
    """Boot the instance; a stopped one is started, a running one is left as it is."""
    image = bare_tag(bare) if bare else VPS_TAG
    ensure_network()
    before = status(instance)
    if before == "absent":
        boot(instance, image)
    elif before != "running":
        docker("start", instance.container)
    seconds = wait_until_reachable(instance)
    how = "booted" if before == "absent" else f"was {before}"
    say(f"  {instance.container}: {how}, ssh answers after {seconds:.1f} s")
    say("  " + " ".join(ssh_command(instance)))


def status(instance: Instance) -> str:
    return state(instance.container)


def state(container: str) -> str:
    """absent, or what Docker says: running, exited, created, ..."""
    return docker("inspect", "--format", "{{.State.Status}}", container, check=False) or "absent"


def boot(instance: Instance, image: str) -> None:
    """Run a container of that image under the instance's name, ports and volume."""
    _check_ports(instance)
    docker("volume", "create", "--label", f"{OWNER_LABEL}=vps", instance.volume)
    refused = ""
    for flags in (PRIVILEGED, UNPRIVILEGED):
        started = run(
            ["docker", "run", "--detach", "--tty", *flags, *_identity(instance), image], check=False
        )
        if started.returncode == 0:
            return
        refused = started.stderr.strip()
        docker("rm", "--force", "--volumes", instance.container, check=False)
        # Only a lack of rights makes the second way worth a try.
        if "operation not permitted" not in refused.lower():
            break
    raise DemoError(f"{instance.container} does not start: {refused}")


def _identity(instance: Instance) -> tuple[str, ...]:
    return (
        *("--name", instance.container, "--hostname", instance.container, "--network", NETWORK),
        *("--label", f"{OWNER_LABEL}=vps", "--label", f"{OWNER_LABEL}.instance={instance.name}"),
        *("--publish", f"127.0.0.1:{instance.ssh_port}:22"),
        *("--publish", f"127.0.0.1:{instance.http_port}:80"),
        *("--publish", f"127.0.0.1:{instance.https_port}:443"),
        *("--volume", f"{instance.volume}:/var/lib/docker"),
        *TMPFS,
    )


def _check_ports(instance: Instance) -> None:
    for port in (instance.ssh_port, instance.http_port, instance.https_port):
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise DemoError(
                    f"port 127.0.0.1:{port} is in use: free it, "
                    "or take another --instance with ports of its own"
                )


def wait_until_reachable(instance: Instance) -> float:
    """Our key accepted by sshd and, where there is one, the inner engine answering."""
    ensure_key()
    booted = wait_for(
        f"{instance.container} to boot (docker logs {instance.container})",
        60,
        lambda: _host_key(instance) != "",
    )
    trust(instance)
    logged_in = wait_for(
        f"ssh to {instance.container}", 30, lambda: ssh(instance, "true").returncode == 0
    )
    engine = 0.0
    if ssh(instance, "command -v dockerd").returncode == 0:
        engine = wait_for(
            f"Docker inside {instance.container}",
            60,
            lambda: ssh(instance, "docker version").returncode == 0,
        )
    return booted + logged_in + engine


def _inside(instance: Instance, script: str) -> str:
    return docker("exec", instance.container, "bash", "-c", script, check=False)


def _host_key(instance: Instance) -> str:
    # The unit that makes the keys is over before sshd starts, so its file is whole.
    return _inside(
        instance,
        "systemctl is-active --quiet ssh && cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub",
    )


def ensure_key() -> None:
    if not SSH_KEY.exists():
        STATE.mkdir(exist_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "carrental-demo", "-f", SSH_KEY])


def trust(instance: Instance) -> None:
    """Both directions: our key into the server, its host key into known_hosts.

    Each clone of the repository has a key of its own and they share servers:
    the key is added, never put in the place of another.
    """
    public = SSH_KEY.with_suffix(".pub").read_text().strip()
    keys = "/home/deploy/.ssh/authorized_keys"
    _inside(
        instance,
        f"grep -qxF '{public}' {keys} 2>/dev/null || echo '{public}' >>{keys};"
        f" chown deploy:deploy {keys}; chmod 600 {keys}",
    )
    host = f"[127.0.0.1]:{instance.ssh_port}"
    known = KNOWN_HOSTS.read_text().splitlines() if KNOWN_HOSTS.exists() else []
    others = [line for line in known if not line.startswith(f"{host} ")]
    KNOWN_HOSTS.write_text("\n".join([*others, f"{host} {_host_key(instance)}"]) + "\n")


def ssh_command(instance: Instance) -> list[str]:
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "5",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(KNOWN_HOSTS),
        "LogLevel": "ERROR",
    }
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [
        "ssh",
        "-F",
        "/dev/null",
        "-i",
        str(SSH_KEY),
        "-p",
        str(instance.ssh_port),
        *flags,
        "deploy@127.0.0.1",
    ]


def ssh(instance: Instance, command: str) -> subprocess.CompletedProcess[str]:
    return run([*ssh_command(instance), command], check=False)


def interactive_ssh(instance: Instance, words: list[str]) -> int:
    if status(instance) != "running":
        raise DemoError(f"{instance.container} is {status(instance)}: run 'demo.py up' first")
    ensure_key()
    trust(instance)
    return subprocess.call([*ssh_command(instance), *words])


def down(instance: Instance) -> None:
    """Remove the container and its inner engine's data; snapshots stay."""
    docker("rm", "--force", "--volumes", instance.container, check=False)
    docker("volume", "rm", "--force", instance.volume, check=False)
    say(f"  {instance.container}: removed")
