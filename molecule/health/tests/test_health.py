# SPDX-License-Identifier: GPL-3.0-or-later
"""health.yml on the real stack: green when it is, and right about what is broken."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support import SERVER, eventually, fetch, inspect, on_server, playbook, sql, tree
from tiers import proof

SERVICES = [
    "API is healthy",
    "Web is healthy",
    "PostgreSQL is ready",
    "Redis is responding",
    "MinIO is healthy",
    "Nginx is serving",
    "Prometheus is healthy",
    "Grafana is healthy",
    "Alertmanager is healthy",
]


def healthy() -> bool:
    states = on_server(
        "docker", "ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}", "--no-trunc"
    )
    wrong = [
        line
        for line in states.splitlines()
        if " running " not in line or re.search(r"unhealthy|health: starting|Paused", line)
    ]
    return not wrong and fetch("/api/v1/health")[0] == 200


@pytest.fixture(autouse=True)
def green() -> None:
    """Every test begins with a stack that is well, asked another way than health.yml asks."""
    eventually(healthy, "the stack is well before the test")


def test_all_ok_ends_0() -> None:
    run = playbook("health")
    assert run.code == 0, run.output
    for text in SERVICES:
        assert "[OK] " in run.line(text), run.output
    assert re.search(r"\[OK\] Disk usage at \d+%", run.output)
    assert "[FAIL]" not in run.output
    assert "[WARN]" not in run.output
    assert run.changed == 0
    assert run.result["verdict"] == "ok"


def test_report_on_the_server_is_the_result() -> None:
    run = playbook("health")
    newest = on_server(
        "sh", "-c", "ls /opt/carrental/.ops/reports/*-health.json | sort | tail -n 1"
    )
    assert on_server("stat", "-c", "%a %U", newest) == "600 deploy"
    kept = json.loads(on_server("cat", newest))
    assert kept["checks"] == run.result["checks"]


def test_check_mode_leaves_no_trace() -> None:
    before = tree()
    objects = sql("SELECT count(*) FROM pg_stat_user_tables")
    run = playbook("health", "--check", "--diff")
    assert run.code == 0, run.output
    assert tree() == before
    assert sql("SELECT count(*) FROM pg_stat_user_tables") == objects


def test_no_secret_at_vvv() -> None:
    secrets = set(
        re.findall(
            r"^(?:\w*(?:PASSWORD|SECRET)\w*)=(.+)$",
            on_server("cat", "/opt/carrental/.env"),
            re.MULTILINE,
        )
    )
    assert len(secrets) >= 4
    run = playbook("health", "-vvv")
    assert not [secret for secret in secrets if secret in run.output]
    reports = on_server("sh", "-c", "cat /opt/carrental/.ops/reports/*")
    assert not [secret for secret in secrets if secret in reports]


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


def case(  # noqa: PLR0917  # a row of the table below
    name: str, fault: Fault, line: str, says: str, code: int, tier: bool = False
) -> object:
    """One fault: what is printed for it, and how the run ends."""
    return pytest.param(fault, line, says, code, id=name, marks=[proof] if tier else [])


@pytest.mark.parametrize(
    ("fault", "line", "says", "code"),
    [
        case(
            "redis stopped",
            container("stop", "start", "redis", "exited"),
            "[WARN] Redis is down (fallback cache active)",
            "stopped by hand",
            0,
        ),
        case(
            "api stopped",
            container("stop", "start", "api", "exited"),
            "[FAIL] API is not responding",
            "stopped by hand",
            2,
        ),
        case(
            "postgres paused",
            container("pause", "unpause", "postgres", "paused"),
            "[FAIL] PostgreSQL is not ready",
            "paused",
            2,
        ),
        case(
            "wrong role password",
            wrong_role_password,
            "[FAIL] PostgreSQL is not ready",
            "password",
            2,
        ),
        case("bucket gone", bucket_gone, "[FAIL] MinIO", "bucket carrental", 2),
        case(
            "disk full",
            disk_full,
            "[FAIL] Disk usage at 100%",
            "/opt/carrental/backups",
            2,
        ),
        case(
            "read-only database",
            read_only_database,
            "[FAIL] PostgreSQL",
            "read-only",
            2,
            tier=True,
        ),
        case(
            "no connection slots",
            full_connection_slots,
            "[FAIL] PostgreSQL",
            "connection",
            2,
            tier=True,
        ),
        case(
            "redis wants another password",
            redis_other_password,
            "[WARN] Redis",
            "password",
            0,
            tier=True,
        ),
        case(
            "expired certificate",
            expired_certificate,
            "[FAIL] Nginx",
            "expired",
            2,
            tier=True,
        ),
        case(
            "name gone",
            name_gone,
            "[FAIL] PostgreSQL is not ready",
            "no network",
            2,
            tier=True,
        ),
        case(
            "web paused",
            container("pause", "unpause", "web", "paused"),
            "[FAIL] Web is not responding",
            "paused",
            2,
            tier=True,
        ),
        case(
            "minio killed",
            container("kill", "start", "minio", "exited"),
            "[FAIL] MinIO is not responding",
            "by hand",
            2,
            tier=True,
        ),
        case(
            "grafana stopped",
            container("stop", "start", "grafana", "exited"),
            "[WARN] Grafana is not responding",
            "stopped by hand",
            0,
            tier=True,
        ),
    ],
)
def test_one_fault(fault: Fault, line: str, says: str, code: int) -> None:
    with fault():
        run = playbook("health")
    printed = run.line(line)
    assert says in run.output.split(line, 1)[1].split("[", 1)[0], printed
    assert run.code == code, run.output
    assert run.result["verdict"] == ("failed" if code else "ok")
    # The module's own time, with what hangs: below its deadline of 10 s.
    assert run.result["numbers"]["duration_ms"] < 10_500


def test_unknown_service_is_refused() -> None:
    run = playbook("health", health_only=["databse"])
    assert run.code == 2
    assert "databse" in run.output
    assert "postgres" in run.line("databse")
    assert run.result["verdict"] == "refused"


@proof
def test_services_without_a_tier_may_be_down_at_once() -> None:
    absent = {"role": "stateless", "probe": "none", "severity": "P2"}
    run = playbook(
        "health", carrental_services={"billing": absent, "worker": absent}, health_depth="quick"
    )
    assert run.code == 2
    assert "[FAIL] billing is not responding: there is no container of it" in run.output
    assert run.result["next"].startswith("Begin with billing:")


def test_server_that_does_not_answer_is_reported() -> None:
    run = playbook("health", "-e", "ansible_port=1")
    assert run.code != 0
    assert run.result["verdict"] == "unknown"


def test_limit_does_not_hide_a_failure() -> None:
    """--limit leaves out the play on localhost that ends with the exit code otherwise."""
    well = playbook("health", "--limit", "test")
    assert well.code == 0, well.output
    assert "[OK] API is healthy" in well.line("API is")
    with container("stop", "start", "api", "exited")():
        run = playbook("health", "--limit", "test")
    assert run.code != 0
    assert "[FAIL] API is not responding" in run.line("API is")
    gone = playbook("health", "--limit", "test", "-e", "ansible_port=1")
    assert gone.code != 0


def test_junit_has_a_case_for_every_check(tmp_path: Path) -> None:
    run = playbook("health", "-e", "health_junit=true", carrental_report_dir=str(tmp_path))
    assert run.code == 0, run.output
    suite = ElementTree.parse(tmp_path / "health-test.junit.xml").getroot()
    checks = json.loads((tmp_path / "health-test.json").read_text())["checks"]
    assert [case.get("name") for case in suite] == [check["name"] for check in checks]
    assert suite.get("failures") == "0"
