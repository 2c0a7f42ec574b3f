# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of the stack, each shown to be in force, and undone afterwards."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support import SERVER, eventually, fetch, inspect, on_server, sql


def is_well() -> bool:
    """Whether every container runs and the API answers, by Docker and through the proxy."""
    states = on_server(
        "docker", "ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}", "--no-trunc"
    )
    wrong = [
        line
        for line in states.splitlines()
        if " running " not in line or re.search(r"unhealthy|health: starting|Paused", line)
    ]
    return not wrong and fetch("/api/v1/health")[0] == 200


Fault = Callable[[], AbstractContextManager[None]]


def container(verb: str, undo: str, name: str, state: str) -> Fault:
    """A fault made with ``docker <verb>``, shown to be in force by the container's state."""

    @contextmanager
    def fault() -> Iterator[None]:
        on_server("docker", verb, name)
        try:
            assert inspect(name, "{{.State.Status}}") == state
            yield
        finally:
            on_server("docker", undo, name)

    return fault


@contextmanager
def wrong_role_password() -> Iterator[None]:
    password = re.search(
        r"^POSTGRES_PASSWORD=(.+)$", on_server("cat", "/opt/carrental/.env"), re.MULTILINE
    )
    assert password
    sql("ALTER ROLE carrental PASSWORD 'not-the-one-in-the-environment'")
    try:
        yield
    finally:
        sql(f"ALTER ROLE carrental PASSWORD '{password[1]}'")


@contextmanager
def read_only_database() -> Iterator[None]:
    sql("ALTER SYSTEM SET default_transaction_read_only = on")
    sql("SELECT pg_reload_conf()")
    try:
        eventually(
            lambda: sql("SHOW default_transaction_read_only") == "on", "read-only is in force"
        )
        yield
    finally:
        sql("ALTER SYSTEM RESET default_transaction_read_only")
        sql("SELECT pg_reload_conf()")


@contextmanager
def full_connection_slots() -> Iterator[None]:
    """Sleeping sessions until the server takes no more."""
    free = int(sql("SHOW max_connections")) - int(sql("SELECT count(*) FROM pg_stat_activity"))
    session = "psql -XAtq -U carrental -d carrental -c 'SELECT pg_sleep(120)'"
    script = f"for i in $(seq {free + 20}); do {session} & done; wait"
    hog = subprocess.Popen(
        ["docker", "exec", SERVER, "docker", "exec", "postgres", "sh", "-c", script],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ask = ("docker", "exec", "postgres", "psql", "-XAtq", "-U", "carrental", "-d", "carrental")
    try:
        eventually(
            lambda: not on_server(*ask, "-c", "SELECT 1", check=False), "no connection slot is left"
        )
        yield
    finally:
        on_server("docker", "restart", "--time", "5", "postgres")
        hog.wait(timeout=60)


@contextmanager
def redis_other_password() -> Iterator[None]:
    password = re.search(
        r"^REDIS_PASSWORD=(.+)$", on_server("cat", "/opt/carrental/.env"), re.MULTILINE
    )
    assert password
    base = ("docker", "exec", "redis", "redis-cli", "--no-auth-warning", "-a")
    on_server(*base, password[1], "CONFIG", "SET", "requirepass", "another-one")
    try:
        yield
    finally:
        on_server(*base, "another-one", "CONFIG", "SET", "requirepass", password[1])


@contextmanager
def bucket_gone() -> Iterator[None]:
    """The application's bucket deleted, with what is in it; an empty one comes back."""
    s3_on_server("delete_bucket")
    try:
        yield
    finally:
        s3_on_server("create_bucket")
        on_server("docker", "restart", "api")


def s3_on_server(action: str) -> None:
    """Delete (with what is in it) or create the application's bucket, with boto3 on the server."""
    script = f"""
import boto3, re, subprocess
env = dict(l.split('=', 1) for l in open('/opt/carrental/.env').read().splitlines() if '=' in l)
ip = subprocess.check_output(['docker', 'inspect', '-f',
    '{{{{range .NetworkSettings.Networks}}}}{{{{.IPAddress}}}} {{{{end}}}}', 'minio'], text=True)
ip = ip.split()[0]
s3 = boto3.client('s3', endpoint_url=f'http://{{ip}}:9000', region_name='us-east-1',
    aws_access_key_id=env['MINIO_ROOT_USER'], aws_secret_access_key=env['MINIO_ROOT_PASSWORD'])
if '{action}' == 'delete_bucket':
    for item in s3.list_objects_v2(Bucket='carrental').get('Contents', []):
        s3.delete_object(Bucket='carrental', Key=item['Key'])
s3.{action}(Bucket='carrental')
"""
    on_server("python3", "-", stdin=script)


@contextmanager
def disk_full() -> Iterator[None]:
    """A small filesystem of its own for the backups, filled to the last byte."""
    path = "/opt/carrental/backups"
    on_server("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path)
    try:
        on_server("sh", "-c", f"head -c 8m /dev/zero >{path}/full", check=False)
        assert on_server("df", "--output=avail", path).split()[-1] == "0"
        yield
    finally:
        on_server("umount", path)


def certificate(begins: int, ends: int) -> tuple[str, str]:
    """Key and self-signed certificate in PEM, valid between two days counted from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "carrental.test")])
    now = datetime.now(timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("carrental.test")]), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private.decode(), signed.public_bytes(Encoding.PEM).decode()


@contextmanager
def expired_certificate() -> Iterator[None]:
    ssl = "/opt/carrental/nginx/ssl"
    on_server("cp", "-a", ssl, "/root/ssl-before")
    for name, text in zip(("privkey", "fullchain"), certificate(-30, -8), strict=True):
        # Written in place: the container sees the same files.
        on_server("sh", "-c", f"cat >{ssl}/{name}.pem", stdin=text)
    on_server("docker", "exec", "nginx", "nginx", "-s", "reload")
    try:
        yield
    finally:
        on_server(
            "sh", "-c", f"cp -a /root/ssl-before/. {ssl}/ && docker exec nginx nginx -s reload"
        )


@contextmanager
def name_gone() -> Iterator[None]:
    """PostgreSQL taken off the network: its name resolves to nothing for the others."""
    network = inspect(
        "postgres", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
    ).split()[0]
    on_server("docker", "network", "disconnect", network, "postgres")
    try:
        yield
    finally:
        on_server(
            *("docker", "network", "connect", "--alias", "postgres", network, "postgres"),
        )
        on_server("docker", "restart", "api")
