# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dates and names of certificates, from real ones."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.carrental.ops.plugins.module_utils import _tls
from ansible_collections.carrental.ops.plugins.module_utils._checks import Thresholds
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)


def der(
    names: list[str], first: datetime, last: datetime, common: str = "rental.example.com"
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Bücher & Söhne"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.DER)


def parsed(left: timedelta, names: list[str] | None = None) -> _tls.Certificate:
    found = ["rental.example.com"] if names is None else names
    return _tls.parse(der(found, NOW - timedelta(days=100), NOW + left))


@pytest.mark.parametrize("last", [datetime(2027, 1, 2, 3, 4, 5), datetime(2051, 1, 2, 3, 4, 5)])
def test_dates_of_both_notations(last: datetime) -> None:
    found = _tls.parse(der(["a.example.com"], datetime(2026, 1, 1), last))
    assert found.not_before == datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert found.not_after == last.replace(tzinfo=timezone.utc)


def test_names_come_from_the_extension_and_else_from_the_subject() -> None:
    assert parsed(timedelta(days=90), ["A.example.com", "*.b.example.com"]).names == (
        "a.example.com",
        "*.b.example.com",
    )
    assert parsed(timedelta(days=90), []).names == ("rental.example.com",)


@pytest.mark.parametrize(
    ("names", "hostname", "covered"),
    [
        (("a.example.com",), "A.example.com", True),
        (("a.example.com",), "b.example.com", False),
        (("*.example.com",), "a.example.com", True),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "a.b.example.com", False),
    ],
)
def test_covers(names: tuple[str, ...], hostname: str, covered: bool) -> None:
    assert _tls.Certificate(NOW, NOW, names).covers(hostname) is covered


@pytest.mark.parametrize(
    ("left", "status", "reason"),
    [
        (timedelta(days=90), "ok", "the certificate is valid until 2027-02-21"),
        (
            timedelta(days=20, hours=1),
            "warn",
            "the certificate expires in 20 days, on 2026-12-13; renew it and reload the proxy",
        ),
        (
            timedelta(hours=5),
            "fail",
            "the certificate expires in less than a day, on 2026-11-23; "
            "renew it and reload the proxy",
        ),
        (
            -timedelta(days=8),
            "fail",
            "the certificate expired 8 days ago, on 2026-11-15; renew it and reload the proxy",
        ),
    ],
)
def test_expiry(left: timedelta, status: str, reason: str) -> None:
    assert _tls.judge(parsed(left), NOW, Thresholds(), "rental.example.com") == (status, reason)


def test_not_yet_valid() -> None:
    found = _tls.parse(der(["a.example.com"], NOW + timedelta(hours=1), NOW + timedelta(days=90)))
    assert _tls.judge(found, NOW, Thresholds()) == (
        "fail",
        "the certificate is not valid before 2026-11-23 13:00 UTC; "
        "check the clock, or install the right one",
    )


def test_another_host() -> None:
    assert _tls.judge(parsed(timedelta(days=90)), NOW, Thresholds(), "other.example.com") == (
        "fail",
        "the certificate is made out to rental.example.com, not to other.example.com; "
        "install the right one",
    )


@pytest.mark.parametrize("data", [b"", b"\x30", b"not a certificate", b"\x30\x82\xff\xff\x30\x00"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(_tls.CertificateError):
        _tls.parse(data)


def test_a_certificate_that_was_cut_off_is_refused() -> None:
    whole = der(["a.example.com"], NOW, NOW)
    with pytest.raises(_tls.CertificateError):
        _tls.parse(whole[: len(whole) // 2])
